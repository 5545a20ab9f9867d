"""Measurements of benchmark.py: TCAV against scikit-learn in all dimensions, and against captum.

`python -m benchmarks.tcav LAYER` prints the peak memory of a process that fits all CAVs of a layer.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from benchmarks.timing import (
    TOLERANCE,
    Goal,
    Result,
    child,
    cores,
    loop,
    once,
    peak_memory,
    side_by_side,
    timed_by,
    torch_side,
)
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge

from xai_jax import cav, sampling
from xai_jax.concepts.classifiers import Hinge, MeanDifference
from xai_jax.concepts.layer_scores import score_layer
from xai_jax.concepts.sampling import Sets
from xai_jax.core.allocation import keep_freed_memory

SOLVED = LogisticRegression(), Ridge(), MeanDifference(), Hinge()


class Layer(NamedTuple):
    """Number of concepts and of random sets, images in each, and dimensions of the layer."""

    concepts: int = 10
    sets: int = 50
    images: int = 100
    dimensions: int = 100_352
    timed: int = 2  # CAVs that the other sides fit; their times are scaled up to all CAVs
    runs: int = 500
    drawn: int = 200  # sets of concept images, drawn from ten times as many images as a set has

    @property
    def cavs(self) -> int:
        return self.concepts * self.sets


PAPER = Layer()


class Examples(NamedTuple):
    """Activations of each set, gradients of 50 images of a class, and every concept against every random set."""

    parts: list[np.ndarray]
    gradients: np.ndarray
    sets: Sets

    def tcav(self) -> dict:
        return score_layer(self.parts, [self.gradients], [self.sets])


def concept_scores(given, torch_versions: dict, layer: Layer = PAPER) -> Iterator[Result]:
    yield required_memory(layer)
    yield many_runs(given, layer)
    examples = activations(layer)
    yield beside_all_dimensions(given, layer, examples)
    with torch_side(given, torch_versions, "torch_tcav.py") as (request, directory):
        yield from beside_captum(given, request, directory, layer, examples)


def required_memory(layer: Layer) -> Result:
    """Peak of a process that creates the activations, keeps them in memory, and fits all CAVs."""
    gigabytes = child(__name__, json.dumps(layer))["peak"] / 1e9
    size = 4 * (layer.concepts + layer.sets) * layer.images * layer.dimensions
    notes = layer._asdict() | {"gigabytes of activations": size / 1e9}
    return Result(f"tcav peak memory, {layer.cavs} CAVs", Goal("<=", 4, " GB"), [gigabytes], [], "", 0.0, notes)


def many_runs(given, layer: Layer) -> Result:
    """One concept against `runs` sets drawn from 1000 random images, without controls."""
    parts, gradients, _ = activations(layer._replace(concepts=1, sets=10))
    sets = sampling.sample({"concept": layer.images}, 10 * layer.images, layer.runs, 0)
    sides = [loop(lambda: score_layer(parts, [gradients], sets))]
    name = f"tcav {layer.runs} runs of one concept"
    return side_by_side(min(3, given.repeats), name, Goal("<=", 60, " s"), sides, notes=layer._asdict())


def many_sets(given, _: dict, layer: Layer = PAPER) -> Iterator[Result]:
    """`drawn` sets of a concept's images, each against `runs` random sets, with their derivatives; once, as it is long.

    Sets are drawn from pools of ten times as many images. Seconds include the Gram matrix and compiling.
    """
    parts, gradients, _ = activations(layer._replace(concepts=10, sets=10))
    pools, rng = np.split(np.arange(20 * layer.images), 2), np.random.default_rng(0)
    shown, random = (
        [rng.permutation(pool)[: layer.images] for _ in range(count)]
        for pool, count in zip(pools, (layer.drawn, layer.runs), strict=True)
    )
    sets = Sets({str(i): rows for i, rows in enumerate(shown)}, random, [])
    for classifier in SOLVED:
        seconds, work, busy = once(lambda classifier=classifier: score_layer(parts, [gradients], [sets], classifier))
        name = f"tcav {layer.drawn * layer.runs} CAVs, {' '.join(str(classifier).split())}"
        notes = layer._asdict() | {"seconds of all cores": work}
        yield Result(name, Goal("<=", 120, " s"), [seconds], [], "", busy, notes)


def beside_all_dimensions(given, layer: Layer, examples: Examples) -> Result:
    """The same classifiers of the same two thirds, fitted to float32 activations, which is faster than float64."""
    pairs = [(i % layer.concepts, i % layer.sets) for i in range(layer.timed)]
    notes = layer._asdict() | {"difference of mean derivatives": agreement(layer, examples)}
    notes["scaled"] = f"{layer.timed} fits in all dimensions count for {layer.cavs}"
    sides = loop(examples.tcav), loop(lambda: [in_all_dimensions(layer, examples, *pair) for pair in pairs])
    name, other, scale = f"tcav {layer.cavs} CAVs", "all dimensions, scaled up", layer.cavs / layer.timed
    return side_by_side(min(3, given.repeats), name, Goal(">=", 20, "x"), sides, other, notes, scale)


def beside_captum(given, request, directory: Path, layer: Layer, examples: Examples) -> Iterator[Result]:
    """captum's TCAV from activations on disk, including its own reads and writes; and its classifier alone."""
    arrays = {"concept": examples.parts[0], "gradients": examples.gradients}
    arrays |= {f"random{i}": part for i, part in enumerate(examples.parts[layer.concepts :][: layer.timed])}
    np.savez(directory / "examples.npz", **arrays)
    request(do="load", folder=str(directory), threads=cores())
    notes = layer._asdict() | {"scaled": f"{layer.timed} CAVs of captum count for {layer.cavs}"}
    for method, other, kind in (("tcav", "TCAV", ""), ("classifier", "classifier alone", " beside the classifier")):
        sides, scale = (loop(examples.tcav), timed_by(request, method)), layer.cavs / layer.timed
        name, other = f"captum tcav {layer.cavs} CAVs{kind}", f"captum's {other}, scaled up"
        yield side_by_side(min(3, given.repeats), name, Goal(">=", 50, "x"), sides, other, notes, scale)


def activations(layer: Layer) -> Examples:
    """Rectified noise; each concept has a larger mean in one dimension of 500."""
    rng, size = np.random.default_rng(0), (layer.images, layer.dimensions)
    count = layer.concepts + layer.sets
    parts = [np.maximum(rng.standard_normal(size, np.float32) + 0.3, 0) for _ in range(count)]
    for part in parts[: layer.concepts]:
        part[:, : layer.dimensions // 500] += 0.3
    rows = np.arange(count * layer.images).reshape(count, -1)
    sets = Sets({str(i): rows[i] for i in range(layer.concepts)}, list(rows[layer.concepts :]), [])
    return Examples(parts, rng.standard_normal((50, layer.dimensions), np.float32), sets)


def in_all_dimensions(layer: Layer, examples: Examples, concept: int, run: int, dtype=np.float32) -> np.ndarray:
    """Derivatives of the class's images along the CAV that scikit-learn fits in all dimensions."""
    x = np.concatenate([examples.parts[concept], examples.parts[layer.concepts + run]], dtype=dtype)
    labels, rng = np.repeat([1, -1], layer.images), np.random.default_rng([0, run])
    fitted, _ = cav.split(labels, rng)
    model = clone(cav.CLASSIFIER).set_params(random_state=int(rng.integers(2**31)))
    normal = model.fit(x[fitted], labels[fitted]).coef_[0]
    return examples.gradients @ (normal / np.linalg.norm(normal))


def agreement(layer: Layer, examples: Examples) -> float:
    """Relative difference of the mean derivatives in float64; ValueError where it exceeds TOLERANCE."""
    first = examples.sets._replace(positives={"0": examples.sets.positives["0"]}, negatives=examples.sets.negatives[:1])
    ours = float(score_layer(examples.parts, [examples.gradients], [first])["0"].values[2, 0, 0])
    theirs = float(in_all_dimensions(layer, examples, 0, 0, np.float64).mean())
    if not abs(ours - theirs) <= TOLERANCE * abs(theirs):
        raise ValueError(f"tcav: expected mean derivatives that agree to {TOLERANCE:g}, got {ours} and {theirs}.")
    return abs(ours - theirs) / abs(theirs)


if __name__ == "__main__":
    keep_freed_memory()
    jax.config.update("jax_platforms", "cpu")
    activations(Layer(*json.loads(sys.argv[1]))).tcav()
    print(json.dumps({"peak": peak_memory()}))
