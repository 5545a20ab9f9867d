"""Speed of the methods, as ratios to alternatives on the same machine.

    python scripts/benchmark.py [--torch-python PATH] [--out benchmark.json] [--only NAME ...] [--repeats N]

captum      gradient, deconvnet, guided backprop: throughput as a multiple of captum's, on the same VGG with the same
            weights and images, in a process of its own; in PyTorch's default memory layout, to which the goal applies,
            and in channels last, which is often faster on CPU
vjp         guided backprop: time as a multiple of a bare jitted forward pass and input-vjp
photo       guided backprop of one photograph through EfficientNet-Lite0: seconds, without compiling
training    the network fashion_maxpool: throughput of whole steps as a multiple of that of PyTorch, from the same
            weights and images, in both memory layouts
occlusion   400 patches on one image: time as a multiple of 400 bare forward passes of the same batch size
deconvnet   the search for the strongest activations of many layers: time as a multiple of bare forward passes over the
            same images; and 144 projections of the deepest map: time as a multiple of 144 guided-backprop maps
inversion   pre-images of logits: time of a step as a multiple of a bare forward pass and input-vjp; time of 16 images
            at once as a multiple of one's; and throughput of steps as a multiple of that of an eager PyTorch loop with
            the same objective, in both memory layouts
dgn         preferred inputs of all classes through a generator: time of a step as a multiple of a bare forward pass and
            vjp of both networks; time of all units of a layer at once as a multiple of one's; and throughput of steps
            as a multiple of that of an eager PyTorch loop of the same networks, in both memory layouts
tcav        500 CAVs of 100,352 dimensions with their scores, from given activations: throughput as a multiple of that
            of the same scikit-learn classifiers in all dimensions, and of captum's TCAV with its own classifier (both
            fit two CAVs, scaled up to 500); seconds of 500 runs of one concept; peak memory of a process
cavs        100,000 CAVs of 100,352 dimensions with their scores, from given activations: seconds of each batched solver
bare        further methods (integrated gradients, SmoothGrad, maximisation in pixel space, evolution of fooling images,
            activations and gradients for TCAV, training steps of networks and generators): time as a multiple of that
            of the bare passes that each requires
loader      photographs decoded and cropped in one process: images per core-second as a multiple of those when each is
            decoded and resized as a whole; and throughput of several worker processes as a multiple of one's
growth      growth of time and memory with images, units, concepts, runs, and devices: the exponent from sizes 1 to 8,
            each in a process of its own; several devices are simulated and share the cores of this machine
compile     seconds of compiling in the first call of each method, as a multiple: with a warm compilation cache, of
            those with an empty one

All on the CPU, each side with all cores. The two sides take turns, run by run, each idle while the other runs, and
ratios are taken pair by pair; a goal is reached if the median reaches it. Other load on the machine still biases them,
since PyTorch's threads wait for each other and lose more than XLA's when one is delayed: where other processes took
more than a twentieth of the cores, the line says so and has no verdict. "At best" compares the fastest runs.

Arrays are in memory before the clock starts. Before a comparison with captum, the two maps must agree in float64: in
float32, rounding occasionally flips a ReLU or a switch on either side, which changes a map by up to a percent (in the
JSON, "difference in float32"). Takes a few minutes. Exit status 1 if a measurement or a Python was requested by name
and is not available, or if maps differ.
"""

import argparse
import functools
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
import timing
from benchmark_bare import bare_passes
from benchmark_cases import CASES, CLASS, TRAINED, Case, build, class_cotangent, forward, training, vjp
from benchmark_compile import compile_times
from benchmark_growth import growth
from benchmark_loader import loading
from benchmark_optimising import TOLERANCE, dgn_steps, inversions
from benchmark_tcav import concept_scores, many_sets
from timing import AS_FAST, Goal, Missing, Result, cores, layouts, line, loop, report, side_by_side, timed_by

from xai_jax import deconvnet, models, network, saliency, targets
from xai_jax.core.network import Network
from xai_jax.io.files import user_path, write_atomically

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
    parser.add_argument(
        "--torch-python",
        metavar="PATH",
        type=os.path.expanduser,
        help="a Python with torch and captum (default: this one)",
    )
    parser.add_argument("--out", type=user_path, default=Path("benchmark.json"), help="JSON file to write")
    parser.add_argument("--only", nargs="+", choices=tuple(MEASUREMENTS), help="measurements (default: all)")
    parser.add_argument("--repeats", type=int, default=7, help="pairs of timings (default: 7)")
    given = parser.parse_args(arguments)
    if given.repeats < 1:
        parser.error(f"--repeats: expected at least 1, got {given.repeats}")
    if not given.out.parent.is_dir():
        parser.error(f"--out: expected a file in an existing directory, got {given.out}")
    return given


def beside_captum(given: argparse.Namespace, torch_versions: dict, cases: Sequence[Case] = CASES) -> Iterator[Result]:
    with timing.torch_side(given, torch_versions) as (request, directory):
        for case in cases:
            net, x, state = build(case)
            np.savez(directory / "net.npz", **state, x=np.asarray(x), stages=case.stages, k=CLASS)
            for layout, suffix in layouts(request, directory):
                for method in METHODS:
                    notes = {"layout": layout} | notes_of(case)
                    request(do="map", method=method, to=str(directory / "maps.npz"))
                    with np.load(directory / "maps.npz") as theirs:
                        notes |= same_maps(method, net, x, theirs)
                    explain = functools.partial(getattr(saliency, method), net, x, targets.logit(CLASS))
                    sides, name = (loop(explain), timed_by(request, method)), f"captum {method} {case.side} px{suffix}"
                    yield side_by_side(given.repeats, name, Goal(">=", 1.2, "x"), sides, "captum", notes)


def notes_of(case: Case) -> dict:
    return {"batch": case.batch, "widths": case.widths}


def beside_torch(given: argparse.Namespace, torch_versions: dict, case: Case = TRAINED) -> Iterator[Result]:
    with timing.torch_side(given, torch_versions) as (request, directory):
        net, x, state = build(case)
        labels = np.arange(case.batch, dtype=np.int32) % case.classes
        np.savez(directory / "net.npz", **state, x=np.asarray(x), labels=labels, stages=case.stages, k=CLASS)
        for layout, suffix in layouts(request, directory):
            notes = {"layout": layout} | notes_of(case) | same_loss(net, x, labels, request(do="loss")["loss"])
            sides = loop(training(case, net, x, labels)), timed_by(request, "train")
            name = f"training {case.side} px{suffix}"
            yield side_by_side(given.repeats, name, Goal(">=", 0.9, "x"), sides, "PyTorch", notes)


def same_loss(net: Network, x: jax.Array, labels: np.ndarray, theirs: float) -> dict[str, float]:
    """The relative difference of the two losses without dropout; ValueError if it exceeds TOLERANCE."""
    logs = jax.nn.log_softmax(forward(net, x))
    ours = -float(np.asarray(logs)[np.arange(len(labels)), labels].mean())
    if not abs(ours - theirs) <= TOLERANCE * abs(theirs):
        raise ValueError(f"training: expected losses that agree to {TOLERANCE:g}, got {ours} and {theirs}.")
    return {"difference of the losses": abs(ours - theirs) / abs(theirs)}


def beside_vjp(given: argparse.Namespace, _: dict, cases: Sequence[Case] = CASES) -> Iterator[Result]:
    for case in cases:
        net, x, _ = build(case)
        explain = functools.partial(saliency.guided_backprop, net, x, targets.logit(CLASS))
        sides = loop(explain), loop(functools.partial(vjp, net, x, class_cotangent(case)))
        name = f"vjp guided_backprop {case.side} px"
        yield side_by_side(given.repeats, name, AS_FAST, sides, "bare vjp", notes_of(case))


def photograph(given: argparse.Namespace, _: dict) -> Iterator[Result]:
    x, net = _photograph()
    explain = functools.partial(saliency.guided_backprop, net, x, targets.logit(285))
    notes = {"seconds of the first call, with compiling": loop(explain)(1)}
    name = "photo guided_backprop 224 px"
    yield side_by_side(given.repeats, name, Goal("<=", 1.0, " s"), [loop(explain)], notes=notes)


def occlusion(given: argparse.Namespace, _: dict, case: Case = OCCLUDED, positions: int = 20) -> Iterator[Result]:
    """`positions` of the patch along each axis; their total is a multiple of the batch."""
    net, x, _ = build(case)
    stride = case.side // positions
    patch, batches = case.side - stride * (positions - 1), positions**2 // case.batch
    explain = functools.partial(saliency.occlusion, net, x[:1], targets.logit(CLASS), patch, stride)
    explain = functools.partial(explain, batch_size=case.batch)
    sides = loop(explain), loop(lambda: [forward(net, x) for _ in range(batches)])
    notes = {"patches": positions**2, "patch": patch, "stride": stride} | notes_of(case)
    name = f"occlusion {positions**2} patches {case.side} px"
    yield side_by_side(given.repeats, name, AS_FAST, sides, "bare forward", notes)


def unit_search(given: argparse.Namespace, _: dict, cases: Sequence[Case] = SEARCHED) -> Iterator[Result]:
    for case in cases:
        net, x, _ = build(case)
        images = np.random.default_rng(0).normal(size=(16 * case.batch, *x.shape[1:])).astype(np.float32)
        layers = network.layer_names(net, x)
        rectified = [name for name in layers if name.startswith("relu")]
        yield search_beside_forward(given, case, net, images, list(layers), "all layers")
        yield search_beside_forward(given, case, net, images, rectified, "rectified layers")
        maps = [name for name, shape in layers.items() if len(shape.shape) == 4]
        yield projections_beside_maps(given, case, net, images, maps[-1])


def search_beside_forward(given, case: Case, net: Network, images: np.ndarray, layers: list, which: str) -> Result:
    search = functools.partial(deconvnet.top_k, net, layers, images, batch_size=case.batch)
    batches = np.split(images, len(images) // case.batch)
    sides = loop(search), loop(lambda: [jax.block_until_ready(forward(net, batch)) for batch in batches])
    name, notes = f"deconvnet search of {which} {case.side} px", {"images": len(images), "layers": layers}
    return side_by_side(given.repeats, name, Goal("<=", 1.25, "x"), sides, "bare forward", notes | notes_of(case))


def projections_beside_maps(given, case: Case, net: Network, images: np.ndarray, layer: str) -> Result:
    """Projections of the nine strongest activations of each of the layer's first 16 channels."""
    top = deconvnet.top_k(net, layer, images, k=9, batch_size=case.batch)[layer]
    channels, _ = np.indices(top.images[:16].shape)
    top = deconvnet.Top(*(array[:16].ravel() for array in top))
    neurons = targets.neuron(layer, channels.ravel(), (top.rows, top.columns))
    patches = jax.numpy.asarray(images[top.images])
    sides = [loop(functools.partial(f, net, patches, neurons)) for f in (deconvnet.project, saliency.guided_backprop)]
    name, notes = f"deconvnet {len(patches)} projections of {layer} {case.side} px", {"widths": case.widths}
    return side_by_side(given.repeats, name, Goal("<=", 1.5, "x"), sides, "guided_backprop", notes)


MEASUREMENTS = {
    "captum": beside_captum,
    "vjp": beside_vjp,
    "photo": photograph,
    "training": beside_torch,
    "occlusion": occlusion,
    "deconvnet": unit_search,
    "inversion": inversions,
    "dgn": dgn_steps,
    "tcav": concept_scores,
    "cavs": many_sets,
    "bare": bare_passes,
    "loader": loading,
    "growth": growth,
    "compile": compile_times,
}


def _photograph():
    import skimage.data

    try:
        model = models.load("efficientnet_lite0")
    except ModuleNotFoundError as error:
        raise Missing(str(error)) from error
    return model.preprocess(skimage.data.chelsea()[None]), model.net


def same_maps(method: str, net: Network, x: jax.Array, theirs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Relative differences from captum's maps, "float32" (all images) "float64" (the first).

    Raises ValueError if those in float64 exceed TOLERANCE: times of different computations must not be compared.
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
    """Relative difference (Euclidean norm) of two attributions (N, H, W, C); ValueError where it is undefined."""
    if ours.shape != theirs.shape or not theirs.any():
        raise ValueError(f"Expected two maps of one shape that are not all zero, got {ours.shape} and {theirs.shape}.")
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


if __name__ == "__main__":
    sys.exit(main())
