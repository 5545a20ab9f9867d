"""Projections by an image's own switches and by another image's (Zeiler & Fergus 2014, section 2.1)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from configs.zeiler2014.switches import Config
from experiments.lib import dry_run, figures, papers
from experiments.lib.measures import correlation
from experiments.lib.report import Number, Report, paired_claim
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.top_activations import as_input
from xai_jax import deconvnet, models, network, plots, targets
from xai_jax.core.precision import highest
from xai_jax.data import datasets

BATCH = 10  # projections at once
KINDS = {"own": "its switches", "other": "the other's switches", "none": "no switches"}


def run(config: Config, work: Workspace) -> Report:
    """Projects each image's strongest activation with its own switches, with another image's, and without."""
    model = models.load(config.network, config.weights)
    data = datasets.load(config.data, config.split)
    drawn = np.random.default_rng(config.seed).choice(len(data), (2, config.count), replace=False)
    x, others = (jnp.stack([as_input(model, data[int(i)][0]) for i in half]) for half in drawn)
    pixels, numbers, panels = [model.to_pixels(images) / 255 for images in (x, others)], [], []
    for layer in work.progress(config.layers, "layers"):
        found = work.stage(layer, lambda layer=layer: projections(model.net, x, others, layer))
        measured = work.stage(f"{layer}-measured", lambda f=found: measure(f, *pixels))
        boxes = deconvnet.receptive_field(model.net, layer, x[:1]).boxes(found["row"], found["column"])
        panels.append(projections_panel(pixels, found, boxes, layer, config.shown))
        numbers += layer_numbers(measured, layer)
    return Report(numbers, claims(measured, layer), panels)


def projections(net, x, others, layer):
    """Projections (N, H, W, C) of each image's strongest activation in a layer, and its channel, row and column."""
    maps = np.concatenate([np.asarray(_features(net, x[i : i + BATCH], layer)) for i in range(0, len(x), BATCH)])
    positions = np.unravel_index(maps.reshape(len(maps), -1).argmax(1), maps.shape[1:])
    row, column, channel = (position.astype(np.int32) for position in positions)
    down = partial(deconvnet.project, net, x, targets.neuron(layer, channel, (row, column)), batch_size=BATCH)
    arrays = {"own": down(), "other": down(switches=others), "none": down(switches="none")}
    return arrays | {"row": row, "column": column, "channel": channel}


@highest()
@partial(jax.jit, static_argnums=2)
def _features(net, x, layer):
    return network.features(net, layer)(x)


def measure(found, images, others):
    """Correlation of projections with the edges of both images, and their cosine with that by the image's switches.

    Correlations over the pixels where any of the three projections is not zero, (N,) each; NaN where one is constant.
    """
    arrays = {f"{kind} {key}": [] for kind in KINDS for key in ("edges", "other's edges", "cosine")}
    for n in range(len(images)):
        seen = np.any([found[kind][n] for kind in KINDS], axis=(0, 3))
        own = found["own"][n].ravel()
        for kind in KINDS:
            down = found[kind][n]
            strength = np.abs(down).sum(-1)[seen]
            arrays[f"{kind} edges"].append(correlation(strength, edges(images[n])[seen]))
            arrays[f"{kind} other's edges"].append(correlation(strength, edges(others[n])[seen]))
            arrays[f"{kind} cosine"].append(down.ravel() @ own / np.linalg.norm(down) / np.linalg.norm(own))
    return arrays


def edges(image):
    """Length of the gradient of the brightness of an image (H, W, C)."""
    return ndimage.gaussian_gradient_magnitude(image.mean(-1), 0.7)


def projections_panel(pixels, found, boxes, layer, shown):
    """A row for each image, cropped to the receptive field: it, its projections, and the one of the other switches.

    Images with the largest receptive fields, which borders do not cut, are shown.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    chosen = np.sort(np.argsort(-areas, kind="stable")[:shown])
    images = []
    for n in chosen:
        top, left, bottom, right = boxes[n]
        down = (plots.signed(found[kind][n]) for kind in KINDS)
        row = [pixels[0][n], next(down), pixels[1][n], *down]
        images.append([image[top:bottom, left:right] for image in row])
    titles = ["image", f"projection by\n{KINDS['own']}", "another image", f"by {KINDS['other']}", f"by {KINDS['none']}"]
    rows = [f"map {found['channel'][n]}\nat {found['row'][n]}, {found['column'][n]}" for n in chosen]
    caption = (
        f"The strongest activation of each image in {layer}, projected to pixel space three times: unpooled to "
        "the positions of the image's own maxima, to those of another image's, and always to the first position of "
        "each window. Cropped to the receptive field. Zero is grey, each projection on its own scale."
    )
    alt = "Rows of an image, its projection, another image, and two further projections."
    return figures.image_panel(layer, images, titles, rows, caption, alt, size=1.7)


def layer_numbers(measured, layer):
    """Numbers of one layer."""
    measures = {
        "edges": "correlation with the image's edges",
        "other's edges": "correlation with the other's edges",
        "cosine": "cosine with the projection by its switches",
    }
    return [
        Number.mean(f"{layer}, by {kind_title}: {title}", measured[f"{kind} {key}"])
        for kind, kind_title in KINDS.items()
        for key, title in measures.items()
    ]


def claims(measured, layer):
    """Whether structure comes with the switches, by paired t-tests over images, in the last layer."""
    own, none = measured["own edges"], measured["none edges"]
    lent, kept = measured["other other's edges"], measured["own other's edges"]
    return [
        paired_claim(
            f"Switches keep the image's structure: without them projections from {layer} follow its edges less.",
            "section 2.1",
            (own, f"correlation with the image's edges {np.nanmean(own):.3f} by its switches"),
            (none, f"{np.nanmean(none):.3f} without{remark(own, none)}"),
        ),
        paired_claim(
            f"Another image's switches bring that image's structure into projections from {layer}.",
            "section 2.1",
            (lent, f"correlation with the other's edges {np.nanmean(lent):.3f} by the other's switches"),
            (kept, f"{np.nanmean(kept):.3f} by the image's own{remark(lent, kept)}"),
        ),
    ]


def remark(*correlations):
    """A remark where no projection follows edges: the claim is then on which follows them less."""
    return "; neither follows the edges" if max(map(np.nanmean, correlations)) <= 0 else ""


def plan(config: Config) -> list[dry_run.Step]:
    """Three projections from each layer."""
    others = jax.ShapeDtypeStruct((BATCH, *models.abstract(config.network)[2]), jnp.float32)

    def project(layer, net, x, others):
        neurons = targets.neuron(layer, 0, (0, 0))
        return [deconvnet.project(net, x, neurons, switches) for switches in ("own", others, "none")]

    passes = partial(dry_run.forward, config.network, BATCH, dry_run.calls(config.count, BATCH))
    return [passes(partial(project, layer), others, name=f"projections of {layer}") for layer in config.layers]


EXPERIMENT = Experiment[Config](
    name="zeiler2014/switches",
    title="The role of the max-pooling switches",
    figure="section 2.1",
    paper=papers.ZEILER2014,
    summary=(
        "What of a projection is due to the activation, and what to the max-pooling switches? The same activation is "
        "projected with the switches of its own image, with those of another image, and without any. Compared is the "
        "strength of the projection with the gradient magnitude of the images. Figure and measures are ours."
    ),
    run=run,
    plan=plan,
    minutes=2.5,
    look="what deconvnet projections owe to the switches of max-pooling, with and without them.",
)

if __name__ == "__main__":
    main(EXPERIMENT)
