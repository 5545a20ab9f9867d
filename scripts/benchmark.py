"""Speed of the methods, as ratios to alternatives on the same machine.

    python scripts/benchmark.py [--torch-python PATH] [--out benchmark.json] [--only NAME ...] [--repeats N]
                                [--docs]

captum      gradient, deconvnet, guided backprop: throughput as a multiple of captum's, on the same VGG with the same
            weights and images, in a process of its own, in PyTorch's default memory layout and in channels last, which
            is often faster on CPU
lite0       gradient and guided backprop of eight photographs through EfficientNet-Lite0: throughput as a multiple of
            that of its PyTorch implementation with the same weights, in both memory layouts
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

All on the CPU, each side with all cores; PyTorch has its usual allocator, ours keeps freed memory, as all programs of
this package. The two sides take turns, run by run, each idle while the other runs, and ratios are taken pair by pair; a
goal is reached if the median reaches it. Other load on the machine still biases them, since PyTorch's threads wait for
each other and lose more than XLA's when one is delayed: where other processes took more than a twentieth of the cores,
the line says so and has no verdict. "At best" compares the fastest runs.

Arrays are in memory before the clock starts. Before a comparison with captum, the two maps must agree in float64: in
float32, rounding occasionally flips a ReLU or a switch on either side, which changes a map by up to a percent (in the
JSON, "difference in float32"). Takes a few minutes. Exit status 1 if a measurement or a Python was requested by name
and is not available, or if maps differ.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import jax
from benchmarks import attribution, compiling, growth, loader, optimising, search, steps, tcav
from benchmarks.bare import bare_passes
from benchmarks.reporting import DOCS, documented, line, report, table
from benchmarks.timing import Missing, cores

from xai_jax.core.allocation import keep_freed_memory
from xai_jax.io.files import user_path, write_atomically


def main(arguments: list[str] | None = None) -> int:
    given = parse(arguments)
    keep_freed_memory()
    jax.config.update("jax_platforms", "cpu")
    started, load = time.perf_counter(), os.getloadavg()[0]
    print(f"{cores()} cores, load before the start {load:.1f}; JAX {jax.__version__}", flush=True)
    results, left_out, torch_versions, docs = {}, {}, {}, documented()
    for name in given.only or MEASUREMENTS:
        try:
            for result in MEASUREMENTS[name](given, torch_versions):
                results.setdefault(name, []).append(result)
                print(line(result, docs), flush=True)
        except Missing as missing:
            left_out[name] = str(missing)
            print(f"{name}: left out. {missing}", flush=True)
        except (ValueError, RuntimeError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
    seconds = time.perf_counter() - started
    every = [result for rows in results.values() for result in rows]
    write_atomically(given.out, report(every, left_out, torch_versions, load, seconds).encode())
    if given.docs and not left_out:
        write_atomically(DOCS, table(results).encode())
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
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks.md, too")
    parser.add_argument("--repeats", type=int, default=7, help="pairs of timings (default: 7)")
    given = parser.parse_args(arguments)
    if given.repeats < 1:
        parser.error(f"--repeats: expected at least 1, got {given.repeats}")
    if not given.out.parent.is_dir():
        parser.error(f"--out: expected a file in an existing directory, got {given.out}")
    if given.docs and given.only:
        parser.error("--docs: expected all measurements, got --only")
    return given


MEASUREMENTS = {
    "captum": attribution.beside_captum,
    "lite0": attribution.lite0,
    "vjp": attribution.beside_vjp,
    "photo": attribution.photograph,
    "training": steps.beside_torch,
    "occlusion": attribution.occlusion,
    "deconvnet": search.unit_search,
    "inversion": optimising.inversions,
    "dgn": optimising.dgn_steps,
    "tcav": tcav.concept_scores,
    "cavs": tcav.many_sets,
    "bare": bare_passes,
    "loader": loader.loading,
    "growth": growth.growth,
    "compile": compiling.compile_times,
}


if __name__ == "__main__":
    sys.exit(main())
