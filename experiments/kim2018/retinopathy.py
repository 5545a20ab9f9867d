"""Lesions that graders of diabetic retinopathy look at, and what wrong labels do to them (Kim et al. 2018)."""

from functools import partial
from typing import Any

import numpy as np

from experiments.kim2018 import agreement, over_seeds, retinas, retinopathy_figures, small_networks
from experiments.kim2018.over_seeds import MEAN, SCORE
from experiments.lib import dry_run, runner
from experiments.lib.runner import Claim, Number
from xai_jax import targets, tcav
from xai_jax.core.network import Network
from xai_jax.data import retina
from xai_jax.data.datasets import Dataset
from xai_jax.data.retina import PROLIFERATIVE, Mislabelled

GRADERS = ("right labels", "wrong labels")
LEVELS = range(len(retina.CLASSES))
ACCURATE = 0.7  # share of a level's images that are graded right, for its scores to be compared with the definition
CLEAR = 0.15  # least association of a lesion and a level, either way, for the definition to have a sign
AGREED = 0.9  # share of significant scores that must have the definition's sign
FEWEST = 10  # such scores, for the share to tell anything
KNOWN = 0.5  # least rise of the probability of level 4 by a lesion alone, for the grader to know that it belongs there


def run(config: Any, run: runner.Run) -> None:
    """Trains both graders for each seed, and asks TCAV which lesions speak for which level."""
    found = [run.stage(f"seed-{seed}", partial(one_seed, config, run, seed)) for seed in config.seeds]
    joined = {name: np.stack([each[name] for each in found]) for name in found[0]}
    signs = over_seeds.signs(joined["values"][:, :, MEAN], joined["controls"][:, :, MEAN])
    run.figure("levels", *retinopathy_figures.levels(joined, signs, associations(config), config))
    run.figure("definition", *retinopathy_figures.definition(joined, signs, associations(config), config))
    run.figure("graders", *retinopathy_figures.graders(joined["named"]))
    run.figure("examples", *retinopathy_figures.examples(*example_rows(config), config))
    report(run, joined, signs, config)


def labels_of(config: Any) -> tuple[Mislabelled | None, Mislabelled | None]:
    """What is wrong with the labels that each grader learns from."""
    return None, tuple(config.wrong)


def associations(config: Any) -> np.ndarray:
    """How much likelier each of C lesions is with a label than with others, by each grader's labels: (2, 5, C)."""
    return np.array(
        [
            [[retina.association(k, lesion, wrong) for lesion in config.lesions] for k in LEVELS]
            for wrong in labels_of(config)
        ]
    )


def one_seed(config: Any, run: runner.Run, seed: int) -> dict[str, np.ndarray]:
    """Of both graders: how images with right labels are graded, `named` (2, 5, 5); and TCAV of all levels and lesions.

    `effect` (2, 5, C): by how much a level is likelier for eyes with a lesion alone than for healthy ones. `values`
    (2, 3, L, 5, C, J), `controls` (..., M, J), CAVs' `accuracy` (2, L, C).
    """
    sets, checked, parts = retinas.lesions(config, seed), retinas.to_test(config, None, seed), []
    for name, wrong in run.progress(list(zip(GRADERS, labels_of(config), strict=True)), f"graders of seed {seed}"):
        data, place = retinas.to_learn(config, wrong, seed), run.workdir / "training" / f"{name.split()[0]}-{seed}"
        net = small_networks.trained(data, config, place, seed)
        usual = retinas.to_test(config, wrong, seed)
        known = {"named": graded(net, checked), "effect": effect(net, *sets)}
        parts.append(known | explained(net, usual, sets, config, seed))
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def graded(net: Network, data: Dataset) -> np.ndarray:
    """(5, 5): of each level's images, the share that the grader gives each level."""
    answers, labels = [], []
    for start in range(0, len(data), small_networks.BATCH):
        part = [data[index] for index in range(start, min(start + small_networks.BATCH, len(data)))]
        answers.append(small_networks.probabilities(net, np.stack([image for image, _ in part])).argmax(1))
        labels += [label for _, label in part]
    return small_networks.named(np.concatenate(answers), np.array(labels), len(LEVELS))


def effect(net: Network, shown: dict[str, np.ndarray], healthy: np.ndarray) -> np.ndarray:
    """What a lesion alone does, (5, C): the mean probability of each level, less that for healthy eyes."""
    alone = [small_networks.probabilities(net, images).mean(0) for images in shown.values()]
    return (np.stack(alone) - small_networks.probabilities(net, healthy).mean(0)).T


def explained(net: Network, usual: Dataset, sets: tuple, config: Any, seed: int) -> dict[str, np.ndarray]:
    """TCAV, at test images that are labelled as those that the grader learnt from."""
    concepts, random = (
        {name: small_networks.inputs(images) for name, images in sets[0].items()},
        small_networks.inputs(sets[1]),
    )
    classes = {
        name: (targets.logit(level), small_networks.inputs(retinas.of_level(usual, level, config.explained)))
        for level, name in enumerate(retina.CLASSES)
    }
    scores = tcav.measure(
        net, config.layers, concepts, random, classes, runs=config.runs, controls=config.controls, seed=seed
    )
    return {"values": scores.values, "controls": scores.controls, "accuracy": scores.accuracy.mean(-1)}


def example_rows(config: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Test images of each level, and images of each lesion beside healthy eyes."""
    seed = config.seeds[0]
    data, (shown, healthy) = retinas.to_test(config, None, seed), retinas.lesions(config, seed)
    some = {name: retinas.of_level(data, level, 8) for level, name in enumerate(retina.CLASSES)}
    return some, {"healthy": healthy[:8]} | {name: images[:8] for name, images in shown.items()}


def right(named: np.ndarray) -> np.ndarray:
    """The share of each level that is graded right, (S, 2, 5)."""
    return np.diagonal(named, axis1=-2, axis2=-1)


def agreeing(found: dict[str, np.ndarray], signs: np.ndarray, config: Any) -> tuple[int, int, int]:
    """Of the first grader: comparable places in the shown layer, of these the significant ones, of these the agreeing.

    A place (seed, level, lesion) is comparable where the grader is accurate and the definition has a clear sign.
    """
    own, true = signs[:, 0, config.layers.index(config.shown)], associations(config)[0]
    comparable = (right(found["named"])[:, 0] >= ACCURATE)[..., None] & (abs(true) >= CLEAR)
    significant = comparable & (own != 0)
    return int(comparable.sum()), int(significant.sum()), int((significant & (own == np.sign(true))).sum())


def report(run: runner.Run, found: dict[str, np.ndarray], signs: np.ndarray, config: Any) -> None:
    """How well images are graded, scores of levels 1 and 4, contradictions of the definition, and the claims."""
    at, true = config.layers.index(config.shown), np.sign(associations(config)[0])
    scores = found["values"][:, :, SCORE, at].mean(-1)
    for number, grader in enumerate(GRADERS):
        run.numbers += [
            Number.mean(f"{grader}: level {level} graded right", right(found["named"])[:, number, level])
            for level in LEVELS
        ]
        run.numbers += [
            Number.mean(f"{grader}: TCAV of {lesion} for level {level}", scores[:, number, level, place])
            for level in (1, 4)
            for place, lesion in enumerate(config.lesions)
        ]
        against = (signs[:, number, at] == -true) & (abs(associations(config)[0]) >= CLEAR)
        run.numbers += [
            Number.mean(f"{grader}: lesions whose sign contradicts the definition, level {level}", each)
            for level, each in enumerate(against.sum(-1).T)
        ]
        rho = agreement.rank_correlations(scores[:, number, ..., None], found["effect"][:, number])
        run.numbers.append(Number.mean(f"{grader}: rank correlation of score and effect of a lesion alone", rho[:, 0]))
    for place, layer in enumerate(config.layers):
        accuracy = found["accuracy"][:, :, place].mean((1, 2))
        run.numbers.append(Number.mean(f"accuracy of CAVs of lesions on held-out images, {layer}", accuracy))
    run.claims += claims(found, signs, config)


def claims(found: dict[str, np.ndarray], signs: np.ndarray, config: Any) -> list[Claim]:
    """What TCAV says of the right grader, as in the paper's figure, and of the one that learnt from wrong labels."""
    own, seeds = signs[:, :, config.layers.index(config.shown)], len(config.seeds)
    tells = seeds > 1 and bool((right(found["named"])[:, 0].mean(-1) >= ACCURATE).all())
    comparable, significant, same = agreeing(found, signs, config)
    share = same / max(significant, 1)

    def of(grader, level, lesion):
        return own[:, grader, level, config.lesions.index(lesion)]

    known = [name for name in PROLIFERATIVE if name in config.lesions and _knows(found, name, config)]
    proliferative = np.array([of(0, 4, name) for name in known]).reshape(-1, seeds)
    small, blood, misled = (
        of(*each) for each in ((0, 1, "microaneurysms"), (0, 1, "haemorrhages"), (1, 1, "haemorrhages"))
    )
    return [
        Claim(
            "Where the grader is accurate, TCAV agrees with the definition of the levels.",
            "the section on diabetic retinopathy; the count is ours",
            share >= AGREED if tells and significant >= FEWEST else None,
            f"{same} of {significant} significant scores have the sign of the definition, out of {comparable} "
            f"(levels graded right for {100 * ACCURATE:g} % or more, lesions with an association of {CLEAR:g} or more, "
            f"{seeds} seeds); {100 * AGREED:g} % are asked for",
        ),
        Claim(
            "For level 4, TCAV is high for lesions that define it and that the grader knows, not for microaneurysms.",
            "the same, level 4",
            bool((proliferative == 1).all() and (of(0, 4, "microaneurysms") < 1).all()) if tells and known else None,
            f"of {', '.join(known) or 'no lesion'} (alone they raise the probability of level 4 by {KNOWN:g} or more), "
            f"{(proliferative == 1).sum()} of {proliferative.size} scores speak for it, those of microaneurysms in "
            f"{(of(0, 4, 'microaneurysms') == 1).sum()} of {seeds} seeds",
        ),
        Claim(
            "With right labels, microaneurysms alone speak for level 1, haemorrhages do not.",
            "the same, level 1 as doctors define it",
            bool((small == 1).all() and (blood < 1).all()) if tells else None,
            f"microaneurysms speak for it in {(small == 1).sum()}, haemorrhages in {(blood == 1).sum()} and against it "
            f"in {(blood == -1).sum()} of {seeds} seeds",
        ),
        Claim(
            "A grader whose level 1 is inconsistent shows it: haemorrhages, of level 2, speak for level 1.",
            "the same, level 1",
            bool((misled == 1).all() and (blood < 1).all()) if tells else None,
            f"with wrong labels they speak for it in {(misled == 1).sum()} of {seeds} seeds, with right ones in "
            f"{(blood == 1).sum()}",
        ),
    ]


def _knows(found, lesion, config):
    return found["effect"][:, 0, 4, config.lesions.index(lesion)].mean() >= KNOWN


def plan(config: Any) -> list[dry_run.Step]:
    """Training and tests of all graders, and what layers answer to images of lesions and levels."""
    images = (config.controls + 2 + len(config.lesions)) * config.examples + len(LEVELS) * config.explained
    return small_networks.plan(
        config, len(LEVELS), config.side, len(GRADERS) * len(config.seeds), images + config.checked
    )


EXPERIMENT = runner.Experiment(
    name="kim2018/retinopathy",
    title="Does a grader of retinopathy rely on the doctors' concepts?",
    figure="the section on diabetic retinopathy",
    paper="Kim et al. 2018, Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation "
    "Vectors (TCAV), arXiv 1711.11279",
    summary=(
        "Doctors grade diabetic retinopathy in five levels, by lesions on the retina. The paper's grader and its "
        "images are not public. Here lesions are drawn on a photograph of a healthy retina, so that it is known how "
        "likely each is at each level, and a grader learns the levels from such images. A concept is a lesion: eyes "
        "with this lesion alone, told from healthy eyes. TCAV says which lesions speak for a level or against it, and "
        "that is compared with the rule. A second grader learns from labels of which many are wrong on purpose: most "
        "images with label 1 show an eye of level 2. In the paper doctors saw from such a score, of haemorrhages for "
        "level 1, that a grader was mistaken. A score is significant where the mean derivative stands out among sets "
        "of healthy eyes in the lesion's place, after Holm's correction for all tests of a seed. What the claims ask "
        "for was fixed before any score was seen, but for one thing. Trials with another seed led to a wider hidden "
        "layer, in which small lesions are told apart, to more images of each lesion, and to asking of level 4 only "
        "for lesions that the grader knows, by what they do alone. Where TCAV is mistaken, it is about levels 2 and 3: "
        "lesions of level 4 speak for them, too, since any lesion tells an eye from healthy ones."
    ),
    run=run,
    plan=plan,
    minutes=10.5,
    order=6,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
