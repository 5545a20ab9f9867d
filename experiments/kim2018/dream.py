"""Dreams: images from noise, optimised along a CAV (Kim et al. 2018, section 4.1.2)."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from configs.kim2018.dream import Config
from experiments.kim2018 import sorting
from experiments.lib import dry_run, evaluation_networks, figures, maximisation_baselines, papers, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import cav, gram, models, network, plots, targets
from xai_jax.concepts.cav import CAV
from xai_jax.data import textures
from xai_jax.models import LoadedModel

GROUPS = ("dreams", "images of concepts", "noise")  # whose similarities are measured


def run(config: Config, work: Workspace) -> Report:
    """For each seed fits a CAV for each concept, dreams along it, and compares all dreams with all concepts."""
    model, size = models.load(config.network, config.weights), models.abstract(config.network)[2][0]
    found = []
    for seed in work.progress(config.seeds, "seeds"):
        found.append(work.stage(f"seed-{seed}", partial(one_seed, model, size, config, seed)))
    similarity = np.stack([each["similarity"] for each in found])
    dreams, images = (np.stack([each[name] for each in found]) for name in ("recognised", "recognised images"))
    panels = [dreams_panel(found, config), similarities_panel(similarity.mean(0), config)]
    numbers, claims = findings(similarity)
    numbers.append(Number.mean("share of images of concepts that another network identifies", images.ravel()))
    return Report(numbers, [*claims, *recognition_claims(dreams, config)], panels)


def one_seed(model: LoadedModel, size: int, config: Config, seed: int) -> dict[str, np.ndarray]:
    """Dreams of each concept as `pixels` (C, S, S, 3), images of the concepts, and their `similarity`.

    That is the cosine similarity of `GROUPS`, by concept (the same for noise), with each CAV: (3, C, C).
    """
    with tempfile.TemporaryDirectory() as cache_dir:
        cavs = sorting.fit_cavs(model, config, size, seed, cache_dir)
    start = maximisation_baselines.initial_images(config.form, config.mean, (1, *model.input.shape), seed)
    dreams = [dream(model, each, start, config, seed) for each in cavs.values()]
    others = [textures.images(name, config.held_out, size, 3 * seed + 2**20) for name in config.concepts]
    noise = similarities(model, cavs, model.from_centred(config.mean)(start))
    groups = [similarities(model, cavs, model.preprocess(list(np.concatenate(each)))) for each in (dreams, others)]
    means = [each.reshape(len(cavs), -1, len(cavs)).mean(1) for each in groups]
    return {
        "pixels": np.concatenate(dreams),
        "concepts": np.stack([images[0] for images in others]),
        "similarity": np.stack([*means, np.broadcast_to(noise, means[0].shape)]),
        "recognised": recognised(dreams, config, size, seed),
        "recognised images": recognised(others, config, size, seed),
    }


def dream(model: LoadedModel, direction: CAV, start: Array, config: Config, seed: int) -> np.ndarray:
    """The image whose activations extend farthest along a CAV, (1, S, S, 3) uint8."""
    target = targets.direction(direction.layer, direction.vector)
    form = maximisation_baselines.shortened(config.form, config.steps)
    found = maximisation_baselines.maximise(model, config.mean, target, start, form, 1, seed)
    return model.to_pixels(found["images"])


def recognised(sets: Sequence[np.ndarray], config: Config, size: int, seed: int) -> np.ndarray:
    """Whether the evaluation network finds the image of each concept, (C, n), among the n-th images of all `sets`.

    By logistic regression on features averaged over positions, fitted to the images that the CAVs separate from others:
    the image to which it gives the concept the highest probability.
    """
    other = models.load(config.evaluation_network)
    represent = network.features(other.net, config.evaluation_layer)

    def represented(images):
        return evaluation_networks.features(represent, other.preprocess(list(images)))

    examples = [represented(textures.images(name, config.examples, size, 3 * seed)) for name in config.concepts]
    labels = np.repeat(np.arange(len(examples)), config.examples)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with gram.single_threaded_blas():
        classifier.fit(np.concatenate(examples), labels)
        scores = np.stack([classifier.predict_log_proba(represented(images)) for images in sets])
    return (scores.argmax(0) == np.arange(len(sets))).T


def similarities(model: LoadedModel, cavs: Mapping[str, CAV], x: Array) -> np.ndarray:
    """Cosine similarities (N, C) of images with each CAV."""
    with tempfile.TemporaryDirectory() as cache_dir:
        return np.stack([cav.similarity(model.net, each, x, cache_dir) for each in cavs.values()], 1)


def dreams_panel(found, config):
    """A column for each concept: an image of it, and the dreams of each seed."""
    panels = [list(each / 255) for each in (found[0]["concepts"], *(part["pixels"] for part in found))]
    rows = ["an image of\nthe concept", *(f"dream,\nseed {seed}" for seed in config.seeds)]
    caption = (
        "Above: an image of each concept that was not used for its CAV. Below: images from noise, optimised so that "
        f"their activations in {config.layer} extend along the CAV."
    )
    figure = plots.grid(panels, config.concepts, rows, size=1.5)[0]
    return Panel("dreams", figure, caption, "Drawn patterns above colourful dreams.")


def similarities_panel(similarity, config):
    """Mean cosines (3, C, C) as tables: of each group's images, with each CAV."""
    figure, (axes,) = figures.axes(1, len(GROUPS), (3.3, 3.4), sharey=True)
    largest, limits = abs(similarity).max(), (-abs(similarity).max(), abs(similarity).max())
    for axis, values, name in zip(axes, similarity, GROUPS, strict=True):
        figures.matrix(axis, values, config.concepts, config.concepts, limits, "RdBu_r")
        for (row, column), value in np.ndenumerate(values):
            colour = "w" if abs(value) > 0.6 * largest else "k"
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
        axis.set_title(name, fontsize=9)
    axes[0].set_ylabel("images of", fontsize=8)
    axes[len(GROUPS) // 2].set_xlabel("CAV of", fontsize=8)
    caption = (
        "Cosine similarity of the activations of dreams of each concept, of drawn images of it, and of the initial "
        "noise with the CAV of each concept: means over seeds. If dreams show their own concept only, the diagonal has "
        "the largest value of each row."
    )
    return Panel("similarities", figure, caption, "Three tables of similarities, red if positive, blue if negative.")


def findings(similarity: np.ndarray) -> tuple[list[Number], list[Claim]]:
    """Similarities (S, 3, C, C) of all seeds: with the own CAV, and with the nearest other one."""
    own = np.diagonal(similarity, axis1=2, axis2=3)
    others = np.where(np.eye(similarity.shape[-1], dtype=bool), -np.inf, similarity).max(-1)
    numbers = []
    for group, name in enumerate(GROUPS):
        numbers.append(Number.mean(f"similarity with their own concept: {name}", own[:, group].mean(-1)))
        if name != "noise":
            numbers.append(Number.mean(f"similarity with the nearest other: {name}", others[:, group].mean(-1)))
    return numbers, claims(own, others)


def claims(own: np.ndarray, others: np.ndarray) -> list[Claim]:
    """Claims from similarities (S, 3, C) of dreams, images of concepts and noise; tested over seeds and concepts."""
    source = "section 4.1.2 (the measure is ours)"
    nearest, beyond = own[:, 0] > others[:, 0], own[:, 0] > own[:, 1]
    return [
        Claim(
            "A dream is more similar to its own concept than to any other, to the layer.",
            source,
            statistics.binomial(nearest),
            "dreams of all concepts and seeds, by the cosine with the concepts' CAVs; so are "
            f"{(own[:, 1] > others[:, 1]).mean():.0%} of the means of drawn images",
        ),
        Claim(
            "A dream is more similar to its concept than images of the concept are, to the layer.",
            source,
            statistics.binomial(beyond),
            "dreams of all concepts and seeds, by the cosine with the CAV, against the mean of drawn images",
        ),
    ]


def recognition_claims(dreams: np.ndarray, config: Config) -> list[Claim]:
    """Claims from whether dreams (S, C, 1) are identified; by people they were not."""
    independent = config.evaluation_network != config.network
    recognised = statistics.binomial(dreams, 1 / len(config.concepts))
    share = f"{_detectable_share(dreams.size, len(config.concepts)):.0%}"
    return [
        Claim(
            "Among dreams, another network identifies that of each concept.",
            "section 4.1.2 (with a network in place of people)",
            statistics.where(independent, recognised, "the network that dreams is the one that identifies"),
            f"concepts, by {config.evaluation_layer} of {config.evaluation_network}; with 80% power, more than {share} "
            "are found",
        ),
        Claim(
            "Dreams show people what a CAV stands for.",
            "section 4.1.2",
            statistics.inconclusive("no study with people was made"),
            f"with 80% power, {dreams.size} choices of one of {len(config.concepts)} dreams would show that more than "
            f"{share} are recognised",
        ),
    ]


def _detectable_share(count: int, concepts: int) -> float:
    """Least probability of success at which the binomial test of `count` choices is significant in 80 %."""
    needed = int(stats.binom.isf(statistics.LEVEL, count, 1 / concepts)) + 1
    shares = np.linspace(1 / concepts, 1, 1000)
    return float(shares[np.argmax(stats.binom.sf(needed - 1, count, shares) >= statistics.POWER)])


def plan(config: Config) -> list[dry_run.Step]:
    """Activations of the layer for concepts and random images, and the steps of dreams."""

    def gradient(net: Any, x: Array) -> Array:
        return jax.grad(lambda x: network.features(net, config.layer)(x).sum())(x)

    form = maximisation_baselines.shortened(config.form, config.steps)
    steps = len(config.seeds) * len(config.concepts) * form.steps
    return [
        sorting.activations_step(config, len(config.concepts) * (config.examples + config.held_out)),
        dry_run.forward(config.network, 1, steps, gradient, name="steps of dreams"),
        dry_run.forward(
            config.evaluation_network,
            config.examples,
            2 * len(config.seeds) * len(config.concepts),
            lambda net, x: network.features(net, config.evaluation_layer)(x),
            name="features of another network",
        ),
    ]


EXPERIMENT = Experiment[Config](
    name="kim2018/dream",
    title="Dreams along CAVs",
    figure="section 4.1.2, empirical deep dream",
    paper=papers.KIM2018,
    summary=(
        "What does a CAV stand for? From noise, an image is optimised so that a layer's activations extend along it, "
        "in Fourier coefficients with jitter. CAVs separate drawn colours and textures from others and from "
        "photographs. How similar are dreams to all CAVs, and does another network, trained on images of the concepts, "
        "identify them?"
    ),
    run=run,
    plan=plan,
    minutes=2.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
