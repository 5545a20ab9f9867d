"""How fast the methods are, as ratios to what else one could run on the same machine.

    python scripts/benchmark.py [--torch-python PATH] [--out benchmark.json] [--only NAME ...] [--repeats N]

captum      gradient, deconvnet, guided backprop: throughput as a multiple of captum's, on the same VGG with the same
            weights and images, in a process of its own; once in PyTorch's own memory layout, which is what the goal is
            about, and once with everything moved to the layout that is often faster on CPU, channels last
vjp         guided backprop: time as a multiple of a bare jitted forward pass and input-vjp
photo       guided backprop of one photograph through EfficientNet-Lite0: seconds, without compiling
training    the network fashion_maxpool: throughput of whole steps as a multiple of that of PyTorch, from the same
            weights and images, in both of its memory layouts
occlusion   400 patches on one image: time as a multiple of 400 bare forward passes of the same batch size
deconvnet   the search for the strongest activations of many layers: time as a multiple of bare forward passes over the
            same images; and 144 projections of the deepest map: time as a multiple of 144 guided-backprop maps

inversion   pre-images of logits: time of a step as a multiple of a bare forward pass and input-vjp; time of 16 images
            at once as a multiple of one's; and throughput of steps as a multiple of that of an eager PyTorch loop with
            the same objective, in both of its memory layouts
dgn         preferred inputs of all classes through a generator: time of a step as a multiple of a bare forward pass and
            vjp of both networks; time of all units of a layer at once as a multiple of one's; and throughput of steps
            as a multiple of that of an eager PyTorch loop of the same networks, in both of its memory layouts
tcav        500 CAVs of 100,352 dimensions with their scores, activations given: throughput as a multiple of that of
            the same scikit-learn classifiers in all dimensions, and of captum's TCAV with its own classifier (both time
            two CAVs, which count for 500); seconds of 500 runs of one concept; memory of a process that does all of it
bare        further methods (integrated gradients, SmoothGrad, maximisation of pixels, evolution of images that fool,
            activations and gradients for TCAV, steps of training networks and generators): time as a multiple of that
            of the bare passes through networks that each needs
growth      how time and memory grow with images, units, concepts, runs, and devices: the exponent from sizes 1 to 8,
            each in a process of its own; several devices are simulated, so that they share the cores of this machine
compile     seconds that the first call of each method takes more than later ones, as a multiple: with programs that
            another process had compiled and kept on disk, of those without

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
import functools
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from benchmark_bare import of_bare
from benchmark_cases import CASES, CLASS, LAYOUTS, TRAINED, Case, build, forward, training, vjp
from benchmark_compile import of_compiling
from benchmark_growth import of_growth
from benchmark_optimising import TOLERANCE, of_dgn, of_inversion
from benchmark_tcav import of_tcav
from timing import AS_FAST, Goal, Missing, Result, ask_seconds, captum_process, cores, line, loop, report, take_turns

from xai_jax import deconvnet, models, network, saliency, targets
from xai_jax.core.network import Network
from xai_jax.io.files import write_atomically

METHODS = ("gradient", "deconvnet", "guided_backprop")
OCCLUDED = Case(224, 25, widths=(8, 16, 32, 64, 64))
SEARCHED = (TRAINED, CASES[0])


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
    with captum_process(given.torch_python) as (ask, versions), tempfile.TemporaryDirectory() as folder:
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
                sides = loop(explain), functools.partial(ask_seconds, ask, method)
                (ours, other), busy = take_turns(sides, given.repeats)
                name = f"captum {method} {case.side} px" + (f", {layout}" if layout != LAYOUTS[0] else "")
                yield Result(name, goal, ours, other, "captum", busy, notes)


def against_torch(given: argparse.Namespace, torch_versions: dict, case: Case = TRAINED) -> Iterator[Result]:
    with captum_process(given.torch_python) as (ask, versions), tempfile.TemporaryDirectory() as folder:
        torch_versions.update(versions)
        net, x, state = build(case)
        labels = np.arange(case.batch, dtype=np.int32) % case.classes
        np.savez(Path(folder, "net.npz"), **state, x=np.asarray(x), labels=labels, stages=case.stages, k=CLASS)
        for layout in LAYOUTS:
            ask(do="load", folder=folder, threads=cores(), layout=layout)
            notes = {"layout": layout, "batch": case.batch, "widths": case.widths}
            notes |= same_loss(net, x, labels, ask(do="loss")["loss"])
            sides = loop(training(case, net, x, labels)), functools.partial(ask_seconds, ask, "train")
            (ours, other), busy = take_turns(sides, given.repeats)
            name = f"training {case.side} px" + (f", {layout}" if layout != LAYOUTS[0] else "")
            yield Result(name, Goal(">=", 0.9, "x"), ours, other, "PyTorch", busy, notes)


def same_loss(net: Network, x: jax.Array, labels: np.ndarray, theirs: float) -> dict[str, float]:
    """The relative difference of the two losses without dropout; ValueError if it is above TOLERANCE."""
    logs = jax.nn.log_softmax(forward(net, x))
    ours = -float(np.asarray(logs)[np.arange(len(labels)), labels].mean())
    if not abs(ours - theirs) <= TOLERANCE * abs(theirs):
        raise ValueError(f"training: expected losses that agree to {TOLERANCE:g}, got {ours} and {theirs}.")
    return {"difference of the losses": abs(ours - theirs) / abs(theirs)}


def against_vjp(given: argparse.Namespace, _: dict, cases: Sequence[Case] = CASES) -> Iterator[Result]:
    for case in cases:
        net, x, _ = build(case)
        slope = jax.nn.one_hot(np.full(case.batch, CLASS), case.classes)
        explain = functools.partial(saliency.guided_backprop, net, x, targets.logit(CLASS))
        sides = loop(explain), loop(functools.partial(vjp, net, x, slope))
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
    sides = loop(explain), loop(lambda: [forward(net, x) for _ in range(batches)])
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
    search = functools.partial(deconvnet.top_k, net, layers, images, batch_size=case.batch)
    batches = np.split(images, len(images) // case.batch)
    sides = loop(search), loop(lambda: [jax.block_until_ready(forward(net, batch)) for batch in batches])
    (ours, other), busy = take_turns(sides, given.repeats)
    notes = {"images": len(images), "layers": layers, "batch": case.batch, "widths": case.widths}
    name = f"deconvnet search of {which} {case.side} px"
    return Result(name, Goal("<=", 1.25, "x"), ours, other, "bare forward", busy, notes)


def against_guided_maps(given, case: Case, net: Network, images: np.ndarray, layer: str) -> Result:
    """Projections of the nine strongest activations of each of the layer's first 16 channels."""
    top = deconvnet.top_k(net, layer, images, k=9, batch_size=case.batch)[layer]
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
    "dgn": of_dgn,
    "tcav": of_tcav,
    "bare": of_bare,
    "growth": of_growth,
    "compile": of_compiling,
}


def _photo():
    import skimage.data

    try:
        model = models.load("efficientnet_lite0")
    except ModuleNotFoundError as error:
        raise Missing(str(error)) from error
    return model.preprocess(skimage.data.chelsea()[None]), model.net


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


if __name__ == "__main__":
    sys.exit(main())
