"""All devices of this process for one call: each has an equal share of the images, and a copy of the network.

XLA divides the program. A call stays on one device for fewer images than devices, inside of `jax.jit`, and wherever the
user has chosen: by arrays that are committed to devices, as `jax.device_put(x, device)` and shardings of the user's own
commit them, or by `jax.default_device`. Several processes each use their own devices.

>>> x = np.zeros((8, 2, 2, 3), np.float32)
>>> number = count(x, len(x))  # of devices
>>> number == (jax.local_device_count() if jax.local_device_count() <= 8 else 1), share(x, 1) is x
(True, True)
"""

import functools
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from xai_jax.core import per_image

_AXIS = "xai_jax images"  # no other mesh has an axis of this name


def count(arrays: Any, n: int) -> int:
    """Number of devices among which a call with these arrays, a pytree, divides `n` images.

    >>> count(jax.device_put(np.zeros((8, 1)), jax.devices()[0]), 8)
    1
    """
    number = jax.local_device_count()
    if number == 1 or n < number or jax.config.jax_default_device is not None:
        return 1
    is_traced = isinstance(jax.lax.full((), 0), jax.core.Tracer)  # also a call with constants alone
    return 1 if is_traced or any(map(_is_placed, jax.tree.leaves(arrays))) else number


def dividing(arrays: Any, n: int) -> int:
    """`count` for what cannot be padded, such as n problems of an optimisation: 1 where it does not divide n.

    >>> dividing((), 7) in (1, 7)
    True
    """
    number = count(arrays, n)
    return 1 if n % number else number


def _is_placed(leaf):
    """Whether an array is traced, or committed to devices by anybody else."""
    if isinstance(leaf, jax.core.Tracer):
        return True
    if not isinstance(leaf, Array) or not leaf.committed:
        return False
    return getattr(getattr(leaf.sharding, "mesh", None), "axis_names", None) != (_AXIS,)


def share(arrays: Any, number: int) -> Any:
    """Divides arrays (N, ...) of a pytree among devices, whose number divides N; numbers and single rows go to each.

    >>> share(np.zeros((2, 3)), 1).shape
    (2, 3)
    """
    if number == 1:
        return arrays
    return jax.device_put(arrays, jax.tree.map(lambda a: _sharding(number, np.shape(a)[:1] > (1,)), arrays))


def constrain(arrays: Any, number: int, divided: bool) -> Any:
    """`share`, or `copy` unless `divided`, of arrays inside of a compiled function.

    >>> jax.jit(lambda x: constrain(x, 1, divided=True))(np.zeros((2, 3))).shape
    (2, 3)
    """
    return arrays if number == 1 else jax.lax.with_sharding_constraint(arrays, _sharding(number, divided))


def copy(net: Any, number: int) -> Any:
    """Copies the arrays of a pytree to each device, apart from those with a row for each image, which are unchanged.

    >>> copy(np.zeros((2, 3)), 1).shape
    (2, 3)
    """
    if number == 1:
        return net
    leaves, tree = jax.tree.flatten(net)
    is_row = per_image.leaves(net)
    copies = iter(jax.device_put([leaf for leaf, r in zip(leaves, is_row, strict=True) if not r], _sharding(number)))
    return jax.tree.unflatten(tree, [leaf if r else next(copies) for leaf, r in zip(leaves, is_row, strict=True)])


def share_rows(net: Any, number: int) -> Any:
    """Divides the arrays of a network that have a row for each image, `PerImage`, and leaves the others unchanged.

    >>> share_rows(np.zeros((2, 3)), 1).shape
    (2, 3)
    """
    if number == 1 or not any(per_image.leaves(net)):
        return net
    return jax.tree.map(
        lambda part: share(part, number) if per_image.is_per_image(part) else part, net, is_leaf=per_image.is_per_image
    )


def _sharding(number, divided=False):
    return NamedSharding(_mesh(number), PartitionSpec(_AXIS) if divided else PartitionSpec())


@functools.cache
def _mesh(number):
    return Mesh(np.array(jax.local_devices()[:number]), (_AXIS,))
