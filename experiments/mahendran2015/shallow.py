"""Inversions of HOG and dense SIFT (Mahendran & Vedaldi 2015, Figs. 4 and 5, Table 1)."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from configs.mahendran2015.shallow import Config
from experiments.lib import dry_run, figures, papers, preimages
from experiments.lib.measures import correlations, roughness
from experiments.lib.preimages import full_range
from experiments.lib.report import Number, Panel, Report, paired_claim
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.workspace import exact
from xai_jax import hog_dsift, inversion, network
from xai_jax.core.pytrees import as_partial
from xai_jax.data import examples
from xai_jax.models import Input
from xai_jax.synthesis.inversion import CVPR

# Table 1, unverified: mean and standard deviation of the error in %.
PAPER = {"HOG": (28.10, 7.9), "HOGb": (10.67, 5.2), "DSIFT": (10.89, 7.5)}
MIDDLE = 128.0  # grey value that is subtracted
GLYPH = 13  # pixels a side of the drawing of one cell


def run(config: Config, work: Workspace) -> Report:
    """Inverts all features, HOG with total variation penalties of several weights."""
    x, found = photographs(config), {}
    weak, *stronger = config.total_variations
    jobs = [(name, weak) for name in PAPER] + [("HOG", strength) for strength in stronger]
    for name, strength in work.progress(jobs, "features"):
        compute = partial(inverted, features(config)[name], x, strength, config)
        found[name, strength] = work.stage(f"{name}-{exact(strength)}", compute)
    panels = [features_panel(x, found, config), strengths_panel(x, found, config), errors_panel(found, config)]
    return Report(numbers(found, config), claims(found, config), panels)


def photographs(config: Config) -> jax.Array:
    """Centre squares of the images (N, side, side, 1), in grey less the middle."""
    data = examples.load(config.images, config.count, config.first)
    return Input(config.side, 1.0, (MIDDLE,), (1.0,)).preprocess(data.images)


def features(config: Config) -> dict[str, Callable]:
    """The inverted functions, by the paper's names."""
    functions = {
        "HOG": partial(hog_dsift.hog, cell=config.cell),
        "HOGb": partial(hog_dsift.hogb, cell=config.cell),
        "DSIFT": partial(hog_dsift.dsift, bin=config.bin),
    }
    return {name: as_partial(function) for name, function in functions.items()}


def inverted(describe, x, strength, config):
    """Pre-images (N, H, W, 1), their errors in features, correlations with the images, and roughness."""
    form = CVPR(total_variation=strength, std=config.standard_deviation, phases=config.phases)
    found, target = preimages.invert(describe, x, form, config.batch_size, config.seed), network.call(describe, x)
    return {
        "images": found,
        "features": target[: config.shown],
        "error": np.asarray(inversion.error(describe, found, target)),
        "alike": correlations(np.asarray(x), np.asarray(found)),  # lint: keep
        "roughness": np.array([roughness(image) for image in np.asarray(found)]),
    }


def features_panel(x, found, config):
    """A row for each image: itself, HOG drawn as bars, and the pre-images of all features, as in Fig. 5."""
    weak = config.total_variations[0]
    images = [
        [full_range(x[n]), hog_glyphs(found["HOG", weak]["features"][n])]
        + [full_range(found[name, weak]["images"][n]) for name in PAPER]
        for n in range(min(config.shown, config.count))
    ]
    caption = (
        "Photographs, their histograms of oriented gradients drawn as bars along the edges, and pre-images of HOG, of "
        f"HOG with bilinear orientation assignment (HOGb) and of dense SIFT, at the weight {weak:g} of the prior. Each "
        "image is scaled to its full range, as no feature represents brightness."
    )
    alt = "Rows of a photograph, a field of small bars, and three grey pictures of the same scene."
    columns = ["image", "HOG", *(f"from {name}" for name in PAPER)]
    return figures.image_panel("features", images, columns, (), caption, alt, 1.9)


def strengths_panel(x, found, config):
    """A row for each image: pre-images of HOG by the weight of the penalty, as in Fig. 4."""
    images = [
        [full_range(x[n]), *(full_range(found["HOG", strength]["images"][n]) for strength in config.total_variations)]
        for n in range(min(config.shown, config.count))
    ]
    columns = ["image", *(f"penalty {s:g}" for s in config.total_variations)]
    caption = "Pre-images of HOG by the weight of the total variation penalty, each scaled to its full range."
    alt = "Rows of a photograph and its pre-images, smoother from left to right."
    return figures.image_panel("strengths", images, columns, (), caption, alt, 1.9)


def hog_glyphs(cells: np.ndarray) -> np.ndarray:
    """HOG (h, w, 27) as an image in [0, 1]: a bar along the edge for each undirected orientation."""
    rows, columns = np.indices((GLYPH, GLYPH)) - GLYPH // 2
    angles = np.arange(9)[:, None, None] * np.pi / 9  # of gradients, to which edges are normal
    across, along = columns * np.cos(angles) + rows * np.sin(angles), rows * np.cos(angles) - columns * np.sin(angles)
    bar = (abs(across) < 0.7) & (abs(along) <= GLYPH // 2)
    drawn = (cells[..., 18:, None, None] * bar).max(2)  # (h, w, GLYPH, GLYPH)
    height, width = cells.shape[:2]
    return full_range(drawn.transpose(0, 2, 1, 3).reshape(height * GLYPH, width * GLYPH))


def errors_panel(found, config):
    """Errors of the three features beside the paper's."""
    figure, ((axis,),) = figures.axes(1, 1, (5, 3.2))
    errors = 100 * np.array([found[name, config.total_variations[0]]["error"] for name in PAPER])
    paper = np.array([(mean - std, mean + std) for mean, std in PAPER.values()])  # two values with this mean and std
    figures.bars(axis, {"here": errors, "paper (unverified)": paper}, list(PAPER))
    axis.set_ylabel("error of features (%)")
    axis.legend(frameon=False, fontsize=8)
    caption = (
        "Squared distance of the pre-images' features from the target ones, in % of the mean distance between images: "
        f"mean and standard deviation over {config.count} images at the weight {config.total_variations[0]:g} of the "
        "prior, and the paper's over 100."
    )
    return Panel("table1", figure, caption, "Three bars of errors, each with the paper's beside it.")


def numbers(found, config):
    """Errors, correlations and roughness of all, the first strength's errors beside the paper's."""
    listed = []
    for (name, strength), each in found.items():
        label = f"{name}, penalty {strength:g}"
        paper = {"paper": PAPER[name][0], "paper_tag": "M"} if strength == config.total_variations[0] else {}
        listed += [
            Number.mean(f"error, {label}", 100 * each["error"], unit="%", **paper),
            Number.mean(f"correlation of image and pre-image, {label}", each["alike"]),  # lint: keep
            Number.mean(f"roughness, {label}", each["roughness"]),
        ]
    return listed


def claims(found, config):
    """Claims of Table 1 and Fig. 4, tested over images."""
    hard, soft = (100 * found[name, config.total_variations[0]]["error"] for name in ("HOG", "HOGb"))
    rough, smooth = (found["HOG", choose(config.total_variations)]["roughness"] for choose in (min, max))
    return [
        paired_claim(
            "HOG is harder to invert than HOG with bilinear orientation assignment, which has useful gradients.",
            "Table 1",
            (hard, f"error of HOG {hard.mean():.1f} %"),
            (soft, f"of HOGb {soft.mean():.1f} %"),
        ),
        paired_claim(
            "The stronger the penalty, the smoother the pre-images of HOG.",
            "Fig. 4",
            (rough, f"RMS difference of neighbours over the standard deviation: {rough.mean():.3f} at the weakest"),
            (smooth, f"{smooth.mean():.3f} at the strongest"),
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of all inversions."""
    x = jax.ShapeDtypeStruct((config.batch_size, config.side, config.side, 1), jnp.float32)
    calls = dry_run.calls(config.count, config.batch_size) * sum(count for _, count in config.phases)
    steps = []
    for name, describe in features(config).items():

        def step(x, target, describe=describe):
            return jax.value_and_grad(lambda x: inversion.distance(describe, target, jnp.ones(()), x).sum())(x)

        repeats = calls * (len(config.total_variations) if name == "HOG" else 1)
        steps.append(dry_run.Step(f"steps from {name}", step, (x, jax.eval_shape(describe, x)), repeats))
    return steps


EXPERIMENT = Experiment[Config](
    name="mahendran2015/shallow",
    title="What HOG and SIFT retain of an image",
    figure="Figs. 4 and 5, Table 1",
    paper=papers.MAHENDRAN2015,
    summary=(
        "What do histograms of gradients retain of an image? HOG and dense SIFT, written as differentiable functions, "
        "are inverted by gradient descent like networks. HOG assigns each gradient to the nearest of 18 directions, a "
        "step without a derivative; HOGb shares it between two. The paper's errors are from memory (unverified)."
    ),
    run=run,
    plan=plan,
    minutes=1.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
