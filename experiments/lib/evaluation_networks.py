"""Realism of synthesised images, by an independent evaluation network that took no part in the synthesis."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from jax.tree_util import Partial

from experiments.lib.report import Number
from xai_jax import models, network, realism
from xai_jax.core.batching import call_in_chunks
from xai_jax.data import datasets
from xai_jax.models import LoadedModel

BATCH_SIZE = 100  # images that are on the device at a time


class EvaluationNetwork(NamedTuple):
    """An independently trained network, natural images as its input, and the layer whose features are compared."""

    model: LoadedModel
    natural: np.ndarray
    layer: str
    seed: int

    @property
    def held_out(self) -> np.ndarray:
        """Reference images: the first half of the natural ones; the second half are controls."""
        return self.natural[: len(self.natural) // 2]


def load(config: Any) -> EvaluationNetwork:
    """Network and natural images of a configuration with a seed and the fields of `configs.base.EvaluationNetwork`."""
    model = models.load(config.evaluation_network, config.evaluation_weights)
    data = datasets.load(config.data, config.split)
    x = inputs(model, [data[i][0] for i in range(config.natural_images)])
    return EvaluationNetwork(model, x, config.evaluation_layer, config.seed)


def inputs(model: LoadedModel, images: Sequence[np.ndarray]) -> np.ndarray:
    """Images as the network's input, (N, H, W, C), on the host."""
    starts = range(0, len(images), BATCH_SIZE)
    return np.concatenate([np.asarray(model.preprocess(list(images[start : start + BATCH_SIZE]))) for start in starts])


def evaluate(evaluator: EvaluationNetwork, pixels: np.ndarray, classes: Any) -> dict[str, np.ndarray]:
    """Agreement of the network with the classes, and distances to natural images in its features, beside controls'.

    Images (N, H, W, 3) are pixels in [0, 255], as `to_pixels` returns them; `classes` (N,).
    """
    images, represent = inputs(evaluator.model, pixels), network.features(evaluator.model.net, evaluator.layer)
    controls = evaluator.natural[len(evaluator.held_out) :]
    synthesised, reference, controls = (features(represent, x) for x in (images, evaluator.held_out, controls))
    distances, neighbours = realism.nearest(synthesised, reference)
    rng = np.random.default_rng(evaluator.seed)
    sample = controls[rng.permutation(len(controls))[: len(synthesised)]]
    return {
        "agrees": realism.agreement(evaluator.model.net, images, classes),
        "distance": distances,
        "neighbour": neighbours,
        "natural distance": realism.nearest(controls, reference)[0],
        "frechet": realism.frechet(synthesised, reference),
        "natural frechet": realism.frechet(sample, reference),
    }


def features(represent: Callable | Partial, x: Array) -> np.ndarray:
    """Features of a layer averaged over positions, (N, C)."""
    values = call_in_chunks(represent, x, BATCH_SIZE)
    return values.mean((1, 2)) if values.ndim == 4 else values


def numbers(measures: dict[str, np.ndarray], of: str = "") -> list[Number]:
    """Measures of `evaluate` beside those of natural images; `of`, such as ", from noise", is appended to the names."""
    return [
        Number.mean(f"share of images on which another network agrees{of}", measures["agrees"]),
        Number.mean(f"distance to the nearest natural image, natural ones' = 1{of}", measures["distance"]),
        Number.mean(f"the same of other natural images{of}", measures["natural distance"]),
        Number(f"Frechet distance from natural images{of}", float(measures["frechet"])),
        Number(f"the same of as many other natural images{of}", float(measures["natural frechet"])),
    ]
