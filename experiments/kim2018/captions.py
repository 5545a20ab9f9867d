"""TCAV of images and captions beside the truth about networks (Kim et al. 2018, section 4.3)."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from configs.kim2018.captions import Config
from experiments.kim2018 import agreement, caption_figures, caption_networks, caption_results, small_networks
from experiments.kim2018.agreement import READINGS
from experiments.kim2018.caption_networks import Conflict, Pictures
from experiments.lib import dry_run, papers
from experiments.lib.report import Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import targets
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.concepts.layer_scores import score_layer
from xai_jax.concepts.sampling import Sets
from xai_jax.core.network import Network
from xai_jax.data import captions, datasets
from xai_jax.data.captions import Canvas


class Concepts(NamedTuple):
    """Images of both concepts of a class, and random images for each, uint8 (n, H, W, 3)."""

    image: np.ndarray
    caption: np.ndarray
    images: np.ndarray
    captions: np.ndarray


def run(config: Config, work: Workspace) -> Report:
    """Trains networks on captions of every noise for each seed, and measures what they follow, and TCAV."""
    shown = caption_networks.pictures(config)
    found = [work.stage(f"seed-{seed}", partial(one_seed, shown, config, work, seed)) for seed in config.seeds]
    joined = {name: np.stack([each[name] for each in found]) for name in found[0]}
    p = agreement.p_values(joined)
    panels = [
        caption_figures.doses_panel(joined, config),
        caption_figures.scores_panel(joined, p, config),
        caption_figures.truth_panel(joined, config),
        caption_figures.layers_panel(joined, config),
        caption_figures.examples_panel(example_rows(shown, config), config),
    ]
    return Report(
        caption_results.numbers(joined, p, config),
        caption_results.claims(joined, config),
        panels,
        {"scores.csv": caption_results.table(joined, p, config)},
    )


def one_seed(shown: Pictures, config: Config, work: Workspace, seed: int) -> dict[str, np.ndarray]:
    """Of N networks: confusion matrices without and with captions, "predicted" (N, 2, K, K), what is "followed" in cue
    conflicts (N, K, 3), and TCAV of K classes, R readings, L layers.

    `values` (N, K, R, statistics, L, runs), `controls` (..., L, sets, runs), CAVs' `accuracy` (N, K, R, L).
    """
    nets = caption_networks.trained(shown, config, seed, work)
    concepts = [concept_images(shown.training, label, config, seed) for label in range(len(config.classes))]
    conflicting = caption_networks.conflicts(shown, config, seed)
    parts = []
    for name, noise in work.progress(caption_networks.noises(config).items(), "TCAV"):
        predicted = confusions(nets[name], shown, noise, config, seed)
        followed = caption_networks.followed(nets[name], conflicting)
        parts.append(
            {"predicted": predicted, "followed": followed} | explained(nets[name], conflicting, concepts, config, seed)
        )
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def concept_images(pictures: Any, label: int, config: Config, seed: int) -> Concepts:
    """The image and the caption of a class, and those of the other classes, so that nothing else differs.

    Images have no captions; captions are below shuffled pixels of images of any class.
    """
    canvas, pool = Canvas(*config.canvas), (config.controls + 2) * config.examples
    classes, words = list(config.classes), list(config.words)
    name, word = classes.pop(label), words.pop(label)
    own, others = datasets.only(pictures, [name]), datasets.only(pictures, classes)
    seeds = [100 * seed + 10 * label + number for number in range(4)]
    return Concepts(
        captions.without_captions(own, config.examples, seeds[0], canvas),
        captions.captions_alone(pictures, [word], config.examples, seeds[2], canvas),
        captions.without_captions(others, pool, seeds[1], canvas),
        captions.captions_alone(pictures, words, pool, seeds[3], canvas),
    )


def sets(concepts: Concepts, config: Config, seed: int) -> list[Sets]:
    """Rows of the concepts' images for each reading, as of `sampling.sample` and `sampling.sample_pairs`.

    Controls of the relative CAV, image against caption, are images against captions of the other classes. Images are
    in random order already, so that controls are consecutive rows, and few inner products are needed.
    """
    rng, count, ends = np.random.default_rng(seed), config.examples, np.cumsum([len(part) for part in concepts])
    image, caption, *pools = np.split(np.arange(ends[-1]), ends[:-1])
    controls, negatives = [], []
    for rows in pools:
        *substitutes, rest = np.split(rows, count * np.arange(1, config.controls + 1))
        controls.append(substitutes)
        negatives.append([rng.permutation(rest)[:count] for _ in range(config.runs)])
    own, *others = [[rows] * config.runs for rows in (caption, *controls[1])]
    return [
        Sets({"image": image}, negatives[0], controls[0]),
        Sets({"caption": caption}, negatives[1], controls[1]),
        Sets({"relative": image}, own, controls[0], others),
    ]


def confusions(net: Network, shown: Pictures, noise: float | None, config: Config, seed: int) -> np.ndarray:
    """Confusion matrices (2, K, K) on test images without captions, and with those of the network's own noise."""
    both = (caption_networks.test_images(shown, kind, config, seed) for kind in (None, noise))
    count = len(config.classes)
    return np.stack(
        [small_networks.confusion(small_networks.predictions(net, d.images), d.labels, count) for d in both]
    )


def explained(
    net: Network, conflicting: list[Conflict], concepts: list[Concepts], config: Config, seed: int
) -> dict[str, np.ndarray]:
    """TCAV of one network, at the cue conflicts: the same images for all networks, and those whose decisions count."""
    found = []
    for label, own in enumerate(concepts):
        images = [data.images[data.labels == label][: config.explained] for data, _ in conflicting]
        found.append(_measure(net, own, np.concatenate(images), label, config, seed))
    return {name: np.stack([each[name] for each in found]) for name in found[0]}


def _measure(net, concepts, images, label, config, seed):
    cache = ActivationCache(net, config.layers)
    activations = [cache.activations(small_networks.inputs(part)) for part in concepts]
    gradients, found = cache.gradients(small_networks.inputs(images), targets.logit(label)), []
    rows, classifier = (
        sets(concepts, config, seed),
        LogisticRegression(C=config.inverse_penalty, solver="newton-cholesky"),
    )
    for layer in config.layers:
        scores = score_layer([each[layer] for each in activations], [gradients[layer]], rows, classifier, seed)
        found.append([scores[name] for name in READINGS])
    return {
        "values": np.stack([[each.values[:, 0] for each in layer] for layer in found], 2),
        "controls": np.stack([[each.controls[:, 0] for each in layer] for layer in found], 2),
        "accuracy": np.stack([[each.accuracy.mean() for each in layer] for layer in found], 1),
    }


def example_rows(shown: Pictures, config: Config) -> dict[str, np.ndarray]:
    """Some training images, a cue conflict, and both concepts of the first class, by the rows' titles."""
    few = datasets.OnDisk("the first", caption_figures.COLUMNS, shown.training.__getitem__, shown.training.classes)
    first, names = config.seeds[0], caption_networks.noises(config)
    rows = {
        name: caption_networks.captioned(few, noise, config, 2 * first).images
        for name, noise in names.items()
        if noise in caption_figures.SHOWN
    }
    rows["cue conflict"] = caption_networks.conflicts(Pictures(few, few), config, first)[0][0].images
    concepts = concept_images(shown.training, 0, config, first)
    for name, own, others in zip(READINGS, concepts[:2], concepts[2:], strict=False):
        rows |= {f"{name} concept\n{config.words[0]}": own, f"{name},\nother classes": others}
    return rows


def plan(config: Config) -> list[dry_run.Step]:
    """Training and evaluation of all networks, and activations for concepts, random images and classes."""
    images = 2 * (config.controls + 3) * config.examples + (len(config.classes) - 1) * config.explained
    module, shape = caption_networks.module(config), Canvas(*config.canvas).shape
    step = small_networks.activations_step(module, config.layers, shape, images)
    step = step._replace(repeats=step.repeats * len(caption_networks.noises(config)) * len(config.classes))
    steps = [*caption_networks.plan(config), step]
    return [step._replace(repeats=step.repeats * len(config.seeds)) for step in steps]


EXPERIMENT = Experiment[Config](
    name="kim2018/captions",
    title="Does TCAV identify what a network relies on?",
    figure="section 4.3, the controlled experiment",
    paper=papers.KIM2018,
    summary=(
        "Networks are trained on three classes of images with captions, of which a growing share is wrong. What they "
        "rely on is known: accuracy without captions, and decisions where picture and caption disagree. TCAV is "
        "measured for both concepts of each class, by scores, mean derivatives and relative CAVs. Scores saturate; "
        "relative CAVs follow the decisions."
    ),
    run=run,
    plan=plan,
    minutes=6.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
