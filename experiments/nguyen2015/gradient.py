"""Images that look like nothing and that a network is sure of, by gradient ascent (Nguyen et al. 2015)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from experiments.lib import dry_run, runner
from experiments.lib.evaluation_networks import EvaluationNetwork
from experiments.nguyen2015 import fooling_scores
from xai_jax import fooling, models, targets
from xai_jax.models import LoadedModel
from xai_jax.synthesis.fooling import Ascent


def run(config: Any, run: runner.Run) -> None:
    """Climbs from near the mean image for some classes, several times each, and has the images judged."""
    model, judge = fooling_scores.load(config)
    classes = np.tile(chosen(len(model.classes), config), config.starts)
    found = run.stage("images", partial(climbed, model, mean_image(model, judge), classes, config))
    judged = run.stage("judged", partial(fooling_scores.judgements, judge, found["pixels"], classes, config))
    run.figure("images", *figure(model, judge, found, judged, classes, config))
    run.numbers += fooling_scores.numbers(judged, found["kept"])
    run.claims += [
        fooling_scores.sure("Gradient ascent finds images that the network is sure of.", found["confidence"]),
        *fooling_scores.like_nothing(judged, len(model.classes), config),
    ]


def chosen(classes: int, config: Any) -> np.ndarray:
    """Classes to climb for: `config.classes` of them, evenly out of all."""
    return np.linspace(0, classes - 1, min(classes, config.classes)).round().astype(int)


def mean_image(model: LoadedModel, judge: EvaluationNetwork) -> Array:
    """The mean of natural images, (H, W, C), as the network to fool reads them."""
    return model.preprocess(list(judge.model.to_pixels(judge.natural))).mean(0)


def climbed(model: LoadedModel, mean: Array, classes: np.ndarray, config: Any) -> dict[str, np.ndarray]:
    """Images for `classes` (N,), as `fooling_scores.measured` has them."""
    lower, upper = fooling_scores.bounds(model)
    form = Ascent(config.steps, config.weight_decay, config.most, config.share)
    starting, _ = jax.random.split(jax.random.key(config.seed))
    noise = config.noise / 255 * (upper - lower) * jax.random.normal(starting, (len(classes), *mean.shape))
    parts = []
    for start in range(0, len(classes), config.batch_size):
        rows = slice(start, start + config.batch_size)
        x = fooling.ascend(model.net, classes[rows], mean + noise[rows], form, lower, upper).x
        parts.append(fooling_scores.measured(model, x, classes[rows]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def figure(model, judge, found, judged, classes, config):
    """A column for each class, a row for each of some starts."""
    rows = [f"start {number + 1}" for number in range(min(config.shown, config.starts))]
    by_start = {name: values.reshape(config.starts, -1, *values.shape[1:]) for name, values in found.items()}
    count = by_start["confidence"].shape[1]
    titles = [model.classes[k] for k in classes[:count]]
    drawn = fooling_scores.pictures(model, judge, by_start, judged["neighbour"][:count], titles, rows)
    caption = (
        "Images that the network takes for the class above, and how sure of it it is, found by climbing the "
        "gradient of its probability from the mean image and a little noise. Below, the natural image that another "
        "network finds nearest to the first."
    )
    return drawn, caption, "Rows of synthesised pictures, one for each class, and a row of natural ones."


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of all images."""
    module, variables, shape = models.abstract(config.network)
    x = jax.ShapeDtypeStruct((config.batch_size, *shape), jnp.float32)
    classes = jax.eval_shape(module.apply, variables, x).shape[1]
    count = config.starts * len(chosen(classes, config))

    def step(variables, x):
        net, target = Partial(module.apply, variables), targets.probability(0)
        return jax.grad(lambda x: targets.evaluate(net, x, target)[0].sum())(x)

    return [dry_run.Step("steps of ascent", step, (variables, x), -(-count // config.batch_size) * config.steps)]


EXPERIMENT = runner.Experiment(
    name="nguyen2015/gradient",
    title="Fooling images by gradient ascent",
    figure="images by gradient ascent",
    paper="Nguyen, Yosinski and Clune 2015, Deep Neural Networks are Easily Fooled: High Confidence Predictions for "
    "Unrecognizable Images, arXiv 1412.1897",
    summary=(
        "How sure can a network be of an image that shows nothing? From the mean image and a little noise, pixels are "
        "changed so that the probability of a class rises, step by step, and nothing asks the image to look natural. "
        "The steps are those of the authors' code, in its setting without regularisation. Whether the images look like "
        "their class is judged by another network, trained by itself: does it see the class, and how far are the "
        "images from natural ones in its features? Natural images are judged, too, to compare with. "
        "At first only a late layer was to compare them; a middle one was added when noise turned out to excite the "
        "late one so little that dim pictures of clothes were near. Networks that learn from the same images can be "
        "fooled by the same ones: agreement is not always likeness."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
    order=5,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
