"""Dreams: images from noise that a layer answers to as to a concept (Kim et al. 2018, section 4.1.2)."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from matplotlib.figure import Figure

from experiments.kim2018 import sorting
from experiments.lib import dry_run, maximisation_baselines, runner
from experiments.lib.runner import Claim, Number
from xai_jax import cav, models, network, plots, targets
from xai_jax.concepts.cav import CAV
from xai_jax.data import textures
from xai_jax.models import LoadedModel

OF = ("dreams", "images of concepts", "noise")  # what similarities are measured of


def run(config: Any, run: runner.Run) -> None:
    """For each seed learns a direction for each concept, dreams along it, and compares all dreams with all concepts."""
    model, size = models.load(config.network, config.weights), models.abstract(config.network)[2][0]
    found = []
    for seed in run.progress(config.seeds, "seeds"):
        found.append(run.stage(f"seed-{seed}", partial(one_seed, model, size, config, seed)))
    similarity = np.stack([each["similarity"] for each in found])
    run.figure("dreams", *pictures(found, config))
    run.figure("similarities", *tables(similarity.mean(0), config))
    report(run, similarity, config)


def one_seed(model: LoadedModel, size: int, config: Any, seed: int) -> dict[str, np.ndarray]:
    """Dreams of each concept as `pixels` (C, S, S, 3), images of the concepts, and their `similarity`.

    That is the cosine of what `OF` says, of a concept or, of noise, in its place, with each direction: (3, C, C).
    """
    with tempfile.TemporaryDirectory() as cache_dir:
        known = sorting.directions(model, config, size, seed, cache_dir)
    begin = maximisation_baselines.initial_images(config.form, config.mean, (1, *model.input.shape), seed)
    dreams = [dreamt(model, each, begin, config, seed) for each in known.values()]
    others = [textures.images(name, config.held_out, size, 3 * seed + 2**20) for name in config.concepts]
    noise = similarities(model, known, model.from_centred(config.mean)(begin))
    groups = [similarities(model, known, model.preprocess(list(np.concatenate(each)))) for each in (dreams, others)]
    means = [each.reshape(len(known), -1, len(known)).mean(1) for each in groups]
    return {
        "pixels": np.concatenate(dreams),
        "concepts": np.stack([images[0] for images in others]),
        "similarity": np.stack([*means, np.broadcast_to(noise, means[0].shape)]),
    }


def dreamt(model: LoadedModel, known: CAV, begin: Array, config: Any, seed: int) -> np.ndarray:
    """The image that the layer answers to most along a direction, (1, S, S, 3) uint8."""
    target = targets.direction(known.layer, known.vector)
    found = maximisation_baselines.maximise(model, config.mean, target, begin, config.form, 1, seed)
    return model.to_pixels(found["images"])


def similarities(model: LoadedModel, known: Mapping[str, CAV], x: Array) -> np.ndarray:
    """Cosines (N, C) of images with each direction."""
    with tempfile.TemporaryDirectory() as cache_dir:
        return np.stack([cav.similarity(model.net, each, x, cache_dir) for each in known.values()], 1)


def pictures(found: Sequence[Mapping[str, np.ndarray]], config: Any) -> tuple[Figure, str, str]:
    """A column for each concept: an image of it, and the dreams of each seed."""
    panels = [list(each / 255) for each in (found[0]["concepts"], *(part["pixels"] for part in found))]
    rows = ["an image of\nthe concept", *(f"dream,\nseed {seed}" for seed in config.seeds)]
    caption = (
        f"Above: an image of each concept that was not used for its direction. Below: images from noise, changed so "
        f"that the answers of {config.layer} move along the direction as far as they can."
    )
    return plots.grid(panels, config.concepts, rows, size=1.5)[0], caption, "Drawn patterns above colourful dreams."


def tables(similarity: np.ndarray, config: Any) -> tuple[Figure, str, str]:
    """Mean cosines (3, C, C) as tables: of what, with which direction."""
    figure = Figure(figsize=(3.3 * len(OF), 3.4), layout="constrained")
    axes, most = figure.subplots(1, len(OF), sharey=True), abs(similarity).max()
    for axis, values, name in zip(axes, similarity, OF, strict=True):
        axis.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most)
        for (row, column), value in np.ndenumerate(values):
            dark = abs(value) > 0.6 * most
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color="w" if dark else "k")
        axis.set_xticks(range(len(config.concepts)), config.concepts, rotation=50, ha="right", fontsize=8)
        axis.set_title(name, fontsize=9)
    axes[0].set_yticks(range(len(config.concepts)), config.concepts, fontsize=8)
    axes[0].set_ylabel("images of", fontsize=8)
    axes[len(OF) // 2].set_xlabel("direction of", fontsize=8)
    caption = (
        "How similar the layer finds dreams of each concept, drawn images of it, and the noise that dreams begin with, "
        "to the direction of each concept: cosines, means over seeds. If dreams show their own concept alone, the "
        "diagonal has the largest value of each row."
    )
    return figure, caption, "Three tables of similarities, red where similar, blue where opposite."


def report(run: runner.Run, similarity: np.ndarray, config: Any) -> None:
    """Similarities (S, 3, C, C) of all seeds: with the own direction, and with the nearest other one."""
    own = np.diagonal(similarity, axis1=2, axis2=3)
    others = np.where(np.eye(similarity.shape[-1], dtype=bool), -np.inf, similarity).max(-1)
    for place, name in enumerate(OF):
        run.numbers.append(Number.mean(f"similarity with their own concept: {name}", own[:, place].mean(-1)))
        if name != "noise":
            run.numbers.append(Number.mean(f"similarity with the nearest other: {name}", others[:, place].mean(-1)))
    run.claims += claims(own, others)


def claims(own: np.ndarray, others: np.ndarray) -> list[Claim]:
    """Of similarities (S, 3, C): that dreams are like their own concept most, and more than images of it are."""
    source, nearest, beyond = "section 4.1.2 (the measure is ours)", own[:, 0] > others[:, 0], own[:, 0] > own[:, 1]
    return [
        Claim(
            "A dream is more like its own concept than like any other, to the layer.",
            source,
            _mostly(nearest),
            f"{nearest.sum()} of {nearest.size} dreams; of drawn images {(own[:, 1] > others[:, 1]).mean():.0%} of "
            "concepts, by their means",
        ),
        Claim(
            "A dream is more like its concept than images of the concept are, to the layer.",
            source,
            _mostly(beyond),
            f"{beyond.sum()} of {beyond.size} dreams",
        ),
        Claim(
            "Dreams show people what a concept's direction stands for.",
            "section 4.1.2",
            None,
            "left to the eye: no person was asked",
        ),
    ]


def _mostly(each):
    """True where all are so, False where fewer than half, None between."""
    return True if each.all() else False if each.mean() < 0.5 else None


def plan(config: Any) -> list[dry_run.Step]:
    """What the layer answers to concepts and random images, and the steps of dreams."""
    module, variables, shape = models.abstract(config.network)
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)

    def slope(variables: Any, x: Array) -> Array:
        features = network.features(Partial(module.apply, variables), config.layer)
        return jax.grad(lambda x: features(x).sum())(x)

    answers = sorting.plan_answers(config, len(config.concepts) * (config.examples + config.held_out))
    steps = len(config.seeds) * len(config.concepts) * config.form.steps
    return [*answers, dry_run.Step("steps of dreams", slope, (variables, x), steps)]


EXPERIMENT = runner.Experiment(
    name="kim2018/dream",
    title="Dreams along CAVs",
    figure="section 4.1.2, empirical deep dream",
    paper="Kim et al. 2018, Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation "
    "Vectors (TCAV), arXiv 1711.11279",
    summary=(
        "What does a concept's direction stand for? From noise, an image is changed so that a layer's answers move "
        "along it: a deep dream. Images are made of frequencies, shifted a little at every step, as Olah et al. 2017 "
        "do; the paper uses code of the same authors. Directions tell drawn colours and textures from random ones of "
        "the same kind. It is measured how similar the layer finds each dream to all the directions. This says what "
        "the network sees in a dream, not what people see."
    ),
    run=run,
    plan=plan,
    minutes=1,
    order=6,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
