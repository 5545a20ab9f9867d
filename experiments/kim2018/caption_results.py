"""Numbers, claims and the table of the controlled experiment (Kim et al. 2018, section 4.3).

Arrays are those of `agreement`.
"""

import itertools

import numpy as np
from scipy import stats

from configs.kim2018.captions import Config
from experiments.kim2018 import agreement, caption_networks
from experiments.kim2018.agreement import READINGS, RELATIVE, SCORES, rank_correlations
from experiments.kim2018.over_seeds import MEAN, SCORE
from experiments.lib import statistics
from experiments.lib.report import Claim, Number
from xai_jax import significance
from xai_jax.io import csv_file

TRAINED = 0.7  # least accuracy on images like the training images, for claims to be tested
UNTRAINED = "a network was not trained to the accuracy required, or there is one seed"
FOLLOWED = 0.6  # rank correlation with decisions in cue conflicts that relative TCAV is claimed to exceed


def table(found: dict[str, np.ndarray], p: dict[str, np.ndarray], config: Config) -> bytes:
    """All readings of all seeds as CSV: means over runs, and p after correction (see `agreement.p_values`)."""
    axes = config.seeds, list(caption_networks.noises(config)), config.words, READINGS, config.layers
    columns = {
        "score": agreement.means(found, SCORE),
        "mean_derivative": agreement.means(found, MEAN),
        "p_controls": p["controls"],
        "p_half": p["half"],
        "accuracy_of_cavs": found["accuracy"],
    }
    values = zip(*(each.ravel().tolist() for each in columns.values()), strict=True)
    rows = [[*names, *row] for names, row in zip(itertools.product(*axes), values, strict=True)]
    return csv_file.encode([["seed", "network", "class", "reading", "layer", *columns], *rows])


def numbers(found: dict[str, np.ndarray], p: dict[str, np.ndarray], config: Config) -> list[Number]:
    """Truths, readings, correlations and significant fractions, in the shown layer."""
    result = [
        number
        for index, name in enumerate(caption_networks.noises(config))
        for number in _of_network({key: each[:, index] for key, each in found.items()}, name, config)
    ]
    at, accuracy = config.layers.index(config.shown), agreement.accuracies(found)[:, :, 0]
    truths = {"accuracy without captions": accuracy, "cue conflicts": agreement.conflict(found)}
    for (truth, true), (reading, values) in itertools.product(truths.items(), agreement.readings(found).items()):
        rho = rank_correlations(values, true)[:, at]
        interval = f"; over seeds {statistics.over_seeds(rho)}"
        result.append(Number.mean(f"rank correlation of {reading} and {truth}, {config.shown}", rho, interval))
    rising = agreement.rises(relative_means(found, config))
    result.append(Number("share of seeds in which relative TCAV rises with the noise at every step", rising.mean()))
    for name, reference in (("controls", "random sets"), ("half", "0.5, the paper's test")):
        fraction = (p[name] <= significance.LEVEL).mean((1, 2, 3, 4))
        note = "; equal scores of all runs, whose p is that of the sign test, cannot" if name == "half" else ""
        result.append(Number.mean(f"share of readings that differ from {reference}", fraction, note))
    return result


def _of_network(found, name, config):
    """Means over classes, of arrays of one network (S, ...)."""
    at, result = config.layers.index(config.shown), []
    accuracy = np.diagonal(found["predicted"], axis1=-2, axis2=-1).mean(-1)
    for which, kind in enumerate(("without captions", "with captions")):
        result.append(Number.mean(f"{name}: accuracy {kind}", accuracy[:, which]))
    for which, cue in enumerate(("picture", "caption")):
        result.append(Number.mean(f"{name}: cue conflicts decided by the {cue}", found["followed"][..., which].mean(1)))
    values = found["values"][..., at, :].mean((1, -1))  # (S, R, statistics)
    for which, reading in enumerate(READINGS):
        result.append(Number.mean(f"{name}: TCAV, {reading}, {config.shown}", values[:, which, SCORE]))
        result.append(Number.mean(f"{name}: mean derivative, {reading}, {config.shown}", values[:, which, MEAN]))
    return result


def relative_means(found: dict[str, np.ndarray], config: Config) -> np.ndarray:
    """Relative TCAV in the shown layer, the mean over classes, of the networks in the order of their noise (S, N)."""
    return agreement.readings(found)[RELATIVE][:, : len(config.noises), :, config.layers.index(config.shown)].mean(2)


def claims(found: dict[str, np.ndarray], config: Config) -> list[Claim]:
    """The paper's claims and ours; inconclusive if networks were not trained well, or for one seed."""
    ready = len(config.seeds) > 1 and bool((agreement.accuracies(found)[:, :, 1].mean(-1) >= TRAINED).all())
    tested = [*truth_claims(found, config), *pattern_claims(found, config)]
    made = [
        Claim(text, source, statistics.where(ready, verdict, UNTRAINED), by) for text, source, verdict, by in tested
    ]
    return [*made, null_claim(agreement.null_p_values(found)[..., config.layers.index(config.shown)])]


Tested = tuple[str, str, statistics.Verdict, str]


def truth_claims(found: dict[str, np.ndarray], config: Config) -> list[Tested]:
    """Whether readings match the truths: claim, source, verdict and what was measured."""
    at, readings = config.layers.index(config.shown), agreement.readings(found)
    scores = rank_correlations(readings[SCORES], agreement.accuracies(found)[:, :, 0])[:, at]
    relative = rank_correlations(readings[RELATIVE], agreement.conflict(found))[:, at]
    rising = relative_means(found, config)
    return [
        (
            "TCAV closely matches the ground truth.",
            "section 4.3",
            agreement.close_match(scores),
            "image's minus caption's score and accuracy without captions, over networks and classes",
        ),
        (
            "Relative TCAV, of the image against the caption, matches what networks follow in cue conflicts.",
            "section 3.6, and ours",
            statistics.within(statistics.over_seeds(relative), FOLLOWED, np.inf),
            "rank correlations over networks and classes, their mean over seeds",
        ),
        (
            "The more noise in the captions, the higher relative TCAV.",
            "section 4.3, and ours",
            statistics.page_trend(-rising),
            "means over classes, with seeds as replicates; in "
            f"{agreement.rises(rising).sum()} of {len(rising)} seeds it never falls from one noise to the next",
        ),
    ]


def pattern_claims(found: dict[str, np.ndarray], config: Config) -> list[Tested]:
    """Whether some class shows the pattern of the paper's cab, or of its cucumber."""
    at, levels = config.layers.index(config.shown), len(config.noises)
    image = agreement.means(found)[:, :levels, :, 0, at]
    lead = agreement.readings(found)[SCORES][:, :levels, :, at]
    ahead = [statistics.binomial(lead[..., k] > 0) for k in range(lead.shape[-1])]
    rising = [statistics.page_trend(-image[..., k]) for k in range(image.shape[-1])]
    by_class = f"in {config.shown}, by class ({', '.join(config.words)})"
    return [
        (
            "For one class, the paper's cab, the image matters more than the caption whatever the noise.",
            "section 4.3",
            statistics.any_of(ahead),
            f"networks of all noises and seeds in which the image's score is higher, {by_class}; scores are equal in "
            f"{(lead == 0).mean():.0%}",
        ),
        (
            "For one class, the paper's cucumber, the image's score rises with the noise.",
            "section 4.3",
            statistics.any_of(rising),
            f"trend over {levels} noises with seeds as replicates, {by_class}",
        ),
    ]


def null_claim(p: np.ndarray) -> Claim:
    """Whether significant random sets are no more frequent than the upper end of the binomial interval of the level."""
    low, high = stats.binom.interval(1 - significance.LEVEL, p.size, significance.LEVEL) / np.float64(p.size)
    return Claim(
        "Random sets in place of the concepts are significant in one test of twenty.",
        "section 3.5",
        statistics.at_most((p <= significance.LEVEL).mean(), high),
        f"share of {p.size} tests, not corrected; 95 % binomial interval of the level {low:.3f} to {high:.3f}",
    )
