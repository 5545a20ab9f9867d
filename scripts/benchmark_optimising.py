"""The measurements of benchmark.py that are loops of small steps: inversion, and preferred inputs by a generator."""

import argparse
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from benchmark_cases import CLASS, LAYOUTS, TRAINED, Case, build, forward, vjp
from jax.tree_util import Partial
from timing import AS_FAST, Goal, Result, ask_seconds, captum_process, cores, loop, take_turns

from xai_jax import dgn_am, inversion, network, optimize, targets
from xai_jax.architectures import deepsim
from xai_jax.synthesis.dgn_am import DGN
from xai_jax.synthesis.inversion import CVPR
from xai_jax.weights import safetensors_file

TOLERANCE = 1e-4
FACTOR = 0.1  # of the paper's first rate, at which networks of random weights diverge
INVERTED = ((TRAINED._replace(batch=16), 400), (Case(224, 1), 20))  # and how many steps
GENERATOR = deepsim.Generator((7, 7, 64), (256, 256), (), ((64, 64),), 1)  # that of "fashion_fc6"
PIXELS = (255.0,), (128.0,)  # standard deviation and shift of the generator's images
RATES = 0.54, 1e-10  # first and last


def of_inversion(given: argparse.Namespace, torch_versions: dict, cases=INVERTED) -> Iterator[Result]:
    for case, steps in cases:
        yield against_bare_steps(given, case, steps)
        yield against_one(given, case, steps // 10)
    with captum_process(given.torch_python) as (ask, versions), tempfile.TemporaryDirectory() as folder:
        torch_versions.update(versions)
        for case, steps in cases:
            yield from against_eager(given, ask, Path(folder), case, steps)


def inverting(case: Case, steps: int) -> Callable[[], optimize.Result]:
    """As many steps of the first paper's inversion of the logits of all images of a case."""
    net, x, _ = build(case)
    form = CVPR(phases=((FACTOR, steps),))
    represent = inversion.of_layer(net, "fc8", lambda x: x / form.std)
    wanted, start = forward(net, x), form.initial_noise(jax.random.key(1), x.shape)
    return lambda: inversion.invert(represent, wanted, x.shape[1:], jax.random.key(0), form, start=start)


def against_bare_steps(given, case: Case, steps: int) -> Result:
    net, x, _ = build(case)
    slope = jax.nn.one_hot(np.full(case.batch, CLASS), case.classes)
    sides = loop(inverting(case, steps)), loop(lambda: [vjp(net, x, slope) for _ in range(steps)])
    (ours, other), busy = take_turns(sides, given.repeats)
    name, notes = f"inversion {steps} steps {case.side} px", {"batch": case.batch, "widths": case.widths}
    return Result(name, Goal("<=", 1.15, "x"), ours, other, "bare vjp", busy, notes)


def against_one(given, case: Case, steps: int, many: int = 16) -> Result:
    sides = [loop(inverting(case._replace(batch=count), steps)) for count in (many, 1)]
    (ours, other), busy = take_turns(sides, given.repeats)
    name = f"inversion of {many} images {case.side} px"
    return Result(name, Goal("<=", many, "x"), ours, other, "one image", busy, {"widths": case.widths, "steps": steps})


def against_eager(given, ask, folder: Path, case: Case, steps: int) -> Iterator[Result]:
    net, x, state = build(case)
    start = CVPR().initial_noise(jax.random.key(1), x.shape)
    np.savez(folder / "net.npz", **state, x=np.asarray(x), start=np.asarray(start), stages=case.stages, k=CLASS)
    for layout in LAYOUTS:
        ask(do="load", folder=str(folder), threads=cores(), layout=layout)
        notes = {"layout": layout, "batch": case.batch, "widths": case.widths, "steps": steps}
        notes |= same_descent(inverting(case, 5)().history, ask(do="invert", steps=5)["losses"])
        sides = loop(inverting(case, steps)), functools.partial(ask_seconds, ask, f"invert {steps}")
        (ours, other), busy = take_turns(sides, given.repeats)
        name = f"inversion {case.side} px" + (f", {layout}" if layout != LAYOUTS[0] else "")
        yield Result(name, Goal(">=", 1.2, "x"), ours, other, "PyTorch", busy, notes)


def same_descent(history: Mapping[str, np.ndarray], theirs: list) -> dict[str, float]:
    """The largest relative difference of the losses; ValueError if it is above TOLERANCE at the start, 10 % later."""
    ours, theirs = sum(history.values()), np.asarray(theirs)
    apart = abs(ours - theirs) / abs(theirs)
    if not (apart[0].max() <= TOLERANCE and apart.max() <= 0.1):
        raise ValueError(f"inversion: expected losses that agree to {TOLERANCE:g}, got {ours[0]} and {theirs[0]}.")
    return {"difference of the losses": float(apart.max())}


def of_dgn(given, torch_versions: dict, case: Case = TRAINED, steps: int = 100) -> Iterator[Result]:
    case = case._replace(batch=case.classes)
    yield against_bare_generator(given, case, steps)
    yield against_one_unit(given, case, steps)
    with captum_process(given.torch_python) as (ask, versions), tempfile.TemporaryDirectory() as folder:
        torch_versions.update(versions)
        net, x, state = build(case)
        codes, upper = codes_of(case.batch)
        start = {"codes": np.asarray(codes), "upper": np.asarray(upper), "classes": np.arange(case.batch)}
        pixels = {"pixels": np.ravel(PIXELS), "rates": np.array(RATES), "keep": np.array(DGN.decay_factor)}
        generator = {f"generator.{name}": array for name, array in generator_state().items()}
        stages = {"stages": case.stages, "k": CLASS, "map": GENERATOR.start}
        np.savez(Path(folder, "net.npz"), **state, x=np.asarray(x), **stages, **start, **pixels, **generator)
        for layout in LAYOUTS:
            ask(do="load", folder=folder, threads=cores(), layout=layout)
            notes = {"layout": layout, "codes": case.batch, "widths": case.widths, "steps": steps}
            ours = {"activation": maximising(case, 3)().history["activation"]}
            notes |= same_descent(ours, ask(do="maximise", steps=3)["losses"])
            sides = loop(maximising(case, steps)), functools.partial(ask_seconds, ask, f"maximise {steps}")
            (ours, other), busy = take_turns(sides, given.repeats)
            name = f"dgn {case.side} px" + (f", {layout}" if layout != LAYOUTS[0] else "")
            yield Result(name, Goal(">=", 1.2, "x"), ours, other, "PyTorch", busy, notes)


def maximising(case: Case, steps: int) -> Callable[[], optimize.Result]:
    """As many steps for the codes of all classes at once, by the authors' rule."""
    net, _, _ = build(case)
    codes, upper = codes_of(case.batch)
    form, target = DGN(*RATES, steps), targets.logit(np.arange(case.batch))
    return lambda: dgn_am.maximise(generate(case), net, target, codes, form, upper)


def against_bare_generator(given, case: Case, steps: int) -> Result:
    net, x, _ = build(case)
    slope, codes = jax.nn.one_hot(np.arange(case.batch), case.classes), codes_of(case.batch)[0]
    both = Partial(_seen, net, generate(case))
    sides = loop(maximising(case, steps)), loop(lambda: [vjp(both, codes, slope) for _ in range(steps)])
    (ours, other), busy = take_turns(sides, given.repeats)
    return Result(f"dgn {steps} steps {case.side} px", AS_FAST, ours, other, "bare vjp", busy, {"codes": case.batch})


def _seen(net, generate, codes):
    return net(generate(codes))


def against_one_unit(given, case: Case, steps: int) -> Result:
    """All units of the last hidden layer in one program, against one of them."""
    net, x, _ = build(case)
    layer = "relu7"
    count = network.layer_names(net, x)[layer].shape[-1]

    sides = [loop(units(case, steps, layer, np.arange(many))) for many in (count, 1)]
    (ours, other), busy = take_turns(sides, given.repeats)
    name = f"dgn of {count} units of {layer} {case.side} px"
    return Result(name, Goal("<=", count, "x"), ours, other, "one unit", busy, {"steps": steps})


def to_network(x: jax.Array) -> jax.Array:
    return (x + PIXELS[1][0]) / PIXELS[0][0]


def units(case: Case, steps: int, layer: str, picked: np.ndarray) -> Callable[[], optimize.Result]:
    """As many steps for the codes of units of a layer at once."""
    net, _, _ = build(case)
    codes, upper = codes_of(len(picked))
    target, form = targets.neuron(layer, picked), DGN(*RATES, steps)
    return lambda: dgn_am.maximise(generate(case), net, target, codes, form, upper)


@functools.cache
def generate(case: Case) -> Partial:
    """The generator with random weights, of the network's input."""
    code = jax.ShapeDtypeStruct((1, *codes_of(1)[0].shape[1:]), np.float32)
    expected = jax.eval_shape(GENERATOR.init, jax.random.key(0), code)
    variables = safetensors_file.fit(deepsim.from_published(generator_state(), GENERATOR.start), expected)
    return dgn_am.of_generator(Partial(GENERATOR.apply, variables), (case.side, case.side), to_network)


def codes_of(count: int) -> tuple[jax.Array, jax.Array]:
    """Codes to start from and what bounds them."""
    return dgn_am.noise(jax.random.key(1), (count, TRAINED.hidden)), jax.numpy.full((TRAINED.hidden,), 2.0)


def generator_state(seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under the published names, laid out as there; biases of convolutions are zero and left out."""
    rng, state = np.random.default_rng(seed), {}
    widths = [TRAINED.hidden, *GENERATOR.hidden, int(np.prod(GENERATOR.start))]
    for number, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
        state[f"defc{7 - number}.weight"] = rng.normal(size=(after, before)) * np.sqrt(2 / before)
        state[f"defc{7 - number}.bias"] = 0.1 * rng.normal(size=after)
    channels = GENERATOR.start[2]
    for number, (up, width) in zip(range(len(GENERATOR.stages), 0, -1), GENERATOR.stages, strict=True):
        state[f"deconv{number}.weight"] = rng.normal(size=(channels, up, 4, 4)) * np.sqrt(0.5 / channels)
        if width:
            state[f"conv{number}_1.weight"] = rng.normal(size=(up, width, 3, 3)) * np.sqrt(2 / 9 / up)
        channels = width or up
    state["deconv0.weight"] = 30 * rng.normal(size=(channels, GENERATOR.channels, 4, 4)) / np.sqrt(channels)
    return {name: array.astype(np.float32) for name, array in state.items()}
