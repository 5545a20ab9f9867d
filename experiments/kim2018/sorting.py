"""Images sorted by their similarity to a concept (Kim et al. 2018, section 4.1.1)."""

import tempfile
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from configs.kim2018.sorting import Config
from experiments.kim2018 import concept_images, grey_objects, scenes, sorting_figures
from experiments.kim2018.concept_images import FITTED, PHOTOGRAPHS, SORTED
from experiments.lib import dry_run, papers, statistics
from experiments.lib.report import Claim, Number, Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import activation_cache, cav, gram, models, network
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.concepts.cav import CAV
from xai_jax.data import textures
from xai_jax.data.textures import HUES
from xai_jax.models import LoadedModel

CLASSIFIER = LogisticRegression(C=0.001, class_weight="balanced", max_iter=2000)
GOOD = 0.8  # area under the ROC curve that counts as good, fixed before any result


class Photographs(NamedTuple):
    """Photographs (N, S, S, 3) uint8, and the number of the concept that is planted in each, or -1."""

    images: np.ndarray
    planted: np.ndarray


def run(config: Config, work: Workspace) -> Report:
    """For each seed fits a CAV for each concept, and sorts photographs, and objects without their colours, along it."""
    model, found = models.load(config.network, config.weights), []
    size = model.input.shape[0]
    collected, objects = collection(config, size), grey_objects.load(config, size)
    sets = {"collection": collected} | ({"grey": objects.grey} if objects else {})
    with tempfile.TemporaryDirectory() as cache_dir:  # activations of the sets serve all seeds
        for seed in work.progress(config.seeds, "seeds"):
            found.append(work.stage(f"seed-{seed}", partial(one_seed, model, sets, size, config, cache_dir, seed)))
    means = {name: np.mean([each[name] for each in found], 0) for name in sets}
    marked, first = photographs(config, size, config.seeds[0]), found[0]
    there = marked.planted >= 0
    panels = [
        sorting_figures.sorted_panel("sorted", collected, means["collection"], config, "Images without a mark"),
        sorting_figures.sorted_panel(
            "marked", marked.images[there], first["similarity"][:, there], config, "Photographs with a mark"
        ),
    ]
    grey = None
    if objects:
        grey = means["grey"][[config.concepts.index(name) for name in objects.hues]]
        panels.insert(1, sorting_figures.grey_panel(objects, grey, config))
    numbers, claims = findings(np.stack([areas(each["similarity"], each["planted"]) for each in found]), config)
    return Report(numbers, [*claims, grey_objects.claim(objects, grey)], panels)


def collection(config: Config, size: int) -> np.ndarray:
    """Images without marks: photographs and cut-outs on them, or `plain` images of a data set."""
    if config.images == PHOTOGRAPHS:
        return scenes.everything(size, 0, SORTED)
    return concept_images.photographs(config.images, config.plain, size, 0)


def one_seed(
    model: LoadedModel, sets: dict[str, np.ndarray], size: int, config: Config, cache_dir: str, seed: int
) -> dict[str, np.ndarray]:
    """Cosine similarities (C, N) with the CAV of each concept: of photographs with marks, and of each of the `sets`.

    `planted` (N,) says which concept's mark a photograph has.
    """
    shown, found = photographs(config, size, seed), {}
    cavs = fit_cavs(model, config, size, seed, cache_dir)
    for name, images in ({"similarity": shown.images} | sets).items():
        x = model.preprocess(list(images))
        found[name] = np.stack([cav.similarity(model.net, each, x, cache_dir) for each in cavs.values()])
    return found | {"planted": shown.planted}


def fit_cavs(model: LoadedModel, config: Any, size: int, seed: int, cache_dir: str) -> dict[str, CAV]:
    """The CAV of each concept in `config.layer`: drawn images of it against others of its kind and photographs."""
    shown = {name: textures.images(name, config.examples, size, 3 * seed) for name in config.concepts}
    natural = concept_images.photographs(config.images, config.random, size, 3 * seed + 1, FITTED)
    x = model.preprocess(list(np.concatenate([*shown.values(), natural])))
    examples = gram.matrix([ActivationCache(model.net, config.layer, cache_dir).activations(x)[config.layer]])
    *own, photographed = np.split(np.arange(len(x)), config.examples * np.arange(1, len(shown) + 1))
    found, rows, fingerprint = {}, dict(zip(shown, own, strict=True)), activation_cache.fingerprint(model.net, x)
    for name in shown:
        others = [rows[other] for other in shown if other != name and (other in HUES) is (name in HUES)]
        few = min(config.examples, config.random // max(1, len(others)))
        negatives = np.concatenate([*(each[:few] for each in others), photographed])
        fitted = cav.fit(examples, rows[name], negatives, CLASSIFIER, seed)
        vector = cav.vector(examples, fitted).astype(examples.parts[0].dtype)
        found[name] = CAV(vector, fingerprint, config.layer, name, str(CLASSIFIER), fitted.accuracy)
    return found


def photographs(config: Config, size: int, seed: int) -> Photographs:
    """`marked` photographs for each concept, which covers a quarter of their area, and `plain` ones without."""
    count = config.marked * len(config.concepts)
    images = concept_images.photographs(config.images, count + config.plain, size, 3 * seed, SORTED)
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


def findings(areas: np.ndarray, config: Config) -> tuple[list[Number], list[Claim]]:
    """Areas (S, C) under the ROC curves of all seeds and concepts, and claims."""
    numbers = [
        Number.mean(f"photographs with {name} rank first: area under the ROC curve", own)
        for name, own in zip(config.concepts, areas.T, strict=True)
    ]
    return numbers, [sorting_claim(areas)]


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
    """Activations of the layer for concepts, random images, photographs, and once for images to sort."""
    per_seed = len(config.concepts) * (config.examples + config.marked) + config.plain
    every = len(scenes.table()[SORTED]) if config.images == PHOTOGRAPHS else config.plain
    return [activations_step(config, per_seed + dry_run.calls(every, len(config.seeds)))]


def activations_step(config: Any, images: int) -> dry_run.Step:
    """Activations of `config.layer` for a number of images and for photographs among the negatives, for all seeds."""

    def activations(net: Any, x: Array) -> dict[str, Array]:
        return network.capture(net, x, [config.layer])[1]

    batch_size = activation_cache.BATCH_SIZE
    calls = dry_run.calls(images + config.random, batch_size) * len(config.seeds)
    return dry_run.forward(config.network, batch_size, calls, activations, name="activations of the layer")


EXPERIMENT = Experiment[Config](
    name="kim2018/sorting",
    title="Images sorted by a concept",
    figure="section 4.1.1, sorting images",
    paper=papers.KIM2018,
    summary=(
        "Photographs and cut-outs are sorted by the cosine similarity of their activations with a CAV, which separates "
        "drawn colours or textures from others and from other photographs. To measure the order, a square that shows a "
        "concept is planted in some. Are objects in grey sorted by the colour that they lack?"
    ),
    run=run,
    plan=plan,
    minutes=1.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
