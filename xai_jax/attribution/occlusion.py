"""Occlusion sensitivity (Zeiler & Fergus 2014, section 4.2).

>>> from xai_jax.core.network import keep
>>> net = lambda x, relu=jax.nn.relu, tap=keep: tap("relu1", relu(x)).sum((1, 2))
>>> x = jnp.ones((1, 4, 4, 3))
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core import devices, finite, network, per_image, targets
from xai_jax.core.arguments import is_integer
from xai_jax.core.batching import check_repeatable, chunked, division, like_images
from xai_jax.core.messages import quoted
from xai_jax.core.network import Network
from xai_jax.core.precision import HIGHEST, highest
from xai_jax.core.targets import Target

Sides = int | tuple[int, int]


def occlusion(
    net: Network,
    x: Array,
    target: Target,
    patch: Sides | None = None,
    stride: Sides | None = None,
    fill: float | Array = 0.0,
    batch_size: int | None = None,
) -> Array:
    """Decrease of the target when a patch occludes the pixel, mean over all patches that cover it.

    >>> float(occlusion(net, x, targets.logit(0), patch=2, stride=2)[0, 0, 0, 0])
    4.0

    Args:
      net: the network.
      x: images (N, H, W, C) in the network's input range.
      target: the target to explain.
      patch: height and width of the patch in pixels, or one number for both; None for a seventh of the image's sides,
        at most 32.
      stride: vertical and horizontal distance between patches in pixels; None for half a patch, at most 16. The last
        patch ends at the border.
      fill: what the patch shows; broadcasts to `x`: a number, a pixel (C,), or images such as blurred copies.
      batch_size: number of occluded images evaluated at once; None: by the device's memory.

    Returns:
      Attributions (N, H, W, C), equal in all channels.

    Raises:
      ValueError: images, network and target do not match, the patch is larger than the image or hides all of it, or
        the stride leaves pixels uncovered.
    """
    targets.check(net, x, target)
    tops, lefts, patch, stride = _grid(x, patch, stride)
    cover = [_cover(start, p, n) for start, p, n in zip((tops, lefts), patch, x.shape[1:3], strict=True)]
    _check_cover(x, patch, stride, cover)
    values, _ = chunked(_values, net, x, target, batch_size)
    scores = occlude(net, x, target, target.layers, patch, stride, fill, batch_size)
    drops = jnp.einsum("nij,ih,jw->nhw", values[:, None, None] - scores, *cover, precision=HIGHEST)
    count = np.einsum("ih,jw->hw", *cover)
    return jnp.broadcast_to((drops / count)[..., None], x.shape)


@highest()
def occlude(
    net: Network,
    x: Array,
    read: Callable[[Array, network.Activations], Any],
    layers: tuple[str, ...] = (),
    patch: Sides | None = None,
    stride: Sides | None = None,
    fill: float | Array = 0.0,
    batch_size: int | None = None,
) -> Any:
    """Outputs of the network for every position of a sliding patch.

    >>> occlude(net, x, lambda logits, activations: logits.argmax(-1), patch=2, stride=1).shape
    (1, 3, 3)

    Args:
      net: the network.
      x: images (N, H, W, C) in the network's input range.
      read: function `(logits, activations) -> outputs`, (N, ...) each; a target returns one number for each image.
      layers: names of the activations that `read` uses.
      patch: height and width of the patch in pixels, or one number for both; None for a seventh of the image's sides,
        at most 32.
      stride: vertical and horizontal distance between patches in pixels; None for half a patch, at most 16. The last
        patch ends at the border.
      fill: what the patch shows; broadcasts to `x`: a number, a pixel (C,), or images such as blurred copies.
      batch_size: number of occluded images evaluated at once; None: by the device's memory.

    Returns:
      The outputs, (N, rows, columns, ...) each.

    Raises:
      ValueError: `x` is not a batch of images (N, H, W, C), or the patch is larger than the image.
    """
    network.check_images(x)
    tops, lefts, patch, _ = _grid(x, patch, stride)
    fill = like_images(fill, x, "fill")
    net, read = network.as_network(net), network.as_network(read)
    per_image.check_rows((net, read), x.shape[0])
    image, top, left = (i.reshape(-1) for i in np.meshgrid(np.arange(x.shape[0]), tops, lefts, indexing="ij"))
    size, number = division(net, x, image.size, batch_size, (x, read, fill))
    net, read = devices.copy((net, read), number)
    near = np.arange(min(len(x), (size - 2) // (len(tops) * len(lefts)) + 2))  # a chunk shows no more images
    parts, rows, faults = [], [], []
    for start in range(0, image.size, size):
        at = np.minimum(np.arange(start, start + size), image.size - 1)
        rows.append(image[at])
        chosen, reader = devices.share_rows(per_image.rows((net, read), rows[-1]), number)
        if not start:
            check_repeatable(chosen, _like(x, size), lambda: x[np.arange(size) % len(x)])
        reader = reader.rows(rows[-1]) if isinstance(read, Target) else reader
        own = np.minimum(image[at[0]] + near, len(x) - 1)
        shown = devices.copy((x[own], fill if len(fill) == 1 else fill[own]), number)
        positions = devices.share((rows[-1] - image[at[0]], top[at], left[at]), number)
        part, bad = _occluded(chosen, reader, *shown, *positions, patch, tuple(layers))
        parts.append(part)
        faults.append(bad)
        if start:
            _refuse_bad(rows[-2], faults[-2])
            parts[-2] = jax.tree.map(_on_host, parts[-2])  # all outputs may exceed the device's memory
    _refuse_bad(rows[-1], faults[-1])
    return jax.tree.map(functools.partial(_joined, (len(x), len(tops), len(lefts))), *parts)


def _on_host(part):
    return part if isinstance(part, jax.core.Tracer) else np.asarray(part)


def _joined(shape, *parts):
    numpy = jnp if isinstance(parts[0], jax.core.Tracer) else np
    whole = parts[0] if len(parts) == 1 else numpy.concatenate(parts)
    return jnp.asarray(whole[: np.prod(shape)]).reshape(*shape, *whole.shape[1:])


def _like(x, n):
    return jax.ShapeDtypeStruct((n, *x.shape[1:]), jnp.result_type(x))


def patch_starts(size: int, patch: int, stride: int) -> np.ndarray:
    """First pixels of the patches along a side of `size` pixels; the last patch ends at the border.

    >>> patch_starts(10, patch=4, stride=4).tolist()
    [0, 4, 6]
    """
    return np.array(sorted({*range(0, size - patch + 1, stride), size - patch}), np.int32)


@jax.jit
def _values(net, x, target):
    values, logits = targets.evaluate(net, x, target)
    return (values, logits), logits


@functools.partial(jax.jit, static_argnames="layers")
def _occluded(net, read, x, fill, image, top, left, patch, layers):
    """Outputs (n, ...) for images and patches by number, and what is wrong: 1 for logits, 2 for outputs, (n,)."""
    row, column = jnp.arange(x.shape[1]), jnp.arange(x.shape[2])
    rows = (row >= top[:, None]) & (row < top[:, None] + patch[0])
    columns = (column >= left[:, None]) & (column < left[:, None] + patch[1])
    hidden = rows[:, :, None, None] & columns[:, None, :, None]
    shown = jnp.where(hidden, fill if len(fill) == 1 else fill[image], x[image])
    if isinstance(read, Target):
        outputs, logits = targets.evaluate(net, shown, read)
        is_bad = finite.not_finite
    else:
        logits, activations = network.capture(net, shown, layers)
        outputs, is_bad = read(logits, activations), jnp.isnan  # infinity may be meant
    bad = [finite.bad_rows(tree, is_bad).astype(jnp.uint8) for tree in (logits, outputs)]
    return outputs, bad[0] + 2 * bad[1]


def _refuse_bad(image, found):
    if isinstance(found, jax.core.Tracer):
        return
    for name, bit in (("logits", 1), ("outputs", 2)):
        if (bad := np.asarray(found) & bit).any():
            raise ValueError(
                f"Expected finite {name}, got NaN or infinity for image {image[bad.argmax()]} behind the patch. Usual "
                "causes: wrong weights, or images or a fill in another range than in training."
            )


def _grid(x, patch, stride):
    sides = x.shape[1:3]
    patch = tuple(min(32, max(1, n // 7)) for n in sides) if patch is None else _pair(patch)
    stride = tuple(min(16, max(1, p // 2)) for p in patch) if stride is None else _pair(stride)
    are_counts = all(map(is_integer, (*patch, *stride))) and min(*patch, *stride) >= 1
    if not are_counts or any(p > n for p, n in zip(patch, sides, strict=True)):
        raise ValueError(
            f"Expected patch and stride >= 1 and a patch within {sides}, got {quoted(patch)} and {quoted(stride)}."
        )
    tops, lefts = (patch_starts(*sizes) for sizes in zip(sides, patch, stride, strict=True))
    return tops, lefts, patch, stride


def _pair(sides):
    if np.asarray(sides).dtype.kind not in "iufb" or np.size(sides) not in (1, 2):
        raise ValueError(f"Expected a number of pixels, or a pair, (height, width), got {quoted(sides)}.")
    return tuple(np.broadcast_to(sides, 2).tolist())


def _check_cover(x, patch, stride, cover):
    if not all(each.any(0).all() for each in cover):
        raise ValueError(f"Expected a stride that leaves no pixel uncovered, got {stride} for a patch of {patch}.")
    if patch == x.shape[1:3] != (1, 1):
        raise ValueError(f"Expected a patch smaller than the images, got {patch}, which hides all of them.")


def _cover(starts, length, n):
    """Which patch covers which row or column: (patches, n) float32."""
    pixels = np.arange(n)
    return ((pixels >= starts[:, None]) & (pixels < starts[:, None] + length)).astype(np.float32)
