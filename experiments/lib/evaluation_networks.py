"""Whether synthesised images look natural to a network that had no part in making them, as several experiments ask."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from jax.tree_util import Partial

from experiments.lib.runner import Number
from xai_jax import models, network, realism
from xai_jax.data import datasets
from xai_jax.models import LoadedModel

BATCH = 100  # images shown to a network at once


class Judge(NamedTuple):
    """A network that was trained by itself, natural images as it reads them, and the layer in which it compares."""

    model: LoadedModel
    natural: Array
    layer: str
    seed: int

    @property
    def held_out(self) -> Array:
        """Natural images that synthesised ones are compared with: the first half; the others are controls."""
        return self.natural[: len(self.natural) // 2]


def load(config: Any) -> Judge:
    """The network and images that `config` names, with the fields of `configs.base.EvaluationNetwork` and a `seed`."""
    model, data = (
        models.load(config.evaluation_network, config.evaluation_weights),
        datasets.load(config.data, config.split),
    )
    x = model.preprocess([data[i][0] for i in range(config.natural_images)])
    return Judge(model, x, config.evaluation_layer, config.seed)


def judgements(judge: Judge, pixels: np.ndarray, classes: Any) -> dict[str, np.ndarray]:
    """Whether the judge agrees, and distances from natural images in its features; random ones to compare with.

    Images (N, H, W, 3) are pixels in [0, 255], as `to_pixels` gives them; `classes` (N,).
    """
    images, represent = judge.model.preprocess(list(pixels)), network.features(judge.model.net, judge.layer)
    others = judge.natural[len(judge.held_out) :]
    shown, held_out, others = (features(represent, each) for each in (images, judge.held_out, others))
    distances, places = realism.nearest(shown, held_out)
    rng = np.random.default_rng(judge.seed)
    chosen = others[rng.permutation(len(others))[: len(shown)]]
    return {
        "agrees": realism.agreement(judge.model.net, images, classes),
        "distance": distances,
        "neighbour": places,
        "natural distance": realism.nearest(others, held_out)[0],
        "frechet": realism.frechet(shown, held_out),
        "natural frechet": realism.frechet(chosen, held_out),
    }


def features(represent: Callable | Partial, x: Array) -> np.ndarray:
    """A layer's means over positions, (N, C)."""
    parts = [network.call(represent, x[start : start + BATCH]) for start in range(0, len(x), BATCH)]
    found = np.concatenate([np.asarray(part) for part in parts])
    return found.mean((1, 2)) if found.ndim == 4 else found


def numbers(judged: dict[str, np.ndarray], of: str = "") -> list[Number]:
    """What `judgements` found, beside the same of natural images; `of`, such as ", from noise", ends their names."""
    return [
        Number.mean(f"share of images on which another network agrees{of}", judged["agrees"]),
        Number.mean(f"distance to the nearest natural image, natural ones' = 1{of}", judged["distance"]),
        Number.mean(f"the same of other natural images{of}", judged["natural distance"]),
        Number(f"Frechet distance from natural images{of}", float(judged["frechet"])),
        Number(f"the same of as many other natural images{of}", float(judged["natural frechet"])),
    ]
