"""The number of images that a device processes at once, from its memory and the size of the network's activations.

On accelerators it is the largest power of two, at most 256, for which the outputs of all operations of the forward pass
fit in the memory that JAX may allocate, or in twice what is free, whichever is less. Compiled gradients require a
fifth to a third of these bytes, as most operations are fused with others. Powers of two, so that few shapes are
compiled; a share of the whole memory, so that results do not depend on what else is there, unless it is scarce. On
CPUs, which are as fast with few images, it is 32.

>>> fitting(256_000_000, limit=60_000_000_000, free=60_000_000_000)
128
>>> fitting(256_000_000, limit=60_000_000_000, free=8_000_000_000)
32
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xai_jax.core import per_image
from xai_jax.core.pytrees import shape_and_dtype

ON_CPU = 32
_MOST = 256  # more do not fill a device better


def images_at_once(function: Callable, x: Any) -> int:
    """The number of images (N, H, W, C) for a function of them, a pytree such as a network.

    >>> images_at_once(abs, np.zeros((100, 8, 8, 3), np.float32)) == ON_CPU  # there are no figures of its memory
    True
    """
    stats = _device(x).memory_stats() or {}
    if "bytes_limit" not in stats:
        return ON_CPU
    leaves, tree = jax.tree.flatten(per_image.like(function, 1))
    try:
        needed = _needed(tree, tuple(map(shape_and_dtype, leaves)), (1, *x.shape[1:]), jnp.result_type(x))
    except Exception:  # a network for another number of images, or an error that its call explains
        return ON_CPU
    return fitting(needed, stats["bytes_limit"], stats["bytes_limit"] - stats["bytes_in_use"])


def fitting(image: int, limit: int, free: int) -> int:
    """The largest power of two, 1 to 256, of images of so many bytes each, for a limit and free bytes of memory.

    >>> fitting(1, 4000, 4000), fitting(5000, 4000, 4000)
    (256, 1)
    """
    count = min(limit, 2 * free) // max(image, 1)
    return 2 ** (min(max(count, 1), _MOST).bit_length() - 1)


def _device(x):
    if isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer):
        return min(x.devices(), key=lambda device: device.id)
    chosen = jax.config.jax_default_device or jax.local_devices()[0]
    return jax.local_devices(backend=chosen)[0] if isinstance(chosen, str) else chosen


@functools.lru_cache(maxsize=32)  # few, as a bound method keeps its weights here
def _needed(tree, shapes, shape, dtype):
    """Bytes of the outputs of all operations for one image."""
    function = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*each) for each in shapes])
    return _outputs(jax.make_jaxpr(lambda f, x: f(x))(function, jax.ShapeDtypeStruct(shape, dtype)))


def _outputs(jaxpr):
    total = 0
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        bodies = [each for value in eqn.params.values() for each in _bodies(value)]
        inner = sum(map(_outputs, bodies)) * eqn.params.get("length", 1)
        total += max(inner, sum(map(_bytes, eqn.outvars)))
    return total


def _bodies(value):
    values = value if isinstance(value, tuple | list) else (value,)
    return [each for each in values if hasattr(each, "eqns") or hasattr(each, "jaxpr")]


def _bytes(variable):
    return int(np.prod(variable.aval.shape)) * getattr(variable.aval.dtype, "itemsize", 8)
