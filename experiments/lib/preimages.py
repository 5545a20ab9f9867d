"""Inversion of networks, for several experiments: mean-subtracted images, their layers, and steps of a dry run."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from experiments.lib import dry_run
from xai_jax import inversion, models, network
from xai_jax.data import datasets
from xai_jax.models import LoadedModel
from xai_jax.synthesis.inversion import CVPR, IJCV
from xai_jax.synthesis.optimize import DivergedError


class Subject(NamedTuple):
    """A network, and images (N, H, W, C) in pixels minus the `mean` colour."""

    model: LoadedModel
    images: Array
    mean: tuple[float, ...]

    def inputs(self, x: Array) -> Array:
        """The network's input for such images."""
        return self.model.from_centred(self.mean)(x)

    def represent(self, layer: str) -> Partial:
        """A layer as a function of such images."""
        return inversion.of_layer(self.model.net, layer, self.model.from_centred(self.mean))

    def classes(self, x: Array) -> np.ndarray:
        """The most probable class of each such image, (N,)."""
        return np.asarray(network.call(self.model.net, self.inputs(x))).argmax(1)

    def pixels(self, x: Any) -> np.ndarray:
        """Such images as RGB in [0, 1]."""
        return self.model.to_pixels(self.inputs(jnp.asarray(x))) / 255

    def scaled(self, x: Any) -> np.ndarray:
        """One such image as RGB from its darkest value to its brightest, as the papers show pre-images."""
        return full_range(self.pixels(x))

    def rows(self, count: int, found: Mapping[str, Sequence[Any]]) -> tuple[list[list[np.ndarray]], list[str]]:
        """A figure's images and titles of rows: for each of the first images a row per title in `found`.

        A row has the image, then its entry in each stack of images (N, H, W, C) under the title, scaled.
        """
        shown = range(min(count, len(self.images)))
        images = [
            [self.pixels(self.images[n]), *(self.scaled(x[n]) for x in stacks)]
            for n in shown
            for stacks in found.values()
        ]
        return images, [*found] * len(shown)


def full_range(image: Any) -> np.ndarray:
    """From the darkest value to the brightest, as the paper shows pre-images."""
    image = np.asarray(image, np.float64)
    return (image - image.min()) / max(np.ptp(image), 1e-9)


def load(config: Any) -> Subject:
    """The network and the `count` images from `first` on of a configuration, less its `mean` colour."""
    data = datasets.load(config.data, config.split)
    images = (data[i][0] for i in range(config.first, config.first + config.count))
    return from_images(models.load(config.network, config.weights), images, config.mean)


def from_images(model: LoadedModel, images: Iterable[np.ndarray], mean: tuple[float, ...]) -> Subject:
    """A network with images, uint8 (H, W, 1 or 3) of a data set."""
    x = model.input.from_network(model.preprocess(list(images)))
    return Subject(model, x - jnp.asarray(mean, jnp.float32), mean)


def pixels(model: LoadedModel, images: Iterable[np.ndarray]) -> np.ndarray:
    """Images of a data set at the size of a network's input, (N, H, W, C) uint8."""
    parts = (model.input.from_network(model.preprocess([image])) for image in images)
    return np.concatenate([np.clip(np.rint(part), 0, 255).astype(np.uint8) for part in map(np.asarray, parts)])


def invert(represent: Callable[[Array], Array], images: Array, form: CVPR | IJCV, batch_size: int, seed: int) -> Array:
    """Pre-images of the representations of all images.

    Args:
      represent: differentiable representation of a batch of images.
      images: (N, H, W, C).
      form: objective, regularisers and optimiser.
      batch_size: images that are inverted at once.
      seed: of the initial noise and the jitter.

    Returns:
      Pre-images (N, H, W, C), in the images' units.
    """
    found, target = [], network.call(represent, images)
    for start in range(0, len(target), batch_size):
        key = jax.random.fold_in(jax.random.key(seed), start)
        found.append(descend(represent, target[start : start + batch_size], images.shape[1:], key, form))
    return jnp.concatenate(found)


def descend(
    represent: Callable, target: Array, shape: tuple, key: Array, form: CVPR | IJCV, mask: Array | None = None
) -> Array:
    """`inversion.invert`; where gradient descent diverges, again with a quarter of the learning rate, twice at most.

    It diverges where features of one image are much weaker than those of others, since the loss is relative to them.
    """
    for _ in range(2 if isinstance(form, CVPR) else 0):
        try:
            return inversion.invert(represent, target, shape, key, form, mask).x
        except DivergedError:
            form = dataclasses.replace(form, learning_rate=form.learning_rate / 4)
    return inversion.invert(represent, target, shape, key, form, mask).x


def measured(subject: Subject, layer: str, x: Array) -> dict[str, Any]:
    """Pre-images `x` (N, H, W, C), their errors in a layer's features, and whether they have their image's class."""
    represent = subject.represent(layer)
    return {
        "images": x,
        "error": inversion.error(represent, x, network.call(represent, subject.images)),
        "same": subject.classes(subject.images) == subject.classes(x),
    }


def layer_shapes(name: str, images: int, side: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of all layers of a registered network for a batch of images, by default of its own side."""
    module, variables, (height, width, channels) = models.abstract(name)
    x = jax.ShapeDtypeStruct((images, side or height, side or width, channels), jnp.float32)
    return network.layer_names(Partial(module.apply, variables), x)


def plan(name: str, layers: Sequence[str], images: int, calls: int, side: int | None = None) -> list[dry_run.Step]:
    """The gradient steps of a dry run.

    Args:
      name: a registered network.
      layers: layers to invert.
      images: images that are inverted at once.
      calls: steps for each layer.
      side: of the images in pixels; the network's own by default.

    Returns:
      One step of the plan for each layer.
    """
    shapes, steps = layer_shapes(name, images, side), []
    for layer in layers:

        def step(net, x, target, layer=layer):
            represent = network.features(net, layer)
            return jax.value_and_grad(lambda x: inversion.distance(represent, target, jnp.ones(()), x).sum())(x)

        title = f"steps from {layer}"
        steps.append(dry_run.forward(name, images, calls, step, shapes[layer], name=title, side=side))
    return steps
