"""Several pre-images of one representation (Mahendran & Vedaldi 2015, Fig. 7)."""

import jax
import jax.numpy as jnp
import numpy as np

from configs.mahendran2015.multiple import Config
from experiments.lib import dry_run, figures, papers, preimages, statistics
from experiments.lib.measures import relative_distances
from experiments.lib.report import Claim, Number, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.mahendran2015.layers import recipe
from xai_jax import inversion, network

ERROR = 0.2  # of features; below it pre-images count as having the same features


def run(config: Config, work: Workspace) -> Report:
    """Inverts every image several times from each layer, and compares the pre-images."""
    subject, found = preimages.load(config), {}
    jobs = list(zip(config.layers, config.total_variations, strict=True))
    for layer, strength in work.progress(jobs, "layers"):
        represent = subject.represent(layer)
        found[layer] = work.stage(layer, lambda r=represent, s=strength: restarts(r, subject.images, s, config))
    return Report(numbers(found), claims(found, config), [preimages_panel(subject, found, config)])


def restarts(represent, images, strength, config):
    """Pre-images (N, restarts, H, W, C), and how far they are apart in pixels and in features.

    Distances (N,) are means over pairs of restarts, as shares of the mean distance between different images.
    """
    wanted = network.call(represent, images)
    many = jnp.repeat(wanted, config.restarts, axis=0)
    key = jax.random.key(config.seed)
    x = preimages.descend(represent, many, images.shape[1:], key, recipe(config, strength))
    groups = config.count, config.restarts
    features = np.asarray(network.call(represent, x))
    return {
        "images": x.reshape(*groups, *images.shape[1:]),
        "pixels": relative_distances(np.asarray(x).reshape(*groups, -1), np.asarray(images).reshape(config.count, -1)),
        "features": relative_distances(features.reshape(*groups, -1), np.asarray(wanted).reshape(config.count, -1)),
        "error": np.asarray(inversion.error(represent, x, many, wanted)).reshape(groups),
    }


def preimages_panel(subject, found, config):
    """A row of pre-images for each image and layer, as in Fig. 7."""
    images, rows = subject.rows(config.shown, {layer: each["images"].swapaxes(0, 1) for layer, each in found.items()})
    titles = ["image", *(f"from noise {n + 1}" for n in range(config.restarts))]
    caption = (
        "Images with the same features as the one on the left, in the layer named, each optimised from different "
        "noise and scaled to its full range of values. The layer has retained what they share and discarded what "
        "differs. Claims compare pixels as they are, of which low contrast lowers the distances."
    )
    alt = "Rows of an image and of several pictures that agree with it more in upper rows of a block than in lower."
    return figures.image_panel("multiple", images, titles, rows, caption, alt, 1.4)


def numbers(found):
    """Distances of restarts in pixels and features, and errors."""
    return [
        Number.mean(f"{name}, {layer}", values)
        for layer, each in found.items()
        for name, values in (
            ("distance of restarts in pixels", each["pixels"]),
            ("distance of restarts in features", each["features"]),
            ("error of features", each["error"].mean(1)),
        )
    ]


def claims(found, config):
    """Both tested over images; of the errors, those of the layer with the largest count."""
    first, last = (found[layer] for layer in (config.layers[0], config.layers[-1]))
    error = max((each["error"].mean(1) for each in found.values()), key=np.mean)
    different = statistics.wilcoxon(last["pixels"], 2 * last["features"])
    return [
        Claim(
            "Pre-images of one representation agree in features and differ in pixels, from the last layer.",
            "Fig. 7",
            statistics.all_of([statistics.wilcoxon(ERROR, error), different]),
            f"distances of restarts as shares of those of different images: {last['pixels'].mean():.2f} in pixels, "
            f"{last['features'].mean():.2f} in features of {config.layers[-1]}; largest mean error of a layer "
            f"{100 * error.mean():.1f} %. Required: below {100 * ERROR:g} %, and pixels differ twice as much as "
            "features",
        ),
        Claim(
            "The deeper the layer, the more its pre-images differ.",
            "Fig. 7",
            statistics.wilcoxon(last["pixels"], first["pixels"]),
            f"distance of restarts in pixels {last['pixels'].mean():.2f} in {config.layers[-1]}, "
            f"{first['pixels'].mean():.2f} in {config.layers[0]}, larger for "
            f"{(last['pixels'] > first['pixels']).sum()} of {config.count} images",
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of each layer's inversion, all images and restarts at once."""
    calls = sum(count for _, count in recipe(config, 1.0).phases)
    return preimages.plan(config.network, config.layers, config.count * config.restarts, calls)


EXPERIMENT = Experiment[Config](
    name="mahendran2015/multiple",
    title="Many images, one representation",
    figure="Fig. 7",
    paper=papers.MAHENDRAN2015,
    summary=(
        "A layer that discards positions, or maps two textures to the same features, has many pre-images. Gradient "
        "descent from different noise finds some of them. Their distances from one another are shares of the mean "
        "distance between different images, in pixels and in features."
    ),
    run=run,
    plan=plan,
    minutes=4,
    look="images that give a layer the same code: deeper layers leave more of them open.",
)

if __name__ == "__main__":
    main(EXPERIMENT)
