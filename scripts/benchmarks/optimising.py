"""Measurements of benchmark.py: loops of small steps, for inversion and for DGN-AM."""

import argparse
import functools
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
from benchmarks.cases import CLASS, TRAINED, Case, build, class_cotangent, forward, vjp
from benchmarks.timing import (
    AS_FAST,
    BESIDE_TORCH,
    TOLERANCE,
    Goal,
    Result,
    layouts,
    loop,
    side_by_side,
    timed_by,
    torch_side,
)
from jax.tree_util import Partial

from xai_jax import dgn_am, inversion, network, optimize, targets
from xai_jax.architectures import deepsim
from xai_jax.synthesis.dgn_am import DGN
from xai_jax.synthesis.inversion import CVPR
from xai_jax.weights import safetensors_file

FACTOR = 0.1  # of the paper's first learning rate, at which networks of random weights diverge
INVERTED = ((TRAINED._replace(batch=16), 400), (Case(224, 1), 20))  # with the number of steps
GENERATOR = deepsim.Generator((7, 7, 64), (256, 256), (), ((64, 64),), 1)  # 28x28 pixels from fc6
PIXELS = (255.0,), (128.0,)  # standard deviation and shift of the generator's images
LEARNING_RATES = 0.54, 1e-10  # first and last
UNITS = "relu7"  # the last hidden layer


def inversions(given: argparse.Namespace, torch_versions: dict, cases=INVERTED) -> Iterator[Result]:
    for case, steps in cases:
        yield inversion_beside_vjp(given, case, steps)
        yield inversion_of_many(given, case, steps // 10)
    with torch_side(given, torch_versions) as (request, directory):
        for case, steps in cases:
            net, x, state = build(case)
            start = CVPR().initial_noise(jax.random.key(1), x.shape)
            arrays = {"x": np.asarray(x), "start": np.asarray(start), "stages": case.stages, "k": CLASS}
            np.savez(directory / "net.npz", **state, **arrays)
            for layout, suffix in layouts(request, directory):
                notes = {"layout": layout, "batch": case.batch, "widths": case.widths, "steps": steps}
                notes |= same_descent(logit_inversion(case, 5)().history, request(do="invert", steps=5)["losses"])
                sides = loop(logit_inversion(case, steps)), timed_by(request, f"invert {steps}")
                name = f"inversion {case.side} px{suffix}"
                yield side_by_side(given.repeats, name, BESIDE_TORCH[layout], sides, "PyTorch", notes)


def logit_inversion(case: Case, steps: int) -> Callable[[], optimize.Result]:
    """The first paper's inversion of the logits of all images of a case."""
    net, x, _ = build(case)
    form = CVPR(phases=((FACTOR, steps),))
    represent = inversion.of_layer(net, "fc8", lambda x: x / form.std)
    target, start = forward(net, x), form.initial_noise(jax.random.key(1), x.shape)
    return lambda: inversion.invert(represent, target, x.shape[1:], jax.random.key(0), form, start=start)


def inversion_beside_vjp(given, case: Case, steps: int) -> Result:
    net, x, _ = build(case)
    cotangent = class_cotangent(case)
    sides = loop(logit_inversion(case, steps)), loop(lambda: [vjp(net, x, cotangent) for _ in range(steps)])
    name, notes = f"inversion {steps} steps {case.side} px", {"batch": case.batch, "widths": case.widths}
    return side_by_side(given.repeats, name, Goal("<=", 1.15, "x"), sides, "bare vjp", notes)


def inversion_of_many(given, case: Case, steps: int, many: int = 16) -> Result:
    sides = [loop(logit_inversion(case._replace(batch=count), steps)) for count in (many, 1)]
    name, notes = f"inversion of {many} images {case.side} px", {"widths": case.widths, "steps": steps}
    return side_by_side(given.repeats, name, Goal("<=", many, "x"), sides, "one image", notes)


def same_descent(history: Mapping[str, np.ndarray], theirs: list) -> dict[str, float]:
    """The largest relative difference of the losses; ValueError if it exceeds TOLERANCE at first, 10 % later."""
    ours, theirs = sum(history.values()), np.asarray(theirs)
    difference = abs(ours - theirs) / abs(theirs)
    if not (difference[0].max() <= TOLERANCE and difference.max() <= 0.1):
        raise ValueError(f"inversion: expected losses that agree to {TOLERANCE:g}, got {ours[0]} and {theirs[0]}.")
    return {"difference of the losses": float(difference.max())}


def dgn_steps(given, torch_versions: dict, case: Case = TRAINED, steps: int = 100) -> Iterator[Result]:
    case = case._replace(batch=case.classes)
    yield dgn_beside_vjp(given, case, steps)
    yield dgn_of_all_units(given, case, steps)
    with torch_side(given, torch_versions) as (request, directory):
        np.savez(directory / "net.npz", **dgn_arrays(case))
        for layout, suffix in layouts(request, directory):
            notes = {"layout": layout, "codes": case.batch, "widths": case.widths, "steps": steps}
            ours = {"activation": class_maximisation(case, 3)().history["activation"]}
            notes |= same_descent(ours, request(do="maximise", steps=3)["losses"])
            sides = loop(class_maximisation(case, steps)), timed_by(request, f"maximise {steps}")
            name = f"dgn {case.side} px{suffix}"
            yield side_by_side(given.repeats, name, BESIDE_TORCH[layout], sides, "PyTorch", notes)


def dgn_arrays(case: Case) -> dict[str, np.ndarray]:
    """Network, generator, initial codes and settings for the PyTorch side."""
    _, x, state = build(case)
    codes, upper = initial_codes(case.batch)
    start = {"codes": np.asarray(codes), "upper": np.asarray(upper), "classes": np.arange(case.batch)}
    settings = {"pixels": np.ravel(PIXELS), "learning_rates": np.array(LEARNING_RATES), "map": GENERATOR.start}
    settings |= {"decay_factor": np.array(DGN.decay_factor), "stages": case.stages, "k": CLASS, "x": np.asarray(x)}
    return state | start | settings | {f"generator.{name}": array for name, array in generator_state().items()}


def class_maximisation(case: Case, steps: int) -> Callable[[], optimize.Result]:
    """Steps of DGN-AM for the codes of all classes at once."""
    return code_maximisation(case, steps, targets.logit(np.arange(case.batch)), case.batch)


def unit_maximisation(case: Case, steps: int, layer: str, units: np.ndarray) -> Callable[[], optimize.Result]:
    """Steps of DGN-AM for the codes of units of a layer at once."""
    return code_maximisation(case, steps, targets.neuron(layer, units), len(units))


def code_maximisation(case: Case, steps: int, target: targets.Target, count: int) -> Callable[[], optimize.Result]:
    (codes, upper), form = initial_codes(count), DGN(*LEARNING_RATES, steps)
    return lambda: dgn_am.maximise(generate(case), build(case)[0], target, codes, form, upper)


def dgn_beside_vjp(given, case: Case, steps: int) -> Result:
    cotangent, codes = jax.nn.one_hot(np.arange(case.batch), case.classes), initial_codes(case.batch)[0]
    both = Partial(_classified, build(case)[0], generate(case))
    sides = loop(class_maximisation(case, steps)), loop(lambda: [vjp(both, codes, cotangent) for _ in range(steps)])
    name = f"dgn {steps} steps {case.side} px"
    return side_by_side(given.repeats, name, AS_FAST, sides, "bare vjp", {"codes": case.batch})


def _classified(net, generate, codes):
    return net(generate(codes))


def dgn_of_all_units(given, case: Case, steps: int) -> Result:
    """All units of the last hidden layer in one program, against one of them."""
    net, x, _ = build(case)
    count = network.layer_names(net, x)[UNITS].shape[-1]
    sides = [loop(unit_maximisation(case, steps, UNITS, np.arange(many))) for many in (count, 1)]
    name = f"dgn of {count} units of {UNITS} {case.side} px"
    return side_by_side(given.repeats, name, Goal("<=", count, "x"), sides, "one unit", {"steps": steps})


def to_network(x: jax.Array) -> jax.Array:
    return (x + PIXELS[1][0]) / PIXELS[0][0]


@functools.cache
def generate(case: Case) -> Partial:
    """The generator with random weights, up to the network's input."""
    code = jax.ShapeDtypeStruct((1, *initial_codes(1)[0].shape[1:]), np.float32)
    expected = jax.eval_shape(GENERATOR.init, jax.random.key(0), code)
    variables = safetensors_file.fit(deepsim.from_published(generator_state(), GENERATOR.start), expected)
    return dgn_am.of_generator(Partial(GENERATOR.apply, variables), (case.side, case.side), to_network)


def initial_codes(count: int) -> tuple[jax.Array, jax.Array]:
    """Initial codes (count, units) and their upper bounds (units,)."""
    return dgn_am.noise(jax.random.key(1), (count, TRAINED.hidden)), jax.numpy.full((TRAINED.hidden,), 2.0)


def generator_state(seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights with the published names and layout; biases of convolutions are zero and omitted."""
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
