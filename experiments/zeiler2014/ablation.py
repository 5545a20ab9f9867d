"""What it costs to remove and resize layers of one small network, by the design of Table 3.

Zeiler & Fergus 2014, section 5.1; the table itself is that of `zeiler2014/imagenet`.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from experiments.lib import dry_run, runner, training_task
from experiments.lib.runner import Number
from experiments.lib.training_task import Line
from experiments.zeiler2014 import imagenet
from experiments.zeiler2014.imagenet import TRAINING, VALIDATION
from xai_jax.architectures.zfnet import ZFNet
from xai_jax.data import crops

WHOLE = "zfnet"


class Change(NamedTuple):
    """A change of layers, and the rows of the paper's table after and before it. Here it is made to ZFNet."""

    title: str
    row: str
    before: str


CHANGES = {
    "without_34": Change("layers 3, 4 removed", "replication_without_34", "replication"),
    "without_7": Change("layer 7 removed", "replication_without_7", "replication"),
    "without_67": Change("layers 6, 7 removed", "replication_without_67", "replication"),
    "without_3467": Change("layers 3, 4, 6, 7 removed", "replication_without_3467", "replication"),
    "halved": Change("layers 6, 7 halved", "zfnet_halved", "zfnet"),
    "doubled": Change("layers 6, 7 doubled", "zfnet_doubled", "zfnet"),
    "wider": Change("layers 3-5 wider", "zfnet_wider", "zfnet"),
    "wider_doubled": Change("layers 3-5 wider, 6, 7 doubled", "zfnet_wider_doubled", "zfnet"),
}
# Claims that a sum of errors is below zero: column of the errors, weights of the networks.
CONTRASTS = (
    (
        "Layer 7 can be removed at little cost: less than layers 3 and 4.",
        VALIDATION,
        {"without_7": 1, "without_34": -1},
    ),
    (
        "Layers 3, 4 and 6, 7 removed together cost more than the sum of what each pair costs.",
        VALIDATION,
        {"without_34": 1, "without_67": 1, WHOLE: -1, "without_3467": -1},
    ),
    ("Halved layers 6 and 7 raise the training error.", TRAINING, {WHOLE: 1, "halved": -1}),
    ("Doubled layers 6 and 7 lower the training error.", TRAINING, {"doubled": 1, WHOLE: -1}),
    ("Wider layers 3 to 5 lower the validation error.", VALIDATION, {"wider": 1, WHOLE: -1}),
)


def run(config: Any, run: runner.Run) -> None:
    """Trains and checks the whole network and every change, several times each."""
    task = training_task.load(config, crops.one_of_ten, config.mean)
    modules = build(config)

    def trained(name, seed):
        workdir = run.workdir / "training" / f"{name}-{seed}"
        return training_task.fit(modules[name], task, imagenet.recipe(config), workdir, seed)

    seeds = range(config.seed, config.seed + config.seeds)
    found = imagenet.errors_of(modules, seeds, trained, task, config, run)
    run.figure("ablation", *figure(found, config))
    report(run, found, config)


def build(config: Any) -> dict[str, Any]:
    """The networks by name: the whole one, and one for each change that `config.changes` names, or all."""
    if not set(config.changes) <= set(CHANGES):
        raise ValueError(f"Expected changes out of {', '.join(CHANGES)}, got {', '.join(config.changes)}.")
    rows = {name: imagenet.ROWS[CHANGES[name].row] for name in config.changes or CHANGES}
    rows = {WHOLE: imagenet.ROWS[WHOLE]} | {name: row._replace(network=ZFNet) for name, row in rows.items()}
    return {name: imagenet.build(row, config) for name, row in rows.items()}


def cost(name: str) -> np.ndarray:
    """What the change cost in the paper: points of training top-1, validation top-1 and validation top-5."""
    change = CHANGES[name]
    return np.subtract(imagenet.ROWS[change.row].paper, imagenet.ROWS[change.before].paper)


def figure(found, config):
    """What each change adds to the errors, here and in the paper."""
    lines = []
    for name in found:
        if name == WHOLE:
            continue
        added, paper = (found[name] - found[WHOLE])[:, :2], cost(name)[:2]
        kinds = "training, top-1", "validation, top-1"
        cells = [f"{mean:+.1f} ± {deviation:.1f}" for mean, deviation in zip(added.mean(0), added.std(0), strict=True)]
        cells += [f"{value:+.1f}" for value in paper]
        here, there = (dict(zip(kinds, values, strict=True)) for values in (added.T, paper))
        lines.append(Line(CHANGES[name].title, tuple(cells), here, there))
    columns = "training\ntop-1", "validation\ntop-1", "paper:\ntraining", "paper:\nvalidation"
    figure = training_task.table(lines, columns, config.data, "points of error added")
    training, validation = found[WHOLE].mean(0)[:2]
    caption = (
        f"What each change of layers adds to the errors, in points, of a network of {config.width:g} times ZFNet's "
        f"width (training {training:.1f} %, validation {validation:.1f} %): mean and deviation over {config.seeds} "
        "networks, a dot for each and a bar at the mean. The paper removed layers of its replication of Krizhevsky's "
        "network, and resized layers of ZFNet, on ImageNet."
    )
    return figure, caption, f"Table of {len(lines)} changes with what they add to two errors, and dots of it."


def report(run, found, config):
    """Errors, what changes add to them, and claims."""
    kinds = "training top-1", "validation top-1", "validation top-5"
    for name, values in found.items():
        idle = imagenet.untrained(values, config.classes)
        for column, kind in enumerate(kinds):
            number = Number.mean(f"{name}, {kind}", values[:, column])
            note = f"{number.note}; {idle} of them learnt nothing"
            run.numbers.append(dataclasses.replace(number, unit="%", note=note))
            if name != WHOLE:
                number = Number.mean(f"{name}, {kind}, added", values[:, column] - found[WHOLE][:, column])
                paper = round(float(cost(name)[column]), 1)
                run.numbers.append(dataclasses.replace(number, unit="points", paper=paper, paper_tag="C"))
    run.claims += [
        imagenet.contrast(found, config, words, "Table 3", weights, column) for words, column, weights in CONTRASTS
    ]
    run.claims.append(imagenet.the_worst(found, config, "without_3467"))


def plan(config: Any) -> list[dry_run.Step]:
    """Training and ten crops of each network, as often as there are seeds."""
    shape, steps = (config.side, config.side, len(config.mean)), []
    for name, module in build(config).items():
        steps += training_task.plan(name, module, imagenet.recipe(config), config, shape, 10)
    return [step._replace(repeats=step.repeats * config.seeds) for step in steps]


EXPERIMENT = runner.Experiment(
    name="zeiler2014/ablation",
    title="Ablation of the layers of a small network",
    figure="Table 3, by its design",
    paper="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, arXiv 1311.2901",
    summary=(
        "Which layers matter? Layers of one network are removed or resized, it is trained again, and the errors are "
        "compared. The paper does so to two networks on ImageNet; here they are made to one small ZFNet, "
        "several times each, and a claim is judged by Welch's t-test over these networks at the 5 % level, each claim "
        "by itself, unless one of them learnt nothing. What a change adds to the error can be compared with the "
        "paper's, the errors themselves cannot."
    ),
    run=run,
    plan=plan,
    minutes=8.5,
    order=1,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
