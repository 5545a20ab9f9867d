"""Lesions that graders of diabetic retinopathy depend on, and the effect of wrong labels (Kim et al. 2018)."""

from functools import partial

import numpy as np

from configs.kim2018.retinopathy import Config
from experiments.kim2018 import agreement, over_seeds, retinas, retinopathy_figures, small_networks
from experiments.kim2018.over_seeds import MEAN, SCORE
from experiments.lib import dry_run, papers, statistics
from experiments.lib.report import Claim, Number, Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import targets, tcav
from xai_jax.core.network import Network
from xai_jax.data import retina
from xai_jax.data.datasets import Dataset
from xai_jax.data.retina import PROLIFERATIVE, Mislabelled

GRADERS = ("right labels", "wrong labels")
LEVELS = range(len(retina.CLASSES))
ACCURATE = 0.7  # least accuracy on a level for its scores to be compared with the definition
CLEAR = 0.15  # least association of a lesion and a level, either way, for the definition to have a sign
AGREED = 0.9  # fraction of significant scores that is claimed to have the definition's sign
FEWEST = 10  # such scores, for the claim to be tested
KNOWN = 0.5  # least effect of a lesion alone on the probability of level 4 for the grader to know the lesion
UNTRAINED = "a grader was not trained to the accuracy required, or there is one seed"


def run(config: Config, work: Workspace) -> Report:
    """Trains both graders for each seed, and measures with TCAV on which lesions each level depends."""
    found = [work.stage(f"seed-{seed}", partial(one_seed, config, work, seed)) for seed in config.seeds]
    joined = {name: np.stack([each[name] for each in found]) for name in found[0]}
    values, controls = (joined[name][:, :, MEAN] for name in ("values", "controls"))
    tests = {"p": over_seeds.p_values(values, controls), "side": over_seeds.sides(values, controls)}
    signs = over_seeds.signs(values, controls)
    panels = [
        retinopathy_figures.levels_panel(joined, signs, associations(config), config),
        retinopathy_figures.definition_panel(joined, signs, associations(config), config),
        retinopathy_figures.graders_panel(joined["predicted"]),
        retinopathy_figures.examples_panel(*example_rows(config), config),
    ]
    return Report(numbers(joined, signs, config), claims(joined, signs, tests, config), panels)


def label_errors(config: Config) -> tuple[Mislabelled | None, Mislabelled | None]:
    """The errors in the training labels of each grader."""
    return None, tuple(config.wrong)


def associations(config: Config) -> np.ndarray:
    """Associations of each of C lesions with each label, by each grader's labels: (2, 5, C)."""
    return np.array(
        [
            [[retina.association(k, lesion, wrong) for lesion in config.lesions] for k in LEVELS]
            for wrong in label_errors(config)
        ]
    )


def one_seed(config: Config, work: Workspace, seed: int) -> dict[str, np.ndarray]:
    """Of both graders: confusion matrices on images with right labels, "predicted" (2, 5, 5); and TCAV.

    `effect` (2, 5, C): how much more probable a level is for retinas with one lesion alone than for healthy ones.
    `values` (2, 3, L, 5, C, J), `controls` (..., M, J), CAVs' `accuracy` (2, L, C).
    """
    sets, test, parts = retinas.lesions(config, seed), retinas.test_images(config, None, seed), []
    graders = list(zip(GRADERS, label_errors(config), strict=True))
    for name, wrong in work.progress(graders, f"graders of seed {seed}"):
        checkpoint_dir = work.training(f"{name.split()[0]}-{seed}")
        net = small_networks.trained(retinas.training_images(config, wrong, seed), config, checkpoint_dir, seed)
        usual = retinas.test_images(config, wrong, seed)
        truth = {"predicted": confusion(net, test), "effect": effect(net, *sets)}
        parts.append(truth | explained(net, usual, sets, config, seed))
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def confusion(net: Network, data: Dataset) -> np.ndarray:
    """(5, 5): of each level's images, the fraction that is predicted to be of each level."""
    predicted, labels = [], []
    for start in range(0, len(data), small_networks.BATCH):
        part = [data[index] for index in range(start, min(start + small_networks.BATCH, len(data)))]
        predicted.append(small_networks.predictions(net, np.stack([image for image, _ in part])))
        labels += [label for _, label in part]
    return small_networks.confusion(np.concatenate(predicted), np.array(labels), len(LEVELS))


def effect(net: Network, shown: dict[str, np.ndarray], healthy: np.ndarray) -> np.ndarray:
    """The effect of a lesion alone, (5, C): the mean probability of each level minus that for healthy retinas."""
    alone = [small_networks.probabilities(net, images).mean(0) for images in shown.values()]
    return (np.stack(alone) - small_networks.probabilities(net, healthy).mean(0)).T


def explained(net: Network, usual: Dataset, sets: tuple, config: Config, seed: int) -> dict[str, np.ndarray]:
    """TCAV, at test images that are labelled like the training images."""
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


def example_rows(config: Config) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Test images of each level, and images of each lesion beside healthy retinas."""
    seed = config.seeds[0]
    data, (shown, healthy) = retinas.test_images(config, None, seed), retinas.lesions(config, seed)
    some = {name: retinas.of_level(data, level, 8) for level, name in enumerate(retina.CLASSES)}
    return some, {"healthy": healthy[:8]} | {name: images[:8] for name, images in shown.items()}


def accuracy_by_level(predicted: np.ndarray) -> np.ndarray:
    """The accuracy on each level, (S, 2, 5)."""
    return np.diagonal(predicted, axis1=-2, axis2=-1)


def agreement_with_definition(
    found: dict[str, np.ndarray], signs: np.ndarray, config: Config
) -> tuple[int, np.ndarray]:
    """Of the first grader in the shown layer: the number of comparable scores, and whether significant ones agree.

    A score (seed, level, lesion) is comparable where the grader is accurate and the definition has a clear sign.
    """
    own, true = signs[:, 0, config.layers.index(config.shown)], associations(config)[0]
    comparable = (accuracy_by_level(found["predicted"])[:, 0] >= ACCURATE)[..., None] & (abs(true) >= CLEAR)
    return int(comparable.sum()), (own == np.sign(true))[comparable & (own != 0)]


def numbers(found: dict[str, np.ndarray], signs: np.ndarray, config: Config) -> list[Number]:
    """Accuracy by level, scores of levels 1 and 4, contradictions of the definition, and correlations."""
    at, true, result = config.layers.index(config.shown), np.sign(associations(config)[0]), []
    scores, clear = found["values"][:, :, SCORE, at].mean(-1), abs(associations(config)[0]) >= CLEAR
    for number, grader in enumerate(GRADERS):
        accuracy = accuracy_by_level(found["predicted"])[:, number]
        result += [Number.mean(f"{grader}: accuracy on level {level}", accuracy[:, level]) for level in LEVELS]
        result += [
            Number.mean(f"{grader}: TCAV of {lesion} for level {level}", scores[:, number, level, which])
            for level in (1, 4)
            for which, lesion in enumerate(config.lesions)
        ]
        contradicting = ((signs[:, number, at] == -true) & clear).sum(-1)
        result += [
            Number.mean(f"{grader}: lesions whose sign contradicts the definition, level {level}", each)
            for level, each in enumerate(contradicting.T)
        ]
        rho = agreement.rank_correlations(scores[:, number, ..., None], found["effect"][:, number])
        result.append(Number.mean(f"{grader}: rank correlation of score and effect of a lesion alone", rho[:, 0]))
    for which, layer in enumerate(config.layers):
        accuracy = found["accuracy"][:, :, which].mean((1, 2))
        result.append(Number.mean(f"accuracy of CAVs of lesions on held-out images, {layer}", accuracy))
    return result


def claims(
    found: dict[str, np.ndarray], signs: np.ndarray, tests: dict[str, np.ndarray], config: Config
) -> list[Claim]:
    """Claims about the grader trained on right labels, as in the paper's figure, and about the one on wrong labels.

    `tests` are corrected p-values and sides of all scores, (S, 2, L, 5, C) each.
    """
    ready = len(config.seeds) > 1 and bool((accuracy_by_level(found["predicted"])[:, 0].mean(-1) >= ACCURATE).all())
    comparable, agreeing = agreement_with_definition(found, signs, config)
    definition = Claim(
        "Where the grader is accurate, TCAV agrees with the definition of the levels.",
        "the section on diabetic retinopathy; the count is ours",
        statistics.where(ready and len(agreeing) >= FEWEST, statistics.binomial(agreeing, AGREED), UNTRAINED),
        f"of {comparable} comparable scores, those that are significant, with the sign of the definition (levels with "
        f"an accuracy of {100 * ACCURATE:g} % or more, lesions with an association of {CLEAR:g} or more, "
        f"{len(config.seeds)} seeds)",
    )
    level_4 = level_4_claims(found, signs, tests, ready, config)
    return [definition, *level_4, *level_1_claims(tests, ready, config)]


def verdict(tests, grader, level, lesion, config, side=1):
    """Whether a mean derivative in the shown layer is significantly above (or below) healthy retinas in every seed."""
    index = (slice(None), grader, config.layers.index(config.shown), level, config.lesions.index(lesion))
    return over_seeds.verdict(tests["p"][index], side * tests["side"][index])


def level_4_claims(found, signs, tests, ready, config):
    """That level 4 depends on the lesions that define it, and not on microaneurysms."""
    known = [name for name in PROLIFERATIVE if name in config.lesions and _is_known(found, name, config)]
    above = statistics.all_of([verdict(tests, 0, 4, name, config) for name in known]) if known else None
    shown, small = config.layers.index(config.shown), config.lesions.index("microaneurysms")
    return [
        Claim(
            "Level 4 depends positively on the lesions that define it and that the grader knows.",
            "the same, level 4",
            statistics.where(ready and bool(known), above, UNTRAINED),
            f"{', '.join(known) or 'no lesion'}, which alone raise the probability of level 4 by {KNOWN:g} or more",
        ),
        Claim(
            "Level 4 does not depend positively on microaneurysms.",
            "the same, level 4",
            statistics.at_most((signs[:, 0, shown, 4, small] == 1).sum(), 0, applies=ready),
            f"seeds of {len(config.seeds)} with a significantly positive score",
        ),
    ]


def level_1_claims(tests, ready, config):
    """That level 1 is as defined with right labels, and depends on haemorrhages with wrong ones."""
    small = verdict(tests, 0, 1, "microaneurysms", config)
    below, misled = verdict(tests, 0, 1, "haemorrhages", config, -1), verdict(tests, 1, 1, "haemorrhages", config)
    return [
        Claim(
            "With right labels, level 1 depends positively on microaneurysms and negatively on haemorrhages.",
            "the same, level 1 as doctors define it",
            statistics.where(ready, statistics.all_of([small, below]), UNTRAINED),
            "mean derivatives against healthy retinas",
        ),
        Claim(
            "A grader whose level 1 is inconsistent shows it: level 1 depends positively on haemorrhages, of level 2.",
            "the same, level 1",
            statistics.where(ready, statistics.all_of([misled, below]), UNTRAINED),
            "mean derivatives against healthy retinas: positive with wrong labels, negative with right ones",
        ),
    ]


def _is_known(found, lesion, config):
    return found["effect"][:, 0, 4, config.lesions.index(lesion)].mean() >= KNOWN


def plan(config: Config) -> list[dry_run.Step]:
    """Training and evaluation of all graders, and activations for images of lesions and levels."""
    images = (config.controls + 2 + len(config.lesions)) * config.examples + len(LEVELS) * config.explained
    graders = len(GRADERS) * len(config.seeds)
    return small_networks.plan(config, len(LEVELS), config.side, graders, images + config.checked)


EXPERIMENT = Experiment[Config](
    name="kim2018/retinopathy",
    title="Does a grader of retinopathy rely on the doctors' concepts?",
    figure="the section on diabetic retinopathy",
    paper=papers.KIM2018,
    summary=(
        "Doctors grade diabetic retinopathy in five levels, by lesions. The paper's images are not public: lesions are "
        "drawn on a photograph of a healthy retina, with known probabilities at each level. TCAV of a grader is "
        "compared with this definition, and with that of a second grader, most of whose images with label 1 show "
        "level 2."
    ),
    run=run,
    plan=plan,
    minutes=5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
