"""Inversion by a trained network beside optimisation (Dosovitskiy & Brox 2016; Mahendran & Vedaldi 2015)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from configs.mahendran2015.learned import Config
from experiments.lib import dry_run, figures, papers, preimages
from experiments.lib.measures import roughness
from experiments.lib.report import Number, Report, means, paired_claim
from experiments.lib.runner import Experiment, Workspace, main
from experiments.mahendran2015.layers import recipe
from xai_jax import inversion, learned_inversion, models, network
from xai_jax.architectures.upconv import UpConv
from xai_jax.data import datasets

METHODS = {"optimised": "by gradient descent", "learned": "by a trained network"}
MEASURES = {"pixels": "error in pixels", "features": "error of features", "roughness": "roughness"}


def run(config: Config, work: Workspace) -> Report:
    """Inverts every layer both ways, and compares images and features."""
    subject, found = preimages.load(config), {}
    jobs = list(zip(config.layers, config.total_variations, strict=True))
    for layer, strength in work.progress(jobs, "layers"):
        file = work.path(f"training/{layer.replace('/', '-')}.npz")
        optimise = partial(optimised, subject, layer, strength, config)
        found[layer, "optimised"] = work.stage(f"{layer}-optimised", optimise)
        found[layer, "learned"] = work.stage(f"{layer}-learned", partial(learned, subject, layer, file, config))
    return Report(numbers(found), claims(found, config), [images_panel(subject, found, config)])


def optimised(subject, layer, strength, config):
    """Measures of pre-images by gradient descent."""
    form, represent = recipe(config, strength), subject.represent(layer)
    return measured(subject, layer, preimages.invert(represent, subject.images, form, config.batch_size, config.seed))


def learned(subject, layer, file, config):
    """Measures of the outputs of a network that is trained to invert the layer."""
    represent, module = subject.represent(layer), UpConv(subject.images.shape[1:], config.width)
    data, key = datasets.load(config.train_data, config.train), jax.random.key(config.seed)
    images = preimages.pixels(subject.model, (data[i][0] for i in range(config.examples)))
    options = {"steps": config.train_steps, "learning_rate": config.train_learning_rate, "checkpoint": file}
    options["mean"] = config.mean
    inverse = learned_inversion.fit(represent, images, module, key=key, **options)
    return measured(subject, layer, network.call(inverse, network.call(represent, subject.images)))


def measured(subject, layer, x):
    """Images (N, H, W, C), their errors in pixels and features, roughness, and whether the class is kept.

    Errors are squared distances as shares of the mean squared distance between the images.
    """
    found = preimages.measured(subject, layer, x)
    return {
        "images": x,
        "pixels": np.asarray(inversion.error(lambda x: x, x, subject.images)),
        "features": np.asarray(found["error"]),
        "roughness": np.array([roughness(image) for image in np.asarray(x)]),
        "same": found["same"],
    }


def images_panel(subject, found, config):
    """Two rows for each image, one for each method; a column for each layer."""
    stacks = {method: [found[layer, method]["images"] for layer in config.layers] for method in METHODS}
    images, rows = subject.rows(config.shown, stacks)
    caption = (
        "Images reconstructed from the features of a layer: by gradient descent on this image alone, and in one pass "
        "of a network that was trained on other images. The first has the same features; the second approximates the "
        "mean of the images that may have had them. Each is scaled to its full range of values."
    )
    alt = "Pairs of rows of an image and its reconstructions from layer to layer."
    return figures.image_panel("learned", images, ["image", *config.layers], rows, caption, alt, 1.3)


def numbers(found):
    """Errors, roughness and classes of both methods."""
    listed = []
    for (layer, method), each in found.items():
        listed += means({f"{layer}, {method}": each}, MEASURES)
        listed.append(Number(f"share of the images' classes kept, {layer}, {method}", each["same"].mean()))
    return listed


def claims(found, config):
    """Both over the images' means over layers."""

    def measure(method, key):
        means = np.mean([found[layer, method][key] for layer in config.layers], axis=0)
        return means, f"{MEASURES[key]} {means.mean():.3f} {METHODS[method]}"

    return [
        paired_claim(
            "A trained inverse gives images closer to the original than gradient descent does.",
            "Dosovitskiy and Brox 2016",
            measure("optimised", "pixels"),
            measure("learned", "pixels"),
        ),
        paired_claim(
            "Gradient descent comes closer to the target features.",
            "Dosovitskiy and Brox 2016",
            measure("learned", "features"),
            measure("optimised", "features"),
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of the optimisation, and those of the training."""
    calls = dry_run.calls(config.count, config.batch_size) * sum(count for _, count in recipe(config, 1.0).phases)
    steps = preimages.plan(config.network, config.layers, config.batch_size, calls)
    module, variables, shape = models.abstract(config.network)
    x = jax.ShapeDtypeStruct((learned_inversion.BATCH_SIZE, *shape), jnp.float32)
    shapes, inverse = preimages.layer_shapes(config.network, x.shape[0]), UpConv(shape, config.width)
    for layer in config.layers:
        trained = jax.eval_shape(inverse.init, jax.random.key(0), shapes[layer])

        def step(trained, variables, x, layer=layer):
            represent = inversion.of_layer(Partial(module.apply, variables), layer)
            return jax.value_and_grad(lambda trained: ((inverse.apply(trained, represent(x)) - x) ** 2).mean())(trained)

        name = f"training the inverse of {layer}"
        steps.append(dry_run.Step(name, step, (trained, variables, x), config.train_steps, config.examples))
    return steps


EXPERIMENT = Experiment[Config](
    name="mahendran2015/learned",
    title="Inversion by a trained network",
    figure="comparison",
    paper=papers.DOSOVITSKIY2016,
    summary=(
        "How does a network trained to invert a layer in one pass compare with optimisation? An up-convolutional "
        "network is trained on the squared error in pixels; both methods invert the same unseen images. The trained "
        "inverse averages over what the layer discards: its images are smooth where gradient descent leaves texture. "
        "The claims are from memory (unverified)."
    ),
    run=run,
    plan=plan,
    minutes=7,
)

if __name__ == "__main__":
    main(EXPERIMENT)
