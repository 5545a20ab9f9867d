"""Evaluation of an array of images in chunks of constant size.

>>> net, x = lambda x, relu, tap: x.sum((1, 2)), jnp.ones((5, 2, 2, 3))
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from xai_jax.core import devices, memory, network, per_image, targets
from xai_jax.core.arguments import broadcasts, is_integer
from xai_jax.core.messages import excerpt, quoted
from xai_jax.core.network import Network
from xai_jax.core.precision import highest, wide
from xai_jax.core.targets import Target


def pixels(images: Array) -> Array:
    """uint8 (N, H, W, C) -> float32 in [0, 1].

    >>> pixels(jnp.full((1, 1, 1, 1), 255, jnp.uint8)).item()
    1.0
    """
    return images.astype(jnp.float32) / 255


def like_images(value: float | Array, x: Array, name: str) -> Array:
    """A number, a pixel (C,), an image, or one for each image, as an array with the axes and the dtype of images.

    >>> like_images([0.1, 0.2, 0.3], x, "fill").shape
    (1, 1, 1, 3)
    >>> like_images(np.zeros(2), x, "fill")
    Traceback (most recent call last):
    ValueError: Expected a fill that broadcasts to the images, (5, 2, 2, 3), such as a number, a pixel (3,), ...
    """
    shape, on_host = tuple(x.shape), isinstance(value, np.ndarray)  # large ones stay there until their chunk
    try:
        value = np.asarray(value, jnp.result_type(x)) if on_host else jnp.asarray(value, jnp.result_type(x))
    except (TypeError, ValueError):
        raise TypeError(f"Expected a number or an array as {name}, got {quoted(value)}.") from None
    if not broadcasts(value.shape, shape):
        raise ValueError(
            f"Expected a {name} that broadcasts to the images, {shape}, such as a number, a pixel {shape[3:]}, an "
            f"image {shape[1:]}, or one for each, got {value.shape}."
        )
    return value.reshape((1,) * (len(shape) - value.ndim) + value.shape)


@highest()
def chunked(step: Callable, net: Network, x: Array, target: Target, batch_size: int | None, *rest: Array) -> Any:
    """Evaluates a function over chunks of images, each divided among the devices, and concatenates its results.

    The last chunk is padded with copies of the last image, so that only one shape is compiled. Of NumPy arrays two
    chunks at a time are on the devices: each is checked while the next one is computed.

    >>> chunked(targets.evaluate, net, x, targets.logit(0), 2).tolist()
    [4.0, 4.0, 4.0, 4.0, 4.0]

    Args:
      step: `step(net, x, target, *rest) -> (result, logits)`; the result is a pytree of arrays (n, ...).
      net: the network.
      x: images (N, H, W, C) in the network's input range.
      target: the target, of which `step` receives the rows of the chunk.
      batch_size: number of images in a chunk; None: by the memory of each device, see `memory`.
      *rest: further arrays (N, ...), or (1, ...) for all images.

    Returns:
      The results, (N, ...), float32 or wider.

    Raises:
      ValueError: images, network and target do not match, the network ends in a softmax, or logits or results are not
        finite.
    """
    targets.check(net, x, target)
    targets.check_dependence(net, x, target)
    net, n = network.as_network(net), x.shape[0]
    size, number = division(net, x, n, batch_size, (x, target, rest))
    if size != n:
        check_counts(net, x, size)
    net, parts, faults = devices.copy(net, number), [], []
    for start in range(0, n, size):
        rows = slice(start, start + size) if start + size <= n else np.minimum(np.arange(start, start + size), n - 1)
        own = [array if len(array) == 1 else array[rows] for array in rest]
        images, *own = devices.share([x[rows], *own], number)
        chosen = devices.share_rows(per_image.rows(net, rows), number)
        result, logits = step(chosen, images, target.rows(rows), *own)
        parts.append(result)
        faults.append(targets.faults(logits, result))
        if start:
            targets.refuse_faults(faults[-2], start - size)
    targets.refuse_faults(faults[-1], n - 1 - (n - 1) % size)
    results = parts[0] if size == n else jax.tree.map(lambda *p: jnp.concatenate(p)[:n], *parts)
    return wide(results if n % number else devices.share(results, number))


def call_in_chunks(function: Callable[[Any], Any], x: Any, batch_size: int | None = None) -> Any:
    """`network.call` over chunks of images, each divided among the devices.

    >>> call_in_chunks(network.features(lambda x, relu, tap: tap("mean", x.mean((1, 2))), "mean"), x, 2).shape
    (5, 3)

    Args:
      function: a network, its features or any other function of images.
      x: images (N, H, W, C).
      batch_size: number of images in a chunk; None: by the memory of each device, see `memory`.

    Returns:
      Its results, NumPy arrays (N, ...).

    Raises:
      ValueError: for a batch size below 1.
    """
    function, n, parts = network.as_network(function), len(x), []
    size, number = division(function, x, n, batch_size)
    function = devices.copy(function, number)
    for start in range(0, n, size):
        rows = np.minimum(np.arange(start, start + size), n - 1)
        chosen = devices.share_rows(per_image.rows(function, rows), number)
        parts.append(jax.device_get(network.call(chosen, devices.share(x[rows], number))))
    return jax.tree.map(lambda *p: np.concatenate(p)[:n], *parts)


def division(net: Network, x: Any, n: int, batch_size: int | None, arrays: Any = ()) -> tuple[int, int]:
    """How images are divided: the number of them in a chunk (see `chunk_size`), and of devices that share it.

    >>> division(net, x, 5, 2) if jax.local_device_count() == 1 else (2, 1)
    (2, 1)

    Args:
      net: the network.
      x: images (N, H, W, C), of which shape and placement are used.
      n: number of images in all; of occluded ones, more than N.
      batch_size: number of images in a chunk, or None.
      arrays: a pytree of what goes along with the images.

    Returns:
      Number of images in a chunk, and of devices: 1 for a network that takes no rounded number of images, such as an
      exported one.

    Raises:
      ValueError: for a batch size below 1.
    """
    number = devices.count((net, x, arrays), n)
    size = chunk_size(batch_size, n, net, x, number)
    if number > 1 and not _takes(net, x, size):
        return chunk_size(batch_size, n, net, x), 1
    return size, number


def _takes(function, x, size):
    """Whether a function gives a row for each of so many images."""
    try:
        images = jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype)
        found = jax.eval_shape(network.call, per_image.like(function, size), images)
    except Exception:  # whatever the function's own library raises
        return False
    return all(leaf.shape[:1] == (size,) for leaf in jax.tree.leaves(found))


def chunk_size(batch_size: int | None, n: int, net: Any, x: Any, number: int = 1) -> int:
    """Number of images in a chunk: `batch_size`, and at most n, rounded up to a multiple of the number of devices.

    >>> chunk_size(None, 100, net, x), chunk_size(8, 5, net, x), chunk_size(9, 100, net, x, number=4)
    (32, 5, 12)

    Args:
      batch_size: number of images; None: as many on each device as `memory.images_at_once` says.
      n: number of images in all.
      net: the network, or another function of images.
      x: images (N, H, W, C).
      number: number of devices.

    Returns:
      The number of images.

    Raises:
      ValueError: for a batch size below 1.
    """
    if batch_size is not None and (not is_integer(batch_size) or batch_size < 1):
        raise ValueError(f"Expected a batch size of at least 1, an integer, got {quoted(batch_size)}.")
    size = number * memory.images_at_once(net, x) if batch_size is None else int(batch_size)
    return -(-min(size, n) // number) * number


def check_counts(net: Network, x: Any, *counts: int) -> None:
    """Raises ValueError unless the network gives a row of logits for each of so many images, by abstract evaluation.

    >>> check_counts(lambda x, relu, tap: x.sum((1, 2)) * jnp.ones((5, 3)), x, 1)
    Traceback (most recent call last):
    ValueError: Expected a row of logits for each image, got 5 for 1. Usual cause: among the weights an array with a ...
    """
    for count in counts:
        try:
            logits = network.abstract(net, jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype))[0]
            got = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(logits)} - {count}
        except ValueError as error:
            raise row_error(count, f"an error ({excerpt(error.__cause__ or error, 150)})") from error
        if got:
            raise row_error(count, got.pop())


def check_repeatable(net: Network, x: Any, images: Callable[[], Array]) -> None:
    """Raises ValueError unless a network treats all images equally, for methods that move images in their batch.

    A network that takes no other number of images, such as an exported one, is tried on the images in another order.

    >>> check_repeatable(lambda x, relu, tap: x.sum((1, 2)) * jnp.arange(15.0).reshape(5, 3), x, lambda: x)
    Traceback (most recent call last):
    ValueError: Expected a row of logits for each image, got an error ...

    Args:
      net: the network.
      x: a batch of images (N, H, W, C), or its shape.
      images: returns the images, where their values are needed.

    Raises:
      ValueError: the network binds an array with a row for each image.
    """
    network.abstract(net, x)  # an error in these images themselves has other causes
    n = x.shape[0]
    check_counts(net, x, n)
    try:
        check_counts(net, x, 2 if n != 2 else 3)
    except ValueError:
        given = images()
        evaluate = Partial(_logits, network.as_network(net))
        logits, moved = (network.call(evaluate, each) for each in (given, jnp.roll(given, 1, 0)))
        if not all(map(_close, [jnp.roll(each, 1, 0) for each in logits], moved)):
            raise


def _logits(net, x):
    return jax.tree.leaves(network.capture(net, x, ())[0])


def _close(a, b):
    if not jnp.issubdtype(a.dtype, jnp.floating):
        return bool((a == b).all())
    rounding = max(1e-3, 4 * float(jnp.finfo(a.dtype).eps))
    a, b = (np.asarray(each, np.float64) for each in (a, b))
    return bool((abs(a - b) <= rounding * abs(a).max()).all())


def row_error(count: int, got: Any) -> ValueError:
    """The error for a network that gives `got` rows of logits for `count` images.

    >>> str(row_error(1, 5))[:59]
    'Expected a row of logits for each image, got 5 for 1. Usual'
    """
    return ValueError(
        f"Expected a row of logits for each image, got {got} for {count}. Usual cause: among the weights an array with "
        "a row for each image, such as a second input or a mask. Pass it as `inputs` of adapt.from_function and its "
        "siblings, or bind it as network.PerImage, so that each row goes along with its image."
    )
