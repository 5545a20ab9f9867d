"""Whether saliency maps tell what a network relies on, where it is known (Kim et al. 2018, section 4.3)."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.tree_util import Partial
from matplotlib.figure import Figure
from scipy import stats

from experiments.kim2018 import caption_networks, small_networks
from experiments.kim2018.caption_networks import Pictures
from experiments.lib import dry_run, runner
from experiments.lib.runner import Claim, Number
from xai_jax import plots, saliency, targets
from xai_jax.core.network import Network
from xai_jax.data.captions import Canvas

CAPTION, IMAGE = 0.0, 1.0  # noise of the networks that rely on nothing but the one: those that people were asked about
ASKED = ("integrated gradients", "SmoothGrad")  # the methods that people saw
NEARLY = 0.6  # share of right answers that passes for chance (ours)
LEARNT = 0.7  # least accuracy on images such as a network learnt from, for its maps to say anything about claims


def methods(config: Any) -> dict[str, Any]:
    """The four methods by name."""
    smooth = {"samples": config.samples, "noise": config.standard_deviation, "key": jax.random.key(config.seed)}
    return {
        "vanilla gradient": saliency.gradient,
        "guided backprop": saliency.guided_backprop,
        "integrated gradients": partial(saliency.integrated_gradients, steps=config.steps),
        "SmoothGrad": partial(saliency.smoothgrad, **smooth),
    }


def run(config: Any, run: runner.Run) -> None:
    """Maps of the same images for all networks, how much of them lies on captions, and what that tells."""
    shown = caption_networks.pictures(config)
    images, labels = explained(shown, config)
    found = run.stage("maps", lambda: of_networks(shown, images, labels, config, run))
    share = on_caption(found["maps"], Canvas(*config.canvas))
    run.figure("saliency", *figure(images, labels, found["maps"], config))
    run.figure("shares", *share_figure(share, config))
    report(run, share, found["accuracy"], config)


def explained(shown: Pictures, config: Any) -> tuple[np.ndarray, np.ndarray]:
    """The first test images of each class over their right words, uint8 (n, H, W, 3), and their labels (n,)."""
    data = caption_networks.test_images(shown, 0.0, config, config.seed)
    rows = [np.flatnonzero(data.labels == label)[: config.explained] for label in range(len(config.classes))]
    return data.images[np.concatenate(rows)], data.labels[np.concatenate(rows)]


def of_networks(
    shown: Pictures, images: np.ndarray, labels: np.ndarray, config: Any, run: runner.Run
) -> dict[str, np.ndarray]:
    """Of the four networks: maps (4, methods, n, H, W), and the accuracy (4,) on images as they learnt from."""
    nets = caption_networks.trained(shown, config, config.seed, run)
    accuracy, found = [], []
    with run.bar(len(nets), "maps") as bar:
        for net, noise in zip(nets.values(), caption_networks.noises(config).values(), strict=True):
            usual = caption_networks.test_images(shown, noise, config, config.seed)
            accuracy.append((caption_networks.answers(net, usual.images) == usual.labels).mean())
            found.append(maps(net, images, labels, config))
            bar.update()
    return {"maps": np.stack(found), "accuracy": np.stack(accuracy)}


def maps(net: Network, images: np.ndarray, labels: np.ndarray, config: Any) -> np.ndarray:
    """Sizes of the attributions (methods, n, H, W) of each image's own logit, added over channels."""
    x, target = small_networks.inputs(images), targets.logit(labels)
    return np.stack([np.abs(method(net, x, target)).sum(-1) for method in methods(config).values()])


def on_caption(found: np.ndarray, canvas: Canvas) -> np.ndarray:
    """The share of each map (..., H, W) that lies on the caption, (...); a map of zeros has the caption's area's."""
    where, total = canvas.caption(), found.sum((-2, -1))
    return np.divide(found[..., where].sum(-1), total, out=np.full_like(total, where.mean()), where=total > 0)


def as_pictures(found: np.ndarray) -> np.ndarray:
    """Maps (..., H, W) for the eye: 0 is black, the largest hundredth of each map is white."""
    top = np.percentile(found, 99, axis=(-2, -1), keepdims=True)
    top = np.where(top > 0, top, np.maximum(found.max((-2, -1), keepdims=True), np.finfo(found.dtype).tiny))
    return np.clip(found / top, 0, 1)


def observed(share: np.ndarray, config: Any) -> np.ndarray:
    """Whether an observer is right, bool (2, methods, n), about the networks of captions alone and of images alone.

    The observer says "caption" where the caption has more of the map than of the area.
    """
    names, area = list(caption_networks.noises(config).values()), Canvas(*config.canvas).caption().mean()
    says = share[[names.index(CAPTION), names.index(IMAGE)]] > area
    return says == np.array([True, False])[:, None, None]


def observed_by_example(share: np.ndarray, config: Any) -> np.ndarray:
    """The same of an observer who knows maps of these very networks: of every other image, bool (2, methods, m).

    For each method it chooses the threshold, and the side, that tells the most of them apart.
    """
    names = list(caption_networks.noises(config).values())
    caption, image = share[[names.index(CAPTION), names.index(IMAGE)]]
    return np.stack([_learnt(*pair) for pair in zip(caption, image, strict=True)], 1)


def _learnt(caption, image):
    known, asked = np.stack([caption[::2], image[::2]]), np.stack([caption[1::2], image[1::2]])
    best = max(
        ((((known > at) == _truth(side)).mean(), at, side) for at in np.unique(known) for side in (True, False)),
        key=lambda each: each[0],
    )
    return (asked > best[1]) == _truth(best[2])


def _truth(side):
    return np.array([[side], [not side]])


def interval(right: np.ndarray) -> tuple[float, float, float]:
    """The share of right answers and its 95 % interval by Wilson, as if maps were independent."""
    found = stats.binomtest(int(right.sum()), right.size).proportion_ci(method="wilson")
    return float(right.mean()), float(found.low), float(found.high)


def figure(images: np.ndarray, labels: np.ndarray, found: np.ndarray, config: Any) -> tuple[Figure, str, str]:
    """A row for each network, and for one image of each class a block of columns: the image, then its maps."""
    firsts, pictures = [int(np.flatnonzero(labels == k)[0]) for k in range(len(config.classes))], as_pictures(found)
    panels = [[p for n in firsts for p in (images[n] / 255, *own[:, n])] for own in pictures]
    titles = ["image", *(name.replace(" ", "\n") for name in methods(config))] * len(firsts)
    fig, _ = plots.grid(panels, titles, list(caption_networks.noises(config)), 0.85)
    caption = (
        "The same images explained for four networks, which learnt from captions of more and more noise. Those of "
        "noise 0 % rely on the caption, those of 100 % and without captions on the picture. White is where the logit "
        "of the image's class depends on pixels the most, by each map's own scale."
    )
    return fig, caption, "Rows of shoes with captions and maps of them by four methods."


def share_figure(share: np.ndarray, config: Any) -> tuple[Figure, str, str]:
    """Shares on the caption: a panel for each method, a column of dots for each network."""
    names, area = list(caption_networks.noises(config)), Canvas(*config.canvas).caption().mean()
    fig = Figure(figsize=(10, 3.2), layout="constrained")
    rng = np.random.default_rng(0)
    for number, (axis, method) in enumerate(
        zip(fig.subplots(1, share.shape[1], sharey=True), methods(config), strict=True)
    ):
        for place, own in enumerate(share[:, number]):
            axis.plot(place + rng.uniform(-0.2, 0.2, len(own)), own, ".", color=f"C{place}", ms=4, alpha=0.6)
            axis.plot([place - 0.3, place + 0.3], [np.median(own)] * 2, color="k", lw=1.5)
        axis.axhline(area, color="0.5", lw=0.8, ls="--", zorder=0)
        axis.set_xticks(range(len(names)), [name.replace("noise ", "") for name in names], rotation=30, ha="right")
        axis.set_title(method, fontsize=9)
        axis.set_ylim(0, 1)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    fig.axes[0].set_ylabel("share of the map on the caption", fontsize=8)
    fig.supxlabel("network, by the noise of the captions it learnt from", fontsize=8)
    caption = (
        "How much of each map lies on the caption: a dot for each image, a bar at the median. The dashed line is the "
        "caption's share of the area. A map that tells the truth is above it for noise 0 % and below it for 100 %."
    )
    return fig, caption, "Columns of dots for four networks in a panel for each of four methods."


def report(run, share, accuracy, config):
    """Shares, what observers make of them, and the claim."""
    for name, own in zip(caption_networks.noises(config), share, strict=True):
        for method, values in zip(methods(config), own, strict=True):
            run.numbers.append(Number.mean(f"{name}, {method}: share of the map on the caption", values))
    observers = {"by area": observed(share, config), "who knows maps": observed_by_example(share, config)}
    for who, right in observers.items():
        for place, method in enumerate(methods(config)):
            value, low, high = interval(right[:, place])
            paper = {"paper": 0.52, "paper_tag": "V:TCAVp"} if method in ASKED else {}
            note = f"95 % interval {low:.2f} to {high:.2f}" + (
                "; the paper's are people, both methods" if paper else ""
            )
            run.numbers.append(Number(f"observer {who}, {method}: right answers", value, note=note, **paper))
    value, low, high = interval(observers["by area"][:, [list(methods(config)).index(name) for name in ASKED]])
    run.claims.append(
        Claim(
            "Saliency maps do not tell which concept a network relies on: people were right in 52 % of the cases.",
            "section 4.3",
            at_chance(low, high) if (accuracy >= LEARNT).all() else None,
            f"an observer who compares the caption's share of maps with its share of the area is right for "
            f"{100 * value:.0f} % of the maps that people were asked about, 95 % interval {100 * low:.0f} to "
            f"{100 * high:.0f} %; the claim asks for one below {100 * NEARLY:.0f} %, and fails above one half",
        )
    )


def at_chance(low: float, high: float) -> bool | None:
    """Whether a share of right answers with this interval is chance; None where the interval is too wide, or NaN."""
    return False if low > 0.5 else True if high < NEARLY else None


def plan(config: Any) -> list[dry_run.Step]:
    """Training and tests of the networks, and the gradients of all maps."""
    module = caption_networks.module(config)
    x = jax.ShapeDtypeStruct((small_networks.BATCH, *Canvas(*config.canvas).shape), jax.numpy.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)

    def gradient(variables: Any, x: Array) -> Array:
        return saliency.gradient(Partial(module.apply, variables), x, targets.logit(0))

    images = len(caption_networks.noises(config)) * len(config.classes) * config.explained
    passes = (2 + config.steps + config.samples) * -(-images // small_networks.BATCH)
    return [*caption_networks.plan(config), dry_run.Step("gradients", gradient, (variables, x), passes)]


EXPERIMENT = runner.Experiment(
    name="kim2018/saliency",
    title="Do saliency maps show what a network relies on?",
    figure="saliency maps of the controlled experiment",
    paper="Kim et al. 2018, Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation "
    "Vectors (TCAV), arXiv 1711.11279",
    summary=(
        "The networks are those of the controlled experiment: one relies on captions, because they always named the "
        "class; others rely on pictures, because captions were random or missing. Four methods show which pixels the "
        "logit of an image's class depends on. The paper asked people what the maps say, and half of the answers were "
        "right. Here it is measured, which the paper does not: how much of a map lies on the caption, and how often "
        'an observer is right who says "caption" where the caption has more of the map than of the area. Another '
        "one has seen maps of these very networks for other images, and chooses the best threshold for each method; "
        "nobody who looks at a single map knows as much. Intervals take maps as independent, but all are of one "
        "network of each kind. How the claim is judged was fixed before any map was seen; later, that an "
        "interval about one half must be narrow, too, of which nothing changed here."
    ),
    run=run,
    plan=plan,
    minutes=1,
    order=6,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
