"""Unrecognisable images with high confidence, by gradient ascent (Nguyen et al. 2015)."""

from functools import partial

import jax
import numpy as np
from jax import Array

from configs.nguyen2015.gradient import Config
from experiments.lib import dry_run, papers
from experiments.lib.evaluation_networks import EvaluationNetwork
from experiments.lib.report import Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.nguyen2015 import fooling_scores
from xai_jax import fooling, targets
from xai_jax.models import LoadedModel
from xai_jax.synthesis.fooling import Ascent


def run(config: Config, work: Workspace) -> Report:
    """Ascends from near the mean image for some classes, several times each, and evaluates the images."""
    model, evaluator = fooling_scores.load(config)
    classes = np.tile(chosen_classes(len(model.classes), config), config.starts)
    found = work.stage("images", partial(ascend, model, mean_image(model, evaluator), classes, config))
    evaluate = partial(fooling_scores.evaluate, evaluator, found["pixels"], classes, config)
    evaluated = work.stage("evaluated", evaluate)
    claims = [
        fooling_scores.confidence_claim(
            "Gradient ascent finds images in which the network is confident.", found["confidence"]
        ),
        *fooling_scores.realism_claims(evaluated, len(model.classes), config),
    ]
    panels = [images_panel(model, evaluator, found, evaluated, classes, config)]
    return Report(fooling_scores.numbers(evaluated, found["kept"]), claims, panels)


def chosen_classes(classes: int, config: Config) -> np.ndarray:
    """Classes whose probability is maximised: `config.classes` of them, evenly out of all."""
    return np.linspace(0, classes - 1, min(classes, config.classes)).round().astype(int)


def mean_image(model: LoadedModel, evaluator: EvaluationNetwork) -> Array:
    """The mean of natural images, (H, W, C), as input of the network to fool."""
    return model.preprocess(list(evaluator.model.to_pixels(evaluator.natural))).mean(0)


def ascend(model: LoadedModel, mean: Array, classes: np.ndarray, config: Config) -> dict[str, np.ndarray]:
    """Images for `classes` (N,), as `fooling_scores.measure` returns them."""
    lower, upper = fooling_scores.bounds(model)
    scale = float(np.mean(np.subtract(upper, lower))) / 255  # of the input; the greatest learning rate is for pixels
    largest = Ascent().max_learning_rate * scale**2
    form = Ascent(config.steps, config.weight_decay, config.most, config.share, largest)
    noise_key, _ = jax.random.split(jax.random.key(config.seed))
    noise = config.noise / 255 * (upper - lower) * jax.random.normal(noise_key, (len(classes), *mean.shape))
    parts = []
    for start in range(0, len(classes), config.batch_size):
        rows = slice(start, start + config.batch_size)
        x = fooling.ascend(model.net, classes[rows], mean + noise[rows], form, lower, upper).x
        parts.append(fooling_scores.measure(model, x, classes[rows]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def images_panel(model, evaluator, found, evaluated, classes, config):
    """A column for each class, a row for each of some starts."""
    rows = [f"start {number + 1}" for number in range(min(config.shown, config.starts))]
    by_start = {name: values.reshape(config.starts, -1, *values.shape[1:]) for name, values in found.items()}
    count = by_start["confidence"].shape[1]
    titles = [model.classes[k] for k in classes[:count]]
    figure = fooling_scores.image_grid(model, evaluator, by_start, evaluated["neighbour"][:count], titles, rows)
    caption = (
        f"Images found for the class above by gradient ascent on its probability, from {len(rows)} of {config.starts} "
        "starts at the mean image with a little noise, and the network's confidence in the class, high or not. Below, "
        "the natural image that is nearest to the first in the features of another network."
    )
    return Panel(
        "images", figure, caption, "Rows of synthesised images, one for each class, and a row of natural ones."
    )


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of all images."""
    classes = dry_run.class_count(config.network)
    calls = dry_run.calls(config.starts * len(chosen_classes(classes, config)), config.batch_size) * config.steps
    return [dry_run.gradient(config.network, config.batch_size, calls, targets.probability(0), "steps of ascent")]


EXPERIMENT = Experiment[Config](
    name="nguyen2015/gradient",
    title="Fooling images by gradient ascent",
    figure="images by gradient ascent",
    paper=papers.NGUYEN2015,
    summary=(
        "How confident can a network be in an unrecognisable image? From the mean image and a little noise, gradient "
        "ascent raises the probability of a class without regularisation. An independently trained network says "
        "whether it sees the class, and how far the images are from natural ones in its features."
    ),
    run=run,
    plan=plan,
    minutes=2,
    look="noise that the network takes for a class with 99 % confidence.",
)

if __name__ == "__main__":
    main(EXPERIMENT)
