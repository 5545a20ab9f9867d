"""Pre-images of several images of each class from the last pooling layer (Mahendran & Vedaldi 2015, Fig. 11)."""

from collections.abc import Sequence

import numpy as np

from configs.mahendran2015.diversity import Config
from experiments.lib import dry_run, figures, papers, preimages, statistics
from experiments.lib.measures import relative_distances
from experiments.lib.report import Claim, Number, Panel, Report, paired_claim
from experiments.lib.runner import Experiment, Workspace, main
from experiments.mahendran2015.layers import recipe
from xai_jax import models
from xai_jax.data import datasets
from xai_jax.io.errors import UserError


def run(config: Config, work: Workspace) -> Report:
    """Inverts several images of each class, each several times, and matches every pre-image with its image."""
    data = datasets.load(config.data, config.split)
    indices = first_of_classes(data, config.classes, config.each)
    model, images = models.load(config.network, config.weights), (data[int(n)][0] for n in indices.ravel())
    subject, stages = preimages.from_images(model, images, config.mean), []
    for n in work.progress(range(config.restarts), "restarts"):
        stages.append(work.stage(f"restart{n}", lambda n=n: inverted(subject, config, config.seed + n)))
    found = {key: np.stack([each[key] for each in stages], 1) for key in stages[0]}
    similarity = correlations(found["images"], np.asarray(subject.images))
    names = [data.classes[data[int(row[0])][1]] for row in indices]
    panels = [
        preimages_panel(subject, found["images"], names, config),
        correlations_panel(similarity.mean(1), names, config),
    ]
    distances = distances_in_class(np.asarray(subject.images), found["images"], config)
    identified = [best_match(similarity, size) for size in (len(similarity), config.each)]
    return Report(numbers(found, identified, distances), claims(identified, distances, config), panels)


def first_of_classes(data: Sequence, classes: int, each: int) -> np.ndarray:
    """Indices (classes, each) of the first images of those classes that are the first to have so many.

    Raises UserError where the data have fewer.
    """
    indices = {}
    for n in range(len(data)):
        indices.setdefault(data[n][1], []).append(n)
        full = [row[:each] for row in indices.values() if len(row) >= each]
        if len(full) == classes:
            return np.array(full)
    raise UserError(f"Expected {classes} classes with {each} images or more, found {len(full)} in the data.")


def inverted(subject, config, seed):
    """A pre-image of each image, its error and class, as `preimages.measured` gives them."""
    form, represent = recipe(config, config.total_variation), subject.represent(config.layer)
    x = preimages.invert(represent, subject.images, form, config.batch_size, seed)
    return preimages.measured(subject, config.layer, x)


def correlations(found: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Correlation of the values of each pre-image (N, restarts, H, W, C) with each image, (N, restarts, N)."""
    a, b = (x.reshape(*x.shape[: x.ndim - 3], -1).astype(np.float64) for x in (found, images))
    a, b = (x - x.mean(-1, keepdims=True) for x in (a, b))
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    return a @ b.T


def best_match(similarity: np.ndarray, size: int) -> np.ndarray:
    """Whether pre-images resemble their image more than the others of its group of `size` in a row, (N, restarts)."""
    groups = np.arange(len(similarity)) // size
    others = (groups[:, None] == groups) & ~np.eye(len(groups), dtype=bool)
    own = np.diagonal(similarity, axis1=0, axis2=2).T
    return own > np.where(others[:, None], similarity, -np.inf).max(-1)


def distances_in_class(images, found, config):
    """Mean distances within each class, (classes,), as shares of that of all images.

    Of images, of pre-images of different images, and of pre-images of one image.
    """
    flat, classes = images.reshape(len(images), -1), (config.classes, config.each)
    found = found.reshape(*found.shape[:2], -1)
    restarts = relative_distances(found, flat).reshape(classes).mean(1)
    others = np.mean([relative_distances(x.reshape(*classes, -1), flat) for x in found.swapaxes(0, 1)], 0)
    return relative_distances(flat.reshape(*classes, -1), flat), others, restarts


def preimages_panel(subject, found, names, config):
    """A row for each class: two of its images, and the pre-images of each, as in Fig. 11 for one."""
    pairs, images = min(2, config.each), []
    for start in range(0, config.each * min(config.shown, config.classes), config.each):
        row = [(subject.images[n], *found[n]) for n in range(start, start + pairs)]
        images.append([each for image, *xs in row for each in (subject.pixels(image), *map(subject.scaled, xs))])
    titles = ["image", *(f"from noise {n + 1}" for n in range(config.restarts))] * pairs
    caption = (
        f"Images with the same features in {config.layer} as the one to their left, each optimised from different "
        "noise. The two images of a row are of one class: differences between their pre-images show what the layer "
        "retains beyond the class. Each pre-image is scaled to its full range of values."
    )
    alt = "Rows of two images of one class, each followed by vague pictures that resemble it."
    return figures.image_panel("diversity", images, titles, names, caption, alt, 1.2)


def correlations_panel(similarity, names, config):
    """Correlation of each image's pre-images with all images."""
    figure, ((axis,),) = figures.axes(1, 1, (5.6, 4.6))
    most = np.abs(similarity).max()
    figure.colorbar(figures.matrix(axis, similarity, [], [], (-most, most), "RdBu_r"), label="correlation")
    middles = np.arange(len(names)) * config.each + (config.each - 1) / 2
    axis.set_xticks(middles, names, rotation=60, ha="right", fontsize=8)
    axis.set_yticks(middles, names, fontsize=8)
    for edge in np.arange(1, len(names)) * config.each - 0.5:
        axis.axhline(edge, color="0.6", lw=0.5)
        axis.axvline(edge, color="0.6", lw=0.5)
    axis.set(xlabel="image", ylabel="pre-images of")
    caption = (
        f"Correlation of pre-images (rows, means over {config.restarts} of each image) with all images (columns), by "
        f"class, {config.each} of each. A pre-image that resembles its own image most has its row's maximum on the "
        "diagonal."
    )
    return Panel("correlations", figure, caption, "A square of correlations, some of them higher on its diagonal.")


def numbers(found, identified, distances):
    """Errors, classes, matches and distances."""
    names = (
        "distance of images of one class, as a share of that of all",
        "distance of pre-images of different images of one class, as such a share",
        "distance of pre-images of one image, as such a share",
    )
    return [
        Number.mean("error of features", found["error"].mean(1)),
        Number.mean("pre-images with the class of their image", found["same"].mean(1)),
        Number.mean("pre-images that resemble their image most of all images", identified[0].mean(1)),
        Number.mean("pre-images that resemble their image most of its class", identified[1].mean(1)),
        *map(Number.mean, names, distances),
    ]


def claims(identified, distances, config):
    """Both within classes: the first tested over images, the second over classes."""
    among, within = identified
    matched = statistics.binomial(within.all(1), 1 / config.each)
    return [
        Claim(
            f"{config.layer} retains more of an image than its class: pre-images identify it within its class.",
            "Fig. 11",
            statistics.where(config.each > 1, matched, "one image of each class"),
            f"all pre-images of {within.all(1).sum()} of {len(within)} images resemble their image more than the "
            f"others of its class; {100 * among.mean():.0f} % of pre-images resemble their image most of all images, "
            f"at chance level {100 / len(among):.1f} %",
        ),
        paired_claim(
            "Pre-images are diverse because images are: within a class they differ more than those of one image.",
            "Fig. 11",
            (distances[1], f"distances as shares of that of images: {distances[1].mean():.2f} within a class"),
            (distances[2], f"{distances[2].mean():.2f} for one image and different noise"),
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of the inversion of one batch, for all batches and restarts."""
    batches = dry_run.calls(config.classes * config.each, config.batch_size)
    calls = batches * config.restarts * sum(count for _, count in recipe(config, config.total_variation).phases)
    return preimages.plan(config.network, (config.layer,), config.batch_size, calls)


EXPERIMENT = Experiment[Config](
    name="mahendran2015/diversity",
    title="What the last pooling layer retains beyond the class",
    figure="Fig. 11",
    paper=papers.MAHENDRAN2015,
    summary=(
        "Does the last pooling layer represent more of an image than its class? Several images of each of several "
        "classes are inverted from it, each from different noise. If it retained the class only, a pre-image would "
        "resemble its image no more than others of the class. Correlation and distance in pixels are our measures."
    ),
    run=run,
    plan=plan,
    minutes=1.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
