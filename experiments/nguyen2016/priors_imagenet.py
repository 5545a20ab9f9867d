"""Preferred inputs of an ImageNet network with priors that people thought of (rivals of Nguyen et al. 2016)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from experiments.lib import dry_run, generator_codes, maximisation_baselines, runner
from experiments.lib.runner import Claim, Number
from experiments.nguyen2016 import prior_comparison
from xai_jax import models, priors, realism
from xai_jax.data import examples

NONE = "no prior"
LABELS = {
    "confidence": "confidence of the explained network",
    "agrees": "whether another network agrees",
    "rough": "differences of neighbouring pixels, photographs' = 1",
}


def run(config: Any, run: runner.Run) -> None:
    """Preferred inputs of a few classes by every prior; whether another network agrees, and how smooth they are."""
    model, judge = (
        models.load(config.network, config.weights),
        models.load(config.evaluation_network, config.evaluation_weights),
    )
    classes, found, measures = maximisation_baselines.repeated_classes(model, config), {}, {}
    photographs = model.to_pixels(model.preprocess(examples.load(config.images, config.count).images))
    for name, form in run.progress(maximisation_baselines.forms(config).items(), "priors"):
        stage = name.replace(" ", "-")
        found[name] = run.stage(stage, partial(maximisation_baselines.find, model, classes, form, config))
        measures[name] = run.stage(f"{stage}-measured", partial(measured, judge, found[name], classes, photographs))
    run.figure("priors", *pictures(model.classes, found, classes))
    run.figure("measures", *dots(measures))
    run.numbers += [
        Number.mean(f"{LABELS[name]}: {way}", values) for way, each in measures.items() for name, values in each.items()
    ]
    run.claims += claims(found, measures, classes, config)


def measured(judge, found, classes, photographs):
    """All that `LABELS` has, of each image, (N,)."""
    x = judge.preprocess(list(found["pixels"]))
    return {
        "confidence": generator_codes.confidence(found["logits"], classes),
        "agrees": realism.agreement(judge.net, x, classes),
        "rough": roughness(found["pixels"]) / roughness(photographs).mean(),
    }


def roughness(pixels: np.ndarray) -> np.ndarray:
    """The mean length of gradients, grey levels from pixel to pixel, of uint8 images (N, H, W, C): (N,)."""
    return np.asarray(priors.mean_total_variation(jnp.asarray(pixels, jnp.float32), 1.0)) / pixels.shape[-1]


def pictures(names, found, classes):
    """A row for each prior, a column for each class."""
    caption = (
        "Images that excite the logits of a few classes, by one prior in each row, from noise. Under each, the "
        "explained network's confidence in the class."
    )
    return prior_comparison.pictures(names, found, classes, size=1.7), caption, "A grid of coloured patterns."


def dots(measures: Mapping[str, Mapping[str, np.ndarray]]) -> tuple[Figure, str, str]:
    """A panel for each measure, a line for each prior."""
    caption = (
        "A dot for each image, and their mean in red: how sure the explained network is of the class, whether another "
        "network sees the same class, and how rough the images are beside photographs (dashed)."
    )
    figure = prior_comparison.dots(measures, {"rough": np.ones(1)}, LABELS)
    return figure, caption, "Three panels of dots, a line for each prior."


def claims(found: Mapping[str, Any], measures: Mapping[str, Any], classes: np.ndarray, config: Any) -> list[Claim]:
    """That networks can be sure of noise, and that priors make smoother images, in which another network sees more."""
    source, others = "the rivals' papers (measures and tests are ours)", [name for name in measures if name != NONE]
    taken = {name: each["logits"].argmax(1) == classes for name, each in found.items()}
    rough, agrees = ({name: each[key] for name, each in measures.items()} for key in ("rough", "agrees"))
    tests = np.array([paired(rough[NONE], rough[name]) for name in others])
    seen = paired(np.mean([agrees[name] for name in others], 0), agrees[NONE].astype(float))
    return [
        Claim(
            "Whatever the prior, the network takes the images for the classes that they were made for.",
            source,
            all(each.all() for each in taken.values()),
            f"share of images: {means(taken)}",
        ),
        Claim(
            "Every prior makes smoother images than none.",
            source,
            runner.told(tests[:, 0].max(), tests[:, 1].min()),
            f"mean roughness: {means(rough)}; Wilcoxon's test over images, p = {tests[:, 0].max():.2g} at most",
        ),
        Claim(
            "With priors, another network sees the class more often than without.",
            source,
            runner.told(*seen) if config.evaluation_network != config.network else None,
            f"share of images: {means(agrees)}; Wilcoxon's test over images, p = {seen[0]:.2g}",
        ),
    ]


def means(table: Mapping[str, np.ndarray]) -> str:
    """The mean for each prior, as words."""
    return ", ".join(f"{name} {values.mean():.2f}" for name, values in table.items())


def paired(more: np.ndarray, less: np.ndarray) -> tuple[float, float]:
    """p of Wilcoxon's signed-rank tests over images: that the first are more, and that they are less."""
    if (more == less).all():
        return 1.0, 1.0
    return tuple(float(stats.wilcoxon(more, less, alternative=side).pvalue) for side in ("greater", "less"))


def plan(config: Any) -> list[dry_run.Step]:
    """The gradients that all forms need."""
    return maximisation_baselines.plan(
        config.network, maximisation_baselines.forms(config), len(config.classes) * config.starts, config.batch_size
    )


EXPERIMENT = runner.Experiment(
    name="nguyen2016/priors_imagenet",
    title="Hand-designed priors on an ImageNet network",
    figure="comparison of priors, ImageNet",
    paper="Simonyan et al. 2014, Yosinski et al. 2015, Mahendran and Vedaldi 2016, Nguyen et al. 2016 (Multifaceted "
    "Feature Visualization), Olah et al. 2017: the rivals of Nguyen et al. 2016, arXiv 1605.09304",
    summary=(
        "No generator is made here for an ImageNet network, so only the priors that people thought of are shown, on "
        "EfficientNet-Lite0, for a few classes and from one noise each. Another network, EfficientNet-Lite1, says "
        "whether it sees the same class. All forms take far fewer steps than their papers'. Their strengths were "
        "changed after a first run, in which L2 and blur gave grey images: they were chosen on three of the classes, "
        "from other noise, so that the network is about sure and the judge sees most. Five images tell little: "
        "indications, not statistics."
    ),
    run=run,
    plan=plan,
    minutes=6,
    order=4,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
