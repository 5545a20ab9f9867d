"""How well features of a trained network serve other data sets (Zeiler & Fergus 2014, sections 5.2 and 5.3).

Layers stay as they are, only a linear classifier on top is new: Tables 4 and 5 and Fig. 9 by the number of images per
class, Table 6 on images of several objects, Table 7 by layer.
"""

import re
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from configs.zeiler2014.transfer import Config
from experiments.lib import dry_run, measures, papers, statistics, training_task
from experiments.lib.report import Claim, Number, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.top_activations import reading
from experiments.zeiler2014 import from_scratch, linear_classifiers, transfer_data, transfer_tables
from experiments.zeiler2014.transfer_data import Fold
from xai_jax import models

fit_softmax = partial(linear_classifiers.fit, linear_classifiers.softmax)


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


def targets(config: Config) -> list[Target]:
    """The data sets of the configuration. Raises ValueError where its lists differ in length."""
    lists = config.data, config.splits, config.images, config.classes, config.counts
    return [Target(*values) for values in zip(*lists, strict=True)]


def run(config: Config, work: Workspace) -> Report:
    """Classifies each data set by features of the network and from scratch, then scenes."""
    scenes = load_scenes(config)
    halves = [transfer_data.halves(scenes, [config.seed, number]) for number in range(config.folds)]
    model = models.load(config.network, config.weights)
    found = {target: classify(target, model, config, work) for target in targets(config)}
    scene = classify_scenes(scenes, halves, model, config, work)
    panels = [
        transfer_tables.accuracies(found, config),
        transfer_tables.curves(found, config),
        transfer_tables.precisions(scenes.data.classes, scene, found, config),
        transfer_tables.examples(scenes),
        transfer_tables.layers(found, config),
    ]
    return Report(*findings(found, scene, config), panels)


def classify(target: Target, model: models.LoadedModel, config: Config, work: Workspace) -> dict[str, np.ndarray]:
    """Accuracies in %, one row for each fold, see `probe` and `from_scratch_accuracy`."""
    data = training_task.first(transfer_data.load(target.name, target.split), target.images)
    labels = work.stage(f"{target.stage}-labels", lambda: {"labels": transfer_data.labels(data)})["labels"]
    folds = transfer_data.folds(labels, data.classes, max(target.counts), config.tested, config.folds, config.seed)
    features = extract(f"{target.stage}-features", model, data, config.layers, work)
    rows = []
    for number, fold in enumerate(work.progress(folds, f"folds of {target.name}")):
        seed = config.seed + number
        stage = f"{target.stage}-fold-{number}"
        row = work.stage(stage, lambda f=fold, s=seed: probe(features, labels, f, target, config, s))
        row["scratch"] = [
            from_scratch_accuracy(data, labels, fold, count, f"{stage}-{count}", config, seed, work)
            for count in target.counts
        ]
        rows.append(row)
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def from_scratch_accuracy(
    data, labels, fold: Fold, count: int, name: str, config: Config, seed: int, work: Workspace
) -> float:
    """Accuracy in % of a network trained on `count` images of each class alone."""
    workdir = work.training(name)
    arguments = data, labels, fold.first(count), fold.new, config, workdir, seed
    return work.stage(f"{name}-scratch", lambda: {"accuracy": from_scratch.accuracy(*arguments)})["accuracy"]


def extract(name, model, data, layers, work):
    """Features of all images by layer, from a stage. They are large and no result, so arrays.npz leaves them out."""
    with work.bar(len(data), "features") as bar:
        arguments = model.net, data, reading(model), tuple(layers), bar
        features = work.stage(name, lambda: linear_classifiers.extract(*arguments))
    for layer in layers:
        del work.arrays[f"{name}/{layer}"]
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
        fits[count] = fit_softmax(last[chosen], labels[chosen], last[fold.new], seed)
    truth = labels[fold.new]
    accuracy = partial(linear_classifiers.accuracy, labels=labels, known=every, new=fold.new, seed=seed)
    fitted, new = fits[most]
    present = truth[:, None] == np.arange(len(fold.known))
    return {
        "softmax": [linear_classifiers.per_class(truth, each.predict(x)) for each, x in fits.values()],
        "svm": [accuracy(linear_classifiers.svm, features[layer]) for layer in config.layers],
        "softmax_before": accuracy(linear_classifiers.softmax, features[config.layers[-2]]),
        "precision": linear_classifiers.precisions(present, fitted.predict_proba(new)),
        "ratio": len(fold.new) / len(every),
    }


def load_scenes(config: Config) -> transfer_data.Scenes:
    """Images of several objects, made of the first data set or annotated."""
    if config.scenes != "tiles":
        return transfer_data.annotated(config.scenes, config.scene_split, config.scene_count, config.seed)
    first, *_ = targets(config)
    return transfer_data.tiles(transfer_data.load(first.name, first.split), config.scene_count, config.seed)


def classify_scenes(scenes: transfer_data.Scenes, halves: list, model, config, work) -> np.ndarray:
    """Average precision (folds, classes) in % of the softmax on the last layer, by `halves` of scenes for each fold."""
    last = config.layers[-1]
    features = extract("scenes-features", model, scenes.data, [last], work)[last]
    found = []
    for number, (known, new) in enumerate(work.progress(halves, "folds of scenes")):

        def precision(known=known, new=new, seed=config.seed + number):
            fitted, x = fit_softmax(features[known], scenes.drawn[known], features[new], seed)
            return {"precision": linear_classifiers.precisions(scenes.truth[new], fitted.predict_proba(x))}

        found.append(work.stage(f"scenes-fold-{number}", precision)["precision"])
    return np.array(found)


def findings(found, scene, config):
    """Numbers beside the paper's, and claims."""
    *_, single = found.values()
    printed = {"unit": "%", "paper": transfer_tables.PASCAL_MEANS["paper"], "paper_tag": "V:ZF"}
    found_numbers = [number for target, values in found.items() for number in numbers(target, values, config)]
    found_numbers += [
        Number.mean("average precision in scenes of several objects", scene.mean(1), **printed),
        Number.mean("average precision on images of one object", single["precision"].mean(1), unit="%"),
    ]
    claims = [pretraining_claim(found), few_images_claim(found), layers_claim(found, config)]
    return found_numbers, [*claims, scenes_claim(scene, single)]


def advantage(differences, ratio):
    """Whether a mean difference (folds,) is above zero; the folds share images, so that the variance is corrected."""
    return statistics.t_test(differences, share=float(ratio))


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
        note = f" folds; the paper's: {table.name}" if printed else " folds"
        paper = {"paper": printed[0], "paper_tag": "V:ZF"} if printed else {}
        result.append(Number.mean(f"{target.name}: {words}", accuracies, note, unit="%", **paper))
    return result


def pretraining_claim(found):
    """That pretrained features are better at every number of images."""
    gains = {
        (target.name, count): (differences, values["ratio"].mean())
        for target, values in found.items()
        for count, differences in zip(target.counts, (values["softmax"] - values["scratch"]).T, strict=True)
    }
    return Claim(
        "Features of the trained network are better than a network trained from scratch, at every number of images.",
        "Tables 4 and 5",
        statistics.all_of([advantage(*gain) for gain in gains.values()]),
        "difference of accuracy in points: "
        + "; ".join(f"{name}, {count}: {gain.mean():+.1f}" for (name, count), (gain, _) in gains.items()),
    )


def few_images_claim(found):
    """That the fewest images with pretrained features beat the most without, in the last data set."""
    *_, (target, values) = found.items()
    few, many = np.argmin(target.counts), np.argmax(target.counts)
    gain = values["softmax"][:, few] - values["scratch"][:, many]
    return Claim(
        f"With pretrained features {target.counts[few]} images per class are worth more than {target.counts[many]} "
        "without.",
        "section 5.2 and Fig. 9",
        advantage(gain, values["ratio"].mean()),
        f"{target.name}: difference of accuracy {gain.mean():+.1f} points. The paper compares 6 images with 60 of the "
        "best earlier method, not of a network trained from scratch",
    )


def layers_claim(found, config):
    """That an SVM on the last layer is better than on the first."""
    tests, measured = [], []
    for target, values in found.items():
        svm = values["svm"]
        gain = svm[:, -1] - svm[:, 0]
        tests.append(advantage(gain, values["ratio"].mean()))
        order = measures.rank_correlation(np.arange(len(config.layers)), svm.mean(0))
        measured.append(
            f"{target.name}: {config.layers[-1]} minus {config.layers[0]} {gain.mean():+.1f} points, best is "
            f"{config.layers[svm.mean(0).argmax()]}, rank correlation of layer and mean accuracy {order:.2f}"
        )
    text = "Features of the last layer are better than those of the first."
    return Claim(text, "section 5.3 and Table 7", statistics.all_of(tests), "; ".join(measured))


def scenes_claim(scene, single):
    """That average precision is lower in scenes than on single objects, of the last data set."""
    gain = single["precision"].mean(1) - scene.mean(1)
    return Claim(
        "Images of several objects are classified less well than images of one.",
        "section 5.2 and Table 6",
        advantage(gain, max(1.0, single["ratio"].mean())),  # halves: as many to test as to train
        f"mean average precision {scene.mean():.1f} % in scenes, {single['precision'].mean():.1f} % on single objects",
    )


def plan(config: Config) -> list[dry_run.Step]:
    """Features of all images and scenes, and the networks trained from scratch. Linear classifiers run on the CPU."""
    images = sum(target.images for target in targets(config)) + config.scene_count
    calls = dry_run.calls(images, linear_classifiers.BATCH)
    compute = partial(linear_classifiers.features, layers=tuple(config.layers))
    steps = [dry_run.forward(config.network, linear_classifiers.BATCH, calls, compute, name="features")]
    for target in targets(config):
        tested, networks = config.tested * target.classes, config.folds * len(target.counts)
        steps += from_scratch.plan(target.stage, target.classes, tested, networks, config)
    return steps


EXPERIMENT = Experiment[Config](
    name="zeiler2014/transfer",
    title="Transfer of features to other data sets",
    figure="Tables 4 to 7, Fig. 9",
    paper=papers.ZEILER2014,
    summary=(
        "How well do pretrained features transfer? Only a linear classifier on fixed layers is trained. By default "
        "EfficientNet-Lite0 reads enlarged Fashion-MNIST, far from its photographs; trained from scratch on the same "
        "images is a smaller network, in few steps: the difference is too wide. Scenes are tiles of one to "
        "three images. Folds share images, which the tests correct for."
    ),
    run=run,
    plan=plan,
    minutes=2,
)

if __name__ == "__main__":
    main(EXPERIMENT)
