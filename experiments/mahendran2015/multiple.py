"""Several pre-images of one representation (Mahendran & Vedaldi 2015, Fig. 7)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lib import dry_run, preimages, runner
from experiments.lib.measures import relative_distances
from experiments.lib.runner import Claim, Number
from experiments.mahendran2015.layers import recipe
from xai_jax import inversion, network, plots


def run(config: Any, run: runner.Run) -> None:
    """Inverts every image several times from each layer, and compares what comes out."""
    subject, found = preimages.load(config), {}
    jobs = list(zip(config.layers, config.total_variations, strict=True))
    for layer, strength in run.progress(jobs, "layers"):
        represent = subject.represent(layer)
        found[layer] = run.stage(layer, lambda r=represent, s=strength: restarts(r, subject.images, s, config))
    run.figure("multiple", *figure(subject, found, config))
    report(run, found, config)


def restarts(represent, images, strength, config):
    """Pre-images (N, restarts, H, W, C), and how far they are apart in pixels and in features.

    Distances (N,) are means over pairs of restarts, as shares of the mean distance between different images.
    """
    wanted = network.call(represent, images)
    many = jnp.repeat(wanted, config.restarts, axis=0)
    key = jax.random.key(config.seed)
    x = inversion.invert(represent, many, images.shape[1:], key, recipe(config, strength)).x
    groups = config.count, config.restarts
    features = np.asarray(network.call(represent, x))
    return {
        "images": x.reshape(*groups, *images.shape[1:]),
        "pixels": relative_distances(np.asarray(x).reshape(*groups, -1), np.asarray(images).reshape(config.count, -1)),
        "features": relative_distances(features.reshape(*groups, -1), np.asarray(wanted).reshape(config.count, -1)),
        "error": np.asarray(inversion.error(represent, x, many, wanted)).reshape(groups),
    }


def figure(subject, found, config):
    """A row of pre-images for each image and layer, as in Fig. 7."""
    panels, rows = [], []
    for n in range(min(config.shown, config.count)):
        for layer in config.layers:
            panels.append([subject.pixels(subject.images[n]), *subject.pixels(found[layer]["images"][n])])
            rows.append(layer)
    titles = ["image", *(f"from noise {n + 1}" for n in range(config.restarts))]
    fig, _ = plots.grid(panels, titles, rows, 1.4)
    caption = (
        "Images with the same features as the one on the left, in the layer named, each found from other noise. What "
        "they share the layer knows; what differs it does not."
    )
    return fig, caption, "Rows of an image and of several pictures that agree with it more in upper rows than in lower."


def report(run, found, config):
    """Distances of restarts in pixels and features, and errors."""
    for layer in config.layers:
        run.numbers += [
            Number.mean(f"distance of restarts in pixels, {layer}", found[layer]["pixels"]),
            Number.mean(f"distance of restarts in features, {layer}", found[layer]["features"]),
            Number.mean(f"error of features, {layer}", found[layer]["error"].mean(1)),
        ]
    first, last = (found[layer] for layer in (config.layers[0], config.layers[-1]))
    wins = (last["pixels"] > first["pixels"]).mean()
    agree = max(each["error"].mean() for each in found.values())
    run.claims += [
        Claim(
            "Pre-images of one representation agree in features and differ in pixels, from the last layer.",
            "Fig. 7",
            bool(agree < 0.2 and (last["pixels"] > 2 * last["features"]).all()),
            f"distances of restarts as shares of those of different images: {last['pixels'].mean():.2f} in pixels, "
            f"{last['features'].mean():.2f} in features of {config.layers[-1]}; the largest mean error of a layer is "
            f"{100 * agree:.1f} %. Held if that is below 20 %, and pixels differ twice as much as features for every "
            "image",
        ),
        Claim(
            "The deeper the layer, the more its pre-images differ.",
            "Fig. 7",
            bool(wins > 0.9),
            f"restarts lie farther apart from {config.layers[-1]} ({last['pixels'].mean():.2f}) than from "
            f"{config.layers[0]} ({first['pixels'].mean():.2f}) for {100 * wins:.0f} % of {config.count} images",
        ),
    ]


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of each layer's inversion, all images and restarts at once."""
    calls = sum(count for _, count in recipe(config, 1.0).phases)
    return preimages.plan(config.network, config.layers, config.count * config.restarts, calls)


EXPERIMENT = runner.Experiment(
    name="mahendran2015/multiple",
    title="Many images, one representation",
    figure="Fig. 7",
    paper="Mahendran and Vedaldi 2015, Understanding Deep Image Representations by Inverting Them, arXiv 1412.0035",
    summary=(
        "A layer that forgets where things are, or which of two textures it saw, has many pre-images. Gradient descent "
        "from different noise finds some of them. Their distances from one another are shares of the mean distance "
        "between different images, in pixels and in features."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
    order=2,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
