"""Shared by both experiments with evolution: MAP-Elites from several seeds, and confidence by generation."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from experiments.lib import dry_run, figures
from experiments.lib.report import Number, Panel, Report
from experiments.lib.runner import Workspace
from experiments.nguyen2015 import fooling_scores
from experiments.nguyen2015.fooling_scores import CONFIDENT
from xai_jax import fooling, models
from xai_jax.models import LoadedModel
from xai_jax.synthesis.fooling import Encoding

Published = tuple[float, str]  # a median in %, and what it is of
FLOOR = 1e-7  # of what is drawn on a logarithmic axis, about float32's resolution at 1


def report(encoding: Encoding, images: str, paper: Mapping[str, Published], config: Any, work: Workspace) -> Report:
    """Evolves images for every class from every seed, and evaluates them.

    Args:
      encoding: what evolves.
      images: what the images are, for the caption.
      paper: the paper's median by data set.
      config: of either experiment.
      work: the workspace.
    """
    model, evaluator = fooling_scores.load(config)
    found = evolutions(model, encoding, config, work)
    classes = np.tile(np.arange(len(model.classes)), config.seeds)
    pixels = found["pixels"].reshape(-1, *found["pixels"].shape[2:])
    evaluated = work.stage("evaluated", partial(fooling_scores.evaluate, evaluator, pixels, classes, config))
    numbers = [
        median_number(found["confidence"], paper, config),
        *generation_numbers(found["history"]),
        *fooling_scores.numbers(evaluated, found["kept"]),
    ]
    text = "Evolution finds images in which the network is confident."
    claims = [
        fooling_scores.confidence_claim(text, found["confidence"]),
        *fooling_scores.realism_claims(evaluated, len(model.classes), config),
    ]
    panels = [
        images_panel(model, evaluator, found, evaluated, images, config),
        generations_panel(found["history"], config),
    ]
    return Report(numbers, claims, panels)


def evolutions(model: LoadedModel, encoding: Encoding, config: Any, work: Workspace) -> dict[str, np.ndarray]:
    """All seeds: pixels (seeds, K, H, W, 3), confidence and kept (seeds, K), history (seeds, generations, K)."""
    parts = []
    for seed in work.progress(range(config.seed, config.seed + config.seeds), "seeds"):
        compute = partial(evolve, model, encoding, config, seed, work.path(f"training/seed-{seed}.npz"))
        parts.append(work.stage(f"seed-{seed}", compute))
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def evolve(model: LoadedModel, encoding: Encoding, config: Any, seed: int, saved: Path) -> dict[str, np.ndarray]:
    """One image for each class by MAP-Elites, and the confidence before each generation."""
    lower, upper = fooling_scores.bounds(model)
    steps, key = (config.generations, jax.random.key(seed)), config.population
    elites, history = fooling.evolve(model.net, encoding, *steps, key, lower, upper, saved)
    x = lower + (upper - lower) * encoding.render(elites.x)
    return fooling_scores.measure(model, x, np.arange(len(x))) | {"history": history}


def images_panel(model, evaluator, found, evaluated, images, config):
    """The images of some seeds, for every class."""
    rows = [f"seed {config.seed + number}" for number in range(min(config.shown, config.seeds))]
    neighbours = evaluated["neighbour"][: len(model.classes)]
    figure = fooling_scores.image_grid(model, evaluator, found, neighbours, model.classes, rows)
    caption = (
        f"{images} evolved for the class above, with the network's confidence in it, of {len(rows)} of {config.seeds} "
        "runs, successful or not. Below, the natural image that is nearest to the first in the features of another "
        "network."
    )
    return Panel(
        "images", figure, caption, "Rows of synthesised images, one for each class, and a row of natural ones."
    )


def generations_panel(history: np.ndarray, config: Any) -> Panel:
    """The median over classes by generation, (seeds, generations, K): median and range over seeds."""
    figure, ((left, right),) = figures.axes(1, 2, (4, 3))
    medians, count = np.median(history, 2), np.arange(history.shape[1])
    for axis, values in ((left, 100 * medians), (right, np.maximum(1 - medians, FLOOR))):
        axis.fill_between(count, values.min(0), values.max(0), color="tab:red", alpha=0.25, lw=0)
        axis.plot(count, np.median(values, 0), c="tab:red")
        axis.set_xlabel("generation")
    left.set_ylabel("median confidence (%)")
    left.set_ylim(0, 101)
    right.set_ylabel("1 - median confidence")
    right.set_yscale("log")
    right.axhline(1 - CONFIDENT, c="0.5", ls=":", lw=1)
    right.text(
        1.01, 1 - CONFIDENT, f"{100 * CONFIDENT:g} %", va="center", fontsize=8, transform=right.get_yaxis_transform()
    )
    caption = (
        f"Confidence in the best image found for a class: the median over classes, as the median of {config.seeds} "
        "runs; shaded, from the lowest to the highest run. Right, the same subtracted from 1, and "
        f"drawn at {FLOOR:g} where it is less."
    )
    alt = "Two curves over generations: confidence that rises, and its difference from 1, which falls."
    return Panel("generations", figure, caption, alt)


def median_number(confidence: np.ndarray, paper: Mapping[str, Published], config: Any) -> Number:
    """The median over classes (seeds, K), beside the paper's: on MNIST for digits, else on ImageNet."""
    value, source = paper["mnist" if config.data == "digits" else "imagenet2012"]
    medians = 100 * np.median(confidence, 1)
    note = f"mean and standard deviation over {len(medians)} runs; the paper's: {source}"
    return Number("median confidence over classes", medians.mean(), medians.std(), "%", value, "M", note)


def generation_numbers(history: np.ndarray) -> list[Number]:
    """Generations until the confidence in half of the classes, and in all, is high; NaN in runs where it never is."""
    numbers = []
    for name, values in {"the median class": np.median(history, 2), "every class": history.min(2)}.items():
        high = values >= CONFIDENT
        generations = np.where(high.any(1), high.argmax(1), np.nan)
        numbers.append(Number.mean(f"generations until {name} has {100 * CONFIDENT:g} %", generations))
    return numbers


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
