"""Pre-images of the middle of every layer: what a few units represent (Mahendran & Vedaldi 2015, Fig. 9)."""

import jax
import numpy as np
from matplotlib.patches import Rectangle

from configs.mahendran2015.receptive_field import Config
from experiments.lib import dry_run, papers, preimages, statistics
from experiments.lib.measures import correlation
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import deconvnet, network, plots
from xai_jax.synthesis.inversion import CVPR

FAINT = 0.1  # share of the mean square below which the middle is left out: its pre-image is not determined


def run(config: Config, work: Workspace) -> Report:
    """Inverts the middle of every layer, and compares the result inside and outside of the receptive field."""
    subject, found, boxes = preimages.load(config), {}, {}
    images = np.asarray(subject.images)
    for layer in work.progress(config.layers, "layers"):
        represent = subject.represent(layer)
        boxes[layer] = box(subject.model.net, layer, subject.images, config.middle)
        stage = work.stage(layer, lambda r=represent: inverted(r, subject.images, config))
        found[layer] = stage | measure(images, stage["images"], stage["kept"], boxes[layer])
    return Report(numbers(found, boxes, images.shape[1:3]), [claim(found)], [panel(subject, found, boxes, config)])


def box(net, layer, x, middle) -> tuple[int, int, int, int]:
    """Joint receptive field of a layer's middle positions: first row, first column, last row + 1, last column + 1."""
    field, shape = deconvnet.receptive_field(net, layer, x), network.layer_names(net, x)[layer].shape
    middles = [np.flatnonzero(mask) for mask in (central(size, middle) for size in shape[1:3])]
    rows, columns = (bounds[at] for bounds, at in zip((field.rows, field.columns), middles, strict=True))
    return int(rows[:, 0].min()), int(columns[:, 0].min()), int(rows[:, 1].max()), int(columns[:, 1].max())


def central(size: int, middle: int) -> np.ndarray:
    """One for the `middle` positions in the middle of `size`, zero for the others."""
    first = (size - middle) // 2
    return ((np.arange(size) >= first) & (np.arange(size) < first + middle)).astype(np.float32)


def inverted(represent, images, config):
    """Pre-images of the middle of a layer (kept, H, W, C), of images that activate it: at least FAINT of the mean."""
    wanted = network.call(represent, images)
    rows, columns = (central(size, config.middle) for size in wanted.shape[1:3])
    mask = rows[:, None, None] * columns[:, None]
    strength = ((np.asarray(wanted) * mask) ** 2).sum((1, 2, 3))
    kept = np.flatnonzero(strength > FAINT * strength.mean())
    options = {"std": config.standard_deviation, "learning_rate": config.learning_rate, "phases": config.phases}
    form = CVPR(total_variation=config.total_variation, **options)
    key = jax.random.key(config.seed)
    return {"kept": kept, "images": preimages.descend(represent, wanted[kept], images.shape[1:], key, form, mask)}


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


def panel(subject, found, boxes, config):
    """A row of pre-images for each image, with the receptive field of the middle drawn in, as in Fig. 9."""
    images = []
    for n in range(min(config.shown, config.count)):
        rows = {layer: np.flatnonzero(each["kept"] == n) for layer, each in found.items()}
        row = [subject.pixels(found[layer]["images"][at[0]]) if len(at) else None for layer, at in rows.items()]
        images.append([subject.pixels(subject.images[n]), *row])
    figure, axes = plots.grid(images, ["image", *config.layers], (), 1.4)
    for axis_row, row in zip(axes, images, strict=True):
        for axis, layer, picture in zip(axis_row[1:], config.layers, row[1:], strict=True):
            if picture is not None:
                top, left, bottom, right = boxes[layer]
                edge = {"fill": False, "ec": "tab:red", "lw": 1}
                axis.add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, **edge))
    caption = (
        f"Pre-images of the {config.middle}x{config.middle} positions in the middle of a layer alone, whose receptive "
        "field is the red frame. Empty where the middle is hardly active."
    )
    alt = "Rows of an image and of pictures that agree with it inside of a red frame that grows."
    return Panel("receptive_field", figure, caption, alt)


def numbers(found, boxes, size):
    """Correlations inside and outside of the receptive field."""
    listed = []
    for layer, each in found.items():
        top, left, bottom, right = boxes[layer]
        share = (bottom - top) * (right - left) / np.prod(size)
        listed += [
            Number(f"receptive field as a share of the image, {layer}", share),
            Number.mean(f"correlation with the image inside of it, {layer}", each["inside"]),
            Number.mean(f"correlation with the image outside of it, {layer}", each["outside"]),
        ]
    return listed


def claim(found):
    """That units represent their receptive field only."""
    gaps = np.concatenate([each["inside"] - each["outside"] for each in found.values()])
    gaps = gaps[~np.isnan(gaps)]
    return Claim(
        "A few units of a layer represent what is in their receptive field, and nothing of what is outside.",
        "Fig. 9",
        statistics.where(len(gaps) > 0, statistics.t_test(gaps), "the field is the whole image in every layer"),
        f"correlation of image and pre-image inside of the field minus that outside: {gaps.mean():.2f} over "
        f"{len(gaps)} pre-images of layers whose field is smaller than the image"
        if len(gaps)
        else "",
    )


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of each layer's inversion, all images at once."""
    return preimages.plan(config.network, config.layers, config.count, sum(count for _, count in config.phases))


EXPERIMENT = Experiment[Config](
    name="mahendran2015/receptive_field",
    title="What a few units represent",
    figure="Fig. 9",
    paper=papers.MAHENDRAN2015,
    summary=(
        "Only the features at a few positions in the middle of a layer are inverted; where the pre-image resembles "
        "the image, these units represent it. The red frame is their receptive field, computed exactly from the "
        "network. By default 2x2 positions replace the paper's 5x5. Images that hardly activate it are left out."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
