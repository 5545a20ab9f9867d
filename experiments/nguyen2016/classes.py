"""Preferred inputs of all classes through a generator, and how natural they are (Nguyen et al. 2016)."""

from functools import partial
from typing import Any

import numpy as np

from experiments.lib import dry_run, evaluation_networks, generator_codes, runner
from experiments.lib.runner import Claim, Number
from xai_jax import plots, targets
from xai_jax.synthesis.dgn_am import DGN

COLUMNS = 10  # classes in the figure, the first


def run(config: Any, run: runner.Run) -> None:
    """Finds codes for every class from several starts, and has their images judged by another network."""
    (generator, explained), judge = generator_codes.load(config), evaluation_networks.load(config)
    classes = np.tile(np.arange(len(explained.classes)), config.starts)
    found = run.stage("codes", partial(preferred, generator, explained, classes, config))
    pixels = explained.to_pixels(found["images"])
    judged = run.stage("judged", partial(evaluation_networks.evaluate, judge, pixels, classes))
    run.figure("classes", *figure(explained, judge, found, judged, config))
    report(run, found, judged, classes, config)


def preferred(generator, model, classes, config):
    """Pictures (starts * K, H, W, C) of the last codes, the network's confidence in their classes, and their logits."""
    starts = generator_codes.initial_codes(generator, len(classes), config.seed)
    form = DGN(learning_rate=config.learning_rate, steps=config.steps, decay_factor=config.keep)
    found = generator_codes.maximise(generator, model, targets.logit(classes), starts, form, config.batch_size)
    confidence, logit = (
        generator_codes.confidence(found["logits"], classes),
        generator_codes.of_own_class(found["logits"], classes),
    )
    return {"images": found["images"], "confidence": confidence, "logit": logit}


def figure(model, judge, found, judged, config):
    """A column for each class: preferred inputs from several starts, and the natural image nearest to the first."""
    shown, columns = min(config.shown, config.starts), min(COLUMNS, len(model.classes))
    places = np.arange(config.starts * len(model.classes)).reshape(config.starts, -1)[:shown, :columns]
    panels = [list(model.to_pixels(found["images"][row]) / 255) for row in places]
    panels.append(list(judge.model.to_pixels(np.asarray(judge.held_out)[judged["neighbour"][places[0]]]) / 255))
    rows = [*(f"from noise {start + 1}" for start in range(shown)), "nearest\nnatural image"]
    fig, axes = plots.grid(panels, model.classes[:columns], rows, 1.1)
    for place, axis in zip(places.ravel(), axes[:shown].ravel(), strict=True):
        axis.set_xlabel(f"{100 * found['confidence'][place]:.1f} %", fontsize=7, labelpad=2)
    caption = (
        "Images that excite each class's logit, found among those that a generator makes; under each, the network's "
        "confidence in the class. Below, the natural image that another network finds nearest to the first."
    )
    return fig, caption, "Rows of pictures of one object for each class, and a row of real ones."


def report(run, found, judged, classes, config):
    """Confidence, agreement and distances, and what is claimed of them."""
    run.numbers += [
        Number.mean("confidence of the explained network", found["confidence"]),
        *evaluation_networks.numbers(judged),
    ]
    sure, agree = (generator_codes.medians(values, classes) for values in (found["confidence"], judged["agrees"]))
    run.claims += [
        Claim(
            "The network is sure of the preferred inputs of every class.",
            "section 3",
            bool((sure >= generator_codes.HIGH).all()),
            f"the median confidence over {config.starts} starts is at least {100 * generator_codes.HIGH:g} % for "
            f"{(sure >= generator_codes.HIGH).sum()} of {len(sure)} classes, the least {100 * sure.min():.1f} %",
        ),
        Claim(
            "The images look like their classes, also to a network that had no part in making them.",
            "section 3",
            bool((agree > 0.5).sum() >= 0.9 * len(agree)) if generator_codes.is_independent(config) else None,
            f"another network agrees on most starts for {(agree > 0.5).sum()} of {len(agree)} classes; nine in ten are "
            "asked for",
        ),
    ]


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of all codes."""
    count = generator_codes.class_count(config.generator) * config.starts
    return [generator_codes.code_steps(config, "steps of codes", targets.logit(0), count, config.steps)]


EXPERIMENT = runner.Experiment(
    name="nguyen2016/classes",
    title="Preferred inputs of all classes",
    figure="preferred inputs of all classes",
    paper="Nguyen et al. 2016, Synthesizing the Preferred Inputs for Neurons in Neural Networks via Deep Generator "
    "Networks, arXiv 1605.09304",
    summary=(
        "An image that excites a class as much as possible is usually noise. Here only images count that a generator "
        "makes: a network that was trained to undo the explained one's features, so that its images look natural. Not "
        "pixels are changed but the code that the generator starts from, within the range that codes of real images "
        "have. Whether the result is natural is judged by a network that had no part in it: does it see the same "
        "class, and how far are the images from real ones in its features? Distances of real images from others are "
        "beside. The generator, its losses and its steps are the papers'; sizes are those of small images. Two choices "
        "are ours, made after the first results: images are cut to what pictures can show while codes are found, not "
        "only in the end, without which the network was sure of the pictures of 7 classes only; and shorter steps, "
        "which made the images more natural."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
    order=4,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
