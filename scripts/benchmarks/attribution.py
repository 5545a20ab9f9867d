"""Benchmarks of attributions: gradient, deconvnet, guided backprop, occlusion."""

import argparse
import functools
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np
import skimage.data
from benchmarks.cases import CASES, CLASS, Case, build, class_cotangent, forward, notes_of, vjp
from benchmarks.timing import (
    AS_FAST,
    BESIDE_TORCH,
    TOLERANCE,
    Goal,
    Missing,
    Result,
    layouts,
    loop,
    side_by_side,
    timed_by,
    torch_side,
)

from xai_jax import models, saliency, targets
from xai_jax.core.network import Network

CAT, FLIPPED = 285, 0.02  # a class; a few ReLUs flip in float32
METHODS = ("gradient", "deconvnet", "guided_backprop")
OCCLUDED = Case(224, 25, widths=(8, 16, 32, 64, 64))


def beside_captum(given: argparse.Namespace, torch_versions: dict, cases: Sequence[Case] = CASES) -> Iterator[Result]:
    with torch_side(given, torch_versions) as (request, directory):
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
                    yield side_by_side(given.repeats, name, BESIDE_TORCH[layout], sides, "captum", notes)


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


def lite0(given: argparse.Namespace, torch_versions: dict, count: int = 8) -> Iterator[Result]:
    """Maps of photographs through EfficientNet-Lite0, beside its PyTorch implementation with the same weights."""
    x, net = _photographs(count)
    with torch_side(given, torch_versions, "torch_lite0.py") as (request, directory):
        np.savez(directory / "net.npz", x=np.asarray(x), k=CAT)
        for layout, suffix in layouts(request, directory):
            for method in ("gradient", "guided_backprop"):
                explain = functools.partial(getattr(saliency, method), net, x, targets.logit(CAT))
                request(do="map", method=method, to=str(directory / "map.npy"))
                off = difference(np.asarray(explain()), np.load(directory / "map.npy"))
                if off > FLIPPED:
                    raise ValueError(f"{method} of Lite0: expected maps that agree to {FLIPPED:g}, got {off:.2g}.")
                notes, name = {"layout": layout, "difference": off}, f"lite0 {method} {count} photographs{suffix}"
                sides = loop(explain), timed_by(request, method)
                yield side_by_side(given.repeats, name, Goal(">=", 1.0, "x"), sides, "PyTorch", notes)


def beside_vjp(given: argparse.Namespace, _: dict, cases: Sequence[Case] = CASES) -> Iterator[Result]:
    for case in cases:
        net, x, _ = build(case)
        explain = functools.partial(saliency.guided_backprop, net, x, targets.logit(CLASS))
        sides = loop(explain), loop(functools.partial(vjp, net, x, class_cotangent(case)))
        name = f"vjp guided_backprop {case.side} px"
        yield side_by_side(given.repeats, name, AS_FAST, sides, "bare vjp", notes_of(case))


def photograph(given: argparse.Namespace, _: dict) -> Iterator[Result]:
    x, net = _photographs(1)
    explain = functools.partial(saliency.guided_backprop, net, x, targets.logit(CAT))
    notes = {"seconds of the first call, with compiling": loop(explain)(1)}
    name = "photo guided_backprop 224 px"
    yield side_by_side(given.repeats, name, Goal("<=", 1.0, " s"), [loop(explain)], notes=notes)


def _photographs(count: int) -> tuple[jax.Array, Network]:
    """Photographs, the first of a cat, and EfficientNet-Lite0; Missing where it is not installed."""
    try:
        model = models.load("efficientnet_lite0")
    except ModuleNotFoundError as error:
        raise Missing(str(error)) from error
    names = ("chelsea", "astronaut", "coffee", "rocket", "hubble_deep_field", "immunohistochemistry", "retina", "cat")
    return model.preprocess([getattr(skimage.data, name)() for name in names[:count]]), model.net


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
