"""What halves the maps of a network, and does it matter? The twelve networks of Springenberg et al. 2015, Table 3.

Three base models with max-pools (Table 1), and from each: a stride in the convolution before the pool in its place
("Strided-CNN"), a convolution with stride in its place ("All-CNN"), and, with as many parameters as that, a convolution
added before the pool ("ConvPool-CNN").

Differences between variants are averaged over the base models for each seed, and it is seeds that are counted: networks
of one seed see their images in the same order, so they are not independent; other seeds are. The base models are those
of the paper and not a sample of any. A mean difference has a 95 % confidence interval by Student's t distribution. A
variant costs nothing if the whole interval lies below the margin, something if it lies above, else the run cannot tell.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from matplotlib.figure import Figure

from experiments.lib import dry_run, runner, tables
from experiments.lib.runner import Claim, Number
from experiments.lib.tables import Interval
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
    """A variant, the one that it is compared with, words for the two, and the claim that the first costs nothing."""

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
        "Nor does it cost any beside a network that pools and has as many parameters.",
    ),
    Comparison(
        "strided_cnn",
        "model",
        "Strided-CNN − base model",
        "A mere stride of the convolution before, in the pool's place, costs little (0.74 points in the paper).",
    ),
)


def run(config: Any, run: runner.Run) -> None:
    """Trains every network with each seed, and compares the variants."""
    task = cifar.load("table", config.data, config, run)
    rates, errors = {}, {}
    for name in run.progress(chosen(config), "networks"):
        rates[name], errors[name] = cifar.errors(name, build(name, config), task, config, run)
    run.figure("table3", *table_figure(errors, config))
    run.figure("errors", *errors_figure(errors, config))
    run.figure("differences", *differences_figure(errors, config))
    report(run, rates, errors, config)


def chosen(config: Any) -> list[str]:
    """Names of the networks with the bases of the configuration, in the order of the table."""
    return [name for name in ROWS if name[-1].upper() in config.bases]


def build(name: str, config: Any) -> nn.Module:
    return NETWORKS[name](width=config.width, dropout=config.dropout)


def parameters(name: str, config: Any) -> tuple[int, int]:
    """Numbers learnt by a network as trained here, and by the paper's."""
    here, channels = build(name, config), cifar.SHAPES[config.data][-1]
    return cifar.parameters(here, (config.side, config.side, channels)), cifar.parameters(NETWORKS[name](), (32, 32, 3))


def differences(errors: Mapping[str, np.ndarray], variant: str, other: str, bases: tuple[str, ...]) -> np.ndarray:
    """(seeds,) points of error that `variant` has more than `other`, averaged over the bases.

    NaN for seeds of which a network learnt nothing: without one base the average would be of something else.
    """
    pairs = ((errors[f"{variant}_{base.lower()}"], errors[f"{other}_{base.lower()}"]) for base in bases)
    return np.mean([first - second for first, second in pairs], axis=0)


def paper_difference(comparison: Comparison, bases: tuple[str, ...]) -> float:
    """The same difference of the paper's errors."""
    printed = {name: np.array([row.error]) for name, row in ROWS.items()}
    return float(differences(printed, comparison.variant, comparison.other, bases)[0])


def table_figure(errors, config):
    """Table 3: errors and parameters, here and in the paper."""
    lines = []
    for name, values in errors.items():
        row, counts = ROWS[name], [f"{count / 1e6:.3f} M" for count in parameters(name, config)]
        lines.append((row.title, tables.spread(values), f"{row.error:.2f}", *counts, row.parameters))
    columns = (
        "",
        "error here\n(%)",
        "paper:\nerror (%)",
        "parameters\nhere",
        "parameters at\nfull width",
        "paper:\nparameters",
    )
    figure = tables.table(columns, lines, ruled=[i for i, name in enumerate(errors) if name.startswith("model")])
    caption = (
        f"Errors on {config.data}: mean and deviation over {config.seeds} networks of {config.width:g} times the "
        "paper's width. The paper's errors are for CIFAR-10 without augmentation; of Model C and Strided-CNN-C it "
        "prints more parameters than follow from its Table 1."
    )
    return figure, caption, f"Table of {len(lines)} networks: errors and parameters, here and in the paper."


def errors_figure(errors, config):
    """A ring for each network, a bar at the mean of each kind; beside them the paper's errors."""
    figure = Figure(figsize=(9, 1 + 0.27 * len(errors)), layout="constrained")
    here, paper = figure.subplots(1, 2, sharey=True)
    for y, (name, values) in enumerate(errors.items()):
        tables.dots(here, y, values, COLOURS[name[:-2]])
        paper.plot(ROWS[name].error, y, "o", color=COLOURS[name[:-2]], ms=6)
    tables.dress(here, f"here: {config.data}", "error (%)", [ROWS[name].title for name in errors])
    tables.dress(paper, "paper: CIFAR-10", "error (%)")
    caption = (
        f"A ring for each of {config.seeds} networks of a kind, a bar at their mean; on the right the paper's errors. "
        "Grey: base models, which pool. Orange: a stride in the convolution before instead. Green: a convolution added "
        "before the pool. Blue: a convolution with stride in place of the pool."
    )
    return figure, caption, f"Dots of error for {len(errors)} kinds of networks, here and in the paper."


def differences_figure(errors, config):
    """Differences of variants by seed, their confidence intervals, the margin, and the paper's differences."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axis = figure.subplots()
    for y, comparison in enumerate(COMPARISONS):
        values = differences(errors, comparison.variant, comparison.other, config.bases)
        tables.difference(axis, y, values, COLOURS[comparison.variant], paper_difference(comparison, config.bases))
    axis.axvline(0, color="0.6", lw=0.8)
    axis.axvline(config.margin, color="tab:red", lw=1, ls="--", label=f"margin: {config.margin:g}")
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    rows = [comparison.words for comparison in COMPARISONS]
    tables.dress(axis, f"cost of not pooling, here: {config.data}", "points of error", rows)
    caption = (
        "Differences of errors, averaged over the base models. Rings: one for each seed; below them their mean and its "
        "95 % confidence interval, then the same difference of the paper's errors. Not pooling costs nothing where the "
        "interval lies left of the margin."
    )
    return figure, caption, "Three rows of differences with confidence intervals, beside zero, margin and the paper's."


def report(run, rates, errors, config):
    """Errors and parameters of every network, and whether not pooling costs accuracy."""
    for name, values in errors.items():
        row, note = ROWS[name], f"rate {rates[name]:g}"
        run.numbers.append(tables.number(f"error, {row.title}", values, "%", note, row.error, "D"))
    for name in errors:
        (here, whole), row = parameters(name, config), ROWS[name]
        note, printed = f"trained here: {here:,}", {"paper": row.parameters, "paper_tag": "D"}
        run.numbers.append(Number(f"parameters at full width, {row.title}", whole, note=note, **printed))
    for comparison in COMPARISONS:
        values = differences(errors, comparison.variant, comparison.other, config.bases)
        paper = round(paper_difference(comparison, config.bases), 2)
        run.numbers.append(tables.number(comparison.words, values, "points", "averaged over base models", paper, "C"))
        run.claims.append(claim(comparison, tables.interval(values), config))


def claim(comparison: Comparison, cost: Interval, config: Any) -> Claim:
    """A cost is none if it is surely below the margin."""
    trained = f"{config.data}, {config.width:g} times the paper's width, epochs: {config.epochs:g}"
    measured = (
        f"{comparison.words}, points of error: {cost.words()}, averaged over base models {', '.join(config.bases)} "
        f"({trained}); by a margin fixed before, a cost surely below {config.margin:g} counts as none"
    )
    return Claim(comparison.claim, "Table 3", tables.below(cost, config.margin), measured)


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of training and the errors of all networks."""
    names = chosen(config)
    return [step for name in names for step in cifar.plan(ROWS[name].title, build(name, config), config.data, config)]


EXPERIMENT = runner.Experiment(
    name="springenberg2015/cifar_table",
    title="Do networks need pooling?",
    figure="Table 3",
    paper="Springenberg, Dosovitskiy, Brox and Riedmiller 2015, Striving for Simplicity, arXiv 1412.6806",
    summary=(
        "Three small networks with max-pooling, and of each three variants: a stride in the convolution before the "
        "pool in its place; a convolution with stride in its place; and, to tell what the parameters of that one do, a "
        "convolution added before the pool. Rates are chosen for each network on training images held out. Whether "
        "not pooling costs accuracy is tested over seeds, against a margin fixed before. By default each sees 20,000 "
        "images once. Fewer, tried later to save time, left networks without pools behind: 1.1 points with 15,000, 1.5 "
        "with 12,000; that is told here, and 20,000 kept."
    ),
    run=run,
    plan=plan,
    minutes=12,
    order=3,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
