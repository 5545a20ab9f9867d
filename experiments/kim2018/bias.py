"""Whether TCAV finds an attribute that a class should not depend on, where its strength is known (Kim et al. 2018)."""

from functools import partial

import numpy as np

from configs.kim2018.bias import Config
from experiments.kim2018 import agreement, bias_figures, caption_networks, over_seeds, small_networks
from experiments.kim2018.caption_networks import Pictures
from experiments.kim2018.over_seeds import MEAN, SCORE
from experiments.lib import dry_run, papers, statistics
from experiments.lib.report import Claim, Number, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.workspace import exact
from xai_jax import targets, tcav
from xai_jax.core.network import Network
from xai_jax.data import planted
from xai_jax.data.datasets import Dataset, InMemory

TRAINED = 0.6  # least accuracy on images like the training images for claims to be tested; chance level is 1/3
ERRORS = 0.05  # fraction of attributes without association that may be significant
UNTRAINED = "a network was not trained to the accuracy required, or there is one seed"


def run(config: Config, work: Workspace) -> Report:
    """Trains a network for each share and seed, with attributes pasted on images, and measures TCAV of them."""
    shown = pictures(config)
    found = [work.stage(f"seed-{seed}", partial(one_seed, shown, config, work, seed)) for seed in config.seeds]
    joined = {name: np.stack([each[name] for each in found]) for name in found[0]}
    signs = over_seeds.signs(joined["values"][:, :, MEAN], joined["controls"][:, :, MEAN])
    panels = [
        bias_figures.strengths_panel(joined, signs, config),
        bias_figures.effects_panel(joined, signs, config),
        bias_figures.examples_panel(example_rows(shown, config), config),
    ]
    return Report(numbers(joined, config), claims(joined, signs, config), panels)


def pictures(config: Config) -> Pictures:
    """Images of the classes: of a data set, or composites of cut-outs, with other objects to test than to train."""
    composed = config.data == caption_networks.COMPOSITES
    return caption_networks.composed(config, config.side) if composed else caption_networks.pictures(config)


def attributes(config: Config) -> tuple[str, str]:
    """The attribute associated with the first class, and the one associated with none."""
    return config.biased, config.irrelevant


def chances(share: float, config: Config) -> dict[str, tuple[float, ...]]:
    """Probabilities of attributes in each class; over all classes they are 1 in K and 1 in 2 for any share."""
    others = len(config.classes) - 1
    return {config.biased: (share, *[(1 - share) / others] * others), config.irrelevant: (0.5,) * (others + 1)}


def associations(config: Config) -> np.ndarray:
    """The planted associations of N networks, K classes and 2 attributes, (N, K, 2)."""
    rows = [chances(share, config) for share in config.shares]
    labels = range(len(config.classes))
    return np.array([[[planted.association(row[a], k) for a in attributes(config)] for k in labels] for row in rows])


def one_seed(shown: Pictures, config: Config, work: Workspace, seed: int) -> dict[str, np.ndarray]:
    """The `behaviour` of N networks, and TCAV of K classes and 2 attributes in L layers.

    `values` (N, 3, L, K, 2, J), `controls` (..., M, J).
    """
    sets = concept_sets(shown.training, config, seed)
    parts = []
    for share in work.progress(config.shares, f"networks of seed {seed}"):
        net = trained(shown.training, share, config, work, seed)
        usual = with_attributes(shown.test, chances(share, config), config, 2 * seed + 1)
        parts.append(behaviour(net, shown.test, usual, config, seed) | explained(net, usual, sets, config, seed))
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def trained(pictures: Dataset, share: float, config: Config, work: Workspace, seed: int) -> Network:
    """The network trained on images with this bias. All networks see the same images in the same order."""
    data = with_attributes(pictures, chances(share, config), config, 2 * seed)
    return small_networks.trained(data, config, work.training(f"share-{exact(share)}-{seed}"), seed)


def with_attributes(pictures: Dataset, likely: planted.Chances, config: Config, seed: int) -> InMemory:
    """Images with attributes, in memory."""
    data = planted.planted(pictures, likely, config.side, seed)
    return InMemory(*data.arrays(), data.classes)


def concept_sets(pictures: Dataset, config: Config, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Images with each attribute, and random ones without any, all of all classes, so that nothing else differs."""
    shown = {
        name: planted.images(pictures, name, config.examples, config.side, 1000 * seed + number)
        for number, name in enumerate(attributes(config))
    }
    pool = (config.controls + 2) * config.examples
    return shown, planted.images(pictures, None, pool, config.side, 1000 * seed + len(shown))


def behaviour(net: Network, pictures: Dataset, usual: InMemory, config: Config, seed: int) -> dict[str, np.ndarray]:
    """The ground truth, on the same test images with and without each attribute, the other one as rare as it is.

    `effect` (K, 2): the change of the mean probability of a class by the attribute. `accuracy` (2, 2): with the
    attribute on all images, and on none. `usual accuracy`: on images like the training images.
    """
    classes, effect, accuracy = len(config.classes), [], []
    for name in attributes(config):
        both = [with_attributes(pictures, {name: (float(on),) * classes}, config, 2 * seed + 1) for on in (True, False)]
        present, absent = (small_networks.probabilities(net, each.images) for each in both)
        effect.append((present - absent).mean(0))
        predicted = zip((present, absent), both, strict=True)
        accuracy.append([(each.argmax(1) == data.labels).mean() for each, data in predicted])
    usual_accuracy = (small_networks.predictions(net, usual.images) == usual.labels).mean()
    return {"effect": np.stack(effect, 1), "accuracy": np.array(accuracy), "usual accuracy": usual_accuracy}


def explained(net: Network, usual: InMemory, sets: tuple, config: Config, seed: int) -> dict[str, np.ndarray]:
    """TCAV, at test images with attributes as frequent as in the training images."""
    concepts, random = (
        {name: small_networks.inputs(images) for name, images in sets[0].items()},
        small_networks.inputs(sets[1]),
    )
    own = [usual.images[usual.labels == label][: config.explained] for label in range(len(config.classes))]
    classes = {
        name: (targets.logit(label), small_networks.inputs(own[label])) for label, name in enumerate(config.classes)
    }
    scores = tcav.measure(
        net, config.layers, concepts, random, classes, runs=config.runs, controls=config.controls, seed=seed
    )
    return {"values": scores.values, "controls": scores.controls, "CAV accuracy": scores.accuracy.mean(-1)}


def example_rows(shown: Pictures, config: Config) -> dict[str, np.ndarray]:
    """Training images of the least and the most biased network, and images of the concepts, by the rows' titles."""
    rows, seed = {}, config.seeds[0]
    for share in (config.shares[0], config.shares[-1]):
        data = planted.planted(shown.training, chances(share, config), config.side, 2 * seed)
        for label in (0, 1):
            own = [i for i in range(len(data)) if data.label(i) == label][: bias_figures.COLUMNS]
            title = f"{config.biased} on {100 * share:.0f} %:\n{config.classes[label]}"
            rows[title] = np.stack([data[i][0] for i in own])
    concepts, random = concept_sets(shown.training, config, seed)
    return rows | {f"concept\n{name}": images for name, images in concepts.items()} | {"random": random}


def scores(found: dict[str, np.ndarray]) -> np.ndarray:
    """TCAV scores (S, N, L, K, 2), means over runs."""
    return found["values"][:, :, SCORE].mean(-1)


def correlations(found: dict[str, np.ndarray], config: Config) -> dict[str, np.ndarray]:
    """Spearman's, (S,), of scores in the shown layer with the planted association and with the effect of pasting.

    `strength`: the biased attribute, over networks and classes. `first`: the same for the first class alone; `mean`:
    and of the mean derivative in place of the score. `effect`: both attributes, over networks and classes.
    """
    at, seeds = config.layers.index(config.shown), len(config.seeds)
    own, derivatives = (found["values"][:, :, which, at].mean(-1) for which in (SCORE, MEAN))
    truth = np.broadcast_to(associations(config), own.shape)
    pairs = {
        "strength": (own[..., 0], truth[..., 0]),
        "first": (own[:, :, :1, 0], truth[:, :, :1, 0]),
        "mean": (derivatives[:, :, :1, 0], truth[:, :, :1, 0]),
        "effect": (own, found["effect"]),
    }
    flat = {name: [each.reshape(seeds, 1, -1) for each in pair] for name, pair in pairs.items()}
    return {name: agreement.rank_correlations(v[..., None], t)[:, 0] for name, (v, t) in flat.items()}


CORRELATIONS = {
    "strength": "score and planted association, over networks and classes",
    "first": "score and planted association, over networks, for the first class",
    "mean": "mean derivative and planted association, over networks, for the first class",
    "effect": "score and effect of pasting, over networks, classes and attributes",
}


def numbers(found: dict[str, np.ndarray], config: Config) -> list[Number]:
    """Accuracies, effects, scores and correlations."""
    at, own, result = config.layers.index(config.shown), scores(found), []
    for number, share in enumerate(config.shares):
        name = f"{config.biased} on {100 * share:.0f} % of {config.classes[0]}"
        usual = found["usual accuracy"][:, number]
        result.append(Number.mean(f"{name}: accuracy on images like the training images", usual))
        for which, attribute in enumerate(attributes(config)):
            change = found["accuracy"][:, number, which, 0] - found["accuracy"][:, number, which, 1]
            effect = found["effect"][:, number, 0, which]
            score = own[:, number, at, 0, which]
            result += [
                Number.mean(f"{name}: change of accuracy by a {attribute} pasted on all images", change),
                Number.mean(f"{name}: change of the first class's probability by a {attribute}", effect),
                Number.mean(f"{name}: TCAV of the {attribute} for the first class, {config.shown}", score),
            ]
    rho = correlations(found, config)
    return result + [Number.mean(f"rank correlation of {text}", rho[name]) for name, text in CORRELATIONS.items()]


def claims(found: dict[str, np.ndarray], signs: np.ndarray, config: Config) -> list[Claim]:
    """Claims about the planted attribute; `signs` are those of all tests, (S, N, L, K, 2)."""
    ready = len(config.seeds) > 1 and bool((found["usual accuracy"] >= TRAINED).all())
    at, rho = config.layers.index(config.shown), correlations(found, config)
    strongest = found["values"][:, -1, MEAN, at, 0, 0].mean(-1)
    control = found["controls"][:, -1, MEAN, at, 0, 0].mean((-2, -1))
    null = np.broadcast_to(associations(config)[:, None] == 0, signs.shape[1:])
    significant = (signs[:, -1, at, 0, 0] == 1).sum()
    return [
        Claim(
            "TCAV finds the attribute that was planted in a class.",
            "section 1, the biases that TCAV should find",
            statistics.where(ready, statistics.t_test(strongest, control), UNTRAINED),
            f"{config.biased} on {100 * config.shares[-1]:.0f} % of {config.classes[0]}, mean derivatives against "
            f"random sets in {config.shown}, over seeds; significant by itself in {significant} of {len(config.seeds)}",
        ),
        Claim(
            "TCAV rejects attributes that are equally frequent in all classes.",
            "section 3.5",
            statistics.where(ready, statistics.binomial(signs[:, null] != 0, ERRORS, "less"), UNTRAINED),
            "tests without association that are significant, of all layers and seeds",
        ),
        Claim(
            "The stronger the planted bias, the higher the score.",
            "section 4.3, by another attribute",
            statistics.where(ready, agreement.close_match(rho["strength"]), UNTRAINED),
            CORRELATIONS["strength"],
        ),
        Claim(
            "TCAV matches the network's behaviour when attributes are pasted on images.",
            "section 4.3, by another attribute",
            statistics.where(ready, agreement.close_match(rho["effect"]), UNTRAINED),
            CORRELATIONS["effect"],
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """Training and evaluation of all networks, and activations of layers."""
    images = (config.controls + 4) * config.examples + len(config.classes) * config.explained + 5 * config.checked
    networks = len(config.shares) * len(config.seeds)
    return small_networks.plan(config, len(config.classes), config.side, networks, images, resident=config.images)


EXPERIMENT = Experiment[Config](
    name="kim2018/bias",
    title="Does TCAV find what a class should not depend on?",
    figure="the example of the doctors (not in the paper as an experiment)",
    paper=papers.KIM2018,
    summary=(
        "A known bias is planted: networks are trained on fruit, flowers and mammals on photographs, with a badge "
        "pasted on a third, a half, or more of the first class, and a star on half of every class. Does TCAV find the "
        "badge and reject the star? Scores are compared with the planted associations and the effects of pasting."
    ),
    run=run,
    plan=plan,
    minutes=2.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
