"""Measurement of benchmark.py: growth of time and memory. `python -m benchmarks.growth NAME SIZE`

Each size runs in a process of its own, whose peak memory is recorded; this file is both sides. The child prints JSON:
{"seconds": of the second or third call, the faster one, "peak": bytes, "busy": share of the cores taken by others}.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from benchmarks.cases import CLASS, TRAINED, build, training
from benchmarks.optimising import logit_inversion, unit_maximisation
from benchmarks.tcav import Layer, activations
from benchmarks.timing import Goal, Result, child, loop, peak_memory, take_turns

from xai_jax import deconvnet, saliency, sampling, targets
from xai_jax.concepts.layer_scores import score_layer
from xai_jax.core.allocation import keep_freed_memory

SIZES = (1, 2, 4, 8)
LINEAR = Goal("<=", 1.1, " (exponent)")
SHARED = Goal("<=", 0.2, " (exponent)")  # simulated devices share the cores, so that the same work should take as long
STEPS = 10
DEVICES = "simulated devices"


def growth(given, _: dict) -> Iterator[Result]:
    for name in GROWING:
        yield growth_with(name, SIZES)


def growth_with(name: str, sizes: Sequence[int]) -> Result:
    """The exponent of the time in the size, and the peak memory at each size."""
    points = [measured(name, size) for size in sizes]
    seconds, peaks, busy = ([point[key] for point in points] for key in ("seconds", "peak", "busy"))
    notes = {"sizes": list(sizes), "seconds at each size": seconds, "bytes at each size": peaks}
    table = (f"{size}: {s:.3g} s, {peak / 1e6:.0f} MB" for size, s, peak in zip(sizes, seconds, peaks, strict=True))
    notes["growth"] = "; ".join(table)
    goal = SHARED if name == DEVICES else LINEAR
    return Result(f"growth with {name}", goal, [exponent(sizes, seconds)], [], "", max(busy), notes)


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """b of values ~ sizes^b, by least squares in logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def measured(name: str, size: int) -> dict[str, float]:
    flags = os.environ.get("XLA_FLAGS", "")
    if name == DEVICES:
        flags = f"{flags} --xla_force_host_platform_device_count={size}".strip()
    return child(__name__, name, str(size), XLA_FLAGS=flags)


def maps(size: int) -> Callable[[], Any]:
    net, x, _ = build(TRAINED._replace(batch=16 * size))
    return lambda: saliency.guided_backprop(net, x, targets.logit(CLASS))


def search(size: int) -> Callable[[], Any]:
    net, x, _ = build(TRAINED)
    images = np.random.default_rng(0).normal(size=(256 * size, *x.shape[1:])).astype(np.float32)
    return lambda: deconvnet.top_k(net, "relu3_1", images)


def inversions(size: int) -> Callable[[], Any]:
    return logit_inversion(TRAINED._replace(batch=4 * size), STEPS)


def neurons(size: int) -> Callable[[], Any]:
    """Codes of a generator that maximise 4 * size units of one layer."""
    return unit_maximisation(TRAINED, STEPS, "relu7", np.arange(4 * size))


def concepts(size: int) -> Callable[[], Any]:
    return activations(Layer(2 * size, 10, dimensions=4096)).tcav


def runs(size: int) -> Callable[[], Any]:
    parts, gradients, _ = activations(Layer(1, 10, dimensions=4096))
    sets = sampling.sample({"concept": len(parts[0])}, 10 * len(parts[0]), 25 * size, 0)
    return lambda: score_layer(parts, [gradients], sets)


def devices(size: int) -> Callable[[], Any]:
    """One training step of 128 images, split over `size` devices."""
    net, x, _ = build(TRAINED)
    labels = np.arange(TRAINED.batch, dtype=np.int32) % TRAINED.classes
    if jax.device_count() != size:
        raise RuntimeError(f"Expected {size} devices, got {jax.device_count()}.")
    return training(TRAINED, net, x, labels)


GROWING = {
    "images (maps)": maps,
    "images (search)": search,
    "images (inversion)": inversions,
    "units": neurons,
    "concepts": concepts,
    "runs": runs,
    DEVICES: devices,
}


def main(name: str, size: int) -> None:
    keep_freed_memory()
    jax.config.update("jax_platforms", "cpu")
    (seconds,), busy = take_turns([loop(GROWING[name](size))], 3)
    print(json.dumps({"seconds": min(seconds), "peak": peak_memory(), "busy": busy}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
