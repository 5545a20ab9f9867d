"""Photographs in which what a layer sees is exaggerated: caricatures (Mahendran & Vedaldi 2016)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from experiments.lib import dry_run, generator_codes, runner
from experiments.lib.measures import correlations
from experiments.lib.runner import Claim, Number
from experiments.mahendran2015 import photographs
from experiments.mahendran2015.photographs import SURER
from experiments.mahendran2015.streams import frequency
from xai_jax import inversion, models, network, plots
from xai_jax.synthesis.inversion import IJCV

BATCH = 10  # images at once


def run(config: Any, run: runner.Run) -> None:
    """Exaggerates what every layer sees, and asks the network what it makes of the result."""
    subject, data = photographs.load(config)
    seen, found = run.stage("photographs", partial(photographs.answers, subject, subject.images)), {}
    for layer, form in run.progress(forms_of(config).items(), "layers"):
        found[layer] = run.stage(layer.replace("/", "-"), partial(one, subject, layer, form, config.seed))
    run.figure("caricatures", *pictures(subject, data, seen, found, config))
    run.figure("measures", *measures(seen, found, config))
    report(run, seen, found, config)


def forms_of(config: Any) -> dict[str, IJCV]:
    """Settings of each layer, jittered by a quarter of its stride."""
    common = {"weight": config.weight_of_loss, "total_variation": config.total_variation, "steps": (config.steps, 0)}
    pairs = zip(config.layers, config.strides, strict=True)
    return {layer: IJCV(jitter=max(1, round(stride / 4)), **common) for layer, stride in pairs}


def one(subject, layer, form, seed):
    """Caricatures (N, H, W, C), and how they differ from the photographs to the layer, in pixels, to the network."""
    represent, images, parts = subject.represent(layer), subject.images, []
    for start in range(0, len(images), BATCH):
        key = jax.random.fold_in(jax.random.key(seed), start)
        parts.append(inversion.caricature(represent, images[start : start + BATCH], key, form).x)
    x = jnp.concatenate(parts)
    pairs = list(zip(np.asarray(images), np.asarray(x), strict=True))
    strokes = [added(*pair) for pair in pairs]
    return {
        "images": x,
        "product": inversion.inner_product(represent, jax.nn.relu(network.call(represent, images)), x),
        "alike": correlations(np.asarray(images), np.asarray(x)),
        "frequency": np.array([frequency(each, each) for each in strokes]),
    } | photographs.answers(subject, x)


def added(image: np.ndarray, found: np.ndarray) -> np.ndarray:
    """What `found` (H, W, C) has beside any mixture of the colours of `image` at the same place, by least squares.

    A mere change of colours is as fine as the image, whatever the layer.
    """
    flat = image.reshape(-1, image.shape[-1]).astype(np.float64)
    colours = np.concatenate([flat, np.ones((len(flat), 1))], 1)
    wanted = found.reshape(flat.shape)
    return (wanted - colours @ np.linalg.lstsq(colours, wanted, rcond=None)[0]).reshape(found.shape)


def pictures(subject, data, seen, found, config):
    """A row for each photograph, a column for each layer."""
    columns, names = [seen | {"images": subject.images}, *found.values()], subject.model.classes
    shown = range(min(config.shown, config.count))
    panels = [[subject.pixels(each["images"][n]) for each in columns] for n in shown]
    figure, axes = plots.grid(panels, ["photograph", *found], data.names, 1.6)
    below = [[(names[each["answer"][n]], each["sure"][n]) for each in columns] for n in shown]
    photographs.write_below(axes, below)
    caption = (
        "Photographs, and what becomes of them when the features that a layer finds there are made as strong as the "
        f"priors allow (C = {config.weight_of_loss:g}). Under each, the class that the network takes it for, and "
        "with what probability."
    )
    return figure, caption, "Rows of a photograph and versions of it, covered by patterns that differ by layer."


def measures(seen, found, config):
    """How much the layer sees, how fine the strokes are, and what the network sees, by layer."""
    table = {
        "inner product of features\n(the photograph's = 1)": gathered(found, "product"),
        "mean frequency of what is added\n(cycles per pixel)": gathered(found, "frequency"),
        SURER: gathered(found, "probability") - seen["probability"][:, None],
    }
    caption = (
        f"Caricatures by layer: a dot for each of {config.count} photographs, and their mean. Left: how much more a "
        "layer finds of what it found. Middle: how fine the patterns are that no change of colours explains. Right: "
        "how much surer the network becomes of the class that it gives the photograph."
    )
    figure = photographs.curves(table, config.layers)
    return figure, caption, "Three panels of dots over layers, and a line through their means."


def gathered(found, key):
    """One measure, (photographs, layers)."""
    return np.stack([each[key] for each in found.values()], 1)


def report(run, seen, found, config):
    """Measures of every layer, and claims about what is exaggerated."""
    run.numbers.append(Number.mean("probability of the photograph's class, photograph", seen["probability"]))
    for layer, each in found.items():
        run.numbers += [
            Number.mean(f"inner product of features as a multiple of the photograph's, {layer}", each["product"]),
            Number.mean(f"correlation of photograph and caricature, {layer}", each["alike"]),
            Number.mean(f"mean frequency of what is added (cycles per pixel), {layer}", each["frequency"]),
            Number.mean(f"probability of the photograph's class, {layer}", each["probability"]),
        ]
    product, fineness, last = gathered(found, "product"), gathered(found, "frequency"), config.layers[-1]
    coarser, test = photographs.falls(fineness)
    surer, count = generator_codes.mostly(found[last]["probability"] > seen["probability"])
    run.claims += [
        Claim(
            "What a layer sees in a photograph becomes stronger in its caricature.",
            "caricaturisation (unverified)",
            bool((product > 1).all()),
            f"inner product of features {product.mean():.2f} times the photograph's on average, {product.min():.2f} in "
            f"the worst of {product.size} cases; more than 1 is asked for in all",
        ),
        Claim(
            "The deeper the layer, the coarser the patterns that it adds.",
            "caricaturisation (unverified; the measure is ours)",
            coarser,
            f"mean frequency of what is added {fineness[:, 0].mean():.3f} cycles per pixel in {config.layers[0]}, "
            f"{fineness[:, -1].mean():.3f} in {last}; {test}; {runner.LEVEL:g} is asked for",
        ),
        Claim(
            "Exaggerating the last layer makes the network surer of its class, for most photographs.",
            "not in the paper",
            surer,
            f"probability {seen['probability'].mean():.2f} before, {found[last]['probability'].mean():.2f} after; it "
            f"grows in {count}",
        ),
    ]


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of each layer's caricatures, and the network's answers."""
    module, variables, shape = models.abstract(config.network)
    x = jax.ShapeDtypeStruct((min(BATCH, config.count), *shape), jnp.float32)
    shapes = network.layer_names(Partial(module.apply, variables), x)

    def step(layer, variables, x, wanted):
        represent = inversion.of_layer(Partial(module.apply, variables), layer)
        return jax.value_and_grad(lambda x: inversion.inner_product(represent, wanted, x).sum())(x)

    calls = -(-config.count // BATCH) * config.steps
    steps = [
        dry_run.Step(f"steps from {layer}", partial(step, layer), (variables, x, shapes[layer]), calls)
        for layer in config.layers
    ]
    return [*steps, photographs.answers_step(config, 2 * (1 + len(config.layers)))]


EXPERIMENT = runner.Experiment(
    name="mahendran2015/caricature",
    title="What layers see in photographs, exaggerated",
    figure="caricaturisation",
    paper="Mahendran and Vedaldi 2016, Visualizing Deep Convolutional Neural Networks Using Natural Pre-images, IJCV",
    summary=(
        "A caricature begins at the photograph and is changed until a layer finds there much more of all that it "
        "found at first; the priors of inversion hold it back. The weight of the features is not known from the "
        "paper: it is that of inversions here, chosen after a look at 20 and 100. By default the network is "
        "EfficientNet-Lite0 with ImageNet weights, the images are five photographs that scikit-image ships. How coarse "
        "the patterns are is taken from what no change of colours explains; that measure is ours. (The whole change, a "
        "first measure, was dropped: where a layer tints the photograph, it is as fine as the photograph.)"
    ),
    run=run,
    plan=plan,
    minutes=3,
    order=2,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
