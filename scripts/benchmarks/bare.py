"""Measurements of benchmark.py: methods beside the bare network passes that each of them requires."""

import functools
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks.cases import CLASS, TRAINED, Case, build, class_cotangent, forward, training, vjp
from benchmarks.timing import AS_FAST, Result, loop, side_by_side
from jax.tree_util import Partial

from xai_jax import activation_cache, activation_maximisation, fooling, inversion, network, saliency, targets
from xai_jax.architectures.deepsim import Discriminator, Generator
from xai_jax.synthesis.cppn import CPPN
from xai_jax.synthesis.fooling import Direct
from xai_jax.training import adversarial, supervised
from xai_jax.training.adversarial import Setting

LAYER = "pool2"
POPULATION = 200


def saliency_maps(given, _: dict, case: Case = TRAINED, count: int = 8) -> Iterator[Result]:
    """Methods that take several passes per map."""
    net, x, _ = build(case)
    target = targets.logit(CLASS)
    bare = functools.partial(repeated, lambda: vjp(net, x, class_cotangent(case)), count)
    methods = {
        "integrated gradients": lambda: saliency.integrated_gradients(net, x, target, steps=count),
        "SmoothGrad": lambda: saliency.smoothgrad(net, x, target, samples=count),
    }
    for name, explain in methods.items():
        yield beside(given, f"bare {name}, {count} passes {case.side} px", explain, bare, "bare vjp")


def maximisation(given, _: dict, case: Case = TRAINED, steps: int = 50) -> Iterator[Result]:
    """Steps in pixel space with hand-designed priors, on one image of each class."""
    net, x, _ = build(case._replace(batch=case.classes))
    cotangent, target = jnp.eye(case.classes), targets.logit(np.arange(case.classes))
    bare = functools.partial(repeated, lambda: vjp(net, x, cotangent), steps)
    for name in ("Simonyan", "Yosinski", "Fourier"):
        form = getattr(activation_maximisation, name)(steps=steps)
        maximise = functools.partial(maximised, form, net, target, x)
        yield beside(given, f"bare maximisation {name}, {steps} steps {case.side} px", maximise, bare, "bare vjp")


def maximised(form: Any, net: network.Network, target: targets.Target, x: jax.Array) -> Any:
    return activation_maximisation.maximise(net, target, x, jax.random.key(0), form, -3.0, 3.0)


def fooling_images(given, _: dict, case: Case = TRAINED, generations: int = 10) -> Iterator[Result]:
    """Generations of the evolutionary algorithm, each of which evaluates its children."""
    net, _, _ = build(case)
    children = build(case._replace(batch=POPULATION))[1]
    shape = children.shape[1:]
    bare = functools.partial(repeated, lambda: forward(net, children), generations)
    for name, encoding in (("pixels", Direct(shape)), ("CPPN", CPPN(shape))):
        evolve = functools.partial(evolved, net, encoding, generations)
        yield beside(given, f"bare fooling, {generations} generations of {name}", evolve, bare, "bare forward")


def evolved(net: network.Network, encoding: fooling.Encoding, generations: int) -> Any:
    return fooling.evolve(net, encoding, generations, jax.random.key(0), POPULATION)[0].confidence


def cached_activations(given, _: dict, case: Case = TRAINED, batches: int = 4) -> Iterator[Result]:
    """Activations and gradients of one layer, written to disk for TCAV."""
    net, one, _ = build(case := case._replace(batch=activation_cache.BATCH_SIZE))
    x = np.random.default_rng(0).normal(size=(batches * len(one), *one.shape[1:])).astype(np.float32)
    target = targets.logit(CLASS)
    for name, more, other, bare in (
        ("activations", (), "bare forward", lambda: forward(net, one)),
        ("gradients", (target,), "bare vjp", lambda: vjp(net, one, class_cotangent(case))),
    ):
        compute = functools.partial(uncached, name, net, x, more)
        repeat = functools.partial(repeated, bare, batches)
        yield beside(given, f"bare activation cache: {name} of {LAYER} {case.side} px", compute, repeat, other)


def uncached(method: str, net: network.Network, x: np.ndarray, more: tuple) -> np.ndarray:
    """Activations or gradients, through a cache that is empty each time."""
    with tempfile.TemporaryDirectory() as directory:
        cache = activation_cache.ActivationCache(net, LAYER, directory)
        return np.asarray(getattr(cache, method)(x, *more)[LAYER])


def generator_training(given, _: dict, case: Case = TRAINED, batch: int = 32) -> Iterator[Result]:
    """One training step of generator and discriminator, as in `deepsim.fit`."""
    x = build(case := case._replace(batch=batch))[1]
    setting, functions = adversarial_setting(case)
    state = initial_state(setting, functions, x)
    bare = functools.partial(adversarial_passes, setting, functions, state.params, x)
    step = adversarial_step(setting, functions, x)
    yield beside(given, f"bare generator training, step of {batch} {case.side} px", step, bare, "bare")


def adversarial_setting(case: Case) -> tuple[Setting, tuple]:
    """Generator and discriminator of 28x28 pixels, and the functions for codes, features and pixels."""
    setting = Setting(
        Generator((7, 7, 64), (256, 256), (), ((64, 64),), 1),
        Discriminator(((5, 32, 2), (3, 64, 1), (3, 64, 2)), 64),
        adversarial.Recipe(batch_size=case.batch),
    )
    net = build(case)[0]
    compare = inversion.of_layer(net, LAYER, lambda x: x / 255)
    return setting, (network.features(net, "relu6"), compare, Partial(_pixels))


def _pixels(x):
    return x


def adversarial_step(setting: Setting, functions: tuple, x: jax.Array) -> Callable[[], Any]:
    state = initial_state(setting, functions, x)

    def step():
        nonlocal state
        state, terms = adversarial.step(setting, state, [(x, None)], (np.uint32(0), *functions))
        return terms

    return step


def initial_state(setting: Setting, functions: tuple, x: jax.Array) -> adversarial.State:
    keys = jax.random.split(jax.random.key(0))
    return jax.jit(adversarial.initial, static_argnums=0)(setting, keys, functions[0](x), x)


@functools.partial(jax.jit, static_argnums=0)
def adversarial_passes(setting: Setting, functions: tuple, params: tuple, x: jax.Array) -> Any:
    """The passes of a step, with sums for losses, and nothing else."""
    encode, compare, _ = functions
    code, features, discriminate = encode(x), compare(x), setting.discriminator.apply

    def total(params):
        images = setting.generator.apply(params[0], code)
        frozen, constant = jax.lax.stop_gradient((params[1], images))
        logits = discriminate(frozen, images), discriminate(params[1], x), discriminate(params[1], constant)
        return (compare(images) * features).sum() + sum(each.sum() for each in logits) + images.sum()

    return jax.grad(total)(params)


def supervised_training(given, _: dict, case: Case = TRAINED) -> Iterator[Result]:
    """A training step beside gradients of as many images at a time, without dropout, loss and update."""
    net, x, _ = build(case)
    parts = np.split(np.asarray(x), case.batch // supervised.share_size(case.batch))
    step = training(case, net, x, np.arange(case.batch, dtype=np.int32) % case.classes)
    gradient = functools.partial(weight_gradient, case.module, net.args[0])
    name = f"bare training, step of {case.batch} {case.side} px"
    yield beside(given, name, step, lambda: list(map(gradient, parts)), "bare")


@functools.partial(jax.jit, static_argnums=0)
def weight_gradient(module: Any, variables: Any, x: jax.Array) -> Any:
    return jax.grad(lambda variables: module.apply(variables, x).sum())(variables)


def repeated(function: Callable[[], Any], count: int) -> list:
    return [function() for _ in range(count)]


def beside(given, name: str, ours: Callable, bare: Callable, other_name: str) -> Result:
    return side_by_side(given.repeats, name, AS_FAST, (loop(ours), loop(bare)), other_name)


BARE = saliency_maps, maximisation, fooling_images, cached_activations, generator_training, supervised_training


def bare_passes(given, versions: dict) -> Iterator[Result]:
    for measure in BARE:
        yield from measure(given, versions)
