"""Pre-images of many images from the last pooling layer (Mahendran & Vedaldi 2015, Fig. 11)."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from experiments.lib import dry_run, preimages, runner
from experiments.lib.measures import relative_distances
from experiments.lib.runner import Claim, Number, told
from experiments.mahendran2015.layers import recipe
from xai_jax import inversion, models, network, plots
from xai_jax.data import datasets


def run(config: Any, run: runner.Run) -> None:
    """Inverts several images of each class, each several times, and looks for the image of every pre-image."""
    data = datasets.load(config.data, config.split)
    numbers = chosen(data, config.classes, config.each)
    names = [data.classes[data[int(row[0])][1]] for row in numbers]
    model, images = models.load(config.network, config.weights), (data[int(n)][0] for n in numbers.ravel())
    subject, found = preimages.from_images(model, images, config.mean), []
    for n in run.progress(range(config.restarts), "restarts"):
        found.append(run.stage(f"restart{n}", lambda n=n: one(subject, config, config.seed + n)))
    found = {key: np.stack([each[key] for each in found], 1) for key in found[0]}
    likeness = correlations(found["images"], np.asarray(subject.images))
    run.figure("diversity", *figure(subject, found["images"], names, config))
    run.figure("correlations", *matrix(likeness.mean(1), names, config))
    report(run, np.asarray(subject.images), found, likeness, config)


def chosen(data, classes: int, each: int) -> np.ndarray:
    """Where the first images are of those classes that are the first to have so many, (classes, each).

    Raises UserError where the data have fewer.
    """
    places = {}
    for n in range(len(data)):
        places.setdefault(data[n][1], []).append(n)
        full = [row[:each] for row in places.values() if len(row) >= each]
        if len(full) == classes:
            return np.array(full)
    raise runner.UserError(f"Expected {classes} classes with {each} images or more, found {len(full)} in the data.")


def one(subject, config, seed):
    """A pre-image of each image (N, H, W, C), its error, and whether the network gives it the image's class."""
    x = preimages.invert(subject, config.layer, recipe(config, config.total_variation), config.batch_size, seed)
    represent = subject.represent(config.layer)
    return {
        "images": x,
        "error": inversion.error(represent, x, network.call(represent, subject.images)),
        "same": subject.classes(subject.images) == subject.classes(x),
    }


def correlations(found: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Correlation of the values of each pre-image (N, restarts, H, W, C) with each image, (N, restarts, N)."""
    a, b = (x.reshape(*x.shape[: x.ndim - 3], -1).astype(np.float64) for x in (found, images))
    a, b = (x - x.mean(-1, keepdims=True) for x in (a, b))
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    return a @ b.T


def identified(likeness: np.ndarray, size: int) -> np.ndarray:
    """Whether pre-images resemble their image more than the others of its group of `size` in a row, (N, restarts)."""
    groups = np.arange(len(likeness)) // size
    rivals = (groups[:, None] == groups) & ~np.eye(len(groups), dtype=bool)
    own = np.diagonal(likeness, axis1=0, axis2=2).T
    return own > np.where(rivals[:, None], likeness, -np.inf).max(-1)


def figure(subject, pictures, names, config):
    """A row for each class: two of its images, and the pre-images of each, as in Fig. 11 for one."""
    pairs = min(2, config.each)
    panels = []
    for start in range(0, config.each * min(config.shown, config.classes), config.each):
        row = [(subject.pixels(subject.images[n]), *subject.pixels(pictures[n])) for n in range(start, start + pairs)]
        panels.append([panel for panels in row for panel in panels])
    titles = ["image", *(f"from noise {n + 1}" for n in range(config.restarts))] * pairs
    fig, _ = plots.grid(panels, titles, names, 1.2)
    caption = (
        f"Images with the same features in {config.layer} as the one to their left, each found from other noise. The "
        "two images of a row are of one class: what tells their pre-images apart, the layer knows beside the class."
    )
    return fig, caption, "Rows of two images of one class, each followed by vague pictures that resemble it."


def matrix(likeness, names, config):
    """How each image's pre-images resemble all images."""
    figure = Figure(figsize=(5.6, 4.6), layout="constrained")
    axis = figure.subplots()
    drawn = axis.imshow(likeness, cmap=plots.SIGNED, vmin=-1, vmax=1)
    figure.colorbar(drawn, label="correlation")
    middles = np.arange(len(names)) * config.each + (config.each - 1) / 2
    axis.set_xticks(middles, names, rotation=60, ha="right", fontsize=8)
    axis.set_yticks(middles, names, fontsize=8)
    for edge in np.arange(1, len(names)) * config.each - 0.5:
        axis.axhline(edge, color="0.6", lw=0.5)
        axis.axvline(edge, color="0.6", lw=0.5)
    axis.set(xlabel="image", ylabel="pre-images of")
    caption = (
        f"Correlation of pre-images (rows, means over {config.restarts} of each image) with all images (columns), by "
        "class. A pre-image that resembles its own image most has its row's maximum on the diagonal."
    )
    return figure, caption, "A square of correlations, higher in blocks along its diagonal."


def report(run, images, found, likeness, config):
    """How often a pre-image finds its image, how far apart pre-images are, and what that says of the layer."""
    among, within = identified(likeness, len(likeness)), identified(likeness, config.each)
    flat, classes = images.reshape(len(images), -1), (config.classes, config.each)
    pictures = found["images"].reshape(*found["images"].shape[:2], -1)
    again = relative_distances(pictures, flat).reshape(classes).mean(1)
    others = np.mean([relative_distances(x.reshape(*classes, -1), flat) for x in pictures.swapaxes(0, 1)], 0)
    run.numbers += [
        Number.mean("error of features", found["error"].mean(1)),
        Number.mean("pre-images that the network takes for the image's class", found["same"].mean(1)),
        Number.mean("pre-images that resemble their image most of all images", among.mean(1)),
        Number.mean("pre-images that resemble their image most of its class", within.mean(1)),
        Number.mean(
            "distance of images of one class, as a share of that of all",
            relative_distances(flat.reshape(*classes, -1), flat),
        ),
        Number.mean("distance of pre-images of different images of one class, as such a share", others),
        Number.mean("distance of pre-images of one image, as such a share", again),
    ]
    run.claims += [told_apart(among, within, config), diverse(others, again)]


def told_apart(among, within, config):
    """Whether more images than by chance are found among those of their class by all of their pre-images."""
    hits, chance = int(within.all(1).sum()), 1 / config.each
    p = stats.binomtest(hits, len(within), chance, alternative="greater").pvalue if config.each > 1 else np.nan
    return Claim(
        f"Even {config.layer} knows more of an image than its class: pre-images tell images of one class apart.",
        "Fig. 11",
        told(p),
        f"all pre-images resemble their image more than the others of its class for {hits} of {len(within)} images, "
        f"where one pre-image would do so by chance for {100 * chance:.0f} % (binomial test, p = {p:.2g}); "
        f"{100 * among.mean():.0f} % of pre-images find theirs among all images, by chance {100 / len(among):.0f} %",
    )


def diverse(others, again):
    """Whether pre-images of different images of a class are further apart than those of one image; of each class."""
    p = stats.ttest_rel(others, again, alternative="greater").pvalue if len(others) > 2 else np.nan
    return Claim(
        "Pre-images are diverse because images are: even in one class they differ more than those of one image do.",
        "Fig. 11",
        told(p),
        "mean distance of pre-images as a share of that of different images: "
        f"{others.mean():.2f} for images of one class, {again.mean():.2f} for one image and other noise "
        f"(paired one-sided t-test over {len(others)} classes, p = {p:.2g})",
    )


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of the inversion of one batch, for all batches and restarts."""
    batches = -(-config.classes * config.each // config.batch_size)
    calls = batches * config.restarts * sum(count for _, count in recipe(config, config.total_variation).phases)
    return preimages.plan(config.network, (config.layer,), config.batch_size, calls)


EXPERIMENT = runner.Experiment(
    name="mahendran2015/diversity",
    title="What the last pooling layer knows beside the class",
    figure="Fig. 11",
    paper="Mahendran and Vedaldi 2015, Understanding Deep Image Representations by Inverting Them, arXiv 1412.0035",
    summary=(
        "The last pooling layer has seen many steps that forget, and yet its pre-images show more than classes: the "
        "paper inverts five different images from it. Here several images of each of several classes are inverted, "
        "each several times from different noise. If the layer knew only classes, a pre-image would resemble its image "
        "no more than others of the class. The measures, correlation and distance in pixels, are ours. Images are the "
        "first ones of the split; the paper chose its own."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
    order=2,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
