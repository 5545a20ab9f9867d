"""What the two experiments with evolution share: MAP-Elites from several seeds, and how sure the network gets."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from matplotlib.figure import Figure

from experiments.lib import dry_run, runner
from experiments.lib.runner import Number
from experiments.nguyen2015 import fooling_scores
from experiments.nguyen2015.fooling_scores import SURE
from xai_jax import fooling, models
from xai_jax.models import LoadedModel
from xai_jax.synthesis.fooling import Encoding

Published = tuple[float, str]  # a median in %, and what it is of


def run(encoding: Encoding, images: str, paper: Mapping[str, Published], config: Any, run: runner.Run) -> None:
    """Evolves images for every class from every seed, has them judged, draws both figures, and reports.

    `images` says in the caption what they are, `paper` what its median was by data set.
    """
    model, judge = fooling_scores.load(config)
    found = evolutions(model, encoding, config, run)
    classes = np.tile(np.arange(len(model.classes)), config.seeds)
    pixels = found["pixels"].reshape(-1, *found["pixels"].shape[2:])
    judged = run.stage("judged", partial(fooling_scores.judgements, judge, pixels, classes, config))
    run.figure("images", *pictures(model, judge, found, judged, images, config))
    run.figure("generations", *generations(found["history"], config))
    run.numbers += [
        median(found["confidence"], paper, config),
        *reached(found["history"]),
        *fooling_scores.numbers(judged, found["kept"]),
    ]
    run.claims += [
        fooling_scores.sure("Evolution finds images that the network is sure of.", found["confidence"]),
        *fooling_scores.like_nothing(judged, len(model.classes), config),
    ]


def evolutions(model: LoadedModel, encoding: Encoding, config: Any, run: runner.Run) -> dict[str, np.ndarray]:
    """All seeds: pixels (seeds, K, H, W, 3), confidence and kept (seeds, K), history (seeds, generations, K)."""
    folder, parts = run.workdir / "training", []
    for seed in run.progress(range(config.seed, config.seed + config.seeds), "seeds"):
        compute = partial(evolved, model, encoding, config, seed, folder / f"seed-{seed}.npz")
        parts.append(run.stage(f"seed-{seed}", compute))
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def evolved(model: LoadedModel, encoding: Encoding, config: Any, seed: int, saved: Path) -> dict[str, np.ndarray]:
    """One image for each class by MAP-Elites, and the confidence before each generation."""
    lower, upper = fooling_scores.bounds(model)
    steps, key = (config.generations, jax.random.key(seed)), config.population
    elites, history = fooling.evolve(model.net, encoding, *steps, key, lower, upper, saved)
    x = lower + (upper - lower) * encoding.render(elites.x)
    return fooling_scores.measured(model, x, np.arange(len(x))) | {"history": history}


def pictures(model, judge, found, judged, images, config):
    """The images of some seeds, for every class."""
    rows = [f"seed {config.seed + number}" for number in range(min(config.shown, config.seeds))]
    neighbours = judged["neighbour"][: len(model.classes)]
    figure = fooling_scores.pictures(model, judge, found, neighbours, model.classes, rows)
    caption = (
        f"{images} that the network takes for the class above, and how sure of it it is. Below, the natural image that "
        "another network finds nearest to the first."
    )
    return figure, caption, "Rows of synthesised pictures, one for each class, and a row of natural ones."


def generations(history: np.ndarray, config: Any) -> tuple[Figure, str, str]:
    """The median over classes by generation, (seeds, generations, K): that of the middle seed, and of all seeds."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    medians, count = np.median(history, 2), np.arange(history.shape[1])
    for axis, values in ((left, 100 * medians), (right, np.maximum(1 - medians, 1e-7))):
        axis.fill_between(count, values.min(0), values.max(0), color="tab:red", alpha=0.25, lw=0)
        axis.plot(count, np.median(values, 0), c="tab:red")
        axis.set_xlabel("generation")
        axis.spines[["top", "right"]].set_visible(False)
    left.set_ylabel("median confidence (%)")
    left.set_ylim(0, 101)
    right.set_ylabel("what is missing to certainty")
    right.set_yscale("log")
    right.axhline(1 - SURE, c="0.5", ls=":", lw=1)
    right.text(1.01, 1 - SURE, f"{100 * SURE:g} %", va="center", fontsize=8, transform=right.get_yaxis_transform())
    caption = (
        f"How sure the network gets of the best image found for a class: the median over classes, in the middle one of "
        f"{config.seeds} runs; shaded, from the least to the greatest. Right, the same as what is missing to 1."
    )
    return figure, caption, "Two curves over generations: confidence that rises, and what is missing, which falls."


def median(confidence: np.ndarray, paper: Mapping[str, Published], config: Any) -> Number:
    """The median over classes (seeds, K), beside the paper's on the same data, or else on MNIST."""
    value, source = paper.get(config.data, paper["mnist"])
    medians = 100 * np.median(confidence, 1)
    note = f"mean and deviation over {len(medians)} runs; the paper's: {source}"
    return Number("median confidence over classes", medians.mean(), medians.std(), "%", value, "M", note)


def reached(history: np.ndarray) -> list[Number]:
    """Generations until half of the classes, and all, are as sure as asked for; runs that never are do not count."""
    values = {"the median class": np.median(history, 2), "every class": history.min(2)}
    found = []
    for words, sure in values.items():
        there = (sure >= SURE).any(1)
        number = Number.mean(
            f"generations until {words} has {100 * SURE:g} %", np.where(there, (sure >= SURE).argmax(1), np.nan)
        )
        found.append(number)
    return found


def plan(encoding: Encoding, config: Any) -> list[dry_run.Step]:
    """The generations of all seeds."""
    module, variables, _ = models.abstract(config.network)
    return [step("generations", module, variables, encoding, config.population, config.generations * config.seeds)]


def step(name: str, module: Any, variables: Any, encoding: Encoding, population: int, calls: int) -> dry_run.Step:
    """One generation: children, and the network's confidence in them."""

    def generation(variables, seed, parents):
        children = encoding.vary(jax.random.key(seed), (parents, parents), jnp.zeros((), jnp.int32))
        return jax.nn.softmax(Partial(module.apply, variables)(encoding.render(children))).max(0)

    parents = jax.eval_shape(lambda: encoding.sample(jax.random.key(0), population))
    return dry_run.Step(name, generation, (variables, jax.ShapeDtypeStruct((), jnp.uint32), parents), calls)
