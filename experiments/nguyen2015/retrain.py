"""Whether a network that was trained on fooling images is fooled by new ones (Nguyen et al. 2015)."""

from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
from jax import Array

from configs.nguyen2015.retrain import Config
from experiments.lib import dry_run, figures, papers, statistics, training_task
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.training_task import Task
from experiments.nguyen2015 import evolution
from experiments.nguyen2015.fooling_scores import COLUMNS, CONFIDENT, percent
from xai_jax import fooling, models, network, plots
from xai_jax.core.network import Network
from xai_jax.data import crops
from xai_jax.data.datasets import Dataset, OnDisk
from xai_jax.synthesis.cppn import CPPN
from xai_jax.training import sgd

FOOLING = "fooling"  # the class that is added
# Medians over classes at first, after one round and after many, in %, from memory.
PAPER = (88.1, "on ImageNet"), (11.7, "on ImageNet"), (99.99, "on MNIST, after 15 rounds")


def run(config: Config, work: Workspace) -> Report:
    """Trains, evolves images, adds them to the fooling class, and again; several times from other seeds."""
    task, nets = training_task.load(config, crops.one_of_ten, config.mean, config.standard_deviation), build(config)
    parts = []
    for chain in work.progress(range(config.seed, config.seed + config.chains), "chains"):
        parts.append(rounds(task, nets, chain, config, work))
    found = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    panels = [images_panel(found, task.training.classes), rounds_panel(found, config)]
    return Report(numbers(found), claims(found["history"][..., -1, :]), panels)


def build(config: Config) -> tuple[nn.Module, nn.Module]:
    """A network of the classes, and one with the fooling class, too; the same ones in all rounds."""
    return tuple(models.module(config.network).clone(classes=config.classes + more) for more in (0, 1))


def rounds(
    task: Task, nets: tuple[nn.Module, nn.Module], seed: int, config: Config, work: Workspace
) -> dict[str, np.ndarray]:
    """The results of `one_round`, each a stage; the images of all earlier rounds are training images of the next."""
    known, parts = np.zeros((0, config.side, config.side, len(config.mean)), np.uint8), []
    for number in range(config.rounds + 1):
        name = f"chain-{seed}-round-{number}"
        compute = partial(one_round, task, nets, known, (seed, number), work.training(name), config)
        parts.append(work.stage(name, compute))
        known = np.concatenate([known, parts[-1]["pixels"].reshape(-1, *known.shape[1:])])
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def one_round(
    task: Task,
    nets: tuple[nn.Module, nn.Module],
    known: np.ndarray,
    seeds: tuple[int, int],
    folder: Path,
    config: Config,
) -> dict[str, np.ndarray]:
    """Trains a network with the fooling images `known` as a class, and evolves new ones that fool it.

    `seeds`: the chain's, which training uses, and the round's number. Returns for every run of evolution pixels
    (runs, K, H, W, C) and confidence by generation (runs, generations + 1, K); the error in %, and the fraction of
    `known` that the network recognises ("recall").
    """
    module, task = (nets[1], augmented(task, known, config)) if len(known) else (nets[0], task)
    net = training_task.fit(module, task, recipe(config), folder, seeds[0])
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seeds[0]), seeds[1]), config.runs)
    evolved = [evolve(net, key, folder / f"run-{number}.npz", config) for number, key in enumerate(keys)]
    pixels, history = (np.stack(each) for each in zip(*evolved, strict=True))
    return {
        "pixels": pixels,
        "history": history,
        "error": training_task.errors(net, task.validation, task, task.centre).top1,
        "recall": recall(net, task, known, config),
    }


def augmented(task: Task, known: np.ndarray, config: Config) -> Task:
    """The task with one more class, of as many images as other classes have on average: `known` again and again."""
    return task._replace(training=with_fooling(task.training, known, len(task.training) // config.classes))


def with_fooling(data: Dataset, known: np.ndarray, count: int) -> Dataset:
    """`data` and, as a class of their own, `count` images out of `known`."""

    def read(index):
        index -= len(data)
        return data[index + len(data)] if index < 0 else (known[index % len(known)], len(data.classes))

    return OnDisk("images and fooling images", len(data) + count, read, (*data.classes, FOOLING))


def recipe(config: Config) -> sgd.Recipe:
    return sgd.Recipe(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        cosine=True,
        decay=config.weight_decay,
        half=config.half,
    )


def evolve(net: Network, key: Array, saved: Path, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (K, H, W, C) of one evolution, and confidence before each generation and after the last.

    The fooling class has a cell, too; it is left out here.
    """
    coded = encoding(config)
    lower, upper = ((value - np.array(config.mean)) / np.array(config.standard_deviation) for value in (0, 255))
    elites, history = fooling.evolve(net, coded, config.generations, key, config.population, lower, upper, saved)
    pixels = np.rint(255 * np.asarray(coded.render(elites.x))).astype(np.uint8)
    history = np.concatenate([history, elites.confidence[None]])
    return pixels[: config.classes], history[:, : config.classes]


def encoding(config: Config) -> CPPN:
    return CPPN((config.side, config.side, len(config.mean)), config.hidden)


def recall(net, task, known, config):
    """The fraction of the fooling images in the training set that the network recognises; NaN in the first round."""
    if not len(known):
        return np.nan
    parts = [known[start : start + training_task.BATCH] for start in range(0, len(known), training_task.BATCH)]
    found = [np.asarray(network.call(net, task.prepare(part))).argmax(1) for part in parts]
    return (np.concatenate(found) == config.classes).mean()


def medians(found) -> np.ndarray:
    """Of the confidence over classes and runs, (chains, rounds)."""
    last = found["history"][..., -1, :]
    return np.median(last.reshape(*last.shape[:2], -1), 2)


def images_panel(found, names):
    """A row of images for each round, of the first evolution in the first chain."""
    columns = min(COLUMNS, len(names))
    pixels, confidence = found["pixels"][0, :, 0, :columns], found["history"][0, :, 0, -1, :columns]
    rows = [round_name(number) for number in range(len(pixels))]
    figure, axes = plots.grid([list(row / 255) for row in pixels], names[:columns], rows, 1.1)
    for axis, value in zip(axes.ravel(), confidence.ravel(), strict=True):
        axis.set_xlabel(percent(value), fontsize=7, labelpad=2)
    caption = (
        "Images evolved to fool a network, which was then trained again with these as one more class; below, images "
        "evolved to fool the new one, and so on: the first of the networks that begin, and its first evolution. Under "
        "each, the confidence of the network of its row in the class."
    )
    alt = "Rows of synthesised patterns, one row for each round, one column for each class."
    return Panel("images", figure, caption, alt)


def rounds_panel(found: dict[str, np.ndarray], config: Config) -> Panel:
    """Confidence by generation for each round, and confidence and errors by round."""
    figure, ((left, middle, right),) = figures.axes(1, 3, (10 / 3, 3))
    by_generation = np.median(found["history"], (2, 4))
    shades = np.linspace(0.3, 1, config.rounds + 1)
    for number, shade in enumerate(shades):
        left.plot(100 * by_generation[:, number].mean(0), c="tab:red", alpha=shade, label=round_name(number))
    left.set(xlabel="generation", ylabel="median confidence (%)")
    left.set_ylim(0, None)
    left.legend(fontsize=7)
    for axis, values, label in (
        (middle, 100 * medians(found), "median confidence\nin new images (%)"),
        (right, found["error"], "error on natural images (%)"),
    ):
        axis.plot(np.tile(np.arange(config.rounds + 1), (config.chains, 1)).T, values.T, "o", c="0.6", ms=4)
        axis.plot(values.mean(0), c="tab:red")
        axis.set(xlabel="rounds of retraining", ylabel=label, xticks=range(config.rounds + 1))
        axis.set_ylim(0, 1.05 * values.max())
    caption = (
        f"Left: confidence in the best images found by generation, median over classes and {config.runs} evolutions, "
        f"mean over {config.chains} networks. Middle: the same after the last generation, a dot for each network. "
        "Right: the networks' errors on natural images. Lines are means over networks."
    )
    alt = "Curves of confidence over generations, one for each round, and two panels of dots by round."
    return Panel("rounds", figure, caption, alt)


def numbers(found):
    """Confidence, errors and recall of fooling images by round."""
    result = []
    for number, values in enumerate(medians(found).T):
        paper, source = PAPER[min(number, 2)]
        note = f"mean and standard deviation over {len(values)} networks; the paper's: {source}"
        name = f"median confidence, {round_name(number)}"
        result.append(Number(name, 100 * values.mean(), 100 * values.std(), "%", paper, "M", note))
    shares = {"error on natural images": found["error"], "recall of fooling images": 100 * found["recall"]}
    for name, values in shares.items():
        named = [(f"{name}, {round_name(number)}", column) for number, column in enumerate(values.T)]
        result += [mean for each in named if (mean := Number.mean(*each, unit="%")).value is not None]
    return result


def round_name(number: int) -> str:
    """The name of a round in figures."""
    return f"round {number}" if number else "at first"


def claims(confidence: np.ndarray) -> list[Claim]:
    """Claims from the final confidences (chains, rounds, runs, K)."""
    rounds = [statistics.binomial(values >= CONFIDENT) for values in np.moveaxis(confidence, 1, 0)]
    fooled = rounds[0].decision == "supported"
    by_chain = np.median(confidence.reshape(*confidence.shape[:2], -1), 2)
    return [
        Claim(
            "Retraining does not protect a small network: after every round new images fool it as much.",
            "retraining on MNIST (from memory, unverified)",
            statistics.where(fooled, statistics.all_of(rounds), "evolution was too short to fool the first network"),
            f"median confidence {', '.join(percent(value) for value in by_chain.mean(0))}, means over networks; "
            f"images with at least {100 * CONFIDENT:g} % at first: {(confidence[:, 0] >= CONFIDENT).mean():.0%}",
        ),
        training_task.error_claim(
            "A network that was trained on fooling images once is harder to fool.",
            "retraining on ImageNet (from memory, unverified)",
            "median confidence after one round - at first",
            [(1, by_chain[:, 1]), (-1, by_chain[:, 0])],
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """Training of each round's network, and the generations of all evolutions."""
    shape, networks = (config.side, config.side, len(config.mean)), config.chains * (config.rounds + 1)
    module = build(config)[1]
    steps = training_task.plan("a round's network", module, recipe(config), config, shape, 1)
    x = jax.ShapeDtypeStruct((1, *shape), np.float32)
    variables, calls = jax.eval_shape(module.init, jax.random.key(0), x), config.runs * config.generations
    steps.append(evolution.step("generations", module, variables, encoding(config), config.population, calls))
    return [step._replace(repeats=step.repeats * networks) for step in steps]


EXPERIMENT = Experiment[Config](
    name="nguyen2015/retrain",
    title="Retraining a network on fooling images",
    figure="retraining with fooling images",
    paper=papers.NGUYEN2015,
    summary=(
        "Can a network be trained to recognise fooling images? Images evolved to fool it become one more class of the "
        "next network's training images; new images are evolved against that one, and so on. By default small networks "
        "are trained on part of Fashion-MNIST at half its size."
    ),
    run=run,
    plan=plan,
    minutes=4,
)

if __name__ == "__main__":
    main(EXPERIMENT)
