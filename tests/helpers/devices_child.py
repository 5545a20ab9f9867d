"""Runs methods on eight simulated devices and on one of them, for tests of several devices: one JSON line each.

python -m tests.helpers.devices_child METHODS [--process=HOST:PORT,COUNT,INDEX]
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

DEVICES = 8


def start(names, *flags):
    command = [sys.executable, "-m", "tests.helpers.devices_child", names, *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes)


def finish(process):
    """What the child found for each method."""
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err[-3000:]
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def main():
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"
    import jax

    jax.config.update("jax_numpy_dtype_promotion", "strict")
    names, *rest = sys.argv[1:]
    for flag in rest:
        from xai_jax.training import parallel

        address, count, index = flag.removeprefix("--process=").split(",")
        parallel.join(address, int(count), int(index))
    for name, method in sorted(globals()[names]().items()):
        found = compare(method) if names in ("attributions", "optimisations", "few") else {"value": method()}
        print(json.dumps({"method": name} | found), flush=True)


def compare(method):
    """The largest relative difference from one device, and how many devices have an equal share of the work."""
    import jax
    import numpy as np

    from xai_jax.core import devices

    with jax.default_device(jax.local_devices()[0]):
        alone = jax.tree.leaves(method())
    recorded, original = set(), devices.share

    def share(arrays, number):  # counted at once, as steps of an optimisation donate their state
        found = original(arrays, number)
        recorded.update(len(equal_shares(leaf)) for leaf in jax.tree.leaves(found) if np.shape(leaf)[:1] > (1,))
        return found

    devices.share = share
    try:
        found = jax.tree.leaves(method())
    finally:
        devices.share = original
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(found, alone, strict=True)]
    return {
        "difference": max(float(abs(a - b).max() / (abs(b).max() + 1e-12)) for a, b in pairs),
        "same shapes": all(a.shape == b.shape for a, b in pairs),
        "devices": sorted(recorded),
        "processes": jax.process_count(),
        "results": sorted(
            {len(equal_shares(array)) for array in found if np.ndim(array) and hasattr(array, "sharding")}
        ),
    }


def equal_shares(array):
    """The devices of this process that have an equal share of the rows of an array."""
    shards = getattr(array, "addressable_shards", ())
    return {shard.device for shard in shards if len(shards) * shard.data.shape[0] == array.shape[0]}


def small(count):
    """A network whose weights are leaves, images and a target."""
    import jax
    import numpy as np

    from tests.helpers import oracle
    from xai_jax import network, targets

    leaves, tree = jax.tree.flatten(oracle.random_layers(2))
    is_weight = [isinstance(leaf, np.ndarray) for leaf in leaves]

    def model(weights, x, relu=jax.nn.relu, tap=network.keep):
        rest = iter(weights)
        layers = jax.tree.unflatten(
            tree, [next(rest) if w else leaf for w, leaf in zip(is_weight, leaves, strict=True)]
        )
        return oracle.jax_network(layers)(x, relu=relu, tap=tap)

    x = np.random.default_rng(1).normal(size=(count, 17, 17, 3)).astype(np.float32)
    net = jax.tree_util.Partial(model, [leaf for w, leaf in zip(is_weight, leaves, strict=True) if w])
    return net, x, targets.log_probability(np.arange(count) % 5)


def attributions():
    import numpy as np

    from xai_jax import deconvnet, metrics, saliency, targets
    from xai_jax.adapters import adapt
    from xai_jax.concepts.activation_cache import ActivationCache
    from xai_jax.core.batching import call_in_chunks

    net, x, target = small(24)
    few = {"batch_size": 16}
    side = np.random.default_rng(2).normal(size=(24, 5)).astype(np.float32)
    two = adapt.from_function(lambda scale, x, side: net(x) * scale * side, np.float32(2), inputs=(side,))
    unit, layer = targets.neuron("relu4", np.arange(24) % 8, "max"), "relu4"
    bind = functools.partial
    return {
        "gradient": bind(saliency.gradient, net, x, target),
        "gradient of a network with an input for each image": bind(saliency.gradient, two, x, target, **few),
        "guided": bind(saliency.guided_backprop, net, x, target, **few),
        "deconvnet": bind(saliency.deconvnet, net, x, target, **few),
        "input x gradient": bind(saliency.input_x_gradient, net, x, target, **few),
        "integrated gradients": bind(saliency.integrated_gradients, net, x, target, x[::-1] / 2, steps=3, **few),
        "smoothgrad": bind(saliency.smoothgrad, net, x, target, samples=2, **few),
        "vargrad": bind(saliency.vargrad, net, x, target, samples=2, **few),
        "grad-cam": bind(saliency.grad_cam, net, x, target, layer, **few),
        "occlusion": bind(saliency.occlusion, net, x[:3], targets.logit(1), 4, 4, **few),
        "deletion": lambda: metrics.deletion(net, x, x, target, steps=3, **few).values,
        "infidelity": bind(metrics.infidelity, net, x, x, target, samples=2, **few),
        "projection": bind(deconvnet.project, net, x, unit, **few),
        "projection by others' switches": bind(deconvnet.project, net, x, unit, x[::-1], **few),
        "top_k": lambda: deconvnet.top_k(net, ["relu1", "relu4"], x, 3, **few),
        "activations": lambda: ActivationCache(net, layer, **few).activations(x),
        "gradients of activations": lambda: ActivationCache(net, layer, **few).gradients(x, targets.logit(1)),
        "features": lambda: call_in_chunks(net, x, 16),
    }


def optimisations():
    import jax
    import numpy as np

    from xai_jax import activation_maximisation, cppn, dgn_am, fooling, inversion, targets

    net, x, _ = small(16)
    key, represent = jax.random.key(0), inversion.of_layer(net, "relu4")
    classes, codes = targets.logit(np.arange(16) % 5), np.abs(x[:, 0])
    generate = jax.tree_util.Partial(lambda scale, codes: codes[:, None] * scale, x[:1].transpose(0, 2, 1, 3))

    def maximise(form):
        problem = activation_maximisation.of_pixels(net), classes, x, key
        return activation_maximisation.maximise(*problem, form, -9.0, 9.0)

    def evolve(encoding):
        return fooling.evolve(net, encoding, 3, key, population=16)

    bind = functools.partial
    forms = (
        activation_maximisation.Simonyan(steps=3),
        activation_maximisation.Fourier(steps=3, jitter=0),
    )  # equal pixels of a padding are ties, of which rounding chooses the maximum
    return {
        "inversion, 2015": lambda: inversion.invert(
            represent, represent(x), x.shape[1:], key, inversion.CVPR(phases=((0.1, 3),))
        ),
        "inversion, 2016": lambda: inversion.invert(
            represent, represent(x), x.shape[1:], key, inversion.IJCV(steps=(3, 2), jitter=3)
        ),
        "maximisation": bind(maximise, forms[0]),
        "maximisation of Fourier coefficients": bind(maximise, forms[1]),
        "codes of a generator": lambda: dgn_am.maximise(generate, net, classes, codes, dgn_am.DGN(steps=3)),
        "evolution": bind(evolve, fooling.Direct(x.shape[1:])),
        "evolution of CPPNs": bind(evolve, cppn.CPPN(x.shape[1:], hidden=3)),
    }


def step(net, x, target, copy, share):
    """Arguments of a step of gradient ascent."""
    import jax.numpy as jnp
    import numpy as np
    from jax.tree_util import Partial

    from xai_jax.core.pytrees import as_partial
    from xai_jax.synthesis import fooling, optimize, updates

    rule, start = updates.momentum(1.0, ((1.0, 3),)), jnp.asarray(x)
    state = optimize._State(share(start), share(rule.init(start)), copy(np.int32(0)))
    objective = Partial(fooling._probability, net, target)
    return *copy((objective, as_partial(optimize.identity), optimize._update_of(rule))), state, None


def generation(net, copy, share):
    """Arguments of a generation of an evolution."""
    import jax
    import numpy as np

    from xai_jax.synthesis import fooling

    del share
    elites = fooling.Elites(np.zeros((5, 17, 17, 3), np.float32), np.zeros(5, np.float32), np.int32(0))
    arguments = fooling.Direct((17, 17, 3)), net, (0.0, 1.0), elites, jax.random.key(0)
    return *copy(arguments), 32, copy.keywords["number"]


def shares():
    """One eighth is the share of its operations that each device has, in the programs of the passes."""
    import jax
    import numpy as np

    from xai_jax import targets
    from xai_jax.attribution import occlusion, saliency
    from xai_jax.concepts import activation_cache
    from xai_jax.core import devices
    from xai_jax.core.pytrees import as_partial
    from xai_jax.synthesis import fooling, optimize
    from xai_jax.units import deconvnet

    net, x, target = small(32)

    def operations(program, arguments, number):
        copy, share = (functools.partial(each, number=number) for each in (devices.copy, devices.share))
        return program.lower(*arguments(copy, share)).compile().cost_analysis()["flops"]

    index, fill = np.zeros(32, np.int32), np.zeros((1, 1, 1, 1), np.float32)
    programs = {
        "gradient": (saliency._backprop, lambda copy, share: (copy(net), share(x), target, jax.nn.relu)),
        "maps": (
            deconvnet._maps,
            lambda copy, share: (copy(net), as_partial(deconvnet.as_input), share(x), ("relu4",)),
        ),
        "gradients": (activation_cache._gradients, lambda copy, share: (copy(net), share(x), target, ("relu4",))),
        "step of an optimisation": (optimize._step, lambda *each: step(net, x, target, *each)),
        "generation": (fooling._generation, lambda *each: generation(net, *each)),
        "occlusion": (
            occlusion._occluded,
            lambda copy, share: (copy(net), targets.logit(1), *copy((x[:3], fill)), *share((index,) * 3), (4, 4), ()),
        ),
    }
    return {name: lambda p=pair: operations(*p, DEVICES) / operations(*p, 1) for name, pair in programs.items()}


def placement():
    """Where the result of a gradient is, for several placements of its arrays."""
    import jax

    from xai_jax import saliency
    from xai_jax.core.batching import call_in_chunks

    net, x, target = small(16)
    third, others = jax.local_devices()[3], jax.sharding.Mesh(jax.local_devices()[4:6], ("mine",))
    mine = jax.sharding.NamedSharding(others, jax.sharding.PartitionSpec("mine"))

    def where(net, x, target=target):
        return sorted(device.id for device in saliency.gradient(net, x, target).devices())

    def default():
        with jax.default_device(third):
            return where(net, x)

    def traced():
        return [device.id for device in jax.jit(lambda: saliency.gradient(net, x, target))().devices()]

    def fixed(count):
        exported = jax.export.export(jax.jit(lambda x: net(x)))(jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype))
        return call_in_chunks(lambda x: exported.call(x), x[:count]).shape

    return {
        "free": lambda: where(net, x),
        "of the default device": lambda: where(net, jax.numpy.asarray(x)),
        "images on one device": lambda: where(net, jax.device_put(x, third)),
        "network on one device": lambda: where(jax.device_put(net, third), x),
        "shards of the user's": lambda: where(net, jax.device_put(x, mine)),
        "again": lambda: where(net, saliency.gradient(net, x, target)),
        "default device": default,
        "traced": traced,
        "fewer images than devices": lambda: where(net, x[:5], target.rows(slice(5))),
        "a network of nine images": lambda: fixed(9),
        "a network of sixteen images": lambda: fixed(16),
    }


def few():
    names = "gradient", "occlusion", "top_k", "activations", "codes of a generator"
    return {name: method for name, method in (attributions() | optimisations()).items() if name in names}


if __name__ == "__main__":
    main()
