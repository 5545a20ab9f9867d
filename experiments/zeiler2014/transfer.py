"""How well features of a trained network serve other data sets (Zeiler & Fergus 2014, sections 5.2 and 5.3).

Layers stay as they are, only a linear classifier on top is new: Tables 4 and 5 and Fig. 9 by the number of images per
class, Table 6 on images of several objects, Table 7 by layer.
"""

import dataclasses
import re
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy import stats

from experiments.lib import dry_run, runner, training_task
from experiments.lib.runner import Claim, Number
from experiments.lib.top_activations import as_input
from experiments.zeiler2014 import from_scratch, linear_classifiers, transfer_data, transfer_tables
from experiments.zeiler2014.transfer_data import Fold
from xai_jax import models


class Target(NamedTuple):
    """A data set to transfer to, as the configuration describes it."""

    name: str
    split: str
    images: int
    classes: int
    counts: tuple[int, ...]

    @property
    def stage(self) -> str:
        """The name as part of a file's name."""
        return re.sub(r"\W+", "-", self.name).strip("-")


def targets(config: Any) -> list[Target]:
    """The data sets of the configuration. Raises ValueError where its lists differ in length."""
    lists = config.data, config.splits, config.images, config.classes, config.counts
    return [Target(*values) for values in zip(*lists, strict=True)]


def run(config: Any, run: runner.Run) -> None:
    """Classifies each data set by features of the network and from scratch, then scenes."""
    pictures = load_scenes(config)
    halves = [transfer_data.halves(pictures, [config.seed, number]) for number in range(config.folds)]
    model = models.load(config.network, config.weights)
    found = {target: classify(target, model, config, run) for target in targets(config)}
    scene = classify_scenes(pictures, halves, model, config, run)
    run.figure("tables4and5", *transfer_tables.accuracies(found, config))
    run.figure("figure9", *transfer_tables.curves(found, config))
    run.figure("table6", *transfer_tables.precisions(pictures.data.classes, scene, found, config))
    run.figure("scenes", *transfer_tables.examples(pictures))
    run.figure("table7", *transfer_tables.layers(found, config))
    report(run, found, scene, config)


def classify(target: Target, model: models.LoadedModel, config: Any, run: runner.Run) -> dict[str, np.ndarray]:
    """Accuracies in %, one row for each fold, see `probe` and `alone`."""
    data = training_task.first(transfer_data.load(target.name, target.split), target.images)
    labels = run.stage(f"{target.stage}-labels", lambda: {"labels": transfer_data.labels(data)})["labels"]
    folds = transfer_data.folds(labels, data.classes, max(target.counts), config.tested, config.folds, config.seed)
    features = extract(f"{target.stage}-features", model, data, config.layers, run)
    rows = []
    for number, fold in enumerate(run.progress(folds, f"folds of {target.name}")):
        seed = config.seed + number
        stage = f"{target.stage}-fold-{number}"
        row = run.stage(stage, lambda f=fold, s=seed: probe(features, labels, f, target, config, s))
        row["scratch"] = [
            alone(data, labels, fold, count, f"{stage}-{count}", config, seed, run) for count in target.counts
        ]
        rows.append(row)
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def alone(data, labels, fold: Fold, count: int, name: str, config: Any, seed: int, run: runner.Run) -> float:
    """Accuracy in % of a network that has seen nothing but `count` images of each class."""
    workdir = run.workdir / "training" / name
    arguments = data, labels, fold.first(count), fold.new, config, workdir, seed
    return run.stage(f"{name}-scratch", lambda: {"accuracy": from_scratch.accuracy(*arguments)})["accuracy"]


def extract(name, model, data, layers, run):
    """Features of all images by layer, from a stage. They are large and no result, so the run's arrays lose them."""
    with run.bar(len(data), "features") as bar:
        features = run.stage(
            name, lambda: linear_classifiers.extract(model.net, data, partial(as_input, model), tuple(layers), bar)
        )
    for layer in layers:
        del run.arrays[f"{name}/{layer}"]
    return features


def probe(features, labels, fold: Fold, target: Target, config, seed: int) -> dict[str, Any]:
    """Linear classifiers of one fold.

    `softmax` on the last layer by number of images, with all of them `svm` by layer and `softmax_before` on the layer
    before the last; `precision` by class of the last softmax; `ratio` of test to training images.
    """
    most, last = max(target.counts), features[config.layers[-1]]
    every, fits = fold.first(most), {}
    for count in target.counts:
        chosen = fold.first(count)
        fits[count] = linear_classifiers.fit(
            linear_classifiers.softmax, last[chosen], labels[chosen], last[fold.new], seed
        )
    accuracy = partial(linear_classifiers.accuracy, labels=labels, known=every, new=fold.new, seed=seed)
    fitted, new = fits[most]
    truth = labels[fold.new, None] == np.arange(len(fold.known))
    return {
        "softmax": [
            linear_classifiers.per_class(labels[fold.new], fitted.predict(new)) for fitted, new in fits.values()
        ],
        "svm": [accuracy(linear_classifiers.svm, features[layer]) for layer in config.layers],
        "softmax_before": accuracy(linear_classifiers.softmax, features[config.layers[-2]]),
        "precision": linear_classifiers.precisions(truth, fitted.predict_proba(new)),
        "ratio": len(fold.new) / len(every),
    }


def load_scenes(config: Any) -> transfer_data.Scenes:
    """Images of several objects, made of the first data set or annotated."""
    if config.scenes != "tiles":
        return transfer_data.annotated(config.scenes, config.scene_split, config.scene_count, config.seed)
    first, *_ = targets(config)
    return transfer_data.tiles(transfer_data.load(first.name, first.split), config.scene_count, config.seed)


def classify_scenes(pictures: transfer_data.Scenes, halves: list, model, config, run) -> np.ndarray:
    """Average precision (folds, classes) in % of the softmax on the last layer, by `halves` of scenes for each fold."""
    last = config.layers[-1]
    features = extract("scenes-features", model, pictures.data, [last], run)[last]
    found = []
    for number, (known, new) in enumerate(run.progress(halves, "folds of scenes")):

        def precision(known=known, new=new, seed=config.seed + number):
            fitted, x = linear_classifiers.fit(
                linear_classifiers.softmax, features[known], pictures.drawn[known], features[new], seed
            )
            return {"precision": linear_classifiers.precisions(pictures.truth[new], fitted.predict_proba(x))}

        found.append(run.stage(f"scenes-fold-{number}", precision)["precision"])
    return np.array(found)


def report(run, found, scene, config):
    """Numbers beside the paper's, and claims."""
    for target, values in found.items():
        run.numbers += numbers(target, values, config)
    *_, single = found.values()
    run.numbers += [
        dataclasses.replace(
            Number.mean("average precision in scenes of several objects", scene.mean(1)),
            unit="%",
            paper=transfer_tables.PASCAL_MEANS["paper"],
            paper_tag="V:ZF",
        ),
        dataclasses.replace(
            Number.mean("average precision on images of one object", single["precision"].mean(1)), unit="%"
        ),
    ]
    run.claims += [beats_scratch(found), few_suffice(found), rises(found, config), falls_in_scenes(scene, single)]


def numbers(target, values, config):
    """Accuracies of one data set; the paper's are for Caltech-101 where it is that, else for Caltech-256."""
    table = transfer_tables.paper(target.name)
    rows = [("softmax", "pretrained"), ("scratch", "non-pretrained")]
    lines = [
        (f"{words}, {count} images per class", values[key][:, column], table.accuracy[words].get(count))
        for key, words in rows
        for column, count in enumerate(target.counts)
    ]
    lines += [(f"SVM on {layer}", values["svm"][:, column], None) for column, layer in enumerate(config.layers)]
    lines.append((f"softmax on {config.layers[-2]}", values["softmax_before"], None))
    result = []
    for words, accuracies, printed in lines:
        number = dataclasses.replace(Number.mean(f"{target.name}: {words}", accuracies), unit="%")
        note = f"{number.note} folds; the paper's: {table.name}" if printed else f"{number.note} folds"
        paper = {"paper": printed[0], "paper_tag": "V:ZF"} if printed else {}
        result.append(dataclasses.replace(number, note=note, **paper))
    return result


def beats_scratch(found):
    """Whether pretrained features are better at every number of images."""
    tests = {
        f"{target.name}, {count}": linear_classifiers.above_zero(differences, values["ratio"].mean())
        for target, values in found.items()
        for count, differences in zip(target.counts, (values["softmax"] - values["scratch"]).T, strict=True)
    }
    return Claim(
        "Features of the trained network are better than a network trained from scratch, at every number of images.",
        "Tables 4 and 5",
        together([test.held for test in tests.values()]),
        "difference of accuracy in points: " + "; ".join(f"{name}: {words(test)}" for name, test in tests.items()),
    )


def few_suffice(found):
    """Whether the fewest images with trained features beat the most without, in the last data set."""
    *_, (target, values) = found.items()
    few, many = np.argmin(target.counts), np.argmax(target.counts)
    test = linear_classifiers.above_zero(values["softmax"][:, few] - values["scratch"][:, many], values["ratio"].mean())
    return Claim(
        f"With trained features {target.counts[few]} images per class are worth more than {target.counts[many]} "
        "without.",
        "section 5.2 and Fig. 9",
        test.held,
        f"{target.name}: difference of accuracy {words(test)} points. The paper says it of 6 images beside 60 with the "
        "best method before it, not beside a network trained from scratch.",
    )


def rises(found, config):
    """Whether an SVM on the last layer is better than on the first, and accuracy goes up with the order of layers."""
    tests, measured = [], []
    for target, values in found.items():
        test = linear_classifiers.above_zero(values["svm"][:, -1] - values["svm"][:, 0], values["ratio"].mean())
        best = config.layers[values["svm"].mean(0).argmax()]
        order = stats.spearmanr(np.arange(len(config.layers)), values["svm"].mean(0)).statistic
        tests.append(test.held and bool(order > 0))
        measured.append(
            f"{target.name}: rank correlation of layer and mean accuracy {order:.2f}, best is {best}; "
            f"{config.layers[-1]} less {config.layers[0]}: {words(test)} points"
        )
    source = "section 5.3 and Table 7"
    return Claim(
        "Features of the last layer are better than those of the first.",
        source,
        together(tests),
        "; ".join(measured),
    )


def falls_in_scenes(scene, single):
    """Whether average precision is lower in scenes than on single objects, of the last data set."""
    difference = single["precision"].mean(1) - scene.mean(1)
    test = linear_classifiers.above_zero(
        difference, max(1.0, single["ratio"].mean())
    )  # halves: as many to test as to learn
    return Claim(
        "Images of several objects are classified less well than images of one.",
        "section 5.2 and Table 6",
        test.held,
        f"mean average precision {scene.mean():.1f} % in scenes, {single['precision'].mean():.1f} % on single objects, "
        f"difference {words(test)} points",
    )


def together(verdicts):
    """False if one is False, None if one cannot tell, else True."""
    return False if False in verdicts else None if None in verdicts else True


def words(test: linear_classifiers.Test) -> str:
    return f"{test.mean:+.1f} (p = {test.p:.2g})" if np.isfinite(test.p) else f"{test.mean:+.1f} (too few folds)"


def plan(config: Any) -> list[dry_run.Step]:
    """Features of all images and scenes, and the networks trained from scratch. Linear classifiers run on the CPU."""
    module, variables, shape = models.abstract(config.network)
    x = jax.ShapeDtypeStruct((linear_classifiers.BATCH, *shape), jnp.float32)

    def forward(variables, x):
        return linear_classifiers.features(Partial(module.apply, variables), x, tuple(config.layers))

    images = sum(target.images for target in targets(config)) + config.scene_count
    steps = [dry_run.Step("features", forward, (variables, x), -(-images // linear_classifiers.BATCH))]
    for target in targets(config):
        tested, networks = config.tested * target.classes, config.folds * len(target.counts)
        steps += from_scratch.plan(target.stage, target.classes, tested, networks, config)
    return steps


EXPERIMENT = runner.Experiment(
    name="zeiler2014/transfer",
    title="Transfer of features to other data sets",
    figure="Tables 4 to 7, Fig. 9",
    paper="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, arXiv 1311.2901",
    summary=(
        "The layers of a trained network stay as they are, and only a linear classifier on top is trained for other "
        "images. By default EfficientNet-Lite0 with its ImageNet weights reads Fashion-MNIST, grey pictures of 28x28 "
        "pixels, enlarged: far from the photographs that it knows, and much farther than Caltech's. What is trained "
        "from scratch on the same images is a smaller network of another kind, since Lite0 is here for use only; the "
        "paper trains the same network anew. It gets the same number of steps for few images as for many, by "
        "default so few that it has not learnt 60 images of each class well: the gap beside it is too wide. The scenes "
        "of several objects are no photographs either: one to three Fashion-MNIST images in a square of 2x2 places on "
        "black, so each object is half as high as on the single images. Average precision is not interpolated; a class "
        "is there in a fifth of the scenes but in a tenth of the single images, which by itself raises it in scenes. "
        "Choices of ours: maps larger than 6x6 are averaged to 6x6; features are divided by the mean norm of the "
        "training features; the classifiers' C is chosen by a third of the training images; smaller training sets are "
        "parts of the larger. The paper removed from ImageNet all images that it found in Caltech's sets and trained "
        "again; we do not. Folds are drawn from the same images, as in the paper, so they are not independent: "
        "p-values are one-sided and corrected for that (Nadeau and Bengio 2003), each claim by itself."
    ),
    run=run,
    plan=plan,
    minutes=3.5,
    order=1,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
