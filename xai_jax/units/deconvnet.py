"""Strongest activations over a data set, and what in the image caused them (Zeiler & Fergus 2014, sections 2.1 and 4).

    found = top_k(net, ["relu5"], images)["relu5"]
    neurons = targets.neuron("relu5", 7, (found.rows[7], found.columns[7]))
    maps = project(net, images[found.images[7]], neurons)
    boxes = receptive_field(net, "relu5", images).boxes(found.rows[7], found.columns[7])

The paper does not say how its deconvnet goes back through contrast normalisation. Here the signal passes it unchanged:
activations tapped as norm1, norm2, ... are taken for normalised copies of the activation tapped before them.
"""

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from xai_jax.core import network, rules, targets
from xai_jax.core.batching import chunked, pixels
from xai_jax.core.network import Network
from xai_jax.core.pytrees import as_partial, node, static
from xai_jax.core.streaming import Labelled, Unlabelled, in_order
from xai_jax.core.targets import Target
from xai_jax.units.receptive_field import ReceptiveField, receptive_field

__all__ = ["ReceptiveField", "Top", "project", "receptive_field", "top_k"]


class Top(NamedTuple):
    """The k strongest activations of each channel of a layer, strongest first: arrays (C, k).

    `values` float32; `images`, `rows` and `columns` int32 say which image and where in the map; rows and columns are 0
    in layers without positions.
    """

    values: np.ndarray
    images: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def as_input(images: Array) -> Array:
    """uint8 (N, H, W, C) -> float32 in [0, 1]; other images stay as they are."""
    return pixels(images) if images.dtype == jnp.uint8 else images


def top_k(
    net: Network,
    layers: str | Iterable[str],
    images: Array | Labelled,
    k: int = 9,
    prepare: Callable[[Array], Array] = as_input,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
    batch: int = 128,
) -> dict[str, Top]:
    """Searches images once for the strongest activations of all channels of some layers (section 4).

    An image counts once for each channel, by the first of its strongest positions; of equally strong images the first
    comes first. `images`: an array (N, H, W, C), or a data set, which may be of any size: only `batch` images and the k
    best are kept. `prepare` takes images to the network's input, `transform(image)` brings them to one size while they
    are read. Raises ValueError for unknown layers, for fewer than k images, and for activations that are not finite.
    """
    layers = (layers,) if isinstance(layers, str) else tuple(layers)
    if not layers:
        raise ValueError("Expected the names of one layer or more, got none.")
    data = Unlabelled(images) if hasattr(images, "shape") else images
    if not 1 <= k <= len(data):
        raise ValueError(f"Expected k from 1 to the number of images, {len(data)}, got {k}.")
    net, prepare, best, channels = network.as_network(net), as_partial(prepare), None, ()
    for number, (part, _) in enumerate(in_order(data, batch, transform)):
        if best is None:
            size, channels = len(part), _channels(net, layers, prepare, part)
            best = _nothing_yet(sum(channels), k)
        whole = part if len(part) == size else part[np.minimum(np.arange(size), len(part) - 1)]
        best, finite = _merge(best, *_maps(net, prepare, whole, layers), number * batch, len(part))
        if not finite:
            raise ValueError(
                f"Expected finite activations, got NaN or infinity in the images {number * batch} to "
                f"{number * batch + len(part) - 1}. Usual causes: wrong weights, or an input range."
            )
    parts = zip(*(np.split(np.asarray(array), np.cumsum(channels)[:-1]) for array in best), strict=True)
    return {layer: Top(*arrays) for layer, arrays in zip(layers, parts, strict=True)}


def project(
    net: Network, images: Array, neurons: Target, switches: str | Array = "own", batch_size: int | None = None
) -> Array:
    """Brings one activation of each image down to pixels by a deconvnet (section 2.1): shaped like `images`.

    `neurons`: `targets.neuron(layer, channels, (rows, columns))`. The activation's value, with all others of its layer
    zero, is unpooled to the switches, rectified and filtered by the transposed filters, layer by layer; biases take no
    part. `switches`: the image's "own"; those of other images, an array like `images`; or "none", where unpooling fills
    the first place of each window (in networks that tap what they pool). Raises ValueError for what does not fit
    together, as the methods of `saliency` do.
    """
    if not isinstance(neurons, Target) or len(neurons.layers) != 1:
        raise ValueError(f"Expected neurons of one layer, such as targets.neuron('relu5', 3, (0, 0)), got {neurons!r}.")
    if isinstance(switches, str):
        if switches not in ("own", "none"):
            raise ValueError(f"Expected switches 'own', 'none' or of images, got {switches!r}.")
        step = functools.partial(_project, flat=switches == "none")
        return chunked(step, net, images, neurons, batch_size)
    network.check_images(switches)
    if switches.shape != np.shape(images):
        raise ValueError(f"Expected the switches of images {np.shape(images)}, one for each, got {switches.shape}.")
    return chunked(_project, net, images, neurons, batch_size, switches)


def _channels(net, layers, prepare, images):
    """The number of channels of each layer; raises ValueError if net, layers and images do not fit."""
    x = jax.eval_shape(prepare, jax.ShapeDtypeStruct(images.shape, images.dtype))
    for layer in layers:
        targets.check(net, x, targets.neuron(layer, 0))
    shapes = network.layer_names(net, x)
    return tuple(shapes[layer].shape[-1] for layer in layers)


def _nothing_yet(channels, k):
    return Top(np.full((channels, k), -np.inf, np.float32), *[np.zeros((channels, k), np.int32)] * 3)


# The search is two programs: as one it takes twice as long on CPU, whose memory for activations inside of a program,
# unlike that for its results, comes from the operating system anew at each call.
@functools.partial(jax.jit, static_argnames="layers")
def _maps(net, prepare, images, layers):
    """Activations of the layers, all as (N, H, W, C), and the largest of each row, (N, H, C), cheapest to find here."""
    _, kept = network.capture(net, prepare(images), layers)
    values = [kept[layer] for layer in layers]
    maps = [value.reshape(len(value), *value.shape[1:-1] or (1, 1), value.shape[-1]) for value in values]
    return maps, [m.max(2) for m in maps]


@jax.jit
def _merge(best, maps, by_row, first, count):
    """The best of those so far and of `count` images from number `first` on, and whether all activations are finite.

    `best` holds the channels of all layers one after the other.
    """
    k = best.values.shape[1]
    there = (jnp.arange(len(maps[0])) < count)[:, None]
    peaks = jnp.concatenate([rows.max(1).astype(jnp.float32) for rows in by_row], axis=1)
    peaks = jnp.where(peaks == 0, 0, peaks)  # top_k takes 0 for larger than -0
    both = jnp.concatenate([best.values, jnp.where(there, peaks, -jnp.inf).T], axis=1)
    values, place = lax.optimization_barrier(lax.top_k(both, k))  # without the barrier XLA's CPU backend sorts all
    image = jnp.maximum(place - k, 0)
    ends = np.cumsum([m.shape[-1] for m in maps])[:-1].tolist()
    positions = map(_position, maps, by_row, jnp.split(image, ends), jnp.split(values, ends))
    new = (first + image, *map(jnp.concatenate, zip(*positions, strict=True)))
    old = [jnp.take_along_axis(array, jnp.minimum(place, k - 1), axis=1) for array in best[1:]]
    merged = [jnp.where(place < k, o, n) for o, n in zip(old, new, strict=True)]
    return Top(values, *merged), jnp.isfinite(jnp.where(there, peaks, 0)).all()


def _position(maps, by_row, image, values):
    """Row and column where channels (C,) have their maximum `values` (C, k) in `image` (C, k); the first of equals."""
    channel, values = jnp.arange(len(image))[:, None], values[..., None].astype(maps.dtype)
    row = _first(by_row[image, :, channel] == values)
    return row, _first(maps[image, row, :, channel] == values)


def _first(there):
    n = there.shape[-1]
    return jnp.where(there, jnp.arange(n, dtype=jnp.int32), n - 1).min(-1)


@functools.partial(jax.jit, static_argnames="flat")
def _project(net, x, neurons, switches=None, flat=False):
    """The signal that starts at the neurons of `x` goes down the network as it is for `switches`, else for `x`."""
    (layer,) = neurons.layers

    def activation(x):
        logits, kept = network.capture(_Deconvnet(net, flat), x, [layer], relu=rules.deconv_relu)
        return kept[layer], logits

    maps, down, logits = jax.vjp(activation, x if switches is None else switches, has_aux=True)
    if switches is not None or flat:
        maps = network.features(net, layer)(x)
    signal = jax.grad(lambda maps: (neurons(logits, {layer: maps}) ** 2).sum() / 2)(maps)
    return down(signal)[0], logits


@node
class _Deconvnet:
    """The network with contrast normalisation that the signal passes unchanged; `flat`: and without maxima to find."""

    net: Network
    flat: bool = static()

    def __call__(self, x: Array, relu: rules.Relu = jax.nn.relu, tap: network.Tap = network.keep) -> Array:
        below: Any = None

        def edited(name, value):
            nonlocal below
            if re.fullmatch(r"norm\d+", name) and below is not None and below.shape == value.shape:
                value = _signal_to(below, value)
            if self.flat:
                value = _signal_to(value, jnp.zeros_like(value))
            below = tap(name, value)
            return below

        return self.net(x, relu=relu, tap=edited)


def _signal_to(below, value):
    """`value`, whose backward signal goes to `below` unchanged."""
    return lax.stop_gradient(value) + (below - lax.stop_gradient(below))
