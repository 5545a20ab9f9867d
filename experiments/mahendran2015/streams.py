"""Pre-images of either half of a layer's channels, the streams of a network (Mahendran & Vedaldi 2015, Fig. 10)."""

from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy import fft, stats

from experiments.lib import dry_run, generator_codes, preimages, runner
from experiments.lib.measures import correlations
from experiments.lib.runner import LEVEL, Claim, Number
from experiments.mahendran2015.layers import recipe
from xai_jax import inversion, network, plots

HALVES = "first half", "second half"
KINDS = {"frequency": "mean frequency (cycles per pixel)", "colour": "share of colour"}


def run(config: Any, run: runner.Run) -> None:
    """Inverts both halves of every layer's channels, and both sides of random splits."""
    subject, found = preimages.load(config), {}
    shapes = network.layer_names(subject.model.net, subject.images)
    for number, layer in enumerate(run.progress(config.layers, "layers")):
        masks = splits(shapes[layer].shape[-1], config.splits, [config.seed, number])
        represent = subject.represent(layer)
        found[layer] = run.stage(layer, lambda r=represent, m=masks: one(r, subject.images, m, config))
    kinds = [kind for kind in KINDS if kind == "frequency" or subject.images.shape[-1] > 1]
    run.figure("streams", *figure(subject, found, config))
    run.figure("gaps", *gaps_figure(found, kinds))
    report(run, found, kinds, config)


def splits(channels: int, count: int, seed) -> np.ndarray:
    """Masks (1 + count, 2, channels) of the first and the second half of the channels, then of random halves."""
    first, rng = np.arange(channels) < channels // 2, np.random.default_rng(seed)
    sides = np.stack([first, *(rng.permutation(first) for _ in range(count))])
    return np.stack([sides, ~sides], 1).astype(np.float32)


def one(represent, images, masks, config):
    """A pre-image of each image by each mask: measures (1 + count, 2, N), images (2, 2, N, H, W, C) of two splits.

    All masks start from the same noise.
    """
    wanted, found = network.call(represent, images), {}
    key, form = jax.random.key(config.seed), recipe(config, config.total_variation)
    for mask in masks.reshape(-1, masks.shape[-1]):
        x = inversion.invert(represent, wanted, images.shape[1:], key, form, mask).x
        error = inversion.distance(represent, wanted, mask, x)
        for name, value in measure(np.asarray(images), np.asarray(x)).items():
            found.setdefault(name, []).append(value)
        found.setdefault("error", []).append(np.asarray(error))
    arrays = {name: np.stack(values).reshape(*masks.shape[:2], *values[0].shape) for name, values in found.items()}
    return arrays | {"images": arrays["images"][:2]}


def measure(images, found):
    """Pre-images, and what they share with their images, (N,) each."""
    pairs = list(zip(images, found, strict=True))
    return {
        "images": found,
        "frequency": np.array([frequency(*pair) for pair in pairs]),
        "colour": np.array([colour(*pair) for pair in pairs]),
        "alike": correlations(images, found),
    }


def frequency(a: np.ndarray, b: np.ndarray) -> float:
    """Mean frequency, in cycles per pixel, of the energy that images (H, W, C) share, but for their means."""
    energy = (fft.dctn(a, axes=(0, 1), norm="ortho") * fft.dctn(b, axes=(0, 1), norm="ortho")).sum(-1)
    energy[0, 0] = 0
    rows, columns = (np.arange(size) / (2 * size) for size in energy.shape)
    return float((energy * np.hypot(rows[:, None], columns)).sum() / energy.sum())


def colour(a: np.ndarray, b: np.ndarray) -> float:
    """Share of differences between channels in the energy that images (H, W, C) share, but for their means."""
    a, b = (image - image.mean((0, 1)) for image in (a, b))
    return float(1 - a.shape[-1] * (a.mean(-1) * b.mean(-1)).sum() / (a * b).sum())


def figure(subject, found, config):
    """Rows of halves for each image and a column for each layer, as in Fig. 10; one random split is added."""
    panels, names = [], [*HALVES, "random half", "the rest"]
    shown = min(config.shown, config.count)
    for n in range(shown):
        for place, (split, side) in enumerate(np.ndindex(2, 2)):
            image = None if place else subject.pixels(subject.images[n])
            row = [subject.pixels(found[layer]["images"][split, side, n]) for layer in config.layers]
            panels.append([image, *row])
    fig, _ = plots.grid(panels, ["image", *config.layers], names * shown, 1.4)
    groups = f"are in {config.groups} groups" if config.groups > 1 else "are not in groups"
    caption = (
        "Images found from half of a layer's channels: the first or the second half, and, to compare with, a random "
        f"half or all that it leaves. Filters of this network {groups}. Noise is what the start left where the half "
        "does not care."
    )
    return fig, caption, "For each image four rows of pictures that resemble it, one for each half of the channels."


def gaps_figure(found, kinds):
    """How far halves are apart in each layer, beside random halves."""
    figure = Figure(figsize=(1 + 3.6 * len(kinds), 3), layout="constrained")
    for axis, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        apart = gaps(found, kind)
        places = np.broadcast_to(np.arange(apart.shape[1]), apart.shape)
        axis.plot(places[1:].ravel(), apart[1:].ravel(), "o", c="0.6", ms=4, label="random halves")
        axis.plot(places[0], apart[0], "D", c="tab:red", ms=6, label="first and second half")
        axis.set_xticks(range(len(found)), found)
        axis.set_xlim(-0.5, len(found) - 0.5)
        axis.set_ylim(bottom=0)
        axis.set_ylabel(f"difference of\n{KINDS[kind]}")
        axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    caption = (
        "How much the pre-images of one half of a layer's channels differ from those of the other, as the mean over "
        "images: red for the first and the second half, a grey dot for each random split in halves."
    )
    return figure, caption, "Columns of grey dots, one for each layer, and a red diamond in each."


def gaps(found, kind):
    """Mean difference over images between the two sides of each split, without its sign, (1 + splits, layers)."""
    return np.stack([abs(np.diff(each[kind], axis=1).mean((1, 2))) for each in found.values()], 1)


def rank(apart: np.ndarray) -> float:
    """Share of splits, (1 + splits, layers), that are as far apart as the first: p of a permutation test, in (0, 1]."""
    return float(as_far(apart).mean())


def as_far(apart: np.ndarray) -> np.ndarray:
    """Which splits, (1 + splits, layers), are as far apart as the first, which is one of them.

    Layers count alike: each difference is divided by the mean one of its layer.
    """
    score = (apart / apart.mean(0)).mean(1)
    return score >= score[0]


def paired(found, kind):
    """p of paired t-tests over images between the two sides of each split, (1 + splits, layers)."""
    return np.stack([stats.ttest_rel(*each[kind].swapaxes(0, 1), axis=1).pvalue for each in found.values()], 1)


def report(run, found, kinds, config):
    """Measures of both halves and how far apart they are; the paper's claim, and without groups one of ours."""
    for layer, each in found.items():
        for side, half in enumerate(HALVES):
            words = {kind: KINDS[kind] for kind in kinds}
            words |= {"alike": "correlation with the image", "error": "squared distance of features as a share"}
            run.numbers += [Number.mean(f"{word}, {half} of {layer}", each[k][0, side]) for k, word in words.items()]
    for kind in kinds:
        for layer, (own, *random) in zip(found, gaps(found, kind).T, strict=True):
            run.numbers += [
                Number(f"difference of halves in {KINDS[kind]}, {layer}", own),
                Number.mean(f"difference of random halves in {KINDS[kind]}, {layer}", random),
            ]
    run.claims.append(specialised(found, kinds, config))
    if config.groups == 1:
        run.claims.append(arbitrary(found, kinds, config))


def specialised(found, kinds, config):
    """The paper's claim, of networks whose filters are in groups."""
    missing = ["has no groups of filters"] * (config.groups == 1)
    missing += ["sees no colours"] * ("colour" not in kinds)
    held, measured = None, f"not to be judged here: this network {' and '.join(missing)}"
    if not missing:
        means = [np.array([np.diff(e[kind][0], axis=0).mean() for e in found.values()]) for kind in kinds]
        opposite, p = (np.prod(means, 0) < 0).all(), max(paired(found, kind)[0].max() for kind in kinds)
        ranks = [rank(gaps(found, kind)) for kind in kinds]
        enough = config.count > 2 and 1 / (1 + config.splits) <= LEVEL
        held = bool(opposite and p < LEVEL and max(ranks) <= LEVEL) if enough else None
        measured = (
            f"the finer half is {'' if opposite else 'not '}the less colourful one in all layers (largest p of paired "
            f"t-tests over images {p:.2g}); {100 * max(ranks):.0f} % or less of {config.splits + 1} splits, these and "
            "random ones, are as far apart in frequency and in colour; 5 % are asked for"
        )
    return Claim("One half of the channels keeps coarse colours, the other fine brightness.", "Fig. 10", held, measured)


def arbitrary(found, kinds, config):
    """A claim of ours: without groups, halves are no streams."""
    apart = {kind: gaps(found, kind) for kind in kinds}
    judged = {kind: generator_codes.mostly(as_far(each)[1:]) for kind, each in apart.items()}
    verdicts = [held for held, _ in judged.values()]
    tests = np.stack([paired(found, kind) for kind in kinds]) < LEVEL
    shares = [
        f"random halves are as far apart in {kind} in {count} "
        f"({', '.join(f'{as_far(a[:, None])[1:].sum()} in {n}' for n, a in zip(found, apart[kind].T, strict=True))})"
        for kind, (_, count) in judged.items()
    ]
    measured = (
        f"{'; '.join(shares)}. A paired t-test over images would be no proof of streams: it tells random halves apart "
        f"in {100 * tests[:, 1:].mean():.0f} % of cases, and the first and the second half in {tests[:, 0].sum()} of "
        f"{tests[:, 0].size}"
    )
    what = " and ".join(kinds)
    words = f"Without groups of filters, most random halves differ in {what} as much as the first and the second half."
    held = False if False in verdicts else None if None in verdicts else True
    return Claim(words, "control for Fig. 10, not in the paper", held, measured)


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of each layer's inversion by all masks, all images at once."""
    calls = 2 * (1 + config.splits) * sum(count for _, count in recipe(config, config.total_variation).phases)
    return preimages.plan(config.network, config.layers, config.count, calls)


EXPERIMENT = runner.Experiment(
    name="mahendran2015/streams",
    title="What either half of a layer's channels knows",
    figure="Fig. 10",
    paper="Mahendran and Vedaldi 2015, Understanding Deep Image Representations by Inverting Them, arXiv 1412.0035",
    summary=(
        "CaffeNet's filters are in two groups, once so that each fitted on a graphics card of its own, and the halves "
        "of its channels are streams that hardly meet: inverted alone, one gives coarse colours, the other fine "
        "brightness. How fine or colourful a pre-image is, is taken from the energy that it shares with its image; the "
        "rest is noise that the penalty left. (A first measure, energy shared by pre-images from two noises, was "
        "dropped: it was itself mostly noise in the upper layer.) Any two sets of channels differ a little, and many "
        "in the same way for all images, so the halves are also compared with random halves; that control and the "
        "measures are ours. The small network of the default has no groups and sees no colours: there the halves are "
        "arbitrary, and the figure shows what to expect of any half. (That they differ no more than random ones was "
        "called held at first if they did not surely differ more; since then most random ones must differ as much.)"
    ),
    run=run,
    plan=plan,
    minutes=1.5,
    order=2,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
