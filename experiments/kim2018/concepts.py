"""TCAV of colours and textures for classes of a network as it is (Kim et al. 2018, section 4.2)."""

import itertools
import math
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array
from scipy import stats

from configs.kim2018.concepts import Config
from experiments.kim2018 import concept_figures, concept_images, scenes
from experiments.kim2018.concept_images import PHOTOGRAPHS
from experiments.lib import dry_run, papers, statistics
from experiments.lib.report import Claim, Number, Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import activation_cache, models, network, significance, targets, tcav
from xai_jax.concepts import classifiers
from xai_jax.concepts.significance import Row
from xai_jax.concepts.tcav import Scores
from xai_jax.data.textures import Kind
from xai_jax.models import LoadedModel


def run(config: Config, work: Workspace) -> Report:
    """Measures all classes, concepts and layers for each seed, and tests them with the seeds' sets as samples."""
    model, size = models.load(config.network, config.weights), models.abstract(config.network)[2][0]
    shown, found = concept_images.class_images(config, model), []
    with tempfile.TemporaryDirectory() as cache_dir:  # gradients serve all seeds of a run
        for seed in work.progress(config.seeds, "seeds"):
            found.append(work.stage(f"seed-{seed}", partial(one_seed, model, shown, size, config, cache_dir, seed)))
    scores = over_seeds([Scores(**each) for each in found])
    rows = significance.table(scores, null="random", tested="mean")
    kinds = concept_images.kinds(config, size, config.seeds[0])
    files = {"scores.csv": significance.to_csv(rows)}
    marked = with_planned_tests(rows, planned_tests(scores, config))
    panels = [
        concept_figures.class_panel(marked, kinds, shown, config),
        concept_figures.scores_panel(marked, kinds, config),
        concept_figures.examples_panel(kinds, shown, config),
    ]
    return Report(*findings(scores, rows, kinds, config), panels, files)


def one_seed(
    model: LoadedModel, shown: dict[str, np.ndarray], size: int, config: Config, cache_dir: str, seed: int
) -> dict[str, Any]:
    """The fields of `Scores`, all kinds together."""
    kinds = concept_images.kinds(config, size, seed)
    return _joined([measure(model, kind, shown, config, cache_dir, seed) for kind in kinds])._asdict()


def measure(
    model: LoadedModel, kind: Kind, shown: dict[str, np.ndarray], config: Config, cache_dir: str, seed: int
) -> Scores:
    """TCAV of one kind of concepts for all classes."""
    classes = {
        name: (targets.logit(model.classes.index(name)), model.preprocess(list(images)))
        for name, images in shown.items()
    }
    concepts = {name: model.preprocess(list(images)) for name, images in kind.concepts.items()}
    random = model.preprocess(list(kind.random))
    setting = {"runs": config.runs, "controls": config.controls, "seed": seed, "cache_dir": cache_dir}
    with classifiers.stopping_early():
        return tcav.measure(model.net, config.layers, concepts, random, classes, **setting)


def _joined(parts: Sequence[Scores]) -> Scores:
    """Scores of other concepts for the same layers and classes, as one."""
    axes = {"concepts": 0, "values": 3, "controls": 3, "accuracy": 1, "held_out": 0, "chance": 0}
    return parts[0]._replace(
        **{name: np.concatenate([getattr(each, name) for each in parts], axis) for name, axis in axes.items()}
    )


def over_seeds(found: Sequence[Scores]) -> Scores:
    """Scores whose runs are seeds, each with images of its own: means over the runs of each.

    All seeds' sets of random images are controls. All runs of one seed share the concept's images, those of several
    do not, so that Student's t-test of seeds and controls ("random" in `significance`) tests whether sets of the
    concept's images differ from sets of random ones.
    """
    values, accuracy = (
        np.stack([getattr(each, name).mean(-1) for each in found], -1) for name in ("values", "accuracy")
    )
    controls = np.concatenate([each.controls.mean(-1, keepdims=True) for each in found], -2)
    return found[0]._replace(values=values, controls=controls, accuracy=accuracy)


def findings(scores: Scores, rows: Sequence[Row], kinds: list[Kind], config: Config) -> tuple[list, list]:
    """Scores of pairs, accuracies of CAVs, significant fractions, and the claims."""
    nulls, numbers = [kind.null for kind in kinds], []
    for concept, label in config.pairs:
        own = scores.values[0][index(scores, config.shown, label, concept)]
        numbers.append(Number.mean(f"TCAV of {concept} for {label}, {config.shown}", own))
    for layer, accuracy in zip(config.layers, scores.accuracy, strict=True):
        own = accuracy[~np.isin(scores.concepts, nulls)].mean(0)
        numbers.append(Number.mean(f"accuracy of CAVs on other images of their kind, {layer}", own))
    for name, is_null in (("random images", True), ("concepts", False)):
        each = [row.significant for row in rows if (row.concept in nulls) is is_null]
        note = f"of {len(each)} tests"
        numbers.append(Number(f"share of {name} that are significant", float(np.mean(each)), note=note))
    planned = planned_tests(scores, config)
    claims = [pair_claim(planned, pair, config) for pair in config.pairs]
    return numbers, [*claims, ranking_claim(scores, kinds, config)]


def index(scores: Scores, layer: str, label: str, concept: str) -> tuple[int, ...]:
    """Position in the arrays of `Scores`."""
    names = (scores.layers, scores.labels, scores.concepts)
    return tuple(list(each).index(name) for each, name in zip(names, (layer, label, concept), strict=True))


def planned_tests(scores: Scores, config: Config) -> list[Row]:
    """Rows of mean derivatives for the pairs of concept and class alone, corrected for all of them together."""
    every = significance.table(scores, "mean", "random", correction=None)
    rows = [row for row in every if (row.concept, row.label) in config.pairs]
    adjusted = significance.adjust([row.p for row in rows])
    return [
        row._replace(adjusted=float(p), significant=bool(p <= statistics.LEVEL))
        for row, p in zip(rows, adjusted, strict=True)
    ]


def with_planned_tests(rows: Sequence[Row], planned: Sequence[Row]) -> list[Row]:
    """All rows, those of the claims with their own correction."""
    claimed = {(row.layer, row.label, row.concept): row for row in planned}
    found = []
    for row in rows:
        own = claimed.get((row.layer, row.label, row.concept), row)
        found.append(row._replace(p=own.p, adjusted=own.adjusted, significant=own.significant))
    return found


def pair_claim(means: Sequence[Row], pair: tuple[str, str], config: Config) -> Claim:
    """That the concept's mean derivative is above that of random images in some layer, and below in none.

    The rows' p-values are two-sided and corrected for all of them.
    """
    concept, label = pair
    own = [row for row in means if (row.concept, row.label) == pair]
    above, below = ([row for row in own if (row.value > row.null) is side] for side in (True, False))
    p, opposite_p = (min((row.adjusted for row in rows), default=1.0) for rows in (above, below))
    names = [", ".join(row.layer for row in rows if row.significant) or "none" for rows in (above, below)]
    text = f"corrected p = {p:.2g} above and {opposite_p:.2g} below random images"
    both = max(p, opposite_p) < statistics.LEVEL
    verdict = statistics.where(not both, statistics.decide(p, opposite_p, text), "significant in both directions")
    others = config.images == PHOTOGRAPHS and not scenes.of_class(label)
    source = ", at photographs of other objects" if others else ""
    return Claim(
        f"TCAV finds the known dependence of the class {label} on {concept}.",
        f"Figure 4{source}",
        verdict,
        f"of {len(config.layers)} layers, the logit increases along the concept significantly in {names[0]}, decreases "
        f"in {names[1]}; with {statistics.POWER:.0%} power, differences of {detectable(len(means), config):.1f} "
        "standard deviations of random sets are found",
    )


def detectable(tests: int, config: Config) -> float:
    """Difference in standard deviations of random sets that one of the tests finds with a probability of POWER."""
    sets = len(config.seeds), len(config.seeds) * config.controls
    quantiles = stats.t.ppf((1 - statistics.LEVEL / (2 * tests), statistics.POWER), sum(sets) - 2)
    return float(math.sqrt(1 / sets[0] + 1 / sets[1]) * quantiles.sum())


def ranking_claim(scores: Scores, kinds: list[Kind], config: Config) -> Claim:
    """That classes' own concepts rank first among those of their kind more often than at chance level."""
    firsts, chances = zip(*(_ranks_first(scores, kinds, pair, config.shown) for pair in config.pairs), strict=True)
    named = [label for _, label in itertools.compress(config.pairs, firsts)]
    return Claim(
        "Of all concepts of a kind, a class depends on its own most.",
        "Figure 4 (the test is ours)",
        statistics.binomial(firsts, float(np.mean(chances))),
        f"by the mean derivative in {config.shown}, mean over seeds: {', '.join(named) or 'no class'}",
    )


def _ranks_first(scores, kinds, pair, layer):
    concept, label = pair
    (kind,) = (kind for kind in kinds if concept in kind.concepts)
    mean = scores.values[tcav.STATISTICS.index("mean")].mean(-1)
    values = {name: mean[index(scores, layer, label, name)] for name in kind.concepts if name != kind.null}
    return max(values, key=values.get) == concept, 1 / len(values)


def plan(config: Config) -> list[dry_run.Step]:
    """Activations of layers for concepts and random images, and the gradients of classes."""
    batch_size = activation_cache.BATCH_SIZE

    def activations(net: Any, x: Array) -> dict[str, Array]:
        return network.capture(net, x, config.layers)[1]

    def gradients(net: Any, x: Array) -> Array:
        layer = network.layer_names(net, x)[config.layers[0]]
        perturbed = partial(network.perturb, net, config.layers[0])
        return jax.grad(lambda delta: perturbed(delta)(x)[:, 0].sum())(np.zeros(layer.shape, layer.dtype))

    images = (config.controls + 2 + len(config.concepts)) * config.examples
    calls = dry_run.calls(images, batch_size) * len(config.seeds)
    labels = {label for _, label in config.pairs}
    class_calls = dry_run.calls(config.explained, batch_size) * len(labels)
    return [
        dry_run.forward(config.network, batch_size, calls, activations, name="activations of layers"),
        dry_run.forward(config.network, batch_size, class_calls, gradients, name="gradients of classes"),
    ]


EXPERIMENT = Experiment[Config](
    name="kim2018/concepts",
    title="Colours and textures that classes rely on",
    figure="Figure 4, TCAV for known classes",
    paper=papers.KIM2018,
    summary=(
        "Do stripes matter for zebras? Concepts are drawn colours and textures, against random images of the same "
        "kind, so that only the concept differs; random images take part as one more concept. Derivatives "
        "are taken at cut-outs of each class on photographs, and at photographs of it. Seeds with images of their own "
        "are the samples of the test."
    ),
    run=run,
    plan=plan,
    minutes=3,
    look="which concepts count for zebras, fire engines and others, beside random concepts.",
)

if __name__ == "__main__":
    main(EXPERIMENT)
