"""TCAV of colours and textures for classes of a network as it is (Kim et al. 2018, section 4.2)."""

import itertools
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from scipy import stats

from experiments.kim2018 import concept_images
from experiments.kim2018.concept_images import PHOTOGRAPHS, Kind
from experiments.lib import dry_run, runner
from experiments.lib.runner import Claim, Number
from xai_jax import activation_cache, models, network, plots, significance, targets, tcav
from xai_jax.concepts.significance import LEVEL, Row
from xai_jax.concepts.tcav import Scores
from xai_jax.models import LoadedModel
from xai_jax.plots import concepts as concept_plots

COLUMNS = 8  # example images


def run(config: Any, run: runner.Run) -> None:
    """Measures all classes, concepts and layers for each seed, and tests them with the seeds' sets as samples."""
    model, size = models.load(config.network, config.weights), models.abstract(config.network)[2][0]
    shown, found = concept_images.class_images(config, size), []
    with tempfile.TemporaryDirectory() as cache_dir:  # gradients serve all seeds of a run
        for seed in run.progress(config.seeds, "seeds"):
            found.append(run.stage(f"seed-{seed}", partial(one_seed, model, shown, size, config, cache_dir, seed)))
    scores = over_seeds([Scores(**each) for each in found])
    rows = significance.table(scores, null="random", tested="mean")
    significance.write_csv(run.workdir / "scores.csv", rows)
    kinds = concept_images.kinds(config, size, config.seeds[0])
    draw(run, rows, kinds, shown, config)
    report(run, scores, rows, kinds, config)


def one_seed(
    model: LoadedModel, shown: dict[str, np.ndarray], size: int, config: Any, cache_dir: str, seed: int
) -> dict[str, Any]:
    """The fields of `Scores`, all kinds together."""
    kinds = concept_images.kinds(config, size, seed)
    return _joined([measured(model, kind, shown, config, cache_dir, seed) for kind in kinds])._asdict()


def measured(
    model: LoadedModel, kind: Kind, shown: dict[str, np.ndarray], config: Any, cache_dir: str, seed: int
) -> Scores:
    """TCAV of one kind of concepts for all classes."""
    classes = {
        name: (targets.logit(model.classes.index(name)), model.preprocess(list(images)))
        for name, images in shown.items()
    }
    concepts = {name: model.preprocess(list(images)) for name, images in kind.concepts.items()}
    random = model.preprocess(list(kind.random))
    setting = {"runs": config.runs, "controls": config.controls, "seed": seed, "cache_dir": cache_dir}
    with concept_images.stopping_early():
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
    do not, so that Student's t-test of seeds and controls ("random" in `concept_tests`) asks whether sets of the
    concept's images differ from sets of random ones.
    """
    values, accuracy = (
        np.stack([getattr(each, name).mean(-1) for each in found], -1) for name in ("values", "accuracy")
    )
    controls = np.concatenate([each.controls.mean(-1, keepdims=True) for each in found], -2)
    return found[0]._replace(values=values, controls=controls, accuracy=accuracy)


def draw(run: runner.Run, rows: Sequence[Row], kinds: list[Kind], shown: dict[str, np.ndarray], config: Any) -> None:
    """The scores as bars, those of each kind over the layers, and examples of all images."""
    caption = (
        "The share of images in which a step towards the concept raises the class's logit: a row for each class, a "
        "column for each layer. Bars are means over seeds, thin lines the score's interval, short thick ones what "
        "random images of the same kind get. A star and a filled bar: the mean derivative stands out among random "
        "images, after correction for all tests. Dotted outlines do not stand out."
    )
    run.figure("scores", concept_plots.bars(rows)[0], caption, "A grid of bar charts, a bar for each concept.")
    for kind in kinds:
        own = concept_plots.curves([row for row in rows if row.concept in kind.concepts])[0]
        caption = f"The same scores over the layers, {kind.null} being random images. Filled: they stand out."
        run.figure(
            f"layers-{kind.null.split()[-1]}", own, caption, "Curves of scores over layers, a panel for each class."
        )
    images = {name: each for kind in kinds for name, each in kind.concepts.items()} | _named(shown, config)
    panels = [list(each[:COLUMNS] / 255) for each in images.values()]
    caption = "Images of each concept, the random ones that it is told from, and those at which derivatives are taken."
    drawn = plots.grid(panels, rows=list(images), size=0.8)[0]
    run.figure("examples", drawn, caption, "Rows of small textures and pictures.")


def _named(shown, config):
    if config.images == PHOTOGRAPHS:
        return {"photographs,\nfor all classes": next(iter(shown.values()))}
    return {f"class {name}": images for name, images in shown.items()}


def report(run: runner.Run, scores: Scores, rows: Sequence[Row], kinds: list[Kind], config: Any) -> None:
    """Scores of pairs, accuracies of CAVs, what random images get, and the claims."""
    nulls = [kind.null for kind in kinds]
    for concept, label in config.pairs:
        own = scores.values[0][place(scores, config.shown, label, concept)]
        run.numbers.append(Number.mean(f"TCAV of {concept} for {label}, {config.shown}", own))
    for layer, accuracy in zip(config.layers, scores.accuracy, strict=True):
        right = accuracy[~np.isin(scores.concepts, nulls)].mean(0)
        run.numbers.append(Number.mean(f"accuracy of CAVs on other images of their kind, {layer}", right))
    for words, chosen in (("random images", True), ("concepts", False)):
        each = [row.significant for row in rows if (row.concept in nulls) is chosen]
        run.numbers.append(
            Number(f"share of {words} that stand out", float(np.mean(each)), note=f"of {len(each)} tests")
        )
    means = significance.table(scores, "mean", "random")
    run.claims += [about_pair(means, pair, config) for pair in config.pairs]
    run.claims.append(own_first(scores, kinds, config))


def place(scores: Scores, layer: str, label: str, concept: str) -> tuple[int, ...]:
    """Where in `Scores` something is."""
    names = (scores.layers, scores.labels, scores.concepts)
    return tuple(list(each).index(name) for each, name in zip(names, (layer, label, concept), strict=True))


def about_pair(means: Sequence[Row], pair: tuple[str, str], config: Any) -> Claim:
    """True where the concept speaks for the class in a layer or more, and in none against it. Rows of derivatives."""
    concept, label = pair
    own = [row for row in means if (row.concept, row.label) == pair and row.significant]
    above, below = ([row.layer for row in own if (row.value > row.null) is side] for side in (True, False))
    asked = ", asked of photographs of other things" if config.images == PHOTOGRAPHS else ""
    return Claim(
        f"TCAV finds what people know of the class {label}: {concept}.",
        f"Figure 4{asked}",
        None if above and below else bool(above),
        f"of {len(config.layers)} layers it speaks for the class in {', '.join(above) or 'none'}, against it in "
        f"{', '.join(below) or 'none'}, the others cannot tell",
    )


def own_first(scores: Scores, kinds: list[Kind], config: Any) -> Claim:
    """Whether classes' own concepts come first among those of their kind oftener than by chance, by a binomial test."""
    firsts, chances = zip(*(_first(scores, kinds, pair, config.shown) for pair in config.pairs), strict=True)
    p = float(stats.binomtest(sum(firsts), len(firsts), float(np.mean(chances)), alternative="greater").pvalue)
    named = [label for _, label in itertools.compress(config.pairs, firsts)]
    return Claim(
        "Of all concepts of a kind, a class's own speaks for it most.",
        "Figure 4 (the test is ours)",
        True if p <= LEVEL else False if np.mean(firsts) <= np.mean(chances) else None,
        f"by the mean derivative in {config.shown}, mean over seeds: {sum(firsts)} of {len(firsts)} classes "
        f"({', '.join(named) or 'none'}); {sum(chances):.2g} by chance; binomial test, p = {p:.2g}",
    )


def _first(scores, kinds, pair, layer):
    concept, label = pair
    (kind,) = (kind for kind in kinds if concept in kind.concepts)
    mean = scores.values[tcav.STATISTICS.index("mean")].mean(-1)
    rivals = {name: mean[place(scores, layer, label, name)] for name in kind.concepts if name != kind.null}
    return max(rivals, key=rivals.get) == concept, 1 / len(rivals)


def plan(config: Any) -> list[dry_run.Step]:
    """What the layers answer to concepts and random images, and the gradients of classes."""
    module, variables, shape = models.abstract(config.network)
    x = jax.ShapeDtypeStruct((activation_cache.BATCH_SIZE, *shape), jnp.float32)

    def answers(variables: Any, x: Array) -> dict[str, Array]:
        return network.capture(Partial(module.apply, variables), x, config.layers)[1]

    def slopes(variables: Any, x: Array) -> Array:
        net = Partial(module.apply, variables)
        features, head = network.features(net, config.layers[0]), network.head(net, config.layers[0], x)
        return jax.grad(lambda value: head(value)[:, 0].sum())(features(x))

    images = (config.controls + 2 + len(config.concepts)) * config.examples
    calls = -(-images // activation_cache.BATCH_SIZE) * len(config.seeds)
    labels = {label for _, label in config.pairs}
    return [
        dry_run.Step("activations of layers", answers, (variables, x), calls),
        dry_run.Step(
            "gradients of classes",
            slopes,
            (variables, x),
            -(-config.explained // activation_cache.BATCH_SIZE) * len(labels),
        ),
    ]


EXPERIMENT = runner.Experiment(
    name="kim2018/concepts",
    title="Colours and textures that classes rely on",
    figure="Figure 4, TCAV for known classes",
    paper="Kim et al. 2018, Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation "
    "Vectors (TCAV), arXiv 1711.11279",
    summary=(
        "Do stripes matter for zebras? A concept is a set of images; in a layer, its direction (CAV) tells them from "
        "random images. The score of a class is the share of images in which a step along it raises the class's "
        "logit. Concepts are drawn here: colours without texture, told from clouds of any colours, and textures of any "
        "colours, told from a mixture of all textures, so that only the concept differs. Of each kind random images "
        "take part as one more concept, which should not be significant. "
        "At the default size there are no photographs of zebras or fire engines at hand. Derivatives are taken in "
        "crops of scikit-image's photographs of other things, the same for each class: would a step towards stripes "
        "make them look more like zebras to the network? The paper asks this of zebras, and so does the paper's size "
        "here, with images of ImageNet. "
        "The pairs of concept and class, the layers, and what follows from tests were fixed before any score was seen. "
        "A concept stands out where the mean derivative of its sets of images, one for each seed, differs from that of "
        "sets of random images, after Holm's correction for all tests. This test was chosen after a first run, whose "
        "three seeds were tested one by one: of the five pairs only yellow and the school bus stood out in each. The "
        "seeds here are others, which had not been looked at."
    ),
    run=run,
    plan=plan,
    minutes=2.5,
    order=6,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
