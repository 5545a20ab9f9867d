"""Strided convolutions instead of max-pooling: the twelve networks of Springenberg et al. 2015, Table 3.

Three base models with max-pools (Table 1), and from each: a stride in the convolution before the pool in its place
("Strided-CNN"), a convolution with stride in its place ("All-CNN"), and, with as many parameters as that, a convolution
added before the pool ("ConvPool-CNN").

Differences between variants are averaged over the base models for each seed, and seeds are the samples: networks of
one seed see their images in the same order, so they are not independent. The base models are those of the paper and not
a sample. That a variant costs no accuracy is supported if the whole 95 % confidence interval of the mean difference
(Student's t distribution) lies below the margin, and not supported if it lies above.
"""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import numpy as np

from configs.springenberg2015.cifar_table import Config
from experiments.lib import dry_run, figures, papers, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.springenberg2015 import cifar
from xai_jax.models.cifar import NETWORKS

COLOURS = {"model": "tab:grey", "strided_cnn": "tab:orange", "convpool_cnn": "tab:green", "all_cnn": "tab:blue"}


class Row(NamedTuple):
    """A network of Table 3: the paper's error in % on CIFAR-10 without augmentation, and its parameters as printed."""

    title: str
    error: float
    parameters: str


ROWS = {
    "model_a": Row("Model A", 12.47, "~0.9 M"),
    "strided_cnn_a": Row("Strided-CNN-A", 13.46, "~0.9 M"),
    "convpool_cnn_a": Row("ConvPool-CNN-A", 10.21, "~1.28 M"),
    "all_cnn_a": Row("All-CNN-A", 10.30, "~1.28 M"),
    "model_b": Row("Model B", 10.20, "~1 M"),
    "strided_cnn_b": Row("Strided-CNN-B", 10.98, "~1 M"),
    "convpool_cnn_b": Row("ConvPool-CNN-B", 9.33, "~1.35 M"),
    "all_cnn_b": Row("All-CNN-B", 9.10, "~1.35 M"),
    "model_c": Row("Model C", 9.74, "~1.3 M"),
    "strided_cnn_c": Row("Strided-CNN-C", 10.19, "~1.3 M"),
    "convpool_cnn_c": Row("ConvPool-CNN-C", 9.31, "~1.4 M"),
    "all_cnn_c": Row("All-CNN-C", 9.08, "~1.4 M"),
}


class Comparison(NamedTuple):
    """A variant, what it is compared with, the name of the difference, and the claim that the variant costs nothing."""

    variant: str
    other: str
    words: str
    claim: str


COMPARISONS = (
    Comparison(
        "all_cnn",
        "model",
        "All-CNN − base model",
        "A convolution with stride in place of max-pooling costs no accuracy.",
    ),
    Comparison(
        "all_cnn",
        "convpool_cnn",
        "All-CNN − ConvPool-CNN",
        "Nor does it cost any compared with a network that pools and has as many parameters.",
    ),
    Comparison(
        "strided_cnn",
        "model",
        "Strided-CNN − base model",
        "A stride of the preceding convolution instead of the pool costs little (0.74 points in the paper).",
    ),
)


def run(config: Config, work: Workspace) -> Report:
    """Trains every network with each seed, and compares the variants."""
    task = cifar.load("table", config.data, config, work)
    learning_rates, errors = {}, {}
    for name in work.progress(chosen(config), "networks"):
        learning_rates[name], errors[name] = cifar.errors(name, build(name, config), task, config, work)
    panels = [table_panel(errors, config), errors_panel(errors, config), differences_panel(errors, config)]
    return Report(*findings(learning_rates, errors, config), panels)


def chosen(config: Config) -> list[str]:
    """Names of the networks with the bases of the configuration, in the order of the table."""
    return [name for name in ROWS if name[-1].upper() in config.bases]


def build(name: str, config: Config) -> nn.Module:
    return NETWORKS[name](width=config.width, dropout=config.dropout)


def parameters(name: str, config: Config) -> tuple[int, int]:
    """Numbers of parameters of a network as trained here, and of the paper's."""
    here, channels = build(name, config), cifar.shape(config.data)[-1]
    return cifar.parameters(here, (config.side, config.side, channels)), cifar.parameters(NETWORKS[name](), (32, 32, 3))


def differences(errors: Mapping[str, np.ndarray], variant: str, other: str, bases: tuple[str, ...]) -> np.ndarray:
    """(seeds,) points of error that `variant` has more than `other`, averaged over the bases.

    NaN for seeds with an untrained network: the average over fewer bases would not be comparable.
    """
    pairs = ((errors[f"{variant}_{base.lower()}"], errors[f"{other}_{base.lower()}"]) for base in bases)
    return np.mean([first - second for first, second in pairs], axis=0)


def paper_difference(comparison: Comparison, bases: tuple[str, ...]) -> float:
    """The same difference of the paper's errors."""
    printed = {name: np.array([row.error]) for name, row in ROWS.items()}
    return float(differences(printed, comparison.variant, comparison.other, bases)[0])


def table_panel(errors, config):
    """Table 3: errors and parameters, here and in the paper."""
    lines = []
    for name, values in errors.items():
        row, counts = ROWS[name], [f"{count / 1e6:.3f} M" for count in parameters(name, config)]
        lines.append((row.title, figures.mean_and_std(values), f"{row.error:.2f}", *counts, row.parameters))
    columns = ("", "error here\n(%)", "paper:\nerror (%)", "parameters\nhere", "parameters at\nfull width")
    columns += ("paper:\nparameters",)
    figure = figures.text_table(columns, lines, ruled=[i for i, name in enumerate(errors) if name.startswith("model")])
    caption = (
        f"Errors on {config.data}: mean and standard deviation over {config.seeds} networks of {config.width:g} times "
        "the paper's width. The paper's errors are for CIFAR-10 without augmentation; of Model C and Strided-CNN-C it "
        "prints more parameters than follow from its Table 1."
    )
    alt = f"Table of {len(lines)} networks: errors and parameters, here and in the paper."
    return Panel("table3", figure, caption, alt)


def errors_panel(errors, config):
    """A ring for each network, a bar at the mean of each kind; beside them the paper's errors."""
    figure, ((here, paper),) = figures.axes(1, 2, (4.5, 1 + 0.27 * len(errors)), sharey=True)
    for y, (name, values) in enumerate(errors.items()):
        figures.dots(here, y, values, COLOURS[name[:-2]])
        paper.plot(ROWS[name].error, y, "o", color=COLOURS[name[:-2]], ms=6)
    figures.label_rows(here, f"here: {config.data}", "error (%)", [ROWS[name].title for name in errors])
    figures.label_rows(paper, "paper: CIFAR-10", "error (%)")
    caption = (
        f"A ring for each of {config.seeds} networks of a kind, a bar at their mean; on the right the paper's errors. "
        "Grey: base models with max-pooling. Orange: a stride in the preceding convolution instead. Green: a "
        "convolution added before the pool. Blue: a convolution with stride instead of the pool."
    )
    alt = f"Dots of error for {len(errors)} kinds of networks, here and in the paper."
    return Panel("errors", figure, caption, alt)


def differences_panel(errors, config):
    """Differences of variants by seed, their confidence intervals, the margin, and the paper's differences."""
    figure, ((axis,),) = figures.axes(1, 1, (9, 2.6))
    for y, comparison in enumerate(COMPARISONS):
        values = differences(errors, comparison.variant, comparison.other, config.bases)
        paper = paper_difference(comparison, config.bases)
        figures.difference_dots(axis, y, values, COLOURS[comparison.variant], paper)
    axis.axvline(0, color="0.6", lw=0.8)
    axis.axvline(config.margin, color="tab:red", lw=1, ls="--", label=f"margin: {config.margin:g}")
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    rows = [comparison.words for comparison in COMPARISONS]
    figures.label_rows(axis, f"cost of no pooling, here: {config.data}", "points of error", rows)
    caption = (
        "Differences of errors, averaged over the base models. Rings: one for each seed; below them their mean and its "
        "95 % confidence interval, then the same difference of the paper's errors. A variant costs nothing where the "
        "interval lies left of the margin."
    )
    alt = "Three rows of differences with confidence intervals, beside zero, margin and the paper's."
    return Panel("differences", figure, caption, alt)


def findings(learning_rates, errors, config):
    """Errors and parameters of every network, and the costs of the variants with their claims."""
    numbers, claims = [], []
    for name, values in errors.items():
        row, note = ROWS[name], f"learning rate {learning_rates[name]:g}"
        numbers.append(cifar.number(f"error, {row.title}", values, "%", note, paper=row.error, paper_tag="D"))
    for name in errors:
        (here, whole), row = parameters(name, config), ROWS[name]
        note, printed = f"trained here: {here:,}", {"paper": row.parameters, "paper_tag": "D"}
        numbers.append(Number(f"parameters at full width, {row.title}", whole, note=note, **printed))
    for comparison in COMPARISONS:
        values = differences(errors, comparison.variant, comparison.other, config.bases)
        printed = {"paper": round(paper_difference(comparison, config.bases), 2), "paper_tag": "C"}
        numbers.append(cifar.number(comparison.words, values, "points", "averaged over base models", **printed))
        claims.append(claim(comparison, values, config))
    return numbers, claims


def claim(comparison: Comparison, values: np.ndarray, config: Config) -> Claim:
    """A cost counts as none if its confidence interval lies below the margin."""
    trained = f"{config.data}, {config.width:g} times the paper's width, epochs: {config.epochs:g}"
    measured = (
        f"{comparison.words}, points of error averaged over base models {', '.join(config.bases)} ({trained}); by a "
        f"margin fixed before the runs, a cost below {config.margin:g} counts as none"
    )
    verdict = statistics.within(statistics.over_seeds(values), -np.inf, config.margin)
    return Claim(comparison.claim, "Table 3", verdict, measured)


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of training and the errors of all networks."""
    pairs = [(name, build(name, config)) for name in chosen(config)]
    return [step for name, net in pairs for step in cifar.plan(name, ROWS[name].title, net, config.data, config)]


EXPERIMENT = Experiment[Config](
    name="springenberg2015/cifar_table",
    title="Do networks need pooling?",
    figure="Table 3",
    paper=papers.SPRINGENBERG2015,
    summary=(
        "Three small networks with max-pooling, each with three variants: a stride in the preceding convolution "
        "instead of the pool; a convolution with stride instead of it; and, as a control for the parameters of that "
        "one, a convolution added before the pool. The cost of not pooling is tested over seeds against a fixed "
        "margin."
    ),
    run=run,
    plan=plan,
    minutes=6.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
