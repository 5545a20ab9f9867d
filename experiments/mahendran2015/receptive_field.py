"""Pre-images of the middle of every layer: what a few units see of an image (Mahendran & Vedaldi 2015, Fig. 9)."""

from typing import Any

import jax
import numpy as np
from matplotlib.patches import Rectangle
from scipy import stats

from experiments.lib import dry_run, preimages, runner
from experiments.lib.measures import correlation
from experiments.lib.runner import Claim, Number, told
from xai_jax import deconvnet, inversion, network, plots
from xai_jax.synthesis.inversion import CVPR

FAINT = 0.1  # share of the mean square below which the middle is left out: next to nothing has no shape to invert


def run(config: Any, run: runner.Run) -> None:
    """Inverts the middle of every layer, and compares what comes out inside and outside of the receptive field."""
    subject, found, boxes = preimages.load(config), {}, {}
    for layer in run.progress(config.layers, "layers"):
        represent = subject.represent(layer)
        boxes[layer] = box(subject.model.net, layer, subject.images, config.middle)
        stage = run.stage(layer, lambda r=represent: one(r, subject.images, config))
        found[layer] = stage | measure(np.asarray(subject.images), stage["images"], stage["kept"], boxes[layer])
    run.figure("receptive_field", *figure(subject, found, boxes, config))
    report(run, found, boxes, subject.images.shape[1:3], config)


def box(net, layer, x, middle) -> tuple[int, int, int, int]:
    """What the middle positions of a layer see together: first row, first column, last row and last column + 1."""
    field, shape = deconvnet.receptive_field(net, layer, x), network.layer_names(net, x)[layer].shape
    places = [np.flatnonzero(mask) for mask in (central(size, middle) for size in shape[1:3])]
    rows, columns = (bounds[place] for bounds, place in zip((field.rows, field.columns), places, strict=True))
    return int(rows[:, 0].min()), int(columns[:, 0].min()), int(rows[:, 1].max()), int(columns[:, 1].max())


def central(size: int, middle: int) -> np.ndarray:
    """One for the `middle` places in the middle of `size`, zero for the others."""
    first = (size - middle) // 2
    return ((np.arange(size) >= first) & (np.arange(size) < first + middle)).astype(np.float32)


def one(represent, images, config):
    """Pre-images of the middle of a layer (kept, H, W, C) of those images that excite it at least FAINT as usual."""
    wanted = network.call(represent, images)
    rows, columns = (central(size, config.middle) for size in wanted.shape[1:3])
    mask = rows[:, None, None] * columns[:, None]
    strength = ((np.asarray(wanted) * mask) ** 2).sum((1, 2, 3))
    kept = np.flatnonzero(strength > FAINT * strength.mean())
    form = CVPR(total_variation=config.total_variation, std=config.standard_deviation, phases=config.phases)
    key = jax.random.key(config.seed)
    return {"kept": kept, "images": inversion.invert(represent, wanted[kept], images.shape[1:], key, form, mask).x}


def measure(images, found, kept, box):
    """Correlation of image and pre-image inside of the box and outside, (kept,) each; NaN without an outside."""
    top, left, bottom, right = box
    inside = np.zeros(images.shape[1:], bool)
    inside[top:bottom, left:right] = True
    pairs = list(zip(images[kept], found, strict=True))
    return {
        "inside": np.array([correlation(a[inside], b[inside]) for a, b in pairs]),
        "outside": np.array([correlation(a[~inside], b[~inside]) for a, b in pairs]),
    }


def figure(subject, found, boxes, config):
    """A row of pre-images for each image, with the receptive field of the middle drawn in, as in Fig. 9."""
    shown = min(config.shown, config.count)
    panels = []
    for n in range(shown):
        places = {layer: np.flatnonzero(each["kept"] == n) for layer, each in found.items()}
        row = [subject.pixels(found[layer]["images"][at[0]]) if len(at) else None for layer, at in places.items()]
        panels.append([subject.pixels(subject.images[n]), *row])
    fig, axes = plots.grid(panels, ["image", *config.layers], (), 1.4)
    for row, panel in zip(axes, panels, strict=True):
        for axis, layer, picture in zip(row[1:], config.layers, panel[1:], strict=True):
            if picture is not None:
                top, left, bottom, right = boxes[layer]
                edge = {"fill": False, "ec": "tab:red", "lw": 1}
                axis.add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, **edge))
    caption = (
        f"Images found from the {config.middle}x{config.middle} positions in the middle of a layer alone, which see "
        "what the red frame shows. Empty where next to nothing in the middle is active."
    )
    return fig, caption, "Rows of an image and of pictures that agree with it inside of a red frame that grows."


def report(run, found, boxes, size, config):
    """Correlations inside and outside, and whether units tell of their receptive field only, and of its centre most."""
    gaps = []
    for layer, each in found.items():
        top, left, bottom, right = boxes[layer]
        share = (bottom - top) * (right - left) / np.prod(size)
        run.numbers += [
            Number(f"receptive field as a share of the image, {layer}", share),
            Number.mean(f"correlation with the image inside of it, {layer}", each["inside"]),
            Number.mean(f"correlation with the image outside of it, {layer}", each["outside"]),
        ]
        gaps.append(each["inside"] - each["outside"])
    gaps = np.concatenate(gaps)
    gaps = gaps[~np.isnan(gaps)]
    p = stats.ttest_1samp(gaps, 0, alternative="greater").pvalue if len(gaps) > 2 else np.nan
    run.claims.append(
        Claim(
            "A few units of a layer tell what is in their receptive field, and nothing of what is outside.",
            "Fig. 9",
            told(p),
            f"correlation of image and pre-image inside of the field less that outside: {gaps.mean():.2f} over "
            f"{len(gaps)} pre-images of all layers (one-sided t-test, p = {p:.2g})"
            if len(gaps)
            else "the field is the whole image in every layer",
        )
    )


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of each layer's inversion, all images at once."""
    calls = sum(count for _, count in config.phases)
    return preimages.plan(config.network, config.layers, config.count, calls)


EXPERIMENT = runner.Experiment(
    name="mahendran2015/receptive_field",
    title="What a few units see",
    figure="Fig. 9",
    paper="Mahendran and Vedaldi 2015, Understanding Deep Image Representations by Inverting Them, arXiv 1412.0035",
    summary=(
        "Only the features at a few positions in the middle of a layer are inverted; where the pre-image resembles the "
        "image, these units see it. The red frame is their receptive field, computed exactly from the network. The "
        "small network's maps are smaller than CaffeNet's, so one position takes the place of the paper's 5x5. Images "
        "that hardly excite it are left out: with next to nothing to compare, the paper's steps diverge."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
    order=2,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
