"""Images sorted by how much they look like a concept to a network (Kim et al. 2018, section 4.1.1)."""

import tempfile
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from sklearn.metrics import roc_auc_score

from experiments.kim2018 import concept_images
from experiments.lib import dry_run, runner
from experiments.lib.runner import Claim, Number
from xai_jax import activation_cache, cav, models, network, plots
from xai_jax.concepts.cav import CAV
from xai_jax.data import textures
from xai_jax.models import LoadedModel

GOOD = 0.8  # area under the curve that a sorting should reach, fixed before any result
SHOWN = 6  # images at each end


class Pictures(NamedTuple):
    """Photographs (N, S, S, 3) uint8, and what is planted in each: the number of a concept, or -1."""

    images: np.ndarray
    planted: np.ndarray


def run(config: Any, run: runner.Run) -> None:
    """For each seed learns a direction for each concept, and sorts photographs along it."""
    model, size = models.load(config.network, config.weights), models.abstract(config.network)[2][0]
    found = []
    for seed in run.progress(config.seeds, "seeds"):
        found.append(run.stage(f"seed-{seed}", partial(one_seed, model, size, config, seed)))
    shown = pictures(config, size, config.seeds[0])
    run.figure("marked", *figure(shown, found[0]["similarity"], config, shown.planted >= 0, "photographs with a mark"))
    run.figure("plain", *figure(shown, found[0]["similarity"], config, shown.planted < 0, "photographs as they are"))
    report(run, np.stack([areas(each["similarity"], each["planted"]) for each in found]), config)


def one_seed(model: LoadedModel, size: int, config: Any, seed: int) -> dict[str, np.ndarray]:
    """Cosines (C, N) of photographs with the direction of each concept, and what is planted in them, (N,)."""
    shown = pictures(config, size, seed)
    x = model.preprocess(list(shown.images))
    with tempfile.TemporaryDirectory() as cache_dir:
        known = directions(model, config, size, seed, cache_dir)
        cosines = [cav.similarity(model.net, each, x, cache_dir) for each in known.values()]
    return {"similarity": np.stack(cosines), "planted": shown.planted}


def directions(model: LoadedModel, config: Any, size: int, seed: int, cache_dir: str) -> dict[str, CAV]:
    """The CAV of each concept in `config.layer`, told from random images of its kind; in the order of the kinds."""
    found = {}
    for kind in concept_images.drawn(config.concepts, config.examples, config.random, size, seed):
        random = model.preprocess(list(kind.random))
        for name, images in kind.concepts.items():
            if name != kind.null:
                x = model.preprocess(list(images))
                with concept_images.stopping_early():
                    found[name] = cav.learn(model.net, config.layer, name, x, random, seed=seed, cache_dir=cache_dir)
    return {name: found[name] for name in config.concepts}


def pictures(config: Any, size: int, seed: int) -> Pictures:
    """`marked` photographs for each concept, a quarter of whose area shows it, anywhere, and `plain` ones without."""
    count = config.marked * len(config.concepts)
    images = concept_images.photographs(config.images, count + config.plain, size, 3 * seed)
    planted = np.repeat([*range(len(config.concepts)), -1], [*[config.marked] * len(config.concepts), config.plain])
    half, rng = size // 2, np.random.default_rng(seed)
    marks = [textures.images(name, config.marked, size, 3 * seed + 2**20) for name in config.concepts]
    for image, mark in zip(images[:count], np.concatenate(marks), strict=True):
        top, left = rng.integers(size - half + 1, size=2)
        image[top : top + half, left : left + half] = mark[:half, :half]
    return Pictures(images, planted)


def areas(similarity: np.ndarray, planted: np.ndarray) -> np.ndarray:
    """Of each concept (C,) the area under the curve: how often a photograph that shows it comes before another."""
    return np.array([roc_auc_score(planted == number, own) for number, own in enumerate(similarity)])


def figure(shown: Pictures, similarity: np.ndarray, config: Any, chosen: np.ndarray, what: str) -> tuple:
    """A row for each concept: the most similar of the chosen photographs on the left, the least on the right."""
    places, few = np.flatnonzero(chosen), min(SHOWN, int(chosen.sum()) // 2)
    panels = []
    for own in similarity:
        order = places[np.argsort(-own[places], kind="stable")]
        ends = [list(shown.images[order[part]] / 255) for part in (slice(few), slice(-few, None))]
        panels.append([*ends[0], None, *ends[1]])
    columns = ["most similar", *[""] * few, "least similar"]
    drawn, _ = plots.grid(panels, columns, config.concepts, size=0.85)
    caption = (
        f"{what.capitalize()}, sorted by how similar the layer {config.layer} finds them to each concept (cosine with "
        "the concept's direction). None of them was used to learn a direction."
    )
    return drawn, caption, "A row of photographs for each concept, the most similar and the least similar ones."


def report(run: runner.Run, areas: np.ndarray, config: Any) -> None:
    """Areas (S, C) under the curves of all seeds and concepts, and what follows."""
    for name, own in zip(config.concepts, areas.T, strict=True):
        run.numbers.append(Number.mean(f"photographs with {name} come first: area under the curve", own))
    run.claims.append(sorts(areas))
    run.claims.append(
        Claim(
            "Sorting shows what a network takes for a concept, biases too.",
            "section 4.1.1 (CEOs by stripes, models by neckties)",
            None,
            "no images of people are sorted here; to judge photographs as they are is left to the eye",
        )
    )


def sorts(areas: np.ndarray) -> Claim:
    """True where the mean area over concepts is good in every seed, False where it is in none."""
    good = areas.mean(1) >= GOOD
    return Claim(
        "Sorted by a concept's direction, images that show the concept come first.",
        "section 4.1.1 (the measure is ours)",
        True if good.all() else False if not good.any() else None,
        f"area under the curve, mean over {areas.shape[1]} concepts: {_values(areas.mean(1))} for each seed, at least "
        f"{GOOD} is asked for; 0.5 is chance; worst concept {areas.mean(0).min():.2f}",
    )


def _values(values):
    return ", ".join(f"{value:.2f}" for value in values)


def plan(config: Any) -> list[dry_run.Step]:
    """What the layer answers to concepts, random images and photographs."""
    return plan_answers(config, len(config.concepts) * (config.examples + config.marked) + config.plain)


def plan_answers(config: Any, images: int) -> list[dry_run.Step]:
    """What `config.layer` answers to so many images, and to random ones of two kinds, for all seeds."""
    module, variables, shape = models.abstract(config.network)
    x = jax.ShapeDtypeStruct((activation_cache.BATCH_SIZE, *shape), jnp.float32)

    def answers(variables: Any, x: Array) -> dict[str, Array]:
        return network.capture(Partial(module.apply, variables), x, [config.layer])[1]

    calls = -(-(images + 2 * config.random) // activation_cache.BATCH_SIZE) * len(config.seeds)
    return [dry_run.Step("activations of the layer", answers, (variables, x), calls)]


EXPERIMENT = runner.Experiment(
    name="kim2018/sorting",
    title="Images sorted by a concept",
    figure="section 4.1.1, sorting images",
    paper="Kim et al. 2018, Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation "
    "Vectors (TCAV), arXiv 1711.11279",
    summary=(
        "A concept's direction in a layer tells its images from random ones of the same kind. How well a photograph's "
        "answers agree with the direction (their cosine) puts photographs in order. To measure how good the order is, "
        "a mark is put into photographs: a square of half their side, anywhere, that shows a colour or a texture. "
        "Photographs with a concept's mark should come before those with other marks and without. The network's "
        "directions were learnt from whole images of drawn colours and textures, never from photographs. "
        "What area under the curve counts as good was fixed before any result. The photographs are crops of "
        "scikit-image's dozen, so that some show the same thing."
    ),
    run=run,
    plan=plan,
    minutes=1,
    order=6,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
