"""What it costs to remove and resize layers of one small network, by the design of Table 3.

Zeiler & Fergus 2014, section 5.1; the table itself is that of `zeiler2014/imagenet`.
"""

from typing import Any, NamedTuple

import numpy as np

from configs.zeiler2014.ablation import Config
from experiments.lib import dry_run, papers, training_task
from experiments.lib.report import Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.training_task import Line
from experiments.zeiler2014 import imagenet
from experiments.zeiler2014.imagenet import TRAINING, VALIDATION
from xai_jax.architectures.zfnet import ZFNet
from xai_jax.core.messages import listed
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


def run(config: Config, work: Workspace) -> Report:
    """Trains and checks the whole network and every change, several times each."""
    task = training_task.load(config, crops.one_of_ten, config.mean)
    modules = build(config)

    def trained(name, seed):
        workdir = work.training(f"{name}-{seed}")
        return training_task.fit(modules[name], task, imagenet.recipe(config), workdir, seed)

    seeds = range(config.seed, config.seed + config.seeds)
    found = imagenet.errors_of(modules, seeds, trained, task, config, work)
    return Report(*findings(found, config), [ablation_panel(found, config)])


def build(config: Config) -> dict[str, Any]:
    """The networks by name: the whole one, and one for each change that `config.changes` names, or all."""
    if not set(config.changes) <= set(CHANGES):
        raise ValueError(f"Expected changes out of {listed(CHANGES)}, got {listed(config.changes)}.")
    rows = {name: imagenet.ROWS[CHANGES[name].row] for name in config.changes or CHANGES}
    rows = {WHOLE: imagenet.ROWS[WHOLE]} | {name: row._replace(network=ZFNet) for name, row in rows.items()}
    return {name: imagenet.build(row, config) for name, row in rows.items()}


def cost(name: str) -> np.ndarray:
    """The increase of the errors in the paper: points of training top-1, validation top-1 and validation top-5."""
    change = CHANGES[name]
    return np.subtract(imagenet.ROWS[change.row].paper, imagenet.ROWS[change.before].paper)


def ablation_panel(found, config):
    """The increase of the errors by each change, here and in the paper."""
    lines = []
    for name in found:
        if name == WHOLE:
            continue
        added, paper = (found[name] - found[WHOLE])[:, :2], cost(name)[:2]
        kinds = "training, top-1", "validation, top-1"
        cells = [f"{mean:+.1f} ± {std:.1f}" for mean, std in zip(added.mean(0), added.std(0), strict=True)]
        cells += [f"{value:+.1f}" for value in paper]
        here, there = (dict(zip(kinds, values, strict=True)) for values in (added.T, paper))
        lines.append(Line(CHANGES[name].title, tuple(cells), here, there))
    columns = "training\ntop-1", "validation\ntop-1", "paper:\ntraining", "paper:\nvalidation"
    figure = training_task.table(lines, columns, config.data, "points of error added")
    training, validation = found[WHOLE].mean(0)[:2]
    caption = (
        f"Increase of the errors, in points, by each change of layers of a network of {config.width:g} times ZFNet's "
        f"width (training {training:.1f} %, validation {validation:.1f} %): mean and standard deviation over "
        f"{config.seeds} networks, a dot for each and a bar at the mean. The paper removed layers of its replication "
        "of Krizhevsky's network, and resized layers of ZFNet, on ImageNet."
    )
    alt = f"Table of {len(lines)} changes with their increase of two errors, and dots of it."
    return Panel("ablation", figure, caption, alt)


def findings(found, config):
    """Errors, their increase by each change, and claims."""
    kinds, numbers = ("training top-1", "validation top-1", "validation top-5"), []
    for name, values in found.items():
        untrained = imagenet.untrained(values, config.classes)
        for column, kind in enumerate(kinds):
            note = f"; {untrained} of them at chance level"
            numbers.append(Number.mean(f"{name}, {kind}", values[:, column], note, unit="%"))
            if name != WHOLE:
                added, paper = values[:, column] - found[WHOLE][:, column], round(float(cost(name)[column]), 1)
                printed = {"unit": "points", "paper": paper, "paper_tag": "C"}
                numbers.append(Number.mean(f"{name}, {kind}, added", added, **printed))
    claims = [imagenet.contrast(found, config, text, "Table 3", weights, column) for text, column, weights in CONTRASTS]
    return numbers, [*claims, imagenet.highest_error(found, config, "without_3467")]


def plan(config: Config) -> list[dry_run.Step]:
    """Training and ten crops of each network, as often as there are seeds."""
    return training_task.plans(build(config), imagenet.recipe(config), config, 10)


EXPERIMENT = Experiment[Config](
    name="zeiler2014/ablation",
    title="Ablation of the layers of a small network",
    figure="Table 3, by its design",
    paper=papers.ZEILER2014,
    summary=(
        "Which layers matter? Layers of one network are removed or resized, the network is trained again, and errors "
        "are compared, each claim by Welch's t-test over several networks. The paper does so with two networks on "
        "ImageNet, here with one small ZFNet: only the increase of the error can be compared with the paper's."
    ),
    run=run,
    plan=plan,
    minutes=4,
)

if __name__ == "__main__":
    main(EXPERIMENT)
