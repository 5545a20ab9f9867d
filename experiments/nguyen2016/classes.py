"""Preferred inputs of all classes through a generator, and how realistic they are (Nguyen et al. 2016)."""

from functools import partial

import numpy as np

from configs.nguyen2016.classes import Config
from experiments.lib import dry_run, evaluation_networks, generator_codes, papers, statistics
from experiments.lib.generator_codes import HIGH
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import plots, targets
from xai_jax.synthesis.dgn_am import DGN

COLUMNS = 13  # classes in the figure, the first


def run(config: Config, work: Workspace) -> Report:
    """Finds codes for every class from several starts, and evaluates their images with another network."""
    (generator, model), evaluator = generator_codes.load(config), evaluation_networks.load(config)
    classes = np.tile(config.classes or np.arange(len(model.classes)), config.starts)
    found = work.stage("codes", partial(preferred, generator, model, classes, config))
    pixels = model.to_pixels(found["images"])
    evaluated = work.stage("evaluated", partial(evaluation_networks.evaluate, evaluator, pixels, classes))
    panel = classes_panel(model, evaluator, found, evaluated, classes, config)
    return Report(*findings(found, evaluated, classes, config), [panel])


def preferred(generator, model, classes, config):
    """Images (starts * K, H, W, C) of the last codes, the network's confidence in their classes, and their logits."""
    starts = generator_codes.initial_codes(generator, len(classes), config.seed)
    form = DGN(learning_rate=config.learning_rate, steps=config.steps, decay_factor=config.keep)
    found = generator_codes.maximise(generator, model, targets.logit(classes), starts, form, config.batch_size)
    confidence = generator_codes.confidence(found["logits"], classes)
    logit = generator_codes.of_own_class(found["logits"], classes)
    return {"images": found["images"], "confidence": confidence, "logit": logit}


def classes_panel(model, evaluator, found, evaluated, classes, config):
    """A column for each class: preferred inputs from several starts, and the natural image nearest to the first."""
    shown = min(config.shown, config.starts)
    grid = np.arange(len(classes)).reshape(config.starts, -1)[:shown, :COLUMNS]
    panels = [list(model.to_pixels(found["images"][row]) / 255) for row in grid]
    nearest = np.asarray(evaluator.held_out)[evaluated["neighbour"][grid[0]]]
    panels.append(list(evaluator.model.to_pixels(nearest) / 255))
    rows = [*(f"from noise {start + 1}" for start in range(shown)), "nearest\nnatural image"]
    figure, axes = plots.grid(panels, [model.classes[k] for k in classes[grid[0]]], rows, 1.1)
    for index, axis in zip(grid.ravel(), axes[:shown].ravel(), strict=True):
        axis.set_xlabel(f"{100 * found['confidence'][index]:.1f} %", fontsize=7, labelpad=2)
    caption = (
        f"Images of a generator that maximise each class's logit, from {shown} of {config.starts} starts; under each, "
        "the network's confidence in the class. Below, the natural image, of any class, that is nearest to the first "
        "in the features of another network."
    )
    alt = "Rows of images of one object for each class, and a row of natural images."
    return Panel("classes", figure, caption, alt)


def findings(found, evaluated, classes, config):
    """Confidence, agreement and distances, and claims about most classes."""
    numbers = [
        Number.mean("confidence of the explained network", found["confidence"]),
        *evaluation_networks.numbers(evaluated),
    ]
    confidence, agree = (
        generator_codes.medians(values, classes) for values in (found["confidence"], evaluated["agrees"])
    )
    realistic, independent = statistics.binomial(agree > 0.5), generator_codes.is_independent(config)
    reached = statistics.binomial(confidence >= HIGH)
    return numbers, [
        Claim(
            "The network is confident in the preferred inputs of most classes.",
            "section 3",
            reached,
            f"classes whose median confidence over {config.starts} starts is at least {100 * HIGH:g} %; the lowest is "
            f"{100 * confidence.min():.1f} %",
        ),
        Claim(
            "The images look like their classes, also to a network that was not used in their synthesis.",
            "section 3",
            statistics.where(independent, realistic, generator_codes.DEPENDENT),
            "classes for which another network agrees on most starts",
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of all codes."""
    count = (len(config.classes) or generator_codes.class_count(config.generator)) * config.starts
    return [generator_codes.code_steps(config, "steps of codes", targets.logit(0), count, config.steps)]


EXPERIMENT = Experiment[Config](
    name="nguyen2016/classes",
    title="Preferred inputs of all classes",
    figure="preferred inputs of all classes",
    paper=papers.NGUYEN2016,
    summary=(
        "Activation maximisation in pixel space gives noise. Here the code of a generator network is optimised "
        "instead, within the range of natural images' codes. Are the images realistic? An independently trained "
        "network says whether it sees the same class, and how far its features are from those of natural images."
    ),
    run=run,
    plan=plan,
    minutes=1,
    look="which classes do you recognise in images that the generator made to please the network?",
)

if __name__ == "__main__":
    main(EXPERIMENT)
