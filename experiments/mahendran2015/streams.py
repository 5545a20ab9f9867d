"""Pre-images of either half of a layer's channels, the streams of a network (Mahendran & Vedaldi 2015, Fig. 10)."""

import jax
import numpy as np
from scipy import fft, stats

from configs.mahendran2015.streams import Config
from experiments.lib import dry_run, figures, papers, preimages, statistics
from experiments.lib.measures import correlations
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.mahendran2015.layers import recipe
from xai_jax import inversion, network

HALVES = "first half", "second half"
KINDS = {"frequency": "mean frequency (cycles per pixel)", "colour": "share of colour"}


def run(config: Config, work: Workspace) -> Report:
    """Inverts both halves of every layer's channels, and both sides of random splits."""
    subject, found = preimages.load(config), {}
    shapes = network.layer_names(subject.model.net, subject.images)
    for number, layer in enumerate(work.progress(config.layers, "layers")):
        masks = splits(shapes[layer].shape[-1], config.splits, [config.seed, number])
        represent = subject.represent(layer)
        found[layer] = work.stage(layer, lambda r=represent, m=masks: inverted(r, subject.images, m, config))
    kinds = [kind for kind in KINDS if kind == "frequency" or subject.images.shape[-1] > 1]
    panels = [preimages_panel(subject, found, config), differences_panel(found, kinds)]
    return Report(numbers(found, kinds), claims(found, kinds, config), panels)


def splits(channels: int, count: int, seed) -> np.ndarray:
    """Masks (1 + count, 2, channels) of the first and the second half of the channels, then of random halves."""
    first, rng = np.arange(channels) < channels // 2, np.random.default_rng(seed)
    sides = np.stack([first, *(rng.permutation(first) for _ in range(count))])
    return np.stack([sides, ~sides], 1).astype(np.float32)


def inverted(represent, images, masks, config):
    """A pre-image of each image by each mask: measures (1 + count, 2, N), images (2, 2, N, H, W, C) of two splits.

    All masks start from the same noise.
    """
    target, found = network.call(represent, images), {}
    key, form = jax.random.key(config.seed), recipe(config, config.total_variation)
    for mask in masks.reshape(-1, masks.shape[-1]):
        x = inversion.invert(represent, target, images.shape[1:], key, form, mask).x
        error = np.asarray(inversion.distance(represent, target, mask, x))
        for name, value in (measure(np.asarray(images), np.asarray(x)) | {"error": error}).items():
            found.setdefault(name, []).append(value)
    arrays = {name: np.stack(values).reshape(*masks.shape[:2], *values[0].shape) for name, values in found.items()}
    return arrays | {"images": arrays["images"][:2]}


def measure(images, found):
    """Pre-images, and the energy they share with their images, (N,) each."""
    return {
        "images": found,
        "frequency": np.array([frequency(*pair) for pair in zip(images, found, strict=True)]),
        "colour": np.array([colour(*pair) for pair in zip(images, found, strict=True)]),
        "alike": correlations(images, found),  # lint: keep
    }


def frequency(a: np.ndarray, b: np.ndarray) -> float:
    """Mean frequency, in cycles per pixel, of the energy that images (H, W, C) share, without their means."""
    energy = (fft.dctn(a, axes=(0, 1), norm="ortho") * fft.dctn(b, axes=(0, 1), norm="ortho")).sum(-1)
    energy[0, 0] = 0
    rows, columns = (np.arange(size) / (2 * size) for size in energy.shape)
    return float((energy * np.hypot(rows[:, None], columns)).sum() / energy.sum())


def colour(a: np.ndarray, b: np.ndarray) -> float:
    """Share of differences between channels in the energy that images (H, W, C) share, without their means."""
    a, b = (image - image.mean((0, 1)) for image in (a, b))
    return float(1 - a.shape[-1] * (a.mean(-1) * b.mean(-1)).sum() / (a * b).sum())


def preimages_panel(subject, found, config):
    """Rows of halves for each image and a column for each layer, as in Fig. 10; one random split is added."""
    images, shown = [], min(config.shown, config.count)
    for n in range(shown):
        for split, side in np.ndindex(2, 2):
            image = None if split or side else subject.pixels(subject.images[n])
            images.append([image, *(subject.pixels(found[layer]["images"][split, side, n]) for layer in config.layers)])
    groups = f"are in {config.groups} groups" if config.groups > 1 else "are not in groups"
    caption = (
        "Pre-images of half of a layer's channels: the first or the second half and, as a control, a random half or "
        f"the remaining channels. Filters of this network {groups}. What the half does not constrain stays noise."
    )
    alt = "For each image four rows of pictures that resemble it, one for each half of the channels."
    rows = [*HALVES, "random half", "the rest"] * shown
    return figures.image_panel("streams", images, ["image", *config.layers], rows, caption, alt, 1.4)


def differences_panel(found, kinds):
    """Differences of halves in each layer, beside those of random halves."""
    figure, (axes,) = figures.axes(1, len(kinds), (4.2, 3))
    for axis, kind in zip(axes, kinds, strict=True):
        own, *random = differences(found, kind)
        for values in random:
            axis.plot(values, "o", c="0.6", ms=4, label="random halves" if values is random[0] else None)
        axis.plot(own, "D", c="tab:red", ms=6, label="first and second half")
        axis.set_xticks(range(len(found)), found)
        axis.set(xlim=(-0.5, len(found) - 0.5), ylabel=f"difference of\n{KINDS[kind]}")
        axis.set_ylim(bottom=0)
    axes[-1].legend(frameon=False, fontsize=8, loc="upper right")
    caption = (
        "Absolute difference between pre-images of one half of a layer's channels and of the other, mean over images: "
        f"red for the first and the second half, a grey dot for each of {len(random)} random "
        "splits in halves."
    )
    return Panel("gaps", figure, caption, "Columns of grey dots, one for each layer, and a red diamond in each.")


def differences(found, kind):
    """Absolute mean difference over images between the two sides of each split, (1 + splits, layers)."""
    return np.stack([abs(np.diff(each[kind], axis=1).mean((1, 2))) for each in found.values()], 1)


def at_least_as_different(values: np.ndarray) -> np.ndarray:
    """Which splits, (1 + splits, layers), differ as much as the first, which is one of them.

    Each layer's differences are divided by their mean, so that layers have equal weights.
    """
    score = (values / values.mean(0)).mean(1)
    return score >= score[0]


def paired_p_values(found, kind):
    """p-values of paired t-tests over images between the two sides of each split, (1 + splits, layers)."""
    return np.stack([stats.ttest_rel(*each[kind].swapaxes(0, 1), axis=1).pvalue for each in found.values()], 1)


def numbers(found, kinds):
    """Measures of both halves, and their differences beside those of random halves."""
    listed, names = [], {kind: KINDS[kind] for kind in kinds}
    names |= {"alike": "correlation with the image", "error": "relative squared distance of features"}  # lint: keep
    for layer, each in found.items():
        for side, half in enumerate(HALVES):
            listed += [Number.mean(f"{name}, {half} of {layer}", each[key][0, side]) for key, name in names.items()]
    for kind in kinds:
        for layer, (own, *random) in zip(found, differences(found, kind).T, strict=True):
            listed += [
                Number(f"difference of halves in {KINDS[kind]}, {layer}", own),
                Number.mean(f"difference of random halves in {KINDS[kind]}, {layer}", random),
            ]
    return listed


def claims(found, kinds, config):
    """The paper's claim; for networks without groups of filters also a control."""
    return [specialisation(found, kinds, config), *([control(found, kinds)] if config.groups == 1 else [])]


def specialisation(found, kinds, config):
    """The paper's claim, on networks whose filters are in groups."""
    missing = ["has no groups of filters"] * (config.groups == 1) + ["sees no colours"] * ("colour" not in kinds)
    if missing:
        measured, verdict = "", statistics.inconclusive(f"not applicable: this network {' and '.join(missing)}")
    else:
        measured = "by layer, then differences beside those of random halves"
        tests = [*map(finer_is_less_colourful, found.values()), *(permutation_test(found, kind) for kind in kinds)]
        verdict = statistics.all_of(tests)
    text = "One half of the channels keeps coarse colours, the other fine brightness."
    return Claim(text, "Fig. 10", verdict, measured)


def finer_is_less_colourful(measures):
    """Whether one half, no matter which, has the higher frequency and the lower share of colour, over images."""
    (first, second), (colours, others) = measures["frequency"][0], measures["colour"][0]
    options = ((first, second, others, colours), (second, first, colours, others))
    tests = [statistics.all_of([statistics.t_test(a, b), statistics.t_test(c, d)]) for a, b, c, d in options]
    return statistics.any_of(tests)


def permutation_test(found, kind):
    """Whether the halves differ more than random halves do: ranks among all splits."""
    values = differences(found, kind)
    score = (values / values.mean(0)).mean(1)
    p, opposite_p = (score >= score[0]).mean(), (score <= score[0]).mean()
    return statistics.decide(p, opposite_p, f"permutation test of {kind}, {len(score) - 1} random splits, p = {p:.2g}")


def control(found, kinds):
    """Without groups of filters, the halves are arbitrary."""
    values = {kind: differences(found, kind) for kind in kinds}
    verdicts = [statistics.binomial(at_least_as_different(each)[1:]) for each in values.values()]
    splits, counts = len(values[kinds[0]]) - 1, []
    for kind, each in values.items():
        columns = zip(found, each.T, strict=True)
        own = [f"{at_least_as_different(column[:, None])[1:].sum()} in {layer}" for layer, column in columns]
        counts.append(f"{kind}: {', '.join(own)}")
    significant = np.stack([paired_p_values(found, kind) for kind in kinds]) < statistics.LEVEL
    return Claim(
        f"Without groups of filters, most random halves differ in {' and '.join(kinds)} as much as the two halves do.",
        "control for Fig. 10, not in the paper",
        statistics.all_of(verdicts),
        f"of {splits} random halves, those that differ as much in {'; in '.join(counts)}. A paired t-test over images "
        f"would not show streams: it is significant for {100 * significant[:, 1:].mean():.0f} % of random halves, and "
        f"for the first and the second half in {significant[:, 0].sum()} of {significant[:, 0].size} cases; tests of "
        f"all layers together, of {', then '.join(kinds)}",
    )


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of each layer's inversion by all masks, all images at once."""
    calls = 2 * (1 + config.splits) * sum(count for _, count in recipe(config, config.total_variation).phases)
    return preimages.plan(config.network, config.layers, config.count, calls)


EXPERIMENT = Experiment[Config](
    name="mahendran2015/streams",
    title="What either half of a layer's channels retains",
    figure="Fig. 10",
    paper=papers.MAHENDRAN2015,
    summary=(
        "CaffeNet's filters are in two groups whose channels hardly interact: inverted alone, one half gives coarse "
        "colours, the other fine brightness. Frequency and colour of pre-images of both halves are compared with those "
        "of random halves, our control. The default network has no groups: there the halves are arbitrary."
    ),
    run=run,
    plan=plan,
    minutes=3.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
