"""TCAV scores of images and captions beside the ground truth of networks (Kim et al. 2018, section 4.3)."""

import itertools
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from configs.kim2018.captions import Config
from experiments.kim2018 import agreement, caption_figures, caption_networks, small_networks
from experiments.kim2018.agreement import accuracies, correlations, difference, mean_scores
from experiments.kim2018.caption_networks import Pictures
from experiments.kim2018.over_seeds import MEAN, SCORE
from experiments.lib import dry_run, papers, statistics
from experiments.lib.report import Claim, Number, Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import significance, targets, tcav
from xai_jax.data import captions, datasets
from xai_jax.data.captions import Canvas
from xai_jax.io import csv_file

CONCEPTS = ("image", "caption")
TRAINED = 0.7  # least accuracy on images like the training images, for claims to be tested
UNTRAINED = "a network was not trained to the accuracy required, or there is one seed"


class Sets(NamedTuple):
    """A concept's images and the random ones of its CAV, uint8 (n, H, W, 3)."""

    concept: np.ndarray
    random: np.ndarray


def run(config: Config, work: Workspace) -> Report:
    """Trains four networks for each seed, and measures their accuracy without captions and TCAV."""
    shown = caption_networks.pictures(config)
    found = [work.stage(f"seed-{seed}", partial(one_seed, shown, config, work, seed)) for seed in config.seeds]
    joined = {name: np.stack([each[name] for each in found]) for name in found[0]}
    p = agreement.p_values(joined)
    panels = [
        caption_figures.scores_panel(joined, p, config),
        caption_figures.layers_panel(joined, p, config),
        caption_figures.truth_panel(joined, config),
        caption_figures.examples_panel(example_rows(shown, config), config),
    ]
    return Report(numbers(joined, p, config), claims(joined, config), panels, {"scores.csv": table(joined, p, config)})


def one_seed(shown: Pictures, config: Config, work: Workspace, seed: int) -> dict[str, np.ndarray]:
    """Of the four networks: confusion matrices without and with captions, "predicted" (4, 2, K, K), and TCAV.

    `values` (4, K, 2, statistics, layers, runs), `controls` (..., layers, sets, runs), CAVs' `accuracy` (..., layers),
    of K classes and 2 concepts.
    """
    nets = caption_networks.trained(shown, config, seed, work)
    sets = [concept_sets(shown.training, label, config, seed) for label in range(len(config.classes))]
    pairs = list(zip(nets.values(), caption_networks.noises(config).values(), strict=True))
    parts = [one_network(net, noise, shown, sets, config, seed) for net, noise in work.progress(pairs, "TCAV")]
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def concept_sets(pictures: Any, label: int, config: Config, seed: int) -> list[Sets]:
    """The image and the caption of a class against those of the other classes, so that nothing else differs.

    Both sets of the first have no captions; both sets of the second have shuffled pixels of images of any class.
    """
    canvas, pool = Canvas(*config.canvas), (config.controls + 2) * config.examples
    classes, words = list(config.classes), list(config.words)
    name, word = classes.pop(label), words.pop(label)
    own, others = datasets.only(pictures, [name]), datasets.only(pictures, classes)
    seeds = [100 * seed + 10 * label + number for number in range(4)]
    bare, shuffled = captions.without_captions, captions.captions_alone
    return [
        Sets(bare(own, config.examples, seeds[0], canvas), bare(others, pool, seeds[1], canvas)),
        Sets(
            shuffled(pictures, [word], config.examples, seeds[2], canvas),
            shuffled(pictures, words, pool, seeds[3], canvas),
        ),
    ]


def one_network(net, noise, shown, sets, config, seed):
    """Confusion matrices and TCAV of one network."""
    bare, usual = (caption_networks.test_images(shown, kind, config, seed) for kind in (None, noise))
    predicted = [
        small_networks.confusion(small_networks.predictions(net, data.images), data.labels, len(config.classes))
        for data in (bare, usual)
    ]
    found = []
    for label, pairs in enumerate(sets):
        images = small_networks.inputs(usual.images[usual.labels == label][: config.explained])
        found += [_measure(net, pair, images, label, config, seed) for pair in pairs]
    shape = len(sets), len(CONCEPTS)
    joined = {name: np.stack([each[name] for each in found]) for name in found[0]}
    return {"predicted": np.stack(predicted)} | {k: v.reshape(*shape, *v.shape[1:]) for k, v in joined.items()}


def _measure(net, pair, images, label, config, seed):
    concept, random = (small_networks.inputs(each) for each in pair)
    scores = tcav.measure(
        net,
        config.layers,
        {"concept": concept},
        random,
        {config.words[label]: (targets.logit(label), images)},
        runs=config.runs,
        controls=config.controls,
        seed=seed,
    )
    return {
        "values": scores.values[:, :, 0, 0],
        "controls": scores.controls[:, :, 0, 0],
        "accuracy": scores.accuracy[:, 0].mean(-1),
    }


def table(found: dict[str, np.ndarray], p: dict[str, np.ndarray], config: Config) -> bytes:
    """All scores of all seeds as CSV: means over runs, and p after correction (see `agreement.p_values`)."""
    means = found["values"].mean(-1)
    axes = config.seeds, list(caption_networks.noises(config)), config.words, CONCEPTS, config.layers
    columns = {
        "score": means[:, :, :, :, SCORE],
        "mean_derivative": means[:, :, :, :, MEAN],
        "p_controls": p["controls"],
        "p_half": p["half"],
        "accuracy_of_cavs": found["accuracy"],
    }
    values = zip(*(each.ravel().tolist() for each in columns.values()), strict=True)
    rows = [[*names, *row] for names, row in zip(itertools.product(*axes), values, strict=True)]
    return csv_file.encode([["seed", "network", "class", "concept", "layer", *columns], *rows])


def example_rows(shown: Pictures, config: Config) -> dict[str, np.ndarray]:
    """Some training images of each network, and of both concepts of the first class, by the rows' titles."""
    few = datasets.OnDisk("the first", caption_figures.COLUMNS, shown.training.__getitem__, shown.training.classes)
    first = config.seeds[0]
    rows = {
        name: caption_networks.captioned(few, noise, config, 2 * first).images
        for name, noise in caption_networks.noises(config).items()
    }
    for name, pair in zip(CONCEPTS, concept_sets(shown.training, 0, config, first), strict=True):
        rows |= {f"{name} concept\n{config.words[0]}": pair.concept, f"{name},\nother classes": pair.random}
    return rows


def numbers(found: dict[str, np.ndarray], p: dict[str, np.ndarray], config: Config) -> list[Number]:
    """Accuracies, scores, correlations and significant fractions."""
    accuracy, scores, at, result = accuracies(found), mean_scores(found), config.layers.index(config.shown), []
    for number, name in enumerate(caption_networks.noises(config)):
        for kind, values in zip(("without captions", "with captions"), accuracy[:, number].swapaxes(0, 1), strict=True):
            result.append(Number.mean(f"{name}: accuracy {kind}", values.mean(1)))
        for which, concept in enumerate(CONCEPTS):
            own = scores[:, number, :, which, at].mean(1)
            result.append(Number.mean(f"{name}: TCAV of the {concept}s, {config.shown}", own))
    informed, rho = agreement.informedness(found), correlations(found)
    pairs = {
        f"the same of the image's score alone, {config.shown}": (scores[:, :, :, 0], accuracy[:, :, 0]),
        f"the same of the difference and informedness, {config.shown}": (difference(found), informed),
        f"the same of mean derivatives' difference and it, {config.shown}": (difference(found, MEAN), informed),
    }
    result += [
        Number.mean(f"rank correlation of score difference and accuracy, {layer}", rho[:, which])
        for which, layer in enumerate(config.layers)
    ]
    result += [Number.mean(name, agreement.rank_correlations(*pair)[:, at]) for name, pair in pairs.items()]
    for name, reference in (("controls", "random sets"), ("half", "0.5, the paper's test")):
        fraction = (p[name] <= significance.LEVEL).mean((1, 2, 3, 4))
        result.append(Number.mean(f"share of scores that differ from {reference}", fraction))
    return result


def claims(found: dict[str, np.ndarray], config: Config) -> list[Claim]:
    """The paper's three claims about its figure; open if networks were not trained well, or for one seed."""
    at, levels = config.layers.index(config.shown), len(config.noises)
    ready = len(config.seeds) > 1 and bool((accuracies(found)[:, :, 1].mean(-1) >= TRAINED).all())
    image, lead = mean_scores(found)[:, :levels, :, 0, at], difference(found)[:, :levels, :, at]
    ahead = [statistics.binomial(lead[..., k] > 0) for k in range(lead.shape[-1])]
    rising = [statistics.page_trend(-image[..., k]) for k in range(image.shape[-1])]
    return [
        Claim(
            "TCAV closely matches the ground truth.",
            "Figure 5",
            statistics.where(ready, agreement.close_match(correlations(found)[:, at]), UNTRAINED),
            "image's minus caption's score and accuracy without captions, over networks and classes",
        ),
        Claim(
            "For one class, the paper's cab, the image matters more than the caption whatever the noise.",
            "Figure 5",
            statistics.where(ready, statistics.any_of(ahead), UNTRAINED),
            f"networks of all noises and seeds in which the image's score is higher, in {config.shown}, by class "
            f"({', '.join(config.words)})",
        ),
        Claim(
            "For one class, the paper's cucumber, the image's score rises with the noise.",
            "Figure 5",
            statistics.where(ready, statistics.any_of(rising), UNTRAINED),
            f"trend over {levels} noises with seeds as replicates, in {config.shown}, by class "
            f"({', '.join(config.words)})",
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """Training and evaluation of all networks, and activations for concepts, random images and classes."""
    images = len(CONCEPTS) * ((config.controls + 3) * config.examples + config.explained)
    module, shape = caption_networks.module(config), Canvas(*config.canvas).shape
    step = small_networks.activations_step(module, config.layers, shape, images)
    step = step._replace(repeats=step.repeats * len(caption_networks.noises(config)) * len(config.classes))
    steps = [*caption_networks.plan(config), step]
    return [step._replace(repeats=step.repeats * len(config.seeds)) for step in steps]


EXPERIMENT = Experiment[Config](
    name="kim2018/captions",
    title="Does TCAV identify what a network relies on?",
    figure="Figure 5, the controlled experiment",
    paper=papers.KIM2018,
    summary=(
        "Networks are trained on three classes of images with captions: always right, sometimes wrong, random, or "
        "none. Accuracy without captions is the ground truth of what a network relies on. TCAV is measured for two "
        "concepts of each class, its images without captions and its word over shuffled pixels, each against the "
        "other classes'."
    ),
    run=run,
    plan=plan,
    minutes=14,
)

if __name__ == "__main__":
    main(EXPERIMENT)
