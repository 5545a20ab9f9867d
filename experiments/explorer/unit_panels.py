"""Units by each method: image patches, projections, a pre-image, a preferred input, and concepts."""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from PIL import Image
from scipy import stats

from configs.explorer.units import Config
from experiments.lib import generator_codes, preimages
from experiments.lib.statistics import LEVEL
from experiments.lib.top_activations import reading, tile
from xai_jax import deconvnet, dgn_am, inversion, network, plots, saliency, targets
from xai_jax.data import textures
from xai_jax.data.batches import in_order
from xai_jax.data.datasets import Dataset
from xai_jax.models import LoadedModel
from xai_jax.models.generators import LoadedGenerator
from xai_jax.synthesis.dgn_am import DGN
from xai_jax.synthesis.inversion import IJCV
from xai_jax.units.receptive_field import ReceptiveField


class Units(NamedTuple):
    """Some channels (n,) of a layer, and their strongest activations: images, rows and columns, (n, k) each.

    `at` is the unit that a preferred input is made for, the one in the middle; None in layers without positions.
    `side` is the height and width of images.
    """

    layer: str
    channels: np.ndarray
    images: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    field: ReceptiveField
    at: tuple[int, int] | None
    side: tuple[int, int]

    def strongest(self) -> targets.Target:
        """For each unit and image, one after the other, the unit at its strongest position."""
        k = self.images.shape[1]
        position = None if self.at is None else (self.rows.ravel(), self.columns.ravel())
        return targets.neuron(self.layer, np.repeat(self.channels, k), position)


def networks(config: Config) -> dict[str, tuple[str, ...]]:
    """The layers of each network that `config.layers` names as NETWORK/LAYER."""
    pairs = [name.partition("/") for name in config.layers]
    return {network: tuple(layer for own, _, layer in pairs if own == network) for network, _, _ in pairs}


def units(model: LoadedModel, found: dict[str, np.ndarray], layer: str, channels: np.ndarray) -> Units:
    """Units of a layer, from what `search` found."""
    x = jax.ShapeDtypeStruct((1, *model.input.shape), jnp.float32)
    shape = network.layer_names(model.net, x)[layer].shape
    at = (shape[1] // 2, shape[2] // 2) if len(shape) == 4 else None
    positions = (found[f"{layer} {name}"][channels] for name in ("images", "rows", "columns"))
    return Units(layer, channels, *positions, deconvnet.receptive_field(model.net, layer, x), at, x.shape[1:3])


def projections(model: LoadedModel, data: Dataset, some: Units, batch: int) -> dict[str, np.ndarray]:
    """Patches of the images that activate units most, and what activates them there: (n, k, h, w, C) uint8 each.

    "patches", their projections by the "deconvnet" (Zeiler & Fergus 2014), and by "guided" backprop (Springenberg et
    al. 2015); these with zero at grey and each with its own scale.
    """
    x = inputs(model, data, some.images.ravel())
    maps = {
        "deconvnet": deconvnet.project(model.net, x, some.strongest(), batch_size=batch),
        "guided": saliency.guided_backprop(model.net, x, some.strongest(), batch),
    }
    found = {name: [np.rint(255 * plots.signed(m)) for m in patches(each, some, 0.0)] for name, each in maps.items()}
    found["patches"] = patches(pixels(model, x), some, 255)
    return {name: np.stack(t).astype(np.uint8).reshape(*some.images.shape, *t[0].shape) for name, t in found.items()}


def patches(images: Array, some: Units, fill: float) -> list[np.ndarray]:
    """Receptive fields cut out of images (n * k, H, W, C); beyond the border they have the value `fill`."""
    positions = zip(np.asarray(images), some.rows.ravel(), some.columns.ravel(), strict=True)
    return [tile(image, some.field, row, column, fill) for image, row, column in positions]


def inputs(model: LoadedModel, data: Dataset, numbers: Iterable[int]) -> Array:
    """Images of a data set as the network reads them."""
    return model.preprocess([data[int(number)][0] for number in numbers])


def pixels(model: LoadedModel, x: Array) -> np.ndarray:
    """The network's input as uint8, of as many channels."""
    return model.to_pixels(x)[..., : x.shape[-1]]


def inverted(model: LoadedModel, data: Dataset, some: Units, config: Config) -> dict[str, np.ndarray]:
    """For each unit a pre-image (n, H, W, C) of its channel's activations for the image that activates it most.

    Only the unit's own channel is inverted, at all positions; "error" (n,) is the normalised squared distance of the
    activations.
    """
    subject = preimages.from_images(model, (data[int(i)][0] for i in some.images[:, 0]), config.mean)
    represent = Partial(_own, subject.represent(some.layer), jnp.asarray(some.channels))
    wanted = network.call(represent, subject.images)
    form = IJCV(weight=config.weight_of_loss, total_variation=config.total_variation, steps=config.inversion)
    x = inversion.invert(represent, wanted, subject.images.shape[1:], jax.random.key(config.seed), form).x
    error = network.call(Partial(inversion.distance, represent, wanted, jnp.ones(())), x)
    return {"preimage": pixels(model, subject.inputs(x)), "error": error}


def _own(represent, channels, x):
    """Of each row of a layer's activations the channel that the row is for: (n, h, w) or (n,)."""
    maps = represent(x)
    return jnp.take_along_axis(maps, channels.reshape(-1, *[1] * (maps.ndim - 1)), -1)[..., 0]


def preferred(generator: LoadedGenerator, model: LoadedModel, some: Units, config: Config) -> dict[str, np.ndarray]:
    """Preferred inputs (n, H, W, C) of each unit from the generator, and their "activation" (n,)."""
    bounded = generator._replace(generate=dgn_am.clip_images(generator.generate, *generator_codes.input_range(model)))
    starts = generator_codes.initial_codes(generator, len(some.channels), config.seed)
    target = targets.neuron(some.layer, some.channels, some.at)
    form = DGN(learning_rate=config.learning_rate, steps=config.steps, decay_factor=config.keep)
    images = generator_codes.maximise(bounded, model, target, starts, form, config.chunk)["images"]
    activation, _ = network.call(Partial(targets.evaluate, model.net, target=target), images)
    return {"preferred": pixels(model, images), "activation": activation}


def reduced(images: np.ndarray, longest: int) -> np.ndarray:
    """Images (..., h, w, C) uint8, reduced where a side is longer than `longest` pixels."""
    *lead, h, w, c = images.shape
    if max(h, w) <= longest:
        return images
    size = tuple(max(1, round(side * longest / max(h, w))) for side in (w, h))
    flat = (image[..., 0] if c == 1 else image for image in images.reshape(-1, h, w, c))
    small = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)) for image in flat]
    return np.stack(small).reshape(*lead, *size[::-1], c)


def concepts(model: LoadedModel, data: Dataset, config: Config) -> dict[str, np.ndarray]:
    """For each layer how well its units distinguish concepts from other images, by `areas`: (C, concepts).

    Each class of the data is compared with all others, then each texture with the other textures. "sizes" (concepts,
    2): the number of images of the concept, and of other images.
    """
    strongest, (prepare, transform) = Partial(partial(_peaks, config.layers), model.net), reading(model)
    batches = in_order(data, config.batch_size, transform)
    natural, labels = zip(*((network.call(strongest, prepare(jnp.asarray(x))), y) for x, y in batches), strict=True)
    drawn = [network.call(strongest, model.preprocess(images)) for images in drawings(model, config)]
    kinds = [np.full(config.drawn, number) for number in range(len(drawn))]
    sets = [(natural, np.concatenate(labels), len(data.classes)), (drawn, np.concatenate(kinds), len(drawn))]
    found = {
        layer: np.concatenate([areas(np.concatenate([a[layer] for a in each]), y, n) for each, y, n in sets], axis=1)
        for layer in config.layers
    }
    counts = [np.bincount(y, minlength=n) for _, y, n in sets]
    return found | {"sizes": np.concatenate([np.stack([c, c.sum() - c], 1) for c in counts])}


def drawings(model: LoadedModel, config: Config) -> list[np.ndarray]:
    """Images of each texture, of the size that the network reads."""
    side = model.input.shape[0]
    return [textures.images(name, config.drawn, side, config.seed) for name in config.textures]


def _peaks(layers, net, x):
    """The largest activation of each channel for each image, (N, C) by layer."""
    kept = network.capture(net, x, layers)[1]
    return {name: value.reshape(len(value), -1, value.shape[-1]).max(1) for name, value in kept.items()}


def areas(activations: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Areas under the ROC curve (C, count): how often activations (N, C) are higher for a label than for others.

    At chance level they are 1/2, as of labels that no activation has; ties count half.
    """
    ranks, found = stats.rankdata(np.asarray(activations), axis=0), []
    for label in range(count):
        own = labels == label
        n, others = own.sum(), (~own).sum()
        chance = np.full(ranks.shape[1], 0.5)
        found.append((ranks[own].sum(0) - n * (n + 1) / 2) / (n * others) if n and others else chance)
    return np.stack(found, 1)


def bounds(sizes: np.ndarray, tests: int) -> np.ndarray:
    """Significance bounds of areas for `sizes` (concepts, 2) as above, with Bonferroni's correction for `tests`.

    By Mann and Whitney's normal approximation. Of a concept without images it is 1, which no area exceeds.
    """
    n, others = np.asarray(sizes, np.float64).T
    std = np.sqrt((n + others + 1) / (12 * np.maximum(n * others, 1)))
    return np.where(n * others > 0, 0.5 + stats.norm.isf(LEVEL / tests) * std, 1.0)
