"""Whether a network that was taught to know fooling images is fooled by new ones (Nguyen et al. 2015)."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from experiments.lib import dry_run, runner, training_task
from experiments.lib.runner import Claim, Number
from experiments.lib.training_task import Task
from experiments.nguyen2015 import evolution
from experiments.nguyen2015.fooling_scores import COLUMNS, SURE, percent
from xai_jax import fooling, models, network, plots
from xai_jax.data import crops
from xai_jax.data.datasets import Dataset, OnDisk
from xai_jax.synthesis.cppn import CPPN
from xai_jax.training import sgd

FOOLING = "fooling"  # the class that is added
# Medians over classes at first, after one round and after many, in %, told from memory.
PAPER = (88.1, "on ImageNet"), (11.7, "on ImageNet"), (99.99, "on MNIST, after 15 rounds")


def run(config: Any, run: runner.Run) -> None:
    """Trains, evolves images, adds them to the fooling class, and again; several times from other seeds."""
    task, nets = training_task.load(config, crops.one_of_ten, config.mean, config.standard_deviation), build(config)
    parts = []
    for chain in run.progress(range(config.seed, config.seed + config.chains), "chains"):
        parts.append(rounds(task, nets, chain, config, run))
    found = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    names = task.training.classes
    run.figure("images", *pictures(found, names, config))
    run.figure("rounds", *curves(found, config))
    report(run, found, config)


def build(config: Any) -> tuple[nn.Module, nn.Module]:
    """A network that knows the classes, and one that knows fooling images, too; the same ones in all rounds."""
    return tuple(models.module(config.network).clone(classes=config.classes + more) for more in (0, 1))


def rounds(
    task: Task, nets: tuple[nn.Module, nn.Module], seed: int, config: Any, run: runner.Run
) -> dict[str, np.ndarray]:
    """What `one_round` finds, round after round, each a stage; images of all rounds before are taught in the next."""
    known, parts = np.zeros((0, config.side, config.side, len(config.mean)), np.uint8), []
    for number in range(config.rounds + 1):
        name = f"chain-{seed}-round-{number}"
        compute = partial(one_round, task, nets, known, (seed, number), run.workdir / "training" / name, config)
        parts.append(run.stage(name, compute))
        known = np.concatenate([known, parts[-1]["pixels"].reshape(-1, *known.shape[1:])])
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def one_round(
    task: Task, nets: tuple[nn.Module, nn.Module], known: np.ndarray, seeds: tuple[int, int], folder: Path, config: Any
) -> dict[str, np.ndarray]:
    """Trains a network that knows the fooling images `known`, and evolves new ones that fool it.

    `seeds`: the chain's, which training uses, and the round's number. Gives for every run of evolution pixels
    (runs, K, H, W, C) and confidence by generation (runs, generations + 1, K); the error in %, and the share of `known`
    that the network takes for what they are.
    """
    module, task = (nets[1], warned(task, known, config)) if len(known) else (nets[0], task)
    net = training_task.fit(module, task, recipe(config), folder, seeds[0])
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seeds[0]), seeds[1]), config.runs)
    evolved = [evolve(net, key, folder / f"run-{number}.npz", config) for number, key in enumerate(keys)]
    pixels, history = (np.stack(each) for each in zip(*evolved, strict=True))
    return {
        "pixels": pixels,
        "history": history,
        "error": training_task.errors(net, task.validation, task, task.centre).top1,
        "caught": caught(net, task, known, config),
    }


def warned(task: Task, known: np.ndarray, config: Any) -> Task:
    """The task with one class more, of as many images as other classes have on average: `known` again and again."""
    return task._replace(training=with_fooling(task.training, known, len(task.training) // config.classes))


def with_fooling(data: Dataset, known: np.ndarray, count: int) -> Dataset:
    """`data` and, as a class of their own, `count` images out of `known`."""

    def read(index):
        index -= len(data)
        return data[index + len(data)] if index < 0 else (known[index % len(known)], len(data.classes))

    return OnDisk("images and fooling images", len(data) + count, read, (*data.classes, FOOLING))


def recipe(config: Any) -> sgd.Recipe:
    return sgd.Recipe(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        cosine=True,
        decay=config.weight_decay,
    )


def evolve(net: Any, key: Array, saved: Path, config: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (K, H, W, C) of one evolution, and confidence before each generation and after the last.

    The fooling class has a cell, too; it is left out here.
    """
    coded = encoding(config)
    lower, upper = ((value - np.array(config.mean)) / np.array(config.standard_deviation) for value in (0, 255))
    elites, history = fooling.evolve(net, coded, config.generations, key, config.population, lower, upper, saved)
    pixels = np.rint(255 * np.asarray(coded.render(elites.x))).astype(np.uint8)
    history = np.concatenate([history, elites.confidence[None]])
    return pixels[: config.classes], history[:, : config.classes]


def encoding(config: Any) -> CPPN:
    return CPPN((config.side, config.side, len(config.mean)), config.hidden)


def caught(net, task, known, config):
    """The share of the fooling images taught that the network calls so; none were in the first round."""
    if not len(known):
        return np.nan
    parts = [known[start : start + training_task.BATCH] for start in range(0, len(known), training_task.BATCH)]
    found = [np.asarray(network.call(net, task.prepare(part))).argmax(1) for part in parts]
    return (np.concatenate(found) == config.classes).mean()


def medians(found) -> np.ndarray:
    """Of the confidence over classes and runs, (chains, rounds)."""
    last = found["history"][..., -1, :]
    return np.median(last.reshape(*last.shape[:2], -1), 2)


def pictures(found, names, config):
    """A row of images for each round, of the first evolution in the first chain."""
    columns = min(COLUMNS, len(names))
    pixels, sure = found["pixels"][0, :, 0, :columns], found["history"][0, :, 0, -1, :columns]
    rows = [words(number) for number in range(len(pixels))]
    figure, axes = plots.grid([list(row / 255) for row in pixels], names[:columns], rows, 1.1)
    for axis, value in zip(axes.ravel(), sure.ravel(), strict=True):
        axis.set_xlabel(percent(value), fontsize=7, labelpad=2)
    caption = (
        "Images evolved to fool a network, which was then trained again with these as one more class; below, images "
        "evolved to fool the new one, and so on. Under each, how sure the network of its row is of the class above."
    )
    return figure, caption, "Rows of synthesised patterns, one row for each round, one column for each class."


def curves(found: dict[str, np.ndarray], config: Any) -> tuple[Figure, str, str]:
    """Confidence by generation for each round, and what training did."""
    figure = Figure(figsize=(10, 3), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    by_generation = np.median(found["history"], (2, 4))
    shades = np.linspace(0.3, 1, config.rounds + 1)
    for number, shade in enumerate(shades):
        left.plot(100 * by_generation[:, number].mean(0), c="tab:red", alpha=shade, label=words(number))
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
    for axis in (left, middle, right):
        axis.spines[["top", "right"]].set_visible(False)
    caption = (
        f"Left: confidence in the best images found by generation, median over classes and {config.runs} evolutions, "
        f"mean over {config.chains} networks. Middle: the same after the last generation, a dot for each network. "
        "Right: what the networks' errors are, on natural images."
    )
    return figure, caption, "Curves of confidence over generations, one a round, and two panels of dots by round."


def report(run, found, config):
    """Confidence, errors and images caught by round, and whether retraining helped."""
    sure = medians(found)
    for number, values in enumerate(sure.T):
        paper, source = PAPER[min(number, 2)]
        note = f"mean and deviation over {len(values)} networks; the paper's: {source}"
        name = f"median confidence, {words(number)}"
        run.numbers.append(Number(name, 100 * values.mean(), 100 * values.std(), "%", paper, "M", note))
    shares = {"error on natural images": found["error"], "fooling images taught that are known": 100 * found["caught"]}
    for name, values in shares.items():
        means = (Number.mean(f"{name}, {words(number)}", column) for number, column in enumerate(values.T))
        run.numbers += [dataclasses.replace(mean, unit="%") for mean in means if mean.value is not None]
    run.claims += claims(sure)


def words(number: int) -> str:
    return f"round {number}" if number else "at first"


def claims(sure: np.ndarray) -> list[Claim]:
    """What follows from the median confidences (chains, rounds); too short an evolution tells nothing of the first."""
    middle = np.median(sure, 0)
    stays = None if middle[0] < SURE else bool((middle >= SURE).all())
    return [
        Claim(
            "Retraining does not protect a small network: after every round new images fool it as surely.",
            "retraining on MNIST (told from memory, unverified)",
            stays,
            f"median confidence {', '.join(percent(value) for value in middle)}; {100 * SURE:g} % are asked for",
        ),
        training_task.claim(
            "A network that was taught fooling images once is harder to fool.",
            "retraining on ImageNet (told from memory, unverified)",
            "median confidence after one round - at first",
            [(1, sure[:, 1]), (-1, sure[:, 0])],
        ),
    ]


def plan(config: Any) -> list[dry_run.Step]:
    """Training of each round's network, and the generations of all evolutions."""
    shape, networks = (config.side, config.side, len(config.mean)), config.chains * (config.rounds + 1)
    module = build(config)[1]
    steps = training_task.plan("a round's network", module, recipe(config), config, shape, 1)
    x = jax.ShapeDtypeStruct((1, *shape), np.float32)
    variables, calls = jax.eval_shape(module.init, jax.random.key(0), x), config.runs * config.generations
    steps.append(evolution.step("generations", module, variables, encoding(config), config.population, calls))
    return [step._replace(repeats=step.repeats * networks) for step in steps]


EXPERIMENT = runner.Experiment(
    name="nguyen2015/retrain",
    title="Retraining a network on fooling images",
    figure="retraining with fooling images",
    paper="Nguyen, Yosinski and Clune 2015, Deep Neural Networks are Easily Fooled: High Confidence Predictions for "
    "Unrecognizable Images, arXiv 1412.1897",
    summary=(
        "If a network is fooled by images, can it be taught to know them? Images are evolved that fool it, and given "
        "to the next network as examples of one more class, beside the natural ones. Then new images are evolved "
        "against that one, added to the class, and so on. The paper's network for ImageNet became much harder to fool, "
        "its network for handwritten digits did not (both told from memory, unverified). Here small networks are "
        "trained on part of Fashion-MNIST at half its size. How many fooling images are taught, how often, and what "
        "networks these are is ours; evolution is that of nguyen2015/cppn. That nothing is said of the first claim "
        "where evolution is too short to be sure of the first network was decided after a trial with one network."
    ),
    run=run,
    plan=plan,
    minutes=6,
    order=5,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
