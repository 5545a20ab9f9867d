"""Photographs with a layer's features amplified: caricatures (Mahendran & Vedaldi 2016)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from configs.mahendran2015.caricature import Config
from experiments.lib import dry_run, papers, preimages, statistics
from experiments.lib.measures import correlations
from experiments.lib.report import Claim, Panel, Report, means
from experiments.lib.runner import Experiment, Workspace, main
from experiments.mahendran2015 import photographs
from experiments.mahendran2015.photographs import predictions, stacked
from experiments.mahendran2015.streams import frequency
from xai_jax import inversion, network
from xai_jax.synthesis.inversion import IJCV

BATCH = 10  # images at once


def run(config: Config, work: Workspace) -> Report:
    """Amplifies the features of every layer, and classifies the result."""
    subject, classifier, data = photographs.load(config)
    before, found = work.stage("photographs", partial(predictions, classifier, classifier.images)), {}
    for layer, form in work.progress(forms_of(config).items(), "layers"):
        pair = photographs.of_layer(layer, subject, classifier, config)
        found[layer] = work.stage(layer.replace("/", "-"), partial(amplified, *pair, layer, form, config.seed))
    panels = [caricatures_panel(classifier, data.names, before, found, config), measures_panel(before, found, config)]
    return Report(numbers(before, found), claims(before, found, config.classifier), panels)


def forms_of(config: Config) -> dict[str, IJCV]:
    """Settings of each layer, jittered by a quarter of its stride."""
    common = {"weight": config.weight_of_loss, "total_variation": config.total_variation, "steps": (config.steps, 0)}
    pairs = zip(config.layers, config.strides, strict=True)
    return {layer: IJCV(jitter=max(1, round(stride / 4)), **common) for layer, stride in pairs}


def amplified(subject, classifier, layer, form, seed):
    """Caricatures (N, H, W, C), how they differ from the photographs in the layer and in pixels, and predictions."""
    represent, images, parts = subject.represent(layer), subject.images, []
    for start in range(0, len(images), BATCH):
        key = jax.random.fold_in(jax.random.key(seed), start)
        parts.append(inversion.caricature(represent, images[start : start + BATCH], key, form).x)
    x = jnp.concatenate(parts)
    patterns = [added_pattern(*pair) for pair in zip(np.asarray(images), np.asarray(x), strict=True)]
    return {
        "images": x,
        "product": inversion.inner_product(represent, jax.nn.relu(network.call(represent, images)), x),
        "alike": correlations(np.asarray(images), np.asarray(x)),  # lint: keep
        "frequency": np.array([frequency(each, each) for each in patterns]),
    } | predictions(classifier, x)


def added_pattern(image: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Residual of `found` (H, W, C) after the best affine map of the colours of `image`, by least squares.

    A mere change of colours has the frequency of the image, whatever the layer.
    """
    flat = image.reshape(-1, image.shape[-1]).astype(np.float64)
    colours = np.concatenate([flat, np.ones((len(flat), 1))], 1)
    target = found.reshape(flat.shape)
    return (target - colours @ np.linalg.lstsq(colours, target, rcond=None)[0]).reshape(found.shape)


def caricatures_panel(classifier, names, before, found, config):
    """A row for each photograph, a column for each layer."""
    rows = [(n, list(found.values())) for n in range(min(config.shown, config.inner, config.count))]
    caption = (
        "Photographs, and caricatures in which a layer's features of the photograph are as strong as the priors allow "
        f"(C = {config.weight_of_loss:g}).{photographs.classes(config)}"
    )
    alt = "Rows of a photograph and versions of it, covered by patterns that differ by layer."
    figure = photographs.predicted_grid(classifier, before, rows, photographs.columns(config), names[: len(rows)])
    return Panel("caricatures", figure, caption, alt)


def measures_panel(before, found, config):
    """Strength of the features, frequency of the added patterns and gain in probability, by layer."""
    table = {
        "inner product of features\n(the photograph's = 1)": stacked(found, "product"),
        "mean frequency of what is added\n(cycles per pixel)": stacked(found, "frequency"),
        photographs.GAIN: stacked(found, "probability") - before["probability"][:, None],
    }
    caption = (
        f"Caricatures by layer: a dot for each of {photographs.counts(config)}, and their mean. Left: "
        "strength of the features of the photograph. Middle: frequency of the patterns that no change of colours "
        "explains. Right: gain in the probability of the class that the network predicts for the photograph."
    )
    return photographs.dots_panel("measures", table, photographs.columns(config), caption)


def numbers(before, found):
    """Measures of every layer."""
    names = {
        "product": "inner product of features as a multiple of the photograph's",
        "alike": "correlation of photograph and caricature",  # lint: keep
        "frequency": "mean frequency of what is added (cycles per pixel)",
        "probability": "probability of the photograph's class",
    }
    return means({"photograph": before}, {"probability": names["probability"]}) + means(found, names)


def claims(before, found, classifier=""):
    """All tested over photographs; the trend over the layers of one network."""
    product, (first, *_, last) = stacked(found, "product"), found
    own = dict(list(found.items())[: len(found) - bool(classifier)])
    added = stacked(own, "frequency")
    probability, after = before["probability"], found[last]["probability"]
    return [
        Claim(
            "The features that a layer finds in a photograph are stronger in its caricature, in every layer.",
            "caricaturisation (unverified)",
            statistics.wilcoxon(product.min(1), 1.0),
            f"inner product of features {np.nanmean(product):.2f} times the photograph's on average; the test is of "
            f"each photograph's weakest layer, {np.nanmean(product.min(1)):.2f} on average",
        ),
        Claim(
            "The deeper the layer, the coarser the patterns that it adds.",
            "caricaturisation (unverified; the measure is ours)",
            statistics.page_trend(added),
            f"mean frequency of what is added {np.nanmean(added[:, 0]):.3f} cycles per pixel in {first}, "
            f"{np.nanmean(added[:, -1]):.3f} in {[*own][-1]}",
        ),
        Claim(
            "Amplifying the last layer makes the network more confident of its class, for most photographs.",
            "not in the paper",
            statistics.binomial(after > probability),
            f"probability {probability.mean():.2f} before, {after.mean():.2f} after",
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of each layer's caricatures, and the network's predictions."""

    def step(net, x, target, layer):
        represent = inversion.of_layer(net, layer)
        return jax.value_and_grad(lambda x: inversion.inner_product(represent, target, x).sum())(x)

    steps = []
    for layer in config.layers:
        name, count = photographs.network_of(layer, config), photographs.image_count(layer, config)
        shape = preimages.layer_shapes(name, min(BATCH, count), config.side)[layer]
        calls, compute = dry_run.calls(count, BATCH) * config.steps, partial(step, layer=layer)
        options = {"name": f"steps from {layer}", "side": config.side}
        steps.append(dry_run.forward(name, min(BATCH, count), calls, compute, shape, **options))
    return [*steps, photographs.predictions_step(config, 1 + len(config.layers))]


EXPERIMENT = Experiment[Config](
    name="mahendran2015/caricature",
    title="Caricatures: features of layers amplified in photographs",
    figure="caricaturisation",
    paper=papers.MAHENDRAN2016,
    summary=(
        "Which patterns does a layer respond to in a photograph? Starting from the photograph, gradient ascent "
        "amplifies all features that the layer finds there, under the priors of inversion. By default the network is "
        "VGG16 as tuned for edges, without classes: these are EfficientNet-Lite0's, whose logits are amplified, too. "
        "Frequency is measured on what no change of colours explains."
    ),
    run=run,
    plan=plan,
    minutes=4.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
