"""Search of a data set for the strongest activations of all channels, and what units see of images."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from xai_jax import deconvnet, models, network
from xai_jax.core import streaming
from xai_jax.data.dataset_types import OnDisk, labeller


def search(model, data, config, work):
    """Images, positions, values and labels of the k strongest activations of all channels, layer by layer."""
    with work.bar(len(data), "searching for the strongest activations") as bar:
        watched = with_progress(data, bar)
        top = deconvnet.top_k(model.net, config.layers, watched, config.k, *reading(model), config.batch_size)
    arrays = {f"{layer} {name}": value for layer, found in top.items() for name, value in found._asdict().items()}
    images = np.unique(np.concatenate([found.images.ravel() for found in top.values()]))
    labels = np.array([data[int(i)][1] for i in images])
    return arrays | {f"{layer} labels": labels[np.searchsorted(images, top[layer].images)] for layer in config.layers}


def reading(model):
    """Functions (prepare, transform) to read a data set for a network: pixels are scaled on the device, in batches."""
    return Partial(_scaled, model.input), model.input.square


@jax.jit
def _scaled(spec, images):
    return spec.to_network(images.astype(jnp.float32))


def with_progress(data, bar):
    """The same images; reading one advances the bar."""

    def advancing(read):
        def advance(index):
            bar.update()
            return read(index)

        return advance

    encoded = streaming.files(data)
    open = encoded and advancing(encoded)
    return OnDisk("images", len(data), advancing(data.__getitem__), data.classes, labeller(data), open)


def as_input(model, image):
    """An image (H, W, 1 or 3) of a data set as the network reads it."""
    return np.asarray(model.preprocess([image])[0])


def tile(image, field, row, column, fill=0.0):
    """What the unit sees of an image (H, W, C), (h, w, C): beyond the border `fill`, and never more than the image."""
    cut = image
    for axis, (at, bounds) in enumerate(((row, field.rows), (column, field.columns))):
        length, size = image.shape[axis], field.size[axis]
        if size >= length:
            continue
        first, last = bounds[at]
        before = first - (field.offset[axis] + field.stride[axis] * at)
        cut = np.take(cut, range(first, last), axis)
        pads = [(before, size - before - (last - first)) if a == axis else (0, 0) for a in range(3)]
        cut = np.pad(cut, pads, constant_values=fill)
    return cut


def unit(name: str, layer: str) -> tuple[int, tuple[int, int] | None]:
    """Number of channels of a layer of the network `name`, and the middle position of its maps, None without maps."""
    module, variables, shape = models.abstract(name)
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    *_, channels = size = network.layer_names(Partial(module.apply, variables), x)[layer].shape
    return channels, (size[1] // 2, size[2] // 2) if len(size) == 4 else None
