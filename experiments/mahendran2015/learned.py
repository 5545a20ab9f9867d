"""A trained inverse beside the optimised one (Dosovitskiy & Brox 2016, against Mahendran & Vedaldi 2015)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from experiments.lib import dry_run, preimages, runner
from experiments.lib.measures import roughness
from experiments.lib.report import paired_claim
from experiments.lib.runner import Number
from experiments.mahendran2015.layers import recipe
from xai_jax import inversion, learned_inversion, models, network, plots
from xai_jax.architectures.upconv import UpConv
from xai_jax.data import datasets

METHODS = {"optimised": "by gradient descent", "learned": "by a trained network"}


def run(config: Any, run: runner.Run) -> None:
    """Inverts every layer both ways, and compares images and features."""
    subject, found = preimages.load(config), {}
    jobs = list(zip(config.layers, config.total_variations, strict=True))
    for layer, strength in run.progress(jobs, "layers"):
        file = run.workdir / "training" / f"{layer.replace('/', '-')}.npz"
        optimise = partial(optimised, subject, layer, strength, config)
        found[layer, "optimised"] = run.stage(f"{layer}-optimised", optimise)
        found[layer, "learned"] = run.stage(f"{layer}-learned", partial(learned, subject, layer, file, config))
    run.figure("learned", *figure(subject, found, config))
    report(run, found, config)


def optimised(subject, layer, strength, config):
    """Pre-images by the papers' gradient descent, measured."""
    form = recipe(config, strength)
    return measured(subject, layer, preimages.invert(subject, layer, form, config.batch_size, config.seed))


def learned(subject, layer, file, config):
    """What a network gives that was trained to undo the layer, measured."""
    represent, module = subject.represent(layer), UpConv(subject.images.shape[1:], config.width)
    data, key = datasets.load(config.data, config.train), jax.random.key(config.seed)
    images = preimages.from_images(subject.model, (data[i][0] for i in range(config.examples)), config.mean).images
    options = {"steps": config.train_steps, "learning_rate": config.learning_rate, "checkpoint": file}
    inverse = learned_inversion.fit(represent, images, module, key=key, **options)
    wanted = network.call(represent, subject.images)
    return measured(subject, layer, network.call(inverse, wanted))


def measured(subject, layer, x):
    """Images (N, H, W, C), their errors in pixels and features, how rough they are, and whether the class is kept.

    Errors are squared distances as shares of the mean one between the images.
    """
    represent = subject.represent(layer)
    return {
        "images": x,
        "pixels": np.asarray(inversion.error(lambda x: x, x, subject.images)),
        "features": np.asarray(inversion.error(represent, x, network.call(represent, subject.images))),
        "roughness": np.array([roughness(image) for image in np.asarray(x)]),
        "same": subject.classes(subject.images) == subject.classes(x),
    }


def figure(subject, found, config):
    """Two rows for each image, one for each method; a column for each layer."""
    panels, rows = [], []
    for n in range(min(config.shown, config.count)):
        for method in METHODS:
            by_layer = [subject.pixels(found[layer, method]["images"][n]) for layer in config.layers]
            panels.append([subject.pixels(subject.images[n]), *by_layer])
            rows.append(method)
    fig, _ = plots.grid(panels, ["image", *config.layers], rows, 1.3)
    caption = (
        "Images found from the features of a layer: by gradient descent on this image alone, and by a network that was "
        "trained on other images to give the image in one pass. The first has the same features, the second is the "
        "mean of what may have had them."
    )
    return fig, caption, "Pairs of rows of an image and its reconstructions from layer to layer."


def report(run, found, config):
    """Errors in pixels and features of both, and which is better at what."""
    names = {"pixels": "error in pixels", "features": "error of features", "roughness": "roughness"}
    for (layer, method), each in found.items():
        run.numbers += [Number.mean(f"{name}, {layer}, {method}", each[key]) for key, name in names.items()]
        run.numbers.append(Number(f"share of the images' classes kept, {layer}, {method}", each["same"].mean()))
    means = {
        (method, key): np.mean([found[layer, method][key] for layer in config.layers], axis=0)
        for method in METHODS
        for key in ("pixels", "features")
    }

    def measure(method, key):
        return means[method, key], f"{names[key]} {means[method, key].mean():.3f} {METHODS[method]}"

    run.claims += [
        paired_claim(
            "A trained inverse gives images closer to the original than gradient descent does.",
            "Dosovitskiy and Brox 2016",
            measure("optimised", "pixels"),
            measure("learned", "pixels"),
        ),
        paired_claim(
            "Gradient descent comes closer to the wanted features.",
            "Dosovitskiy and Brox 2016",
            measure("learned", "features"),
            measure("optimised", "features"),
        ),
    ]


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of the optimisation, and those of the training."""
    calls = -(-config.count // config.batch_size) * sum(count for _, count in recipe(config, 1.0).phases)
    steps = preimages.plan(config.network, config.layers, config.batch_size, calls)
    module, variables, shape = models.abstract(config.network)
    x = jax.ShapeDtypeStruct((learned_inversion.BATCH_SIZE, *shape), jnp.float32)
    shapes, inverse = network.layer_names(Partial(module.apply, variables), x), UpConv(shape, config.width)
    for layer in config.layers:
        made = jax.eval_shape(inverse.init, jax.random.key(0), shapes[layer])

        def step(made, variables, x, layer=layer):
            represent = inversion.of_layer(Partial(module.apply, variables), layer)
            return jax.value_and_grad(lambda made: ((inverse.apply(made, represent(x)) - x) ** 2).mean())(made)

        steps.append(dry_run.Step(f"training the inverse of {layer}", step, (made, variables, x), config.train_steps))
    return steps


EXPERIMENT = runner.Experiment(
    name="mahendran2015/learned",
    title="Inverting by learning",
    figure="comparison",
    paper="Dosovitskiy and Brox 2016, Inverting Visual Representations with Convolutional Networks, arXiv 1506.02753",
    summary=(
        "Instead of searching for an image for every representation, a network can be trained once to give it: an "
        "up-convolutional network that minimises the squared distance in pixels, over many images. What it cannot know "
        "it averages over, so that its images are smooth where gradient descent leaves texture. Both are compared on "
        "the same images, which the trained inverse has not seen. That paper's claims are told from memory "
        "(unverified). Errors are squared distances as shares of the mean one between images, means over layers."
    ),
    run=run,
    plan=plan,
    minutes=2.5,
    order=2,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
