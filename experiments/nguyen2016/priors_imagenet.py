"""Preferred inputs of an ImageNet network with hand-designed priors (baselines of Nguyen et al. 2016)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from configs.nguyen2016.priors_imagenet import Config
from experiments.lib import dry_run, generator_codes, maximisation_baselines, statistics
from experiments.lib.report import Claim, Panel, Report, means
from experiments.lib.runner import Experiment, Workspace, main
from experiments.nguyen2016 import prior_comparison
from xai_jax import models, priors, realism
from xai_jax.data import examples

NONE = "no prior"
LABELS = {
    "confidence": "confidence of the explained network",
    "agrees": "whether another network agrees",
    "rough": "differences of neighbouring pixels, photographs' = 1",
}


def run(config: Config, work: Workspace) -> Report:
    """Preferred inputs of a few classes with every prior; whether another network agrees, and how smooth they are."""
    model = models.load(config.network, config.weights)
    evaluator = models.load(config.evaluation_network, config.evaluation_weights)
    classes, found, measures = maximisation_baselines.repeated_classes(model, config), {}, {}
    photographs = model.to_pixels(model.preprocess(examples.load(config.images, config.count).images))
    for name, form in work.progress(maximisation_baselines.forms(config).items(), "priors"):
        stage = name.replace(" ", "-")
        found[name] = work.stage(stage, partial(maximisation_baselines.find, model, classes, form, config))
        compute = partial(measure, evaluator, found[name], classes, photographs)
        measures[name] = work.stage(f"{stage}-measured", compute)
    panels = [priors_panel(model.classes, found, classes), measures_panel(measures)]
    names = {condition: {LABELS[key]: values for key, values in each.items()} for condition, each in measures.items()}
    numbers = means(names, {label: label for label in LABELS.values()})
    return Report(numbers, claims(found, measures, classes, config), panels)


def measure(evaluator, found, classes, photographs):
    """The measures of `LABELS` of each image, (N,)."""
    x = evaluator.preprocess(list(found["pixels"]))
    return {
        "confidence": generator_codes.confidence(found["logits"], classes),
        "agrees": realism.agreement(evaluator.net, x, classes),
        "rough": roughness(found["pixels"]) / roughness(photographs).mean(),
    }


def roughness(pixels: np.ndarray) -> np.ndarray:
    """The mean gradient magnitude, grey levels per pixel, of uint8 images (N, H, W, C): (N,)."""
    return np.asarray(priors.mean_total_variation(jnp.asarray(pixels, jnp.float32), 1.0)) / pixels.shape[-1]


def priors_panel(names, found, classes):
    """A row for each prior, a column for each class."""
    caption = (
        "Images that maximise the logits of a few classes with one prior in each row, from noise. Under each, the "
        "explained network's confidence in the class."
    )
    figure = prior_comparison.images(names, found, classes, size=1.7)
    return Panel("priors", figure, caption, "A grid of coloured patterns.")


def measures_panel(measures):
    """A panel for each measure, a row for each prior."""
    caption = (
        "A dot for each image, and their mean in red: the explained network's confidence in the class, whether another "
        "network predicts the same class, and the roughness of the images relative to photographs (dashed)."
    )
    figure = prior_comparison.dots(measures, {"rough": np.ones(1)}, LABELS)
    return Panel("measures", figure, caption, "Three panels of dots, a row for each prior.")


def claims(found: Mapping[str, Any], measures: Mapping[str, Any], classes: np.ndarray, config: Config) -> list[Claim]:
    """That networks are confident in noise, and that priors make smoother and more recognisable images."""
    source, others = "the baselines' papers (measures and tests are ours)", [name for name in measures if name != NONE]
    predicted = {name: each["logits"].argmax(1) == classes for name, each in found.items()}
    rough, agrees = ({name: each[key] for name, each in measures.items()} for key in ("rough", "agrees"))
    recognised = statistics.wilcoxon(np.mean([agrees[name] for name in others], 0), agrees[NONE])
    independent = config.evaluation_network != config.network
    return [
        Claim(
            "With any prior, the network predicts the classes that most images were optimised for.",
            source,
            statistics.all_of([statistics.binomial(each) for each in predicted.values()]),
            f"share of images: {listed_means(predicted)}",
        ),
        Claim(
            "Every prior makes smoother images than none.",
            source,
            statistics.all_of([statistics.wilcoxon(rough[NONE], rough[name]) for name in others]),
            f"mean roughness: {listed_means(rough)}",
        ),
        Claim(
            "With priors, another network predicts the class more often than without.",
            source,
            statistics.where(independent, recognised, generator_codes.DEPENDENT),
            f"share of images: {listed_means(agrees)}",
        ),
    ]


def listed_means(table: Mapping[str, np.ndarray]) -> str:
    """The mean for each prior as text."""
    return ", ".join(f"{name} {values.mean():.2f}" for name, values in table.items())


def plan(config: Config) -> list[dry_run.Step]:
    """The gradients of all forms."""
    forms, count = maximisation_baselines.forms(config), len(config.classes) * config.starts
    return maximisation_baselines.plan(config.network, forms, count, config.batch_size)


EXPERIMENT = Experiment[Config](
    name="nguyen2016/priors_imagenet",
    title="Hand-designed priors on an ImageNet network",
    figure="comparison of priors, ImageNet",
    paper="Simonyan et al. 2014, Yosinski et al. 2015, Mahendran and Vedaldi 2016, Nguyen et al. 2016 (Multifaceted "
    "Feature Visualization), Olah et al. 2017: the baselines of Nguyen et al. 2016, arXiv 1605.09304",
    summary=(
        "How do hand-designed priors do on an ImageNet network? On EfficientNet-Lite0, images of a few classes are "
        "optimised from one noise each, in far fewer steps than in the papers. Another network, EfficientNet-Lite1, "
        "says whether it predicts the same class. Five images are few: the tests have little power."
    ),
    run=run,
    plan=plan,
    minutes=3.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
