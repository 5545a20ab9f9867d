"""Errors on ImageNet of ZFNet, of a replication of Krizhevsky's network, of variants and ensembles.

Zeiler & Fergus 2014, Tables 2 and 3; training as in section 3.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from experiments.lib import dry_run, runner, training_task
from experiments.lib.runner import Claim, Number
from experiments.lib.training_task import Line
from xai_jax.architectures.caffenet import CaffeNet
from xai_jax.architectures.zfnet import ZFNet
from xai_jax.core.network import keep
from xai_jax.data import crops
from xai_jax.training import sgd


class Row(NamedTuple):
    """A network of Table 3, and the paper's errors of it: training top-1, validation top-1 and top-5, in %."""

    title: str
    network: type[nn.Module]
    paper: tuple[float, float, float]
    without: tuple[int, ...] = ()
    hidden: int = 4096
    widths: tuple[int, ...] = (96, 256, 384, 384, 256)


WIDER = (96, 256, 512, 1024, 512)
ROWS = {
    "replication": Row("replication of Krizhevsky et al.", CaffeNet, (35.1, 40.5, 18.1)),
    "replication_without_34": Row("    without layers 3, 4", CaffeNet, (41.8, 45.4, 22.1), (3, 4)),
    "replication_without_7": Row("    without layer 7", CaffeNet, (27.4, 40.0, 18.4), (7,)),
    "replication_without_67": Row("    without layers 6, 7", CaffeNet, (27.4, 44.8, 22.4), (6, 7)),
    "replication_without_3467": Row("    without layers 3, 4, 6, 7", CaffeNet, (71.1, 71.3, 50.1), (3, 4, 6, 7)),
    "replication_halved": Row("    layers 6, 7 halved (2048)", CaffeNet, (40.3, 41.7, 18.8), hidden=2048),
    "replication_doubled": Row("    layers 6, 7 doubled (8192)", CaffeNet, (26.8, 40.0, 18.1), hidden=8192),
    "zfnet": Row("ZFNet (Fig. 3)", ZFNet, (33.1, 38.4, 16.5)),
    "zfnet_halved": Row("    layers 6, 7 halved (2048)", ZFNet, (38.2, 40.2, 17.6), hidden=2048),
    "zfnet_doubled": Row("    layers 6, 7 doubled (8192)", ZFNet, (22.0, 38.8, 17.0), hidden=8192),
    "zfnet_wider": Row("    layers 3-5 wider (512, 1024, 512)", ZFNet, (18.8, 37.5, 16.0), widths=WIDER),
    "zfnet_wider_doubled": Row("    both", ZFNet, (10.0, 38.3, 16.9), hidden=8192, widths=WIDER),
}
# Table 2: validation top-1 and top-5. The second ensemble has one more network, of the variant with wider layers.
ENSEMBLES = {"a": (36.7, 15.3), "a+b": (36.0, 14.7)}


def run(config: Any, run: runner.Run) -> None:
    """Trains and checks every row, several times each, and ensembles of them."""
    task = training_task.load(config, crops.one_of_ten, config.mean)
    names = chosen(config)
    modules = {name: build(ROWS[name], config) for name in names}

    def trained(name, seed):
        workdir = run.workdir / "training" / f"{name}-{seed}"
        followed = (name, seed) == ("zfnet", config.seed)  # by zeiler2014/evolution
        return training_task.fit(modules[name], task, recipe(config), workdir, seed, keep_epochs=followed)

    seeds = range(config.seed, config.seed + config.seeds)
    found = errors_of(names, seeds, trained, task, config, run)
    ensembles = run.stage("ensembles", lambda: check_ensembles(trained, task, names, seeds, config))
    run.figure("table3", *table_3(found, config))
    if ensembles:
        run.figure("table2", *table_2(found, ensembles, config))
    report(run, found, ensembles, config)


def errors_of(names, seeds, trained, task, config, run):
    """Errors (networks, kinds) in % of `trained(name, seed)` by name: training top-1, validation top-1 and top-5."""
    found = {name: [] for name in names}
    for name, seed in run.progress([(name, seed) for name in names for seed in seeds], "networks"):
        stage = run.stage(f"{name}-{seed}", lambda n=name, s=seed: check(trained(n, s), task, config))
        found[name].append([stage[kind] for kind in ("training", "top1", "top5")])
    return {name: np.array(values) for name, values in found.items()}


def chosen(config: Any) -> tuple[str, ...]:
    """Names of the rows to train. Raises ValueError for names that are none."""
    if not set(config.rows) <= set(ROWS):
        raise ValueError(f"Expected rows out of {', '.join(ROWS)}, got {', '.join(config.rows)}.")
    return config.rows or tuple(ROWS)


def build(row: Row, config: Any) -> nn.Module:
    """The row's network, of the configuration's width; channels stay even, for the replication's two groups."""
    widths = tuple(2 * max(1, round(channels * config.width / 2)) for channels in row.widths)
    hidden = round(row.hidden * config.width)
    return row.network(widths, hidden, config.classes, row.without, config.initial_std, config.dropout)


def recipe(config: Any) -> sgd.Recipe:
    return sgd.Recipe(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        cosine=not config.patience,
        patience=config.patience,
        renormalise=config.renormalise,
    )


def check(net, task, config):
    """Errors over ten crops of training and of validation images."""
    known, new = (training_task.errors(net, data, task, ten_crop(config)) for data in (task.known, task.validation))
    return {"training": known.top1, "top1": new.top1, "top5": new.top5}


def ten_crop(config):
    return functools.partial(crops.ten_crop, side=config.side, short=config.short)


def ensemble(nets: list) -> Partial:
    """One network that gives the logarithm of the networks' average probability."""
    return Partial(_average, tuple(nets))


def _average(nets, x, relu=jax.nn.relu, tap=keep):
    probabilities = [jax.nn.softmax(net(x, relu=relu, tap=tap)) for net in nets]
    return jnp.log(sum(probabilities) / len(probabilities))


def check_ensembles(trained, task, names, seeds, config):
    """Validation errors of all networks of Fig. 3 together, (a), and with one of wider layers, (b)."""
    members = {"a": [("zfnet", seed) for seed in seeds]}
    members["a+b"] = [*members["a"], ("zfnet_wider", seeds[0])]
    possible = {key: pairs for key, pairs in members.items() if {name for name, _ in pairs} <= set(names)}
    groups = {key: [trained(*pair) for pair in pairs] for key, pairs in possible.items()}
    return {
        name: training_task.errors(ensemble(nets), task.validation, task, ten_crop(config))
        for name, nets in groups.items()
    }


def table_3(found, config):
    """All rows: training and validation errors, and the paper's."""
    lines = []
    for name, values in found.items():
        row = ROWS[name]
        cells = training_task.spreads(values) + [f"{value:.1f}" for value in row.paper]
        here = {"training, top-1": values[:, 0], "validation, top-1": values[:, 1]}
        paper = {"training, top-1": row.paper[0], "validation, top-1": row.paper[1]}
        lines.append(Line(row.title, tuple(cells), here, paper))
    kinds = ("training\ntop-1", "validation\ntop-1", "validation\ntop-5")
    figure = training_task.table(lines, (*kinds, *(f"paper:\n{kind}" for kind in kinds)), config.data)
    caption = (
        f"Errors (%) of networks with layers removed or resized: mean and deviation over {config.seeds} networks of "
        f"{config.width:g} times the paper's width, a dot for each and a bar at the mean. The paper's: from ImageNet."
    )
    return figure, caption, f"Table of {len(lines)} networks with training and validation errors, and dots of them."


def table_2(found, ensembles, config):
    """Single networks and ensembles: validation errors, and the paper's."""
    count, lines = config.seeds, []
    for name in ("replication", "zfnet", "zfnet_wider"):
        if name in found:
            lines.append(line_2(f"1 network: {ROWS[name].title.strip()}", found[name][:, 1:], ROWS[name].paper[1:]))
    titles = {"a": f"{count} networks of Fig. 3 (paper: 5)", "a+b": f"these and one of wider layers ({count + 1}; 6)"}
    lines += [line_2(titles[name], values[None], ENSEMBLES[name]) for name, values in ensembles.items()]
    kinds = ("validation\ntop-1", "validation\ntop-5")
    figure = training_task.table(lines, (*kinds, *(f"paper:\n{kind}" for kind in kinds)), config.data)
    caption = (
        "Validation errors (%) of single networks (mean and deviation, a dot for each) and of ensembles that average "
        "the networks' probabilities. The paper's are from ImageNet."
    )
    return figure, caption, f"Table of {len(lines)} single networks and ensembles with errors, and dots of them."


def line_2(title, values, paper):
    cells = (*training_task.spreads(values), *(f"{value:.1f}" for value in paper))
    return Line(title, cells, {"validation, top-1": values[:, 0]}, {"validation, top-1": paper[0]})


def report(run, found, ensembles, config):
    """Numbers beside the paper's, and claims."""
    kinds = ("training top-1", "validation top-1", "validation top-5")
    for name, values in found.items():
        for kind, column, paper in zip(kinds, values.T, ROWS[name].paper, strict=True):
            number = Number.mean(f"{ROWS[name].network.__name__}: {name}, {kind}", column)
            run.numbers.append(dataclasses.replace(number, unit="%", paper=paper, paper_tag="V:ZF"))
    for name, values in ensembles.items():
        for kind, value, paper in zip(kinds[1:], values, ENSEMBLES[name], strict=True):
            run.numbers.append(Number(f"ensemble {name}, {kind}", value, None, "%", paper, "V:ZF"))
    run.claims += [contrast(found, config, *arguments) for arguments in CONTRASTS]
    run.claims += [the_worst(found, config), better_together(found, ensembles)]


# Claims that one error is below another, or a sum of errors below zero: column of the errors, weights of the rows.
TRAINING, VALIDATION = 0, 1
CONTRASTS = (
    ("ZFNet has a lower validation error than the replication.", "Table 2", {"zfnet": 1, "replication": -1}),
    (
        "Layers 3, 4 and 6, 7 removed together cost more than the sum of what each pair costs.",
        "Table 3",
        {"replication_without_34": 1, "replication_without_67": 1, "replication": -1, "replication_without_3467": -1},
    ),
    ("Wider layers 3 to 5 lower the validation error.", "Tables 2 and 3", {"zfnet_wider": 1, "zfnet": -1}),
    (
        "Doubled layers 6 and 7 lower the training error.",
        "Table 3",
        {"zfnet_doubled": 1, "zfnet": -1},
        TRAINING,
    ),
)


def untrained(errors: np.ndarray, classes: int) -> int:
    """How many networks (networks, kinds of errors) learnt nothing: their validation error is near a guess's."""
    return int((errors[:, VALIDATION] > 0.9 * 100 * (1 - 1 / classes)).sum())


def contrast(found, config, words, source, weights, column=VALIDATION):
    """Whether a sum of rows' errors is below zero; None where a row was left out, or some networks learnt nothing."""
    missing = [name for name in weights if name not in found]
    if missing:
        return Claim(words, source, None, f"this run leaves out {', '.join(missing)}")
    idle = [name for name in weights if untrained(found[name], config.classes)]
    if idle:
        return Claim(words, source, None, f"some networks learnt nothing: {', '.join(idle)}")
    formula = " ".join(f"{'-' if weight < 0 else '+'} {name}" for name, weight in weights.items()).removeprefix("+ ")
    return training_task.claim(words, source, formula, [(w, found[name][:, column]) for name, w in weights.items()])


def the_worst(found, config, worst="replication_without_3467"):
    """Whether one row's validation error is above every other row's."""
    words = "Without layers 3, 4, 6 and 7 the validation error is the highest of all."
    if worst not in found:
        return Claim(words, "Table 3", None, f"this run leaves out {worst}")
    if untrained(found[worst], config.classes):
        return Claim(words, "Table 3", None, f"some networks of {worst} learnt nothing")
    others = {name: values[:, VALIDATION] for name, values in found.items() if name != worst}
    tests = [training_task.below_zero([(1, other), (-1, found[worst][:, VALIDATION])]) for other in others.values()]
    held = False if False in [t.held for t in tests] else None if None in [t.held for t in tests] else True
    next_worst = max(others, key=lambda name: others[name].mean())
    means = found[worst][:, VALIDATION].mean(), others[next_worst].mean()
    return Claim(words, "Table 3", held, f"{means[0]:.1f} %; next is {next_worst} with {means[1]:.1f} %")


def better_together(found, ensembles):
    """Whether the ensemble's error is below that of its networks."""
    words = "An ensemble of networks of Fig. 3 has a lower validation error than one such network."
    if not ensembles:
        return Claim(words, "Table 2", None, "this run leaves out zfnet")
    differences = ensembles["a"][0] - found["zfnet"][:, VALIDATION]
    return training_task.claim(words, "Table 2", "ensemble - zfnet", [(1, differences)])


def plan(config: Any) -> list[dry_run.Step]:
    """Training and ten crops of each row, as often as there are seeds. Ensembles add a few forward passes."""
    shape, steps = (config.side, config.side, len(config.mean)), []
    for name in chosen(config):
        steps += training_task.plan(name, build(ROWS[name], config), recipe(config), config, shape, 10)
    return [step._replace(repeats=step.repeats * config.seeds) for step in steps]


EXPERIMENT = runner.Experiment(
    name="zeiler2014/imagenet",
    title="ZFNet, its predecessor, and ablation of their layers",
    figure="Tables 2 and 3",
    paper="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, arXiv 1311.2901",
    summary=(
        "How much better is the network of Fig. 3 than the one before it, what do ensembles add, and which layers "
        "matter? Each network is trained several times, and a claim is judged by Welch's t-test over these networks at "
        "the 5 % level, each claim by itself. By default all is small: an eighth of the width, 3000 images of "
        "Fashion-MNIST enlarged from 28 to 72 pixels, six epochs. Errors are far from the paper's, only comparisons "
        "count, and a comparison that fails here may hold on ImageNet. Choices of ours: the mean pixel is subtracted, "
        "not the mean image; training errors are those of ten crops; by default weights above layer 1 start larger, "
        "there is no dropout, and the rate follows half a cosine, since narrow networks hardly learn otherwise in so "
        "few epochs. That rate was lowered from 0.007 to 0.003 after a first run, in which two of three networks "
        "without layers 3, 4, 6 and 7 ended at chance: the claims about them would have held for that reason alone."
    ),
    run=run,
    plan=plan,
    minutes=4.5,
    order=1,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
