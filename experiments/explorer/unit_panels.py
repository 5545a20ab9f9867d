"""What each method shows of a unit: patches, projections, a pre-image, a preferred input, and concepts."""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from PIL import Image
from scipy import stats

from experiments.lib import generator_codes, preimages
from experiments.lib.runner import LEVEL
from experiments.lib.top_activations import as_input, tile
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
    """Some channels (n,) of a layer, and where each is strongest: images, rows and columns, (n, k) each.

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
        place = None if self.at is None else (self.rows.ravel(), self.columns.ravel())
        return targets.neuron(self.layer, np.repeat(self.channels, k), place)


def networks(config: Any) -> dict[str, tuple[str, ...]]:
    """The layers of each network that `config.layers` names as NETWORK/LAYER."""
    places = [place.partition("/") for place in config.layers]
    return {name: tuple(layer for own, _, layer in places if own == name) for name, _, _ in places}


def units(model: LoadedModel, found: dict[str, np.ndarray], layer: str, channels: np.ndarray) -> Units:
    """Units of a layer, from what `search` found."""
    x = jax.ShapeDtypeStruct((1, *model.input.shape), jnp.float32)
    shape = network.layer_names(model.net, x)[layer].shape
    at = (shape[1] // 2, shape[2] // 2) if len(shape) == 4 else None
    places = (found[f"{layer} {name}"][channels] for name in ("images", "rows", "columns"))
    return Units(layer, channels, *places, deconvnet.receptive_field(model.net, layer, x), at, x.shape[1:3])


def projections(model: LoadedModel, data: Dataset, some: Units, batch: int) -> dict[str, np.ndarray]:
    """What units see of the images that excite them most, and what causes it: (n, k, h, w, C) uint8 each.

    "patches", their projections by the "deconvnet" (Zeiler & Fergus 2014), and by "guided" backprop (Springenberg et
    al. 2015); these with zero at grey and each with its own scale.
    """
    x = inputs(model, data, some.images.ravel())
    maps = {
        "deconvnet": deconvnet.project(model.net, x, some.strongest(), batch_size=batch),
        "guided": saliency.guided_backprop(model.net, x, some.strongest(), batch),
    }
    found = {name: [np.rint(255 * plots.signed(m)) for m in seen(each, some, 0.0)] for name, each in maps.items()}
    found["patches"] = seen(pixels(model, x), some, 255)
    return {name: np.stack(t).astype(np.uint8).reshape(*some.images.shape, *t[0].shape) for name, t in found.items()}


def seen(images: Array, some: Units, fill: float) -> list[np.ndarray]:
    """What the units see of images (n * k, H, W, C); beyond the border it is `fill`."""
    places = zip(np.asarray(images), some.rows.ravel(), some.columns.ravel(), strict=True)
    return [tile(image, some.field, row, column, fill) for image, row, column in places]


def inputs(model: LoadedModel, data: Dataset, numbers: Iterable[int]) -> Array:
    """Images of a data set as the network reads them."""
    return model.preprocess([data[int(number)][0] for number in numbers])


def pixels(model: LoadedModel, x: Any) -> np.ndarray:
    """The network's input as uint8, of as many channels."""
    return model.to_pixels(x)[..., : x.shape[-1]]


def inverted(model: LoadedModel, data: Dataset, some: Units, config: Any) -> dict[str, np.ndarray]:
    """For each unit an image (n, H, W, C) found from noise, of which it answers as of the image that excites it most.

    Only the unit's own channel counts, all its positions; "error" (n,) is the squared distance of the answers as a
    share of the wanted one's square.
    """
    subject = preimages.from_images(model, (data[int(i)][0] for i in some.images[:, 0]), config.mean)
    represent = Partial(_own, subject.represent(some.layer), jnp.asarray(some.channels))
    wanted = network.call(represent, subject.images)
    form = IJCV(weight=config.weight_of_loss, total_variation=config.total_variation, steps=config.inversion)
    x = inversion.invert(represent, wanted, subject.images.shape[1:], jax.random.key(config.seed), form).x
    error = inversion.distance(represent, wanted, jnp.ones(()), x)
    return {"preimage": pixels(model, subject.inputs(x)), "error": error}


def _own(represent, channels, x):
    """Of each row of a layer's answers the channel that the row is for: (n, h, w) or (n,)."""
    maps = represent(x)
    return jnp.take_along_axis(maps, channels.reshape(-1, *[1] * (maps.ndim - 1)), -1)[..., 0]


def preferred(generator: LoadedGenerator, model: LoadedModel, some: Units, config: Any) -> dict[str, np.ndarray]:
    """Pictures (n, H, W, C) of the generator that excite each unit, and how far, "activation" (n,)."""
    bounded = generator._replace(generate=dgn_am.clip_images(generator.generate, *generator_codes.input_range(model)))
    starts = generator_codes.initial_codes(generator, len(some.channels), config.seed)
    target = targets.neuron(some.layer, some.channels, some.at)
    form = DGN(learning_rate=config.learning_rate, steps=config.steps, decay_factor=config.keep)
    images = generator_codes.maximise(bounded, model, target, starts, form, config.chunk)["images"]
    return {"preferred": pixels(model, images), "activation": targets.evaluate(model.net, images, target)[0]}


def smaller(pictures: np.ndarray, most: int) -> np.ndarray:
    """Pictures (..., h, w, C) uint8, reduced where a side is longer than `most`."""
    *lead, h, w, c = pictures.shape
    if max(h, w) <= most:
        return pictures
    size = tuple(max(1, round(side * most / max(h, w))) for side in (w, h))
    flat = (p[..., 0] if c == 1 else p for p in pictures.reshape(-1, h, w, c))
    reduced = [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BOX)) for p in flat]
    return np.stack(reduced).reshape(*lead, *size[::-1], c)


def concepts(model: LoadedModel, data: Dataset, config: Any) -> dict[str, np.ndarray]:
    """For each layer how well its units tell concepts from other images, by `areas`: (C, concepts).

    Each class of the data is told from all others, then each texture from the other textures. "sizes" (concepts, 2):
    how many images of the concept there are, and how many others.
    """
    strongest, read = Partial(partial(_peaks, config.layers), model.net), partial(as_input, model)
    natural, labels = zip(
        *((network.call(strongest, jnp.asarray(x)), y) for x, y in in_order(data, config.batch_size, read)), strict=True
    )
    drawn = [network.call(strongest, model.preprocess(images)) for images in drawings(model, config)]
    kinds = [np.full(config.drawn, number) for number in range(len(drawn))]
    sets = [(natural, np.concatenate(labels), len(data.classes)), (drawn, np.concatenate(kinds), len(drawn))]
    found = {
        layer: np.concatenate([areas(np.concatenate([a[layer] for a in each]), y, n) for each, y, n in sets], axis=1)
        for layer in config.layers
    }
    counts = [np.bincount(y, minlength=n) for _, y, n in sets]
    return found | {"sizes": np.concatenate([np.stack([c, c.sum() - c], 1) for c in counts])}


def drawings(model: LoadedModel, config: Any) -> list[np.ndarray]:
    """Images of each texture, of the size that the network reads."""
    side = model.input.shape[0]
    return [textures.images(name, config.drawn, side, config.seed) for name in config.textures]


def _peaks(layers, net, x):
    """The strongest answer of each channel to each image, (N, C) by layer."""
    kept = network.capture(net, x, layers)[1]
    return {name: value.reshape(len(value), -1, value.shape[-1]).max(1) for name, value in kept.items()}


def areas(answers: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """How often a unit answers an image of a label more than one of another, of answers (N, C): (C, count).

    The area under the ROC curve, 1/2 by chance; equal answers count half.
    """
    ranks, found = stats.rankdata(np.asarray(answers), axis=0), []
    for label in range(count):
        own = labels == label
        n, others = own.sum(), (~own).sum()
        found.append((ranks[own].sum(0) - n * (n + 1) / 2) / (n * others))
    return np.stack(found, 1)


def bounds(sizes: np.ndarray, tests: int) -> np.ndarray:
    """What areas stay below by chance, in all of `tests` but in one run of twenty; `sizes` (concepts, 2) as above.

    Mann and Whitney's normal approximation, with Bonferroni's correction.
    """
    n, others = np.asarray(sizes, np.float64).T
    return 0.5 + stats.norm.isf(LEVEL / tests) * np.sqrt((n + others + 1) / (12 * n * others))
