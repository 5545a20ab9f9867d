"""The measurement of benchmark.py that says how time and memory grow: `python scripts/benchmark_growth.py NAME SIZE`.

Every size runs in a process of its own, whose largest memory is known; this file is both sides. The child prints JSON:
{"seconds": of the second or third call, the faster one, "peak": bytes, "busy": share of the cores that others took}.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from benchmark_cases import CLASS, TRAINED, build, training
from benchmark_optimising import inverting, units
from benchmark_tcav import Layer, activations
from timing import Goal, Result, loop, take_turns

from xai_jax import deconvnet, saliency, sampling, targets
from xai_jax.concepts.layer_scores import score_layer

SIZES = (1, 2, 4, 8)
LINEAR = Goal("<=", 1.1, " (exponent)")
SHARED = Goal("<=", 0.2, " (exponent)")  # simulated devices share the cores, so that the same work should take as long
STEPS = 10
DEVICES = "simulated devices"


def of_growth(given, _: dict, sizes: Sequence[int] = SIZES, names: Sequence[str] | None = None) -> Iterator[Result]:
    for name in names or GROWING:
        yield grown(name, sizes)


def grown(name: str, sizes: Sequence[int]) -> Result:
    points = [measured(name, size) for size in sizes]
    seconds, peaks = ([point[key] for point in points] for key in ("seconds", "peak"))
    notes = {"sizes": list(sizes), "seconds at each size": seconds, "bytes at each size": peaks}
    table = (f"{size}: {s:.3g} s, {peak / 1e6:.0f} MB" for size, s, peak in zip(sizes, seconds, peaks, strict=True))
    notes["growth"] = "; ".join(table)
    slope = exponent(sizes, seconds)
    busy = max(point["busy"] for point in points)
    goal = SHARED if name == DEVICES else LINEAR
    return Result(f"growth with {name}", goal, [slope], [], "", busy, notes)


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """b of values ~ sizes^b, by least squares of logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def measured(name: str, size: int) -> dict[str, float]:
    environment = dict(os.environ)
    if name == DEVICES:
        flags = environment.get("XLA_FLAGS", "")
        environment["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={size}".strip()
    command = [sys.executable, __file__, name, str(size)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).resolve().parent.parent, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"The process that measures {name!r} at {size} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def maps(size: int) -> Callable[[], Any]:
    net, x, _ = build(TRAINED._replace(batch=16 * size))
    return lambda: saliency.guided_backprop(net, x, targets.logit(CLASS))


def search(size: int) -> Callable[[], Any]:
    net, x, _ = build(TRAINED)
    images = np.random.default_rng(0).normal(size=(256 * size, *x.shape[1:])).astype(np.float32)
    return lambda: deconvnet.top_k(net, "relu3_1", images)


def inversions(size: int) -> Callable[[], Any]:
    return inverting(TRAINED._replace(batch=4 * size), STEPS)


def neurons(size: int) -> Callable[[], Any]:
    """Codes that excite so many units of one layer through a generator."""
    return units(TRAINED, STEPS, "relu7", np.arange(4 * size))


def concepts(size: int) -> Callable[[], Any]:
    return activations(Layer(2 * size, 10, dimensions=4096)).tcav


def runs(size: int) -> Callable[[], Any]:
    parts, slopes, _ = activations(Layer(1, 10, dimensions=4096))
    sets = sampling.sample({"concept": len(parts[0])}, 10 * len(parts[0]), 25 * size, 0)
    return lambda: score_layer(parts, [slopes], sets)


def devices(size: int) -> Callable[[], Any]:
    """One step of 128 images, which `size` devices share."""
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
    jax.config.update("jax_platforms", "cpu")
    (seconds,), busy = take_turns([loop(GROWING[name](size))], 3)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": min(seconds), "peak": peak, "busy": busy}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
