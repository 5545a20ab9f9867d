"""Benchmark of training steps."""

import argparse
from collections.abc import Iterator

import jax
import numpy as np
from benchmarks.cases import CLASS, TRAINED, Case, build, forward, notes_of, training
from benchmarks.timing import TOLERANCE, Goal, Result, layouts, loop, side_by_side, timed_by, torch_side

from xai_jax.core.network import Network


def beside_torch(given: argparse.Namespace, torch_versions: dict, case: Case = TRAINED) -> Iterator[Result]:
    with torch_side(given, torch_versions) as (request, directory):
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
