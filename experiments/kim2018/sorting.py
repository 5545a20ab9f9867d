"""Images sorted by their similarity to a concept (Kim et al. 2018, section 4.1.1)."""

import tempfile
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from sklearn.metrics import roc_auc_score

from configs.kim2018.sorting import Config
from experiments.kim2018 import concept_images
from experiments.lib import dry_run, papers, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import activation_cache, cav, models, network, plots
from xai_jax.concepts.cav import CAV
from xai_jax.data import textures
from xai_jax.models import LoadedModel

GOOD = 0.8  # area under the ROC curve that counts as good, fixed before any result
SHOWN = 6  # images at each end


class Photographs(NamedTuple):
    """Photographs (N, S, S, 3) uint8, and the number of the concept that is planted in each, or -1."""

    images: np.ndarray
    planted: np.ndarray


def run(config: Config, work: Workspace) -> Report:
    """For each seed fits a CAV for each concept, and sorts photographs along it."""
    model, size = models.load(config.network, config.weights), models.abstract(config.network)[2][0]
    found = []
    for seed in work.progress(config.seeds, "seeds"):
        found.append(work.stage(f"seed-{seed}", partial(one_seed, model, size, config, seed)))
    shown, similarity = photographs(config, size, config.seeds[0]), found[0]["similarity"]
    panels = [
        sorted_panel("marked", shown, similarity, config, shown.planted >= 0, "photographs with a mark"),
        sorted_panel("plain", shown, similarity, config, shown.planted < 0, "photographs without a mark"),
    ]
    return Report(*findings(np.stack([areas(each["similarity"], each["planted"]) for each in found]), config), panels)


def one_seed(model: LoadedModel, size: int, config: Config, seed: int) -> dict[str, np.ndarray]:
    """Cosine similarities (C, N) of photographs with the CAV of each concept, and what is planted in them, (N,)."""
    shown = photographs(config, size, seed)
    x = model.preprocess(list(shown.images))
    with tempfile.TemporaryDirectory() as cache_dir:
        cavs = fit_cavs(model, config, size, seed, cache_dir)
        cosines = [cav.similarity(model.net, each, x, cache_dir) for each in cavs.values()]
    return {"similarity": np.stack(cosines), "planted": shown.planted}


def fit_cavs(model: LoadedModel, config: Any, size: int, seed: int, cache_dir: str) -> dict[str, CAV]:
    """The CAV of each concept in `config.layer` against random images of its kind; in the order of the kinds."""
    found = {}
    for kind in concept_images.drawn(config.concepts, config.examples, config.random, size, seed):
        random = model.preprocess(list(kind.random))
        for name, images in kind.concepts.items():
            if name != kind.null:
                x = model.preprocess(list(images))
                with concept_images.stopping_early():
                    found[name] = cav.learn(model.net, config.layer, name, x, random, seed=seed, cache_dir=cache_dir)
    return {name: found[name] for name in config.concepts}


def photographs(config: Config, size: int, seed: int) -> Photographs:
    """`marked` photographs for each concept, which covers a quarter of their area, and `plain` ones without."""
    count = config.marked * len(config.concepts)
    images = concept_images.photographs(config.images, count + config.plain, size, 3 * seed)
    planted = np.repeat([*range(len(config.concepts)), -1], [*[config.marked] * len(config.concepts), config.plain])
    half, rng = size // 2, np.random.default_rng(seed)
    marks = [textures.images(name, config.marked, size, 3 * seed + 2**20) for name in config.concepts]
    for image, mark in zip(images[:count], np.concatenate(marks), strict=True):
        top, left = rng.integers(size - half + 1, size=2)
        image[top : top + half, left : left + half] = mark[:half, :half]
    return Photographs(images, planted)


def areas(similarity: np.ndarray, planted: np.ndarray) -> np.ndarray:
    """Of each concept (C,) the area under the ROC curve: how often a photograph with it ranks before another."""
    return np.array([roc_auc_score(planted == number, own) for number, own in enumerate(similarity)])


def sorted_panel(name, shown, similarity, config, chosen, description):
    """A row for each concept: the most similar of the chosen photographs on the left, the least on the right."""
    indices, few = np.flatnonzero(chosen), min(SHOWN, int(chosen.sum()) // 2)
    panels = []
    for own in similarity:
        order = indices[np.argsort(-own[indices], kind="stable")]
        ends = [list(shown.images[order[part]] / 255) for part in (slice(few), slice(-few, None))]
        panels.append([*ends[0], None, *ends[1]])
    columns = ["most similar", *[""] * few, "least similar"]
    figure, _ = plots.grid(panels, columns, config.concepts, size=0.85)
    caption = (
        f"{description.capitalize()}, sorted by the cosine similarity of their activations in {config.layer} with the "
        "CAV of each concept. None of them was used to fit a CAV."
    )
    alt = "A row of photographs for each concept, the most similar and the least similar ones."
    return Panel(name, figure, caption, alt)


def findings(areas: np.ndarray, config: Config) -> tuple[list[Number], list[Claim]]:
    """Areas (S, C) under the ROC curves of all seeds and concepts, and claims."""
    numbers = [
        Number.mean(f"photographs with {name} rank first: area under the ROC curve", own)
        for name, own in zip(config.concepts, areas.T, strict=True)
    ]
    biases = Claim(
        "Sorting reveals biases of the network.",
        "section 4.1.1 (CEOs by stripes, models by neckties)",
        statistics.inconclusive("no images of people are sorted here; plain photographs are shown, not tested"),
        "",
    )
    return numbers, [sorting_claim(areas), biases]


def sorting_claim(areas: np.ndarray) -> Claim:
    """That the area, the mean over concepts, is good; tested over seeds."""
    values = ", ".join(f"{value:.2f}" for value in areas.mean(1))
    return Claim(
        "Sorted by a concept's CAV, images that show the concept rank first.",
        "section 4.1.1 (the measure is ours)",
        statistics.t_test(areas.mean(1), GOOD),
        f"area under the ROC curve, mean over {areas.shape[1]} concepts: {values} for each seed, against {GOOD}; 0.5 "
        f"is chance level; worst concept {areas.mean(0).min():.2f}",
    )


def plan(config: Config) -> list[dry_run.Step]:
    """Activations of the layer for concepts, random images and photographs."""
    return [activations_step(config, len(config.concepts) * (config.examples + config.marked) + config.plain)]


def activations_step(config: Any, images: int) -> dry_run.Step:
    """Activations of `config.layer` for a number of images, and for random ones of two kinds, for all seeds."""

    def activations(net: Any, x: Array) -> dict[str, Array]:
        return network.capture(net, x, [config.layer])[1]

    batch_size = activation_cache.BATCH_SIZE
    calls = dry_run.calls(images + 2 * config.random, batch_size) * len(config.seeds)
    return dry_run.forward(config.network, batch_size, calls, activations, name="activations of the layer")


EXPERIMENT = Experiment[Config](
    name="kim2018/sorting",
    title="Images sorted by a concept",
    figure="section 4.1.1, sorting images",
    paper=papers.KIM2018,
    summary=(
        "Photographs are sorted by the cosine similarity of their activations with a CAV. To measure the order, a "
        "square of half their side that shows a colour or a texture is planted in some: photographs with a concept "
        "should rank before those with others and without. CAVs are fitted to drawn colours and textures, never to "
        "photographs."
    ),
    run=run,
    plan=plan,
    minutes=1,
)

if __name__ == "__main__":
    main(EXPERIMENT)
