"""Arrays with a row for each image, which go along with their images where a method cuts or repeats images.

A network with a second input, or with a mask for each image, binds it as `PerImage`; everything else that it binds
serves all images.

>>> side = PerImage(jnp.array([[1.0], [2.0], [3.0]]))
>>> net = jax.tree_util.Partial(lambda side, x, relu, tap: x.mean((1, 2)) * side.value, side)
>>> rows(net, slice(1, 2)).args[0].value.tolist()
[[2.0]]
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core.pytrees import node


@node
class PerImage:
    """A pytree of arrays (N, ...) as a part of a network, read as `.value`: row i belongs to image i."""

    value: Any


def is_per_image(tree: Any) -> bool:
    """Whether a tree is a `PerImage`, for `jax.tree.map(..., is_leaf=is_per_image)`.

    >>> is_per_image(side), is_per_image(net)
    (True, False)
    """
    return isinstance(tree, PerImage)


def rows(net: Any, index: Any) -> Any:
    """A network, or any pytree, for some of its images: selects rows in every `PerImage` that it holds.

    >>> rows(side, [2, 2]).value.tolist()
    [[3.0], [3.0]]
    """
    index = index if isinstance(index, slice) else np.asarray(index)
    return _map_arrays(net, lambda array: array[index])


def leaves(net: Any) -> list[bool]:
    """For each leaf of a pytree whether it belongs to a `PerImage`.

    >>> leaves((side, 1.0))
    [True, False]
    """
    parts = jax.tree.leaves(net, is_leaf=is_per_image)
    return [is_per_image(part) for part in parts for _ in jax.tree.leaves(part)]


def arrays(net: Any) -> list[Array]:
    """The arrays with a row for each image.

    >>> arrays((side, 1.0))[0].shape
    (3, 1)
    """
    return list(itertools.compress(jax.tree.leaves(net), leaves(net)))


def like(net: Any, n: int) -> Any:
    """The network for `n` images, for `jax.eval_shape`: the rows in shapes alone.

    >>> like(side, 8).value.shape
    (8, 1)
    """
    return _map_arrays(net, lambda array: jax.ShapeDtypeStruct((n, *array.shape[1:]), jnp.result_type(array)))


def check_rows(net: Any, n: int) -> None:
    """Raises ValueError unless every `PerImage` has `n` rows.

    >>> check_rows(net, 2)
    Traceback (most recent call last):
    ValueError: Expected inputs with a row for each of 2 images, got an array (3, 1).
    """
    for array in arrays(net):
        if jnp.shape(array)[:1] != (n,):
            remedy = "" if jnp.shape(array) else " Usual remedies: np.asarray of a list; bind what all images share."
            raise ValueError(
                f"Expected inputs with a row for each of {n} images, got an array {jnp.shape(array)}.{remedy}"
            )


def refuse(net: Any, method: str, instead: str) -> None:
    """Raises ValueError for a network with a `PerImage`, in methods whose images have no rows there.

    >>> refuse(net, "an evolution", "Bind one row for all")
    Traceback (most recent call last):
    ValueError: Expected a network without inputs for each image in an evolution, got (3, 1). Bind one row for all.
    """
    for array in arrays(net):
        raise ValueError(
            f"Expected a network without inputs for each image in {method}, got {jnp.shape(array)}. {instead}."
        )


def _map_arrays(tree, function):
    def change(part):
        return jax.tree.map(function, part) if is_per_image(part) else part

    return jax.tree.map(change, tree, is_leaf=is_per_image)
