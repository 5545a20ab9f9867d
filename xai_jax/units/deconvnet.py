"""Strongest activations over a data set and their projections to pixel space (Zeiler & Fergus 2014, sections 2.1, 4).

The paper does not specify how its deconvnet inverts contrast normalisation. Here the signal passes it unchanged:
activations tapped as norm1, norm2, ... are treated as normalised copies of the activation tapped before them.

>>> net = lambda x, relu=jax.nn.relu, tap=network.keep: tap("relu1", relu(x)).sum((1, 2))
>>> x = jnp.arange(48.0).reshape(4, 2, 2, 3)
>>> found = top_k(net, "relu1", x, k=3)["relu1"]
>>> neurons = targets.neuron("relu1", 2, (found.rows[2], found.columns[2]))
>>> project(net, x[found.images[2]], neurons).shape
(3, 2, 2, 3)
>>> receptive_field(net, "relu1", x).boxes(found.rows[2], found.columns[2])[0].tolist()
[1, 1, 2, 2]
"""

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from xai_jax.core import devices, network, per_image, rules, targets
from xai_jax.core.arguments import as_names, check_array, is_integer
from xai_jax.core.batching import check_repeatable, chunked, pixels
from xai_jax.core.messages import quoted
from xai_jax.core.network import Network
from xai_jax.core.precision import highest
from xai_jax.core.pytrees import as_partial, node, static
from xai_jax.core.streaming import Labelled, Unlabelled, at_least, in_order
from xai_jax.core.targets import Target
from xai_jax.units.receptive_field import ReceptiveField, receptive_field

__all__ = ["ReceptiveField", "Top", "project", "receptive_field", "top_k"]


class Top(NamedTuple):
    """The k strongest activations of each channel of a layer, strongest first: arrays (C, k).

    `values` are float32; `images`, `rows` and `columns` int32 are the index of the image and the position in the map,
    (0, 0) for layers (N, C) and (t, 0) for layers (N, T, C).
    """

    values: np.ndarray
    images: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def as_input(images: Array) -> Array:
    """uint8 (N, H, W, C) -> float32 in [0, 1]; other images are returned unchanged.

    >>> as_input(jnp.full((1, 1, 1, 1), 255, jnp.uint8)).item()
    1.0
    """
    return pixels(images) if images.dtype == jnp.uint8 else images


def top_k(
    net: Network,
    layers: str | Iterable[str],
    images: Array | Labelled,
    k: int = 9,
    prepare: Callable[[Array], Array] = as_input,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
    batch_size: int | None = None,
) -> dict[str, Top]:
    """The k images that activate each channel most, in one pass over the images (section 4).

    An image counts once for each channel, by the maximum over positions, the first one of ties; of equal images the
    first comes first. Only one batch and the k best of each channel are in memory.

    >>> top_k(net, "relu1", x, k=2)["relu1"].values.tolist()
    [[45.0, 33.0], [46.0, 34.0], [47.0, 35.0]]

    Args:
      net: the network.
      layers: the name of a layer, or several.
      images: an array (N, H, W, C) or a data set, `images[i] -> (image, label)`.
      k: number of images for each channel.
      prepare: maps a batch of images to the network's input.
      transform: applied to each image (H, W, C) as it is read, for example to crop it to a common size.
      batch_size: number of images processed at once; None for 128 on each device.

    Returns:
      The strongest activations and their positions, by layer.

    Raises:
      ValueError: a layer is unknown, there are fewer than k images, or activations are not finite.
    """
    layers, source = as_names(layers), _source(images)
    if not is_integer(k) or not 1 <= k <= len(source):
        raise ValueError(f"Expected k from 1 to the number of images, {len(source)}, got {quoted(k)}.")
    net = network.as_network(net)
    per_image.check_rows(net, len(source))
    prepare = as_partial(prepare)
    number = devices.count((net, prepare, getattr(source, "images", None)), len(source))
    size = 128 * number if batch_size is None else at_least(1, batch_size, "images in a batch")
    batches = (images for images, _ in in_order(source, -(-size // number) * number, transform))
    best, channels = _search(net, layers, prepare, batches, len(source), k, number)
    parts = zip(*(np.split(np.asarray(array), np.cumsum(channels)[:-1]) for array in best), strict=True)
    return {layer: Top(*arrays) for layer, arrays in zip(layers, parts, strict=True)}


def project(
    net: Network, images: Array, neurons: Target, switches: str | Array = "own", batch_size: int | None = None
) -> Array:
    """Projects one activation of each image to pixel space by a deconvnet (section 2.1).

    The activation, with all others of its layer set to zero, is unpooled at the switches, rectified and filtered by the
    transposed filters, layer by layer; biases are ignored.

    >>> project(net, x[:1], targets.neuron("relu1", 2, (1, 1)))[0, 1, 1].tolist()
    [0.0, 0.0, 11.0]

    Args:
      net: the network.
      images: (N, H, W, C) in the network's input range.
      neurons: units of one layer, such as `targets.neuron(layer, channels, (rows, columns))`.
      switches: "own" for those of the images; images (N, H, W, C) whose switches are used; or "none" for unpooling to
        the first position of each window (in networks that tap the input of each pool).
      batch_size: number of images processed at once; None: by the device's memory.

    Returns:
      Projections (N, H, W, C).

    Raises:
      ValueError: images, network and neurons do not match, or the network ends in a softmax.
    """
    if not isinstance(neurons, Target) or len(neurons.layers) != 1:
        given = "a target of logits or of several layers" if isinstance(neurons, Target) else repr(neurons)
        raise ValueError(f"Expected neurons of one layer, such as targets.neuron('relu5', 3, (0, 0)), got {given}.")
    if isinstance(switches, str):
        if switches not in ("own", "none"):
            raise ValueError(f"Expected switches 'own', 'none' or of images, got {quoted(switches)}.")
        step = functools.partial(_project, flat=switches == "none")
        return chunked(step, net, images, neurons, batch_size)
    network.check_images(switches)
    if switches.shape != np.shape(images):
        raise ValueError(f"Expected the switches of images {np.shape(images)}, one for each, got {switches.shape}.")
    return chunked(_project, net, images, neurons, batch_size, switches)


def _source(images):
    """Data sets, and lists of pairs, as they are; arrays with labels."""
    is_indexed = hasattr(images, "__len__") and hasattr(images, "__getitem__") and not hasattr(images, "shape")
    is_list = isinstance(images, list | tuple) and not (images and isinstance(images[0], tuple))
    if not is_indexed or isinstance(images, str) or is_list:
        check_array(images, "images (N, H, W, C), or a data set, images[i] -> (image, label)")
        return Unlabelled(images)
    return images


@highest()
def _search(net, layers, prepare, batches, n, k, number):
    """The best activations of all channels of all layers, and the number of channels of each layer."""
    best, channels, seen, size, before = None, (), 0, None, None
    net, prepare = devices.copy((net, prepare), number)
    for part in batches:
        size = size or -(-len(part) // number) * number
        rows = np.minimum(np.arange(size), len(part) - 1)
        padded, own = part if len(part) == size else part[rows], per_image.rows(net, seen + rows)
        padded, own = devices.share(padded, number), devices.share_rows(own, number)
        if best is None:
            channels = _channels(own, layers, prepare, padded, n)
            best = devices.copy(_empty(sum(channels), k), number)
        best, finite = _merge(best, *_maps(own, prepare, padded, layers), seen, len(part))
        if before is not None:  # one batch late, so that the device has the next while the host waits
            _refuse_not_finite(*before)
        before, seen = (finite, seen), seen + len(part)
    _refuse_not_finite(*before)
    return best, channels


def _refuse_not_finite(finite, first):
    if not (finite := np.asarray(finite)).all():
        raise ValueError(
            f"Expected finite activations, got NaN or infinity for image {first + finite.argmin()}. Usual causes: "
            "wrong weights, or an input range."
        )


def _channels(net, layers, prepare, images, n):
    """The number of channels of each layer; raises ValueError if net, layers and images do not match."""
    x = jax.eval_shape(prepare, jax.ShapeDtypeStruct(images.shape, jnp.result_type(images)))
    for layer in layers:
        targets.check(net, x, targets.neuron(layer, 0))
    if len(images) < n:
        check_repeatable(net, x, lambda: prepare(jnp.asarray(images)))
    shapes = network.layer_names(net, x)
    return tuple(shapes[layer].shape[-1] for layer in layers)


def _empty(channels, k):
    return Top(np.full((channels, k), -np.inf, np.float32), *[np.zeros((channels, k), np.int32)] * 3)


# The search consists of two programs: a single one takes twice as long on CPU, where memory for activations inside a
# program, unlike that for its results, is allocated by the operating system at each call.
@functools.partial(jax.jit, static_argnames="layers")
def _maps(net, prepare, images, layers):
    """Activations of the layers, all as (N, H, W, C), and the maximum of each row, (N, H, C)."""
    _, kept = network.capture(net, prepare(images), layers)
    values = [kept[layer] for layer in layers]
    maps = [value.reshape(len(value), *(*value.shape[1:-1], 1, 1)[:2], value.shape[-1]) for value in values]
    return maps, [m.max(2) for m in maps]


@jax.jit
def _merge(best, maps, by_row, first, count):
    """Updates `best` by `count` images from index `first`; also for which images all activations are finite, (N,).

    `best` contains the channels of all layers, concatenated.
    """
    k = best.values.shape[1]
    there = (jnp.arange(len(maps[0])) < count)[:, None]
    peaks = jnp.concatenate([rows.max(1).astype(jnp.float32) for rows in by_row], axis=1)
    peaks = jnp.where(peaks == 0, 0, peaks)  # top_k orders 0 before -0
    both = jnp.concatenate([best.values, jnp.where(there, peaks, -jnp.inf).T], axis=1)
    # Without barriers XLA's CPU backend sorts all; one for both ends the process in JAX 0.10 on several devices.
    values, position = map(lax.optimization_barrier, lax.top_k(both, k))
    image = jnp.maximum(position - k, 0)
    ends = np.cumsum([m.shape[-1] for m in maps])[:-1].tolist()
    positions = map(_position, maps, by_row, jnp.split(image, ends), jnp.split(values, ends))
    new = (first + image, *map(jnp.concatenate, zip(*positions, strict=True)))
    old = [jnp.take_along_axis(array, jnp.minimum(position, k - 1), axis=1) for array in best[1:]]
    merged = [jnp.where(position < k, o, n) for o, n in zip(old, new, strict=True)]
    return Top(values, *merged), jnp.isfinite(jnp.where(there, peaks, 0)).all(1)


def _position(maps, by_row, image, values):
    """Row and column of the maximum `values` (C, k) of each channel in `image` (C, k); the first one of ties."""
    channel, values = jnp.arange(len(image))[:, None], values[..., None].astype(maps.dtype)
    row = _first(by_row[image, :, channel] == values)
    return row, _first(maps[image, row, :, channel] == values)


def _first(there):
    n = there.shape[-1]
    return jnp.where(there, jnp.arange(n, dtype=jnp.int32), n - 1).min(-1)


@functools.partial(jax.jit, static_argnames="flat")
def _project(net, x, neurons, switches=None, flat=False):
    """Backpropagates the signal of the neurons of `x` through the network evaluated at `switches`, or at `x`."""
    (layer,) = neurons.layers

    def activation(x):
        logits, kept = network.capture(_Deconvnet(net, flat), x, [layer], relu=rules.deconv_relu)
        return kept[layer], logits

    maps, pull, logits = jax.vjp(activation, x if switches is None else switches, has_aux=True)
    if switches is not None or flat:
        maps = network.features(net, layer)(x)
    signal = jax.grad(lambda maps: (neurons(logits, {layer: maps}) ** 2).sum() / 2)(maps)
    return pull(signal)[0], logits


@node
class _Deconvnet:
    """The network with an identity gradient for contrast normalisation; `flat`: and constant input to each pool."""

    net: Network
    flat: bool = static()

    def __call__(self, x: Array, relu: rules.Relu = jax.nn.relu, tap: network.Tap = network.keep) -> Array:
        below: Any = None

        def edited(name, value):
            nonlocal below
            if re.fullmatch(r"norm\d+", name) and below is not None and below.shape == value.shape:
                value = _straight_through(below, value)
            if self.flat:
                value = _straight_through(value, jnp.zeros_like(value))
            below = tap(name, value)
            return below

        return self.net(x, relu=relu, tap=edited)


def _straight_through(below, value):
    """Forward `value`, with the gradient passed to `below` unchanged."""
    return lax.stop_gradient(value) + (below - lax.stop_gradient(below))
