"""Tables 4 to 7 and Fig. 9 of Zeiler & Fergus 2014 as figures, with the numbers that the paper prints."""

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from experiments.lib import figures
from experiments.lib.report import Panel
from xai_jax import plots
from xai_jax.plots.figure import Figure


class Paper(NamedTuple):
    """Accuracies in % that the paper prints for a data set: {method: {images per class: (mean, std)}}."""

    name: str
    accuracy: Mapping[str, Mapping[int, tuple[float, float | None]]]


CALTECH_101 = Paper(  # Table 4
    "Caltech-101",
    {
        "Bo et al. 2013": {30: (81.4, 0.33)},
        "Jianchao et al. 2009": {15: (73.2, None), 30: (84.3, None)},
        "non-pretrained": {15: (22.8, 1.5), 30: (46.5, 1.7)},
        "pretrained": {15: (83.8, 0.5), 30: (86.5, 0.5)},
    },
)
CALTECH_256 = Paper(  # Table 5
    "Caltech-256",
    {
        "Sohn et al. 2011": {15: (35.1, None), 30: (42.1, None), 45: (45.7, None), 60: (47.9, None)},
        "Bo et al. 2013": {15: (40.5, 0.4), 30: (48.0, 0.2), 45: (51.9, 0.2), 60: (55.2, 0.3)},
        "non-pretrained": {15: (9.0, 1.4), 30: (22.5, 0.7), 45: (31.2, 0.5), 60: (38.8, 1.4)},
        "pretrained": {15: (65.7, 0.2), 30: (70.6, 0.2), 45: (72.7, 0.4), 60: (74.2, 0.3)},
    },
)
ONE_SHOT = 6  # images per class that beat the best before, with 60 (section 5.2)

# Table 6: average precision of the paper's network, and the means of all three methods.
PASCAL = {
    "airplane": 96.0, "bicycle": 77.1, "bird": 88.4, "boat": 85.5, "bottle": 55.8,
    "bus": 85.8, "car": 78.6, "cat": 91.2, "chair": 65.0, "cow": 74.4,
    "dining table": 67.7, "dog": 87.8, "horse": 86.0, "motorbike": 85.1, "person": 90.9,
    "potted plant": 52.2, "sheep": 83.6, "sofa": 61.1, "train": 91.8, "tv": 76.1
}  # fmt: skip
PASCAL_MEANS = {"paper": 79.0, "Sande et al. 2012": 74.3, "Yan et al. 2012": 82.2}

# Table 7: layer, Caltech-101 with 30 images per class, Caltech-256 with 60.
SVM = (
    ("SVM (1)", "44.8 ± 0.7", "24.6 ± 0.4"),
    ("SVM (2)", "66.2 ± 0.5", "39.6 ± 0.3"),
    ("SVM (3)", "72.3 ± 0.4", "46.0 ± 0.3"),
    ("SVM (4)", "76.6 ± 0.4", "51.3 ± 0.1"),
    ("SVM (5)", "86.2 ± 0.8", "65.6 ± 0.3"),
    ("SVM (7)", "85.5 ± 0.4", "71.7 ± 0.2"),
)
SOFTMAX = (("softmax (5)", "82.9 ± 0.4", "65.7 ± 0.5"), ("softmax (7)", "85.4 ± 0.4", "72.6 ± 0.1"))


def paper(name: str) -> Paper:
    """The paper's accuracies on Caltech-101 for that data set, on Caltech-256 for all others."""
    return CALTECH_101 if name == "caltech101" else CALTECH_256


def accuracies(found: Mapping[Any, Mapping[str, np.ndarray]], config: Any) -> Panel:
    """Tables 4 and 5: rows of methods, columns of images per class; here, and below the paper's."""
    counts = sorted({count for target in found for count in target.counts} | {15, 30, 45, 60})
    lines, ruled = [], []
    for target, values in found.items():
        ruled.append(len(lines))
        titles = {"softmax": f"{config.network}, pretrained", "scratch": f"{config.scratch}, from scratch"}
        for key, title in titles.items():
            cells = dict(zip(target.counts, map(figures.mean_and_std, values[key].T), strict=True))
            lines.append((f"{target.name}: {title}", *(cells.get(count, "") for count in counts)))
    for table in (CALTECH_101, CALTECH_256):
        ruled.append(len(lines))
        for title, row in table.accuracy.items():
            cells = {count: _printed(*values) for count, values in row.items()}
            lines.append((f"paper, {table.name}: {title}", *(cells.get(count, "") for count in counts)))
    columns = ("accuracy (%)", *(f"{count} images\nper class" for count in counts))
    figure = figures.text_table(columns, lines, ruled, 2.6)
    caption = (
        "Accuracy, averaged over classes, by the number of images of each class: a softmax on the last features of a "
        f"trained network, and a network trained from scratch on the same images. Mean and standard deviation over "
        f"{config.folds} folds; below, what the paper prints."
    )
    alt = f"Table of {len(lines)} methods with accuracies here and in the paper."
    return Panel("tables4and5", figure, caption, alt)


def _printed(mean, std):
    return f"{mean:.1f}" if std is None else f"{mean:.1f} ± {std:g}"


STYLES = {
    "pretrained": ("tab:blue", "o-"),
    "non-pretrained": ("tab:orange", "s-"),
    "Bo et al. 2013": ("0.4", "^--"),
    "Sohn et al. 2011": ("0.65", "v--"),
}


def curves(found: Mapping[Any, Mapping[str, np.ndarray]], config: Any) -> Panel:
    """Fig. 9: accuracy against images per class, a panel for each data set and one for the paper's Caltech-256."""
    figure = Figure(figsize=(4.6 * (len(found) + 1), 3.9), layout="constrained")
    *axes, last = figure.subplots(1, len(found) + 1)
    for axis, (target, values) in zip(axes, found.items(), strict=True):
        lines = (("pretrained", values["softmax"]), ("non-pretrained", values["scratch"]))
        for name, accuracy in lines:
            _curve(axis, target.counts, accuracy.mean(0), accuracy.std(0), name)
        most = values["scratch"][:, np.argmax(target.counts)].mean()
        axis.axhline(most, color=STYLES["non-pretrained"][0], lw=0.8, ls=":")
        figures.label_rows(axis, f"here: {target.name}", "training images per class")
    for name in STYLES:
        row = CALTECH_256.accuracy[name]
        means, stds = zip(*row.values(), strict=True)
        _curve(last, list(row), means, [std or 0 for std in stds], name)
    best = CALTECH_256.accuracy["Bo et al. 2013"][60][0]
    last.plot(ONE_SHOT, best, "*", color="tab:blue", ms=10, label="6 images: more than this")
    last.axhline(best, color="0.4", lw=0.8, ls=":")
    figures.label_rows(last, f"paper: {CALTECH_256.name}", "training images per class")
    for axis in (*axes, last):
        axis.set_ylabel("accuracy (%)", fontsize=8)
        axis.set_ylim(0, 100)
    figure.legend(*last.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    caption = (
        "Accuracy by the number of images of each class in training, with the standard deviation over folds. Dotted: "
        "here the network from scratch with the most images; in the paper's panel the best method before it, which 6 "
        "images with pretrained features beat, as the paper says without printing by how much."
    )
    alt = "Curves of accuracy against images per class, pretrained and from scratch, here and in the paper."
    return Panel("figure9", figure, caption, alt)


def _curve(axis, counts, means, stds, name):
    colour, style = STYLES[name]
    axis.errorbar(counts, means, stds, fmt=style, color=colour, ms=4, lw=1.2, capsize=2, label=name)


def precisions(
    classes: tuple[str, ...], scene: np.ndarray, found: Mapping[Any, Mapping[str, np.ndarray]], config: Any
) -> Panel:
    """Table 6: average precision of each class in scenes, its mean beside that on single objects, and the paper's."""
    *_, (target, single) = found.items()
    here = [(name, figures.mean_and_std(values)) for name, values in zip(classes, scene.T, strict=True)]
    here += [("mean", figures.mean_and_std(scene.mean(1)))]
    here += [(f"mean on one object, {target.name}", figures.mean_and_std(single["precision"].mean(1)))]
    printed = [*((name, f"{value:.1f}") for name, value in PASCAL.items()), ("mean", f"{PASCAL_MEANS['paper']:.1f}")]
    printed += [(f"mean of {name}", f"{value:.1f}") for name, value in PASCAL_MEANS.items() if name != "paper"]
    rows = zip_longest(here, printed, fillvalue=("", ""))
    lines = [(name, value, "", other, number) for (name, value), (other, number) in rows]
    columns = ("class here", "average\nprecision (%)", "", "class of\nPASCAL", "paper: average\nprecision (%)")
    figure = figures.text_table(columns, lines, [0], 1.4)
    pictures = "made of 2x2 tiles" if config.scenes == "tiles" else f"of {config.scenes}"
    caption = (
        f"Average precision of each class in scenes {pictures}, ranked by the probability of one softmax that was "
        f"trained on one object of each scene: mean and standard deviation over {config.folds} halvings. The paper's "
        "is for PASCAL VOC 2012."
    )
    alt = f"Table of average precisions of {len(classes)} classes here and of 20 in the paper."
    return Panel("table6", figure, caption, alt)


def examples(pictures: Any, count: int = 10) -> Panel:
    """The first scenes with the names of their objects."""
    names = [[pictures.data.classes[k] for k in np.flatnonzero(row)] for row in pictures.truth[:count]]
    panels = [pictures.data[number][0] / 255 for number in range(len(names))]
    figure, axes = plots.grid([panels[:5], panels[5:]], size=1.9)
    for number, (axis, objects) in enumerate(zip(axes.ravel(), names, strict=False)):
        drawn = pictures.data.classes[pictures.drawn[number]]
        axis.set_title("\n".join(f"{name} *" if name == drawn else name for name in objects), fontsize=7)
    caption = "Scenes and the objects in them; the star marks the one, chosen at random, that is the training label."
    return Panel("scenes", figure, caption, f"{len(panels)} images with the names of one or more objects above each.")


def layers(found: Mapping[Any, Mapping[str, np.ndarray]], config: Any) -> Panel:
    """Table 7: linear SVMs and softmaxes by layer, here and in the paper."""
    svm = [_layer(f"SVM ({name})", found, "svm", column) for column, name in enumerate(config.layers)]
    before, last = config.layers[-2:]
    softmax = [
        (f"softmax ({before})", *(figures.mean_and_std(values["softmax_before"]) for values in found.values())),
        _layer(f"softmax ({last})", found, "softmax", -1),
    ]
    nothing = ("",) * (len(found) + 1), ("",) * 3
    pairs = [(*(here or nothing[0]), *(printed or nothing[1])) for here, printed in zip_longest(svm, SVM)]
    lines = pairs + [(*here, *printed) for here, printed in zip(softmax, SOFTMAX, strict=True)]
    here = [f"{target.name}\n({max(target.counts)} per class)" for target in found]
    paper = "paper:\nclassifier on", "Caltech-101\n(30 per class)", "Caltech-256\n(60 per class)"
    figure = figures.text_table(("classifier on", *here, *paper), lines, [0, len(pairs)], 1.6)
    caption = (
        f"Accuracy (%) of linear classifiers on the features of each layer of {config.network}, with the most images: "
        f"mean and standard deviation over {config.folds} folds. Maps larger than 6x6 are averaged to 6x6."
    )
    return Panel("table7", figure, caption, f"Table of {len(lines)} classifiers with accuracies here and in the paper.")


def _layer(title, found, key, column):
    return (title, *(figures.mean_and_std(values[key][:, column]) for values in found.values()))
