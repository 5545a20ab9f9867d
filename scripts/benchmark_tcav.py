"""The measurements of benchmark.py that are about TCAV: against scikit-learn in all dimensions, and against captum.

`python scripts/benchmark_tcav.py LAYER` prints what memory one process needs at most for all CAVs of a layer.
"""

import functools
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from sklearn.base import clone
from timing import Goal, Result, ask_seconds, captum_process, cores, loop, take_turns

from xai_jax import cav, sampling
from xai_jax.concepts.layer_scores import score_layer
from xai_jax.concepts.sampling import Sets

TOLERANCE = 1e-4


class Layer(NamedTuple):
    """How many concepts and random sets there are, of how many images each, in how many dimensions."""

    concepts: int = 10
    sets: int = 50
    images: int = 100
    dimensions: int = 100_352
    timed: int = 2  # CAVs of the other sides, which time a few and count for as many as there are
    runs: int = 500

    @property
    def cavs(self) -> int:
        return self.concepts * self.sets


PAPER = Layer()


class Made(NamedTuple):
    """Activations of each set, gradients of 50 images of a class, and every concept against every random set."""

    parts: list[np.ndarray]
    slopes: np.ndarray
    sets: Sets

    def tcav(self) -> dict:
        return score_layer(self.parts, [self.slopes], [self.sets])


def of_tcav(given, torch_versions: dict, layer: Layer = PAPER) -> Iterator[Result]:
    yield needed_memory(layer)
    yield many_runs(given, layer)
    made = activations(layer)
    yield against_all_dimensions(given, layer, made)
    with captum_process(given.torch_python, "benchmark_torch_tcav.py") as (ask, versions):
        torch_versions.update(versions)
        with tempfile.TemporaryDirectory() as folder:
            yield from against_captum(given, ask, folder, layer, made)


def needed_memory(layer: Layer) -> Result:
    """A process of its own makes the activations, keeps them in memory, and learns all CAVs."""
    command = [sys.executable, __file__, json.dumps(layer)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    if done.returncode:
        raise RuntimeError(f"The process whose memory is measured failed:\n{done.stderr}")
    gigabytes = json.loads(done.stdout)["peak"] / 1e9
    notes = layer._asdict() | {"gigabytes of activations": held(layer) / 1e9}
    return Result(f"tcav peak memory, {layer.cavs} CAVs", Goal("<=", 4, " GB"), [gigabytes], [], "", 0.0, notes)


def held(layer: Layer) -> int:
    return 4 * (layer.concepts + layer.sets) * layer.images * layer.dimensions


def many_runs(given, layer: Layer) -> Result:
    """One concept against `runs` sets drawn from 1000 random images, without controls."""
    parts, slopes, _ = activations(layer._replace(concepts=1, sets=10))
    sets = sampling.sample({"concept": layer.images}, 10 * layer.images, layer.runs, 0)
    sides = [loop(lambda: score_layer(parts, [slopes], sets))]
    (ours,), busy = take_turns(sides, min(3, given.repeats))
    name = f"tcav {layer.runs} runs of one concept"
    return Result(name, Goal("<=", 60, " s"), ours, [], "", busy, layer._asdict())


def against_all_dimensions(given, layer: Layer, made: Made) -> Result:
    """The same classifiers of the same two thirds, fitted to float32 activations, which is faster than float64."""
    some = [(i % layer.concepts, i % layer.sets) for i in range(layer.timed)]
    notes = layer._asdict() | {"difference of mean derivatives": agreement(layer, made)}
    sides = loop(made.tcav), loop(lambda: [in_all_dimensions(layer, made, *pair) for pair in some])
    (ours, other), busy = take_turns(sides, min(3, given.repeats))
    other = [seconds * layer.cavs / layer.timed for seconds in other]
    notes["scaled"] = f"{layer.timed} fits in all dimensions count for {layer.cavs}"
    return Result(f"tcav {layer.cavs} CAVs", Goal(">=", 20, "x"), ours, other, "all dimensions, scaled up", busy, notes)


def against_captum(given, ask, folder: str, layer: Layer, made: Made) -> Iterator[Result]:
    """captum's TCAV from the activations on disk on, with what it writes and reads; and its classifier by itself."""
    arrays = {"concept": made.parts[0], "slopes": made.slopes}
    arrays |= {f"random{i}": part for i, part in enumerate(made.parts[layer.concepts :][: layer.timed])}
    np.savez(Path(folder, "examples.npz"), **arrays)
    ask(do="load", folder=folder, threads=cores())
    for method, name in (("tcav", "captum's TCAV"), ("classifier", "captum's classifier alone")):
        sides = loop(made.tcav), functools.partial(ask_seconds, ask, method)
        (ours, other), busy = take_turns(sides, min(3, given.repeats))
        other = [seconds * layer.cavs / layer.timed for seconds in other]
        notes = layer._asdict() | {"scaled": f"{layer.timed} CAVs of captum count for {layer.cavs}"}
        kind = "" if method == "tcav" else " beside the classifier"
        goal, other_name = Goal(">=", 50, "x"), f"{name}, scaled up"
        yield Result(f"captum tcav {layer.cavs} CAVs{kind}", goal, ours, other, other_name, busy, notes)


def activations(layer: Layer) -> Made:
    """Noise behind a ReLU; in each concept one dimension in 500 is larger."""
    rng, size = np.random.default_rng(0), (layer.images, layer.dimensions)
    count = layer.concepts + layer.sets
    parts = [np.maximum(rng.standard_normal(size, np.float32) + 0.3, 0) for _ in range(count)]
    for part in parts[: layer.concepts]:
        part[:, : layer.dimensions // 500] += 0.3
    rows = np.arange(count * layer.images).reshape(count, -1)
    sets = Sets({str(i): rows[i] for i in range(layer.concepts)}, list(rows[layer.concepts :]), [])
    return Made(parts, rng.standard_normal((50, layer.dimensions), np.float32), sets)


def in_all_dimensions(layer: Layer, made: Made, concept: int, run: int, dtype=np.float32) -> np.ndarray:
    """Derivatives of the class's images along the CAV that scikit-learn finds in all dimensions."""
    x = np.concatenate([made.parts[concept], made.parts[layer.concepts + run]], dtype=dtype)
    labels, rng = np.repeat([1, -1], layer.images), np.random.default_rng([0, run])
    learnt, _ = cav.split(labels, rng)
    model = clone(cav.CLASSIFIER).set_params(random_state=int(rng.integers(2**31)))
    normal = model.fit(x[learnt], labels[learnt]).coef_[0]
    return made.slopes @ (normal / np.linalg.norm(normal))


def agreement(layer: Layer, made: Made) -> float:
    """Relative difference of the mean derivatives in float64; ValueError where it is above TOLERANCE."""
    first = made.sets._replace(positives={"0": made.sets.positives["0"]}, negatives=made.sets.negatives[:1])
    ours = float(score_layer(made.parts, [made.slopes], [first])["0"].values[2, 0, 0])
    theirs = float(in_all_dimensions(layer, made, 0, 0, np.float64).mean())
    if not abs(ours - theirs) <= TOLERANCE * abs(theirs):
        raise ValueError(f"tcav: expected mean derivatives that agree to {TOLERANCE:g}, got {ours} and {theirs}.")
    return abs(ours - theirs) / abs(theirs)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    activations(Layer(*json.loads(sys.argv[1]))).tcav()
    print(json.dumps({"peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
