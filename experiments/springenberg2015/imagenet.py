"""An all convolutional network on ImageNet beside one with max-pools and dense layers (Springenberg et al. 2015).

Section 3.3: All-CNN-B, enlarged, against the network of Krizhevsky et al. 2012, which is CaffeNet here.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from configs.springenberg2015.imagenet import Config
from experiments.lib import dry_run, papers, statistics, training_task
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.training_task import Line
from xai_jax import models
from xai_jax.architectures.allcnn import AllCNNImageNet
from xai_jax.architectures.caffenet import CaffeNet
from xai_jax.data import crops
from xai_jax.training import sgd

TITLES = {"allcnn": "All-CNN-B, enlarged", "caffenet": "Krizhevsky et al. (CaffeNet)"}
PUBLISHED = {"allcnn": "allcnn_imagenet", "caffenet": "caffenet"}  # names of both at full size
PAPER = {"allcnn": (41.2, "S:REPRO"), "caffenet": (40.7, "V:ZF")}  # validation top-1 in %, and where that is from
KINDS = ("training, top-1", "validation, top-1", "validation, top-5")
MARGIN = 1.0  # points; a smaller difference counts as close. The paper's is 0.5


def run(config: Config, work: Workspace) -> Report:
    """Trains both networks several times each, and counts errors of centre crops."""
    modules, tasks = networks(config), {name: task(name, config) for name in TITLES}
    found = {name: [] for name in modules}
    for name, seed in work.progress([(n, s) for n in modules for s in range(config.seeds)], "networks"):
        workdir = work.training(f"{name}-{config.seed + seed}")

        def compute(name=name, seed=config.seed + seed, workdir=workdir):
            net = training_task.fit(modules[name], tasks[name], recipe(config), workdir, seed)
            return check(net, tasks[name])

        stage = work.stage(workdir.name, compute)
        found[name].append([stage[kind] for kind in KINDS])
    found = {name: np.array(values) for name, values in found.items()}
    counts = work.stage("parameters", lambda: parameters(modules, config))
    return Report(numbers(found, counts), claims(found, counts), [panel(found, counts, config)])


def networks(config: Config) -> dict[str, nn.Module]:
    """All-CNN and CaffeNet of the configuration's width; CaffeNet's channels stay even, for its two groups."""
    widths = tuple(2 * max(1, round(channels * config.width / 2)) for channels in CaffeNet.widths)
    return {
        "allcnn": AllCNNImageNet(config.classes, config.width, config.dropout),
        "caffenet": CaffeNet(widths, config.hidden, config.classes, (), config.initial_std, config.dropout),
    }


def task(name: str, config: Config) -> training_task.Task:
    """The images as the network reads them, for the All-CNN divided by their standard deviation."""
    std = config.standard_deviation if name == "allcnn" else (1.0,)
    return training_task.load(config, crops.random_crop, config.mean, std)


def recipe(config: Config) -> sgd.Recipe:
    """Section 3.3, its numbers of iterations as parts of epochs."""
    epoch = config.images // config.batch_size
    drops = tuple(drop / epoch for drop in range(config.drop_every, config.iterations, config.drop_every))
    common = {"batch_size": config.batch_size, "learning_rate": config.learning_rate, "decay": config.weight_decay}
    return sgd.Recipe(config.iterations / epoch, drops=drops, half=config.half, **common)


def check(net, task):
    """Errors of centre crops of training and of validation images."""
    known, new = (training_task.errors(net, data, task, task.centre) for data in (task.known, task.validation))
    return dict(zip(KINDS, (known.top1, *new), strict=True))


def parameters(modules: Mapping[str, nn.Module], config: Config) -> dict[str, int]:
    """How many weights and biases each network has here, and at the paper's size for 1000 classes."""
    x = jax.ShapeDtypeStruct((1, config.side, config.side, len(config.mean)), jnp.float32)
    here = {name: jax.eval_shape(module.init, jax.random.key(0), x) for name, module in modules.items()}
    full = {f"{name} at full size": models.abstract(published)[1] for name, published in PUBLISHED.items()}
    return {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in (here | full).items()}


def panel(found, counts, config):
    """Both networks: parameters, errors, and the paper's."""
    lines = []
    for name, values in found.items():
        sizes = millions(counts[name]), millions(counts[f"{name} at full size"])
        cells = (sizes[0], *training_task.spreads(values), sizes[1], f"{PAPER[name][0]:.1f}")
        here = dict(zip(KINDS[:2], values.T, strict=False))
        lines.append(Line(TITLES[name], cells, here, {KINDS[1]: PAPER[name][0]}))
    columns = ("parameters\nhere", *(kind.replace(", ", "\n") for kind in KINDS), "parameters\nfull size")
    caption = (
        f"Errors (%) of both networks, mean and standard deviation over {config.seeds} networks of {config.width:g} "
        "times the paper's width, a dot for each and a bar at the mean. The paper's errors are from ImageNet, by "
        "secondary sources; its networks' parameters were counted here."
    )
    alt = "Table of two networks with their parameters, training and validation errors, and dots of the errors."
    return Panel("errors", training_task.table(lines, (*columns, "paper:\ntop-1"), config.data), caption, alt)


def millions(count):
    return f"{count / 1e6:.2f} M"


def numbers(found, counts):
    """Errors beside the paper's, and parameters."""
    listed = []
    for name, values in found.items():
        for kind, column in zip(KINDS, values.T, strict=True):
            paper = dict(zip(("paper", "paper_tag"), PAPER[name], strict=True)) if kind == "validation, top-1" else {}
            listed.append(Number.mean(f"{name}: {kind} error", column, unit="%", **paper))
    return listed + [Number(f"parameters: {name}", int(count)) for name, count in counts.items()]


def claims(found, counts):
    """Fewer parameters, which are counted, and an error that is close, which is tested over seeds."""
    small, large = (int(counts[f"{name} at full size"]) for name in ("allcnn", "caffenet"))
    return [
        Claim(
            "The all convolutional network needs less than a sixth of the parameters.",
            "section 3.3 (by a secondary source: fewer than 10 million)",
            statistics.at_most(small / large, 1 / 6),
            f"{millions(small)} against {millions(large)} at full size, counted; here "
            f"{millions(counts['allcnn'])} against {millions(counts['caffenet'])}; ratio",
        ),
        training_task.error_claim(
            "Its top-1 error comes close to that of the network with pooling and dense layers: within one point.",
            "section 3.3 (by a secondary source: 41.2 % against 40.7 %)",
            f"allcnn - caffenet - {MARGIN:g}",
            [(1, found["allcnn"][:, 1] - MARGIN), (-1, found["caffenet"][:, 1])],
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """Training and errors of both networks, as often as there are seeds."""
    return training_task.plans(networks(config), recipe(config), config, 1)


EXPERIMENT = Experiment[Config](
    name="springenberg2015/imagenet",
    title="An all convolutional network beside one with pooling and dense layers",
    figure="Section 3.3",
    paper=papers.SPRINGENBERG2015,
    summary=(
        "Does a network of convolutions alone come close to one with max-pooling, dense layers and six times as many "
        "parameters? Each is trained several times with the All-CNN's recipe, by default on enlarged Fashion-MNIST at "
        "an eighth of the width, so only the comparison counts. Recipe and errors are from a secondary source; crops, "
        "initialisation and the margin are ours."
    ),
    run=run,
    plan=plan,
    minutes=2.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
