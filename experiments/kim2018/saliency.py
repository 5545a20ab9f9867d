"""Whether saliency maps show what a network relies on, where it is known (Kim et al. 2018, section 4.3)."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array

from configs.kim2018.saliency import Config
from experiments.kim2018 import caption_networks, small_networks
from experiments.kim2018.caption_networks import Pictures
from experiments.lib import dry_run, figures, papers, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import plots, saliency, targets
from xai_jax.core.network import Network
from xai_jax.data.captions import Canvas

CAPTION, IMAGE = 0.0, 1.0  # noise of the networks that rely on the one or the other, those of the study with people
STUDIED = ("integrated gradients", "SmoothGrad")  # the methods of that study
NEAR_CHANCE = 0.6  # fraction of correct observations below which maps count as uninformative (ours)
TRAINED = 0.7  # least accuracy on images like the training images, for claims to be tested


def methods(config: Config) -> dict[str, Any]:
    """The four methods by name."""
    smooth = {"samples": config.samples, "noise": config.standard_deviation, "key": jax.random.key(config.seed)}
    return {
        "vanilla gradient": saliency.gradient,
        "guided backprop": saliency.guided_backprop,
        "integrated gradients": partial(saliency.integrated_gradients, steps=config.steps),
        "SmoothGrad": partial(saliency.smoothgrad, **smooth),
    }


def run(config: Config, work: Workspace) -> Report:
    """Maps of the same images for all networks, their share on captions, and what observers infer from it."""
    shown = caption_networks.pictures(config)
    images, labels = explained(shown, config)
    found = work.stage("maps", lambda: of_networks(shown, images, labels, config, work))
    share = on_caption(found["maps"], Canvas(*config.canvas))
    panels = [maps_panel(images, labels, found["maps"], config), shares_panel(share, config)]
    return Report(*findings(share, found["accuracy"], config), panels)


def explained(shown: Pictures, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """The first test images of each class with their right captions, uint8 (n, H, W, 3), and their labels (n,)."""
    data = caption_networks.test_images(shown, 0.0, config, config.seed)
    rows = [np.flatnonzero(data.labels == label)[: config.explained] for label in range(len(config.classes))]
    return data.images[np.concatenate(rows)], data.labels[np.concatenate(rows)]


def of_networks(
    shown: Pictures, images: np.ndarray, labels: np.ndarray, config: Config, work: Workspace
) -> dict[str, np.ndarray]:
    """Of the four networks: maps (4, methods, n, H, W), and the accuracy (4,) on images like their training images."""
    nets = caption_networks.trained(shown, config, config.seed, work)
    accuracy, found = [], []
    with work.bar(len(nets), "maps") as bar:
        for net, noise in zip(nets.values(), caption_networks.noises(config).values(), strict=True):
            usual = caption_networks.test_images(shown, noise, config, config.seed)
            accuracy.append((small_networks.predictions(net, usual.images) == usual.labels).mean())
            found.append(maps(net, images, labels, config))
            bar.update()
    return {"maps": np.stack(found), "accuracy": np.stack(accuracy)}


def maps(net: Network, images: np.ndarray, labels: np.ndarray, config: Config) -> np.ndarray:
    """Absolute attributions (methods, n, H, W) of each image's own logit, summed over channels."""
    x, target = small_networks.inputs(images), targets.logit(labels)
    return np.stack([np.abs(method(net, x, target)).sum(-1) for method in methods(config).values()])


def on_caption(found: np.ndarray, canvas: Canvas) -> np.ndarray:
    """The share of each map (..., H, W) on the caption, (...); for a map of zeros that of the area."""
    mask, total = canvas.caption(), found.sum((-2, -1))
    return np.divide(found[..., mask].sum(-1), total, out=np.full_like(total, mask.mean()), where=total > 0)


def normalised(found: np.ndarray) -> np.ndarray:
    """Maps (..., H, W) for display: 0 is black, the largest hundredth of each map is white."""
    top = np.percentile(found, 99, axis=(-2, -1), keepdims=True)
    top = np.where(top > 0, top, np.maximum(found.max((-2, -1), keepdims=True), np.finfo(found.dtype).tiny))
    return np.clip(found / top, 0, 1)


def observed(share: np.ndarray, config: Config) -> np.ndarray:
    """Whether an observer is correct, bool (2, methods, n), about the networks of captions alone and of images alone.

    The observer infers "caption" where the caption has a larger share of the map than of the area.
    """
    names, area = list(caption_networks.noises(config).values()), Canvas(*config.canvas).caption().mean()
    inferred = share[[names.index(CAPTION), names.index(IMAGE)]] > area
    return inferred == np.array([True, False])[:, None, None]


def observed_by_example(share: np.ndarray, config: Config) -> np.ndarray:
    """The same of an observer trained on maps of these very networks: of every other image, bool (2, methods, m).

    For each method the threshold, and the side, are fitted to the training maps.
    """
    names = list(caption_networks.noises(config).values())
    caption, image = share[[names.index(CAPTION), names.index(IMAGE)]]
    return np.stack([_fitted(*pair) for pair in zip(caption, image, strict=True)], 1)


def _fitted(caption, image):
    training, test = np.stack([caption[::2], image[::2]]), np.stack([caption[1::2], image[1::2]])
    best = max(
        ((((training > at) == _truth(side)).mean(), at, side) for at in np.unique(training) for side in (True, False)),
        key=lambda each: each[0],
    )
    return (test > best[1]) == _truth(best[2])


def _truth(side):
    return np.array([[side], [not side]])


def maps_panel(images: np.ndarray, labels: np.ndarray, found: np.ndarray, config: Config) -> Panel:
    """A row for each network, and for one image of each class a block of columns: the image, then its maps."""
    firsts, shown = [int(np.flatnonzero(labels == k)[0]) for k in range(len(config.classes))], normalised(found)
    panels = [[p for n in firsts for p in (images[n] / 255, *own[:, n])] for own in shown]
    titles = ["image", *(name.replace(" ", "\n") for name in methods(config))] * len(firsts)
    figure, _ = plots.grid(panels, titles, list(caption_networks.noises(config)), 1.0)
    caption = (
        "The same images explained for four networks, which were trained on captions of increasing noise. Those of "
        "noise 0 % rely on the caption, those of 100 % and without captions on the image. White is where the logit of "
        "the image's class depends on pixels most, by each map's own scale."
    )
    return Panel("saliency", figure, caption, "Rows of pictures with captions and maps of them by four methods.")


def shares_panel(share: np.ndarray, config: Config) -> Panel:
    """Shares on the caption: a panel for each method, a column of dots for each network."""
    names, area = list(caption_networks.noises(config)), Canvas(*config.canvas).caption().mean()
    figure, (axes,) = figures.axes(1, share.shape[1], (10 / share.shape[1], 3.2), sharey=True)
    rng = np.random.default_rng(0)
    for number, (axis, method) in enumerate(zip(axes, methods(config), strict=True)):
        for x, own in enumerate(share[:, number]):
            axis.plot(x + rng.uniform(-0.2, 0.2, len(own)), own, ".", color=f"C{x}", ms=4, alpha=0.6)
            axis.plot([x - 0.3, x + 0.3], [np.median(own)] * 2, color="k", lw=1.5)
        axis.axhline(area, color="0.5", lw=0.8, ls="--", zorder=0)
        axis.set_xticks(range(len(names)), [name.replace("noise ", "") for name in names], rotation=30, ha="right")
        axis.set_title(method, fontsize=9)
        axis.set_ylim(0, 1)
        axis.tick_params(labelsize=7)
    axes[0].set_ylabel("share of the map on the caption", fontsize=8)
    figure.supxlabel("network, by the noise of its training captions", fontsize=8)
    caption = (
        "The share of each map on the caption: a dot for each image, a bar at the median. The dashed line is the "
        "caption's share of the area. Faithful maps are above it for noise 0 % and below it for 100 %."
    )
    alt = "Columns of dots for four networks in a panel for each of four methods."
    return Panel("shares", figure, caption, alt)


def findings(share: np.ndarray, accuracy: np.ndarray, config: Config) -> tuple[list[Number], list[Claim]]:
    """Shares, what observers infer from them, and the claim."""
    numbers = [
        Number.mean(f"{name}, {method}: share of the map on the caption", values)
        for name, own in zip(caption_networks.noises(config), share, strict=True)
        for method, values in zip(methods(config), own, strict=True)
    ]
    observers = {"by area": observed(share, config), "trained on maps": observed_by_example(share, config)}
    for observer, correct in observers.items():
        for which, method in enumerate(methods(config)):
            found = statistics.proportion(correct[:, which])
            paper = {"paper": 0.52, "paper_tag": "V:TCAVp"} if method in STUDIED else {}
            note = f"95 % interval {found.low:.2f} to {found.high:.2f}" + "; the paper's: people" * bool(paper)
            name = f"observer {observer}, {method}: correct inferences"
            numbers.append(Number(name, found.mean, note=note, **paper))
    studied = [list(methods(config)).index(name) for name in STUDIED]
    uninformative = statistics.within(statistics.proportion(observers["by area"][:, studied]), -np.inf, NEAR_CHANCE)
    ready = bool((accuracy >= TRAINED).all())
    claim = Claim(
        "Saliency maps do not show which concept a network relies on: people were correct in 52 % of the cases.",
        "section 4.3",
        statistics.where(ready, uninformative, "a network was not trained to the accuracy required"),
        "fraction of correct inferences of an observer who compares the caption's share of maps with its share of the "
        "area, for the methods of the study with people",
    )
    return numbers, [claim]


def plan(config: Config) -> list[dry_run.Step]:
    """Training and evaluation of the networks, and the gradients of all maps."""
    module = caption_networks.module(config)
    x = jax.ShapeDtypeStruct((small_networks.BATCH, *Canvas(*config.canvas).shape), jax.numpy.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)

    def gradient(variables: Any, x: Array) -> Array:
        return saliency.gradient(jax.tree_util.Partial(module.apply, variables), x, targets.logit(0))

    images = len(caption_networks.noises(config)) * len(config.classes) * config.explained
    passes = (2 + config.steps + config.samples) * dry_run.calls(images, small_networks.BATCH)
    return [*caption_networks.plan(config), dry_run.Step("gradients", gradient, (variables, x), passes)]


EXPERIMENT = Experiment[Config](
    name="kim2018/saliency",
    title="Do saliency maps show what a network relies on?",
    figure="saliency maps of the controlled experiment",
    paper=papers.KIM2018,
    summary=(
        "In the controlled experiment one network relies on captions, others on images. Do four saliency methods show "
        "it? People were correct in half of the cases. Here the share of each map on the caption is measured, and what "
        "two observers infer from it: by area, and with a fitted threshold. Intervals ignore that maps share a network."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
