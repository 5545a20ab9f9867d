"""Benchmarks of deconvnet's search for the strongest activations, and of projections."""

import argparse
import functools
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from benchmarks.cases import CASES, TRAINED, Case, build, forward, notes_of
from benchmarks.timing import Goal, Result, loop, side_by_side

from xai_jax import deconvnet, network, saliency, targets
from xai_jax.core.network import Network

SEARCHED = (TRAINED, CASES[0])


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
