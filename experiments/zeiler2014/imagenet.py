"""Errors on ImageNet of ZFNet, of a replication of Krizhevsky's network, of variants and ensembles.

Zeiler & Fergus 2014, Tables 2 and 3; training as in section 3.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from configs.zeiler2014.imagenet import Config
from experiments.lib import dry_run, papers, statistics, training_task
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.training_task import Line
from xai_jax.architectures.caffenet import CaffeNet
from xai_jax.architectures.zfnet import ZFNet
from xai_jax.core.messages import listed
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


def run(config: Config, work: Workspace) -> Report:
    """Trains and checks every row, several times each, and ensembles of them."""
    task = training_task.load(config, crops.one_of_ten, config.mean)
    names = chosen(config)
    modules = {name: build(ROWS[name], config) for name in names}

    def trained(name, seed):
        workdir = work.training(f"{name}-{seed}")
        followed = (name, seed) == ("zfnet", config.seed)  # by zeiler2014/evolution
        return training_task.fit(modules[name], task, recipe(config), workdir, seed, keep_epochs=followed)

    seeds = range(config.seed, config.seed + config.seeds)
    found = errors_of(names, seeds, trained, task, config, work)
    ensembles = work.stage("ensembles", lambda: check_ensembles(trained, task, names, seeds, config))
    panels = [table_3(found, config), *([table_2(found, ensembles, config)] if ensembles else [])]
    return Report(*findings(found, ensembles, config), panels)


def errors_of(names, seeds, trained, task, config, work):
    """Errors (networks, kinds) in % of `trained(name, seed)` by name: training top-1, validation top-1 and top-5."""
    found = {name: [] for name in names}
    for name, seed in work.progress([(name, seed) for name in names for seed in seeds], "networks"):
        stage = work.stage(f"{name}-{seed}", lambda n=name, s=seed: check(trained(n, s), task, config))
        found[name].append([stage[kind] for kind in ("training", "top1", "top5")])
    return {name: np.array(values) for name, values in found.items()}


def chosen(config: Config) -> tuple[str, ...]:
    """Names of the rows to train. Raises ValueError for unknown names."""
    if not set(config.rows) <= set(ROWS):
        raise ValueError(f"Expected rows out of {listed(ROWS)}, got {listed(config.rows)}.")
    return config.rows or tuple(ROWS)


def build(row: Row, config: Config) -> nn.Module:
    """The row's network, of the configuration's width; channels stay even, for the replication's two groups."""
    widths = tuple(2 * max(1, round(channels * config.width / 2)) for channels in row.widths)
    hidden = round(row.hidden * config.width)
    return row.network(widths, hidden, config.classes, row.without, config.initial_std, config.dropout)


def recipe(config: Config) -> sgd.Recipe:
    schedule = {"cosine": not config.patience, "patience": config.patience, "half": config.half}
    return sgd.Recipe(
        config.epochs, config.batch_size, config.learning_rate, renormalise=config.renormalise, **schedule
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
        f"Errors (%) of networks with layers removed or resized: mean and standard deviation over {config.seeds} "
        f"networks of {config.width:g} times the paper's width, a dot for each and a bar at the mean. The paper's: "
        "from ImageNet."
    )
    alt = f"Table of {len(lines)} networks with training and validation errors, and dots of them."
    return Panel("table3", figure, caption, alt)


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
        "Validation errors (%) of single networks (mean and standard deviation, a dot for each) and of ensembles that "
        "average the networks' probabilities. The paper's are from ImageNet."
    )
    alt = f"Table of {len(lines)} single networks and ensembles with errors, and dots of them."
    return Panel("table2", figure, caption, alt)


def line_2(title, values, paper):
    cells = (*training_task.spreads(values), *(f"{value:.1f}" for value in paper))
    return Line(title, cells, {"validation, top-1": values[:, 0]}, {"validation, top-1": paper[0]})


def findings(found, ensembles, config):
    """Numbers beside the paper's, and claims."""
    kinds, numbers = ("training top-1", "validation top-1", "validation top-5"), []
    for name, values in found.items():
        for kind, column, paper in zip(kinds, values.T, ROWS[name].paper, strict=True):
            title = f"{ROWS[name].network.__name__}: {name}, {kind}"
            numbers.append(Number.mean(title, column, unit="%", paper=paper, paper_tag="V:ZF"))
    for name, values in ensembles.items():
        for kind, value, paper in zip(kinds[1:], values, ENSEMBLES[name], strict=True):
            numbers.append(Number(f"ensemble {name}, {kind}", value, None, "%", paper, "V:ZF"))
    claims = [contrast(found, config, *arguments) for arguments in CONTRASTS]
    return numbers, [*claims, highest_error(found, config), ensemble_claim(found, ensembles)]


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
    ("Doubled layers 6 and 7 lower the training error.", "Table 3", {"zfnet_doubled": 1, "zfnet": -1}, TRAINING),
)


def untrained(errors: np.ndarray, classes: int) -> int:
    """Number of networks (networks, kinds of errors) with a validation error close to chance level."""
    return int((errors[:, VALIDATION] > 0.9 * 100 * (1 - 1 / classes)).sum())


def unusable(found, names, config):
    """Why a claim on these rows cannot be tested: a row was left out, or some networks are at chance level; or ""."""
    missing = [name for name in names if name not in found]
    if missing:
        return f"this run leaves out {', '.join(missing)}"
    idle = [name for name in names if untrained(found[name], config.classes)]
    return f"some networks are at chance level: {', '.join(idle)}" if idle else ""


def contrast(found, config, text, source, weights, column=VALIDATION):
    """The claim that a weighted sum of rows' errors is below zero."""
    reason = unusable(found, weights, config)
    if reason:
        return Claim(text, source, statistics.inconclusive(reason), "")
    formula = " ".join(f"{'-' if weight < 0 else '+'} {name}" for name, weight in weights.items()).removeprefix("+ ")
    samples = [(weight, found[name][:, column]) for name, weight in weights.items()]
    kind = "training" if column == TRAINING else "validation"
    return training_task.error_claim(text, source, f"{kind} error in points, {formula}", samples)


def highest_error(found, config, worst="replication_without_3467"):
    """The claim that one row's validation error is above every other row's."""
    text = "Without layers 3, 4, 6 and 7 the validation error is the highest of all."
    reason = unusable(found, [worst], config)
    if reason:
        return Claim(text, "Table 3", statistics.inconclusive(reason), "")
    errors = {name: values[:, VALIDATION] for name, values in found.items()}
    own = errors.pop(worst)
    other = max(errors, key=lambda name: errors[name].mean())
    tests = [statistics.welch([(1, each), (-1, own)]) for each in errors.values()]
    measured = f"{own.mean():.1f} %; the highest of the others is {other} with {errors[other].mean():.1f} %"
    return Claim(text, "Table 3", statistics.all_of(tests), measured)


def ensemble_claim(found, ensembles):
    """The claim that the ensemble's error is below that of its networks."""
    text = "An ensemble of networks of Fig. 3 has a lower validation error than one such network."
    if not ensembles:
        return Claim(text, "Table 2", statistics.inconclusive("this run leaves out zfnet"), "")
    differences = ensembles["a"][0] - found["zfnet"][:, VALIDATION]
    return training_task.error_claim(text, "Table 2", "ensemble - zfnet", [(1, differences)])


def plan(config: Config) -> list[dry_run.Step]:
    """Training and ten crops of each row, as often as there are seeds. Ensembles add a few forward passes."""
    return training_task.plans({name: build(ROWS[name], config) for name in chosen(config)}, recipe(config), config, 10)


EXPERIMENT = Experiment[Config](
    name="zeiler2014/imagenet",
    title="ZFNet, its predecessor, and ablation of their layers",
    figure="Tables 2 and 3",
    paper=papers.ZEILER2014,
    summary=(
        "How much better is the network of Fig. 3 than its predecessor, what do ensembles add, and which layers "
        "matter? Each network is trained several times; claims are tested by Welch's t-test over networks. By default "
        "networks have an eighth of the width and see 3000 images of Fashion-MNIST: only comparisons count."
    ),
    run=run,
    plan=plan,
    minutes=3,
)

if __name__ == "__main__":
    main(EXPERIMENT)
