"""How fast the methods are, as ratios to what else one could run on the same machine.

    python scripts/benchmark.py [--torch-python PATH] [--out benchmark.json] [--only NAME ...] [--repeats N]

captum      gradient, deconvnet, guided backprop: throughput as a multiple of captum's, on the same VGG with the same
            weights and images, in a process of its own; once in PyTorch's own memory layout, which is what the goal is
            about, and once with everything moved to the layout that is often faster on CPU, channels last
vjp         guided backprop: time as a multiple of a bare jitted forward pass and input-vjp
photo       guided backprop of one photograph through EfficientNet-Lite0: seconds, without compiling
training    the small max-pooling network of `models.fashion`: throughput of whole steps as a multiple of PyTorch's,
            from the same weights and images, in both of its memory layouts
occlusion   400 patches on one image: time as a multiple of 400 bare forward passes of the same batch size
deconvnet   the search for the strongest activations of many layers: time as a multiple of bare forward passes over the
            same images; and 144 projections of the deepest map: time as a multiple of 144 guided-backprop maps

inversion   pre-images of logits: time of a step as a multiple of a bare forward pass and input-vjp; time of 16 images
            at once as a multiple of one's; and throughput of steps as a multiple of that of an eager PyTorch loop with
            the same objective, in both of its memory layouts

All on the CPU, each side with all cores. The two sides take turns, run by run, each idle while the other runs, and
ratios are taken pair by pair; a goal is reached if the median reaches it. Other work on the machine still tilts them,
since PyTorch's threads wait for each other and lose more than XLA's when one is held up: where others took more than a
twentieth of the cores the line says so and no goal counts as reached or missed. "At best" compares the fastest runs.

Arrays are in place before the clock starts. Before anything is timed against captum, the two maps must agree. They are
compared in float64: in float32 rounding turns a ReLU or a switch now and then, on either side, which moves a map by up
to a percent (in the JSON, "difference in float32"). Takes a few minutes. Exit status 1 if a measurement or a Python
was asked for by name and could not be used, or if maps differ.
"""

import argparse
import contextlib
import datetime
import functools
import itertools
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax
import jax
import jaxlib
import numpy as np
from jax.tree_util import Partial

import xai_jax
from xai_jax import deconvnet, inversion, models, network, optimize, saliency, sgd, targets, train
from xai_jax.files import write_atomically
from xai_jax.inversion import CVPR
from xai_jax.models import vgg, weights
from xai_jax.network import Network
from xai_jax.sgd import Recipe

CLASS = 3
METHODS = ("gradient", "deconvnet", "guided_backprop")
LAYOUTS = ("contiguous", "channels last")
LEAST_SECONDS = 0.3  # of work in one timing
PAUSE = 0.03  # between timings: worker threads spin for a moment after their last work
TOLERANCE = 1e-4
BUSY = 0.05  # share of the cores that others may take

Timed = Callable[[int], float]
"""Runs a number of loops and returns the seconds they took together."""


class Missing(Exception):
    """What a measurement needs is not installed."""


class Case(NamedTuple):
    """A VGG with ten classes, and the images it reads."""

    side: int
    batch: int
    widths: tuple[int, ...] = (32, 64, 128, 256, 256)
    stages: tuple[int, ...] = (2, 2, 3, 3, 3)
    hidden: int = 256
    classes: int = 10
    channels: int = 3

    @property
    def module(self) -> vgg.VGG:
        return vgg.VGG(self.stages, self.widths, self.hidden, self.classes)


CASES = (Case(32, 32), Case(64, 16), Case(224, 2))
TRAINED = Case(28, 128, widths=(32, 64, 128), stages=(1, 1, 1), channels=1)
RECIPE = Recipe(rate=0.01, momentum=0.9, decay=5e-4)
OCCLUDED = Case(224, 25, widths=(8, 16, 32, 64, 64))
SEARCHED = (TRAINED, CASES[0])
FACTOR = 0.1  # of the paper's first rate, at which networks of random weights diverge
INVERTED = ((TRAINED._replace(batch=16), 400), (Case(224, 1), 20))  # and how many steps


class Goal(NamedTuple):
    sign: str
    bound: float
    unit: str

    def reached(self, value: float) -> bool:
        return value >= self.bound if self.sign == ">=" else value <= self.bound

    def __str__(self):
        return f"{self.sign} {self.bound:g}{self.unit}"


AS_FAST = Goal("<=", 1.1, "x")


class Result(NamedTuple):
    """Seconds per call of both sides, pair by pair; `busy` is the share of the cores that other processes took.

    A goal in "x" is about a ratio, a throughput for ">=" and a time for "<="; one in seconds is about our time.
    """

    name: str
    goal: Goal
    ours: list[float]
    other: list[float]
    other_name: str
    busy: float
    notes: dict[str, Any]

    def value(self, ours: float, other: float) -> float:
        if self.goal.unit != "x":
            return ours
        return other / ours if self.goal.sign == ">=" else ours / other

    @property
    def values(self) -> list[float]:
        return [self.value(*pair) for pair in zip(self.ours, self.other or self.ours, strict=True)]

    @property
    def reached(self) -> bool | None:
        """None where other processes took too much of the machine to tell."""
        return None if self.busy > BUSY else self.goal.reached(statistics.median(self.values))

    @property
    def at_best(self) -> float:
        return self.value(min(self.ours), min(self.other or self.ours))


def main(arguments: list[str] | None = None) -> int:
    given = parse(arguments)
    jax.config.update("jax_platforms", "cpu")
    started, load = time.perf_counter(), os.getloadavg()[0]
    print(f"{cores()} cores, load before the start {load:.1f}; JAX {jax.__version__}", flush=True)
    results, left_out, torch_versions = [], {}, {}
    for name in given.only or MEASUREMENTS:
        try:
            for result in MEASUREMENTS[name](given, torch_versions):
                results.append(result)
                print(line(result), flush=True)
        except Missing as missing:
            left_out[name] = str(missing)
            print(f"{name}: left out. {missing}", flush=True)
        except (ValueError, RuntimeError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
    seconds = time.perf_counter() - started
    write_atomically(given.out, report(results, left_out, torch_versions, load, seconds).encode())
    print(f"{given.out} written after {seconds:.0f} s")
    return 1 if left_out and (given.only or given.torch_python) else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", metavar="PATH", help="a Python with torch and captum (default: this one)")
    parser.add_argument("--out", type=Path, default=Path("benchmark.json"), help="JSON file to write")
    parser.add_argument("--only", nargs="+", choices=tuple(MEASUREMENTS), help="measurements (default: all)")
    parser.add_argument("--repeats", type=int, default=7, help="pairs of timings (default: 7)")
    given = parser.parse_args(arguments)
    if given.repeats < 1:
        parser.error(f"--repeats: expected at least 1, got {given.repeats}")
    if not given.out.parent.is_dir():
        parser.error(f"--out: expected a file in a folder that exists, got {given.out}")
    return given


def against_captum(given: argparse.Namespace, torch_versions: dict, cases: Sequence[Case] = CASES) -> Iterator[Result]:
    goal = Goal(">=", 1.2, "x")
    with (
        captum_process(given.torch_python or sys.executable) as (ask, versions),
        tempfile.TemporaryDirectory() as folder,
    ):
        torch_versions.update(versions)
        for case in cases:
            net, x, state = build(case)
            np.savez(Path(folder, "net.npz"), **state, x=np.asarray(x), stages=case.stages, k=CLASS)
            for layout, method in itertools.product(LAYOUTS, METHODS):
                ask(do="load", folder=folder, threads=cores(), layout=layout)
                notes = {"layout": layout, "batch": case.batch, "widths": case.widths}
                path = Path(folder, "maps.npz")
                ask(do="map", method=method, to=str(path))
                with np.load(path) as theirs:
                    notes |= compare(method, net, x, theirs)
                explain = functools.partial(getattr(saliency, method), net, x, targets.logit(CLASS))
                sides = loop(explain), functools.partial(_ask_seconds, ask, method)
                (ours, other), busy = take_turns(sides, given.repeats)
                name = f"captum {method} {case.side} px" + (f", {layout}" if layout != LAYOUTS[0] else "")
                yield Result(name, goal, ours, other, "captum", busy, notes)


def against_torch(given: argparse.Namespace, torch_versions: dict, case: Case = TRAINED) -> Iterator[Result]:
    with (
        captum_process(given.torch_python or sys.executable) as (ask, versions),
        tempfile.TemporaryDirectory() as folder,
    ):
        torch_versions.update(versions)
        net, x, state = build(case)
        labels = np.arange(case.batch, dtype=np.int32) % case.classes
        np.savez(Path(folder, "net.npz"), **state, x=np.asarray(x), labels=labels, stages=case.stages, k=CLASS)
        for layout in LAYOUTS:
            ask(do="load", folder=folder, threads=cores(), layout=layout)
            notes = {"layout": layout, "batch": case.batch, "widths": case.widths}
            notes |= same_loss(net, x, labels, ask(do="loss")["loss"])
            sides = loop(training(case, net, x, labels)), functools.partial(_ask_seconds, ask, "train")
            (ours, other), busy = take_turns(sides, given.repeats)
            name = f"training {case.side} px" + (f", {layout}" if layout != LAYOUTS[0] else "")
            yield Result(name, Goal(">=", 0.9, "x"), ours, other, "PyTorch", busy, notes)


def same_loss(net: Network, x: jax.Array, labels: np.ndarray, theirs: float) -> dict[str, float]:
    """The relative difference of the two losses without dropout; ValueError if it is above TOLERANCE."""
    logs = jax.nn.log_softmax(_forward(net, x))
    ours = -float(np.asarray(logs)[np.arange(len(labels)), labels].mean())
    if not abs(ours - theirs) <= TOLERANCE * abs(theirs):
        raise ValueError(f"training: expected losses that agree to {TOLERANCE:g}, got {ours} and {theirs}.")
    return {"difference of the losses": abs(ours - theirs) / abs(theirs)}


def training(case: Case, net: Network, x: jax.Array, labels: np.ndarray) -> Callable[[], Any]:
    """One step after the other, as `train.fit` makes them."""
    shares = case.batch // train.share_size(case.batch)
    setting = sgd.Setting(case.module, RECIPE, case.batch, shares)
    parts = list(zip(np.split(np.asarray(x), shares), np.split(labels, shares), strict=True))
    parts = [(jax.numpy.asarray(images), jax.numpy.asarray(part)) for images, part in parts]
    state = jax.jit(sgd.begin, static_argnums=0)(setting, jax.tree.map(jax.numpy.copy, net.args[0]))
    gradient, identity = sgd.zeros(state.params), Partial(lambda x: x)

    def step():
        nonlocal state, gradient
        for number, part in enumerate(parts):
            seeds = np.uint32(0), np.int32(number)
            gradient = sgd.add_gradient(setting, gradient, state.params, part, seeds, identity, None)
        state, gradient, measured = sgd.update(setting, state, gradient)
        return measured

    return step


def against_vjp(given: argparse.Namespace, _: dict, cases: Sequence[Case] = CASES) -> Iterator[Result]:
    for case in cases:
        net, x, _ = build(case)
        slope = jax.nn.one_hot(np.full(case.batch, CLASS), case.classes)
        explain = functools.partial(saliency.guided_backprop, net, x, targets.logit(CLASS))
        sides = loop(explain), loop(functools.partial(_vjp, net, x, slope))
        (ours, other), busy = take_turns(sides, given.repeats)
        notes = {"batch": case.batch, "widths": case.widths}
        yield Result(f"vjp guided_backprop {case.side} px", AS_FAST, ours, other, "bare vjp", busy, notes)


def one_photo(given: argparse.Namespace, _: dict) -> Iterator[Result]:
    x, net = _photo()
    explain = functools.partial(saliency.guided_backprop, net, x, targets.logit(285))
    first = loop(explain)(1)
    (ours,), busy = take_turns([loop(explain)], given.repeats)
    notes = {"seconds of the first call, with compiling": first}
    yield Result("photo guided_backprop 224 px", Goal("<=", 1.0, " s"), ours, [], "", busy, notes)


def against_forward(given: argparse.Namespace, _: dict, case: Case = OCCLUDED, positions: int = 20) -> Iterator[Result]:
    """`positions` of the patch each way, a multiple of the batch in all."""
    net, x, _ = build(case)
    stride = case.side // positions
    patch = case.side - stride * (positions - 1)
    explain = functools.partial(saliency.occlusion, net, x[:1], targets.logit(CLASS), patch, stride)
    explain = functools.partial(explain, batch_size=case.batch)
    batches = positions**2 // case.batch
    sides = loop(explain), loop(lambda: [_forward(net, x) for _ in range(batches)])
    (ours, other), busy = take_turns(sides, given.repeats)
    notes = {"patches": positions**2, "patch": patch, "stride": stride, "batch": case.batch, "widths": case.widths}
    yield Result(f"occlusion {positions**2} patches {case.side} px", AS_FAST, ours, other, "bare forward", busy, notes)


def of_deconvnet(given: argparse.Namespace, _: dict, cases: Sequence[Case] = SEARCHED) -> Iterator[Result]:
    for case in cases:
        net, x, _ = build(case)
        images = np.random.default_rng(0).normal(size=(16 * case.batch, *x.shape[1:])).astype(np.float32)
        layers = network.layer_names(net, x)
        rectified = [name for name in layers if name.startswith("relu")]
        yield against_forward_over_data(given, case, net, images, list(layers), "all layers")
        yield against_forward_over_data(given, case, net, images, rectified, "rectified layers")
        maps = [name for name, shape in layers.items() if len(shape.shape) == 4]
        yield against_guided_maps(given, case, net, images, maps[-1])


def against_forward_over_data(given, case: Case, net: Network, images: np.ndarray, layers: list, which: str) -> Result:
    search = functools.partial(deconvnet.top_k, net, layers, images, batch=case.batch)
    batches = np.split(images, len(images) // case.batch)
    sides = loop(search), loop(lambda: [jax.block_until_ready(_forward(net, batch)) for batch in batches])
    (ours, other), busy = take_turns(sides, given.repeats)
    notes = {"images": len(images), "layers": layers, "batch": case.batch, "widths": case.widths}
    name = f"deconvnet search of {which} {case.side} px"
    return Result(name, Goal("<=", 1.25, "x"), ours, other, "bare forward", busy, notes)


def of_inversion(given: argparse.Namespace, torch_versions: dict, cases=INVERTED) -> Iterator[Result]:
    for case, steps in cases:
        yield against_bare_steps(given, case, steps)
        yield against_one(given, case, steps // 10)
    with (
        captum_process(given.torch_python or sys.executable) as (ask, versions),
        tempfile.TemporaryDirectory() as folder,
    ):
        torch_versions.update(versions)
        for case, steps in cases:
            yield from against_eager(given, ask, Path(folder), case, steps)


def inverting(case: Case, steps: int) -> Callable[[], optimize.Result]:
    """As many steps of the first paper's inversion of the logits of all images of a case."""
    net, x, _ = build(case)
    form = CVPR(phases=((FACTOR, steps),))
    represent = inversion.of_layer(net, "fc8", (form.deviation,))
    wanted, start = _forward(net, x), inversion.noise(jax.random.key(1), x.shape, form)
    return lambda: inversion.invert(represent, wanted, x.shape[1:], jax.random.key(0), form, start=start)


def against_bare_steps(given, case: Case, steps: int) -> Result:
    net, x, _ = build(case)
    slope = jax.nn.one_hot(np.full(case.batch, CLASS), case.classes)
    sides = loop(inverting(case, steps)), loop(lambda: [_vjp(net, x, slope) for _ in range(steps)])
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
    start = inversion.noise(jax.random.key(1), x.shape, CVPR())
    np.savez(folder / "net.npz", **state, x=np.asarray(x), start=np.asarray(start), stages=case.stages, k=CLASS)
    for layout in LAYOUTS:
        ask(do="load", folder=str(folder), threads=cores(), layout=layout)
        notes = {"layout": layout, "batch": case.batch, "widths": case.widths, "steps": steps}
        notes |= same_descent(inverting(case, 5)().history, ask(do="invert", steps=5)["losses"])
        sides = loop(inverting(case, steps)), functools.partial(_ask_seconds, ask, f"invert {steps}")
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


def against_guided_maps(given, case: Case, net: Network, images: np.ndarray, layer: str) -> Result:
    """Projections of the nine strongest activations of each of the layer's first 16 channels."""
    top = deconvnet.top_k(net, layer, images, k=9, batch=case.batch)[layer]
    channels, _ = np.indices(top.images[:16].shape)
    found = deconvnet.Top(*(array[:16].ravel() for array in top))
    neurons = targets.neuron(layer, channels.ravel(), (found.rows, found.columns))
    chosen = jax.numpy.asarray(images[found.images])
    sides = [loop(functools.partial(f, net, chosen, neurons)) for f in (deconvnet.project, saliency.guided_backprop)]
    (ours, other), busy = take_turns(sides, given.repeats)
    name = f"deconvnet {len(chosen)} projections of {layer} {case.side} px"
    return Result(name, Goal("<=", 1.5, "x"), ours, other, "guided_backprop", busy, {"widths": case.widths})


MEASUREMENTS = {
    "captum": against_captum,
    "vjp": against_vjp,
    "photo": one_photo,
    "training": against_torch,
    "occlusion": against_forward,
    "deconvnet": of_deconvnet,
    "inversion": of_inversion,
}


@functools.cache
def build(case: Case) -> tuple[Network, jax.Array, dict[str, np.ndarray]]:
    """Network, images, and the weights under torchvision's names."""
    state = random_state(case)
    x = jax.random.normal(jax.random.key(0), (case.batch, case.side, case.side, case.channels))
    expected = jax.eval_shape(case.module.init, jax.random.key(0), x)
    return Partial(case.module.apply, weights.fit(vgg.from_torch(state), expected)), x, state


def random_state(case: Case, seed: int = 0) -> dict[str, np.ndarray]:
    """He-normal weights and small biases, named and laid out as in torchvision's VGG."""
    rng, shapes, position, channels = np.random.default_rng(seed), {}, 0, case.channels
    for depth, width in zip(case.stages, case.widths, strict=True):
        for _ in range(depth):
            shapes[f"features.{position}"] = (width, channels, 3, 3)
            position, channels = position + 2, width
        position += 1
    flat = channels * (case.side // 2 ** len(case.stages)) ** 2
    sizes = (flat, case.hidden, case.hidden, case.classes)
    shapes |= {f"classifier.{3 * i}": (sizes[i + 1], sizes[i]) for i in range(3)}
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = (rng.normal(size=shape) * math.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        state[f"{name}.bias"] = (0.1 * rng.normal(size=shape[0])).astype(np.float32)
    return state


def _photo():
    import skimage.data

    try:
        model = models.load("efficientnet_lite0")
    except ModuleNotFoundError as error:
        raise Missing(str(error)) from error
    return model.preprocess(skimage.data.chelsea()[None]), model.net


@jax.jit
def _vjp(net, x, slope):
    return jax.vjp(net, x)[1](slope)[0]


@jax.jit
def _forward(net, x):
    return net(x)


def compare(method: str, net: Network, x: jax.Array, theirs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Relative differences from captum's maps, "float32" (all images) and "float64" (the first one).

    Raises ValueError if those in float64 are above TOLERANCE: times of different computations must not be compared.
    """
    explain, target = getattr(saliency, method), targets.logit(CLASS)
    single = difference(np.asarray(explain(net, x, target)), theirs["float32"])
    with jax.enable_x64(True):
        net, x = jax.tree.map(lambda array: jax.numpy.asarray(array, "float64"), (net, x[:1]))
        double = difference(np.asarray(explain(net, x, target)), theirs["float64"])
    if not double <= TOLERANCE:
        raise ValueError(
            f"{method}: expected maps that agree to {TOLERANCE:g}, got a relative difference of {double:.2g}."
        )
    return {"difference in float32": single, "difference in float64": double}


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Relative difference (Euclidean norm) of two attributions (N, H, W, C); ValueError where it has no meaning."""
    if ours.shape != theirs.shape or not theirs.any():
        raise ValueError(f"Expected two maps of one shape that are not all zero, got {ours.shape} and {theirs.shape}.")
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def loop(function: Callable[[], Any]) -> Timed:
    def timed(loops):
        start = time.perf_counter()
        for _ in range(loops):
            jax.block_until_ready(function())
        return time.perf_counter() - start

    return timed


def loops_for(timed: Timed) -> int:
    """How many loops make one timing long enough. The first run, which compiles, does not count."""
    timed(1)
    return max(1, math.ceil(LEAST_SECONDS / min(timed(1) for _ in range(2))))


def take_turns(sides: Sequence[Timed], repeats: int) -> tuple[list[list[float]], float]:
    """Seconds per call of each side, and the share of the cores that other processes took while the first side ran."""
    loops = [loops_for(timed) for timed in sides]
    seconds, elapsed, foreign = [[] for _ in sides], 0.0, 0.0
    for _ in range(repeats):
        for i, timed in enumerate(sides):
            time.sleep(PAUSE)
            before = work_of_others()
            spent = timed(loops[i])
            seconds[i].append(spent / loops[i])
            if i == 0:
                elapsed, foreign = elapsed + spent, foreign + work_of_others() - before
    return seconds, max(0.0, foreign / (elapsed * cores()))


def work_of_others(stat: Path = Path("/proc/stat")) -> float:
    """Seconds that the cores have worked, less those for this process; 0 where the system does not tell."""
    try:
        user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    except (OSError, ValueError):
        return 0.0
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK") - time.process_time()


@contextlib.contextmanager
def captum_process(python: str) -> Iterator[tuple[Callable[..., dict], dict]]:
    """Starts benchmark_torch.py: `(ask, versions)`; `ask(**request)` returns its answer.

    Raises Missing if that Python has no torch or captum.
    """
    how = "Install them with `bash scripts/setup.sh bench`, or name a Python that has them: --torch-python PATH."
    command = [python, str(Path(__file__).resolve().with_name("benchmark_torch.py"))]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise Missing(f"Expected a Python with torch and captum, got {python} ({error.strerror}). {how}") from error
    try:
        versions = _read(process)
        if "error" in versions:
            raise Missing(f"Expected torch and captum in {python}, got: {versions['error']}. {how}")
        yield functools.partial(_ask, process), versions
    finally:
        process.kill()
        process.communicate()


def _ask(process, **request):
    with contextlib.suppress(BrokenPipeError):  # _read tells that it ended
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
    reply = _read(process)
    if "error" in reply:
        raise RuntimeError(f"The PyTorch side failed at {request}:\n{reply['error']}")
    return reply


def _read(process):
    reply = process.stdout.readline()
    if not reply:
        return {"error": f"it ended with status {process.wait()} and without an answer"}
    return json.loads(reply)


def _ask_seconds(ask, method, loops):
    return ask(do="time", method=method, loops=loops)["seconds"]


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def summary(values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    return {"min": min(values), "median": statistics.median(values), "max": max(values), "all": list(values)}


def line(result: Result) -> str:
    """One line of the printed table: the value with its range, the goal, and times in milliseconds."""
    median = statistics.median(result.values)
    verdict = {True: "reached", False: "NOT reached", None: "not judged"}[result.reached]
    value = f"{median:.2f}{result.goal.unit} ({min(result.values):.2f} .. {max(result.values):.2f})"
    times = [
        f"{name} {_milliseconds(s)}" for name, s in (("ours", result.ours), (result.other_name, result.other)) if s
    ]
    notes = [f"at best {result.at_best:.2f}{result.goal.unit}"]
    notes += [f"{key} {note:.1f}" for key, note in result.notes.items() if key.startswith("seconds")]
    notes += [f"OTHERS TOOK {result.busy:.0%} OF THE CORES"] if result.busy > BUSY else []
    return f"{result.name:48} {value:24} goal {str(result.goal):8} {verdict:12} {'; '.join(times + notes)}"


def _milliseconds(seconds):
    return "{:.1f} ms ({:.1f} .. {:.1f})".format(
        *(1e3 * s for s in (statistics.median(seconds), min(seconds), max(seconds)))
    )


def report(results: list[Result], left_out: dict, torch_versions: dict, load: float, seconds: float) -> str:
    versions = {"xai_jax": xai_jax.__version__, "python": platform.python_version(), "numpy": np.__version__}
    versions |= {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "flax": flax.__version__}
    facts = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {"cores": cores(), "processor": platform.processor() or platform.machine(), "load_before": load},
        "versions": versions,
        "torch_side": torch_versions,
        "seconds": seconds,
        "results": [_record(result) for result in results],
        "left_out": left_out,
    }
    return json.dumps(facts, indent=2, allow_nan=False) + "\n"


def _record(result):
    return {
        "name": result.name,
        "goal": str(result.goal),
        "reached": result.reached,
        "value": summary(result.values),
        "at_best": result.at_best,
        "cores_taken_by_others": result.busy,
        "ours_seconds": summary(result.ours),
        "other": result.other_name or None,
        "other_seconds": summary(result.other),
        "notes": result.notes,
    }


if __name__ == "__main__":
    sys.exit(main())
