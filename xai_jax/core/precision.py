"""Sums, means and differences are computed in at least float32, whatever the dtype of images and networks.

In bfloat16 a sum stops growing at 256 times its terms, and a softmax adds up to 1 within a hundredth only.
"""

from typing import Any

import jax
import jax.numpy as jnp


def wide_dtype(dtype: Any) -> Any:
    """float32 for narrower floating-point dtypes, others unchanged.

    >>> wide_dtype(jnp.bfloat16) == jnp.float32, wide_dtype(jnp.int8) == jnp.int8
    (True, True)
    """
    is_narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    return jnp.dtype(jnp.float32 if is_narrow else dtype)


def wide(tree: Any) -> Any:
    """A pytree of arrays with those of narrow floating-point dtypes converted to float32.

    >>> wide({"map": jnp.ones(2, jnp.float16)})["map"].dtype
    dtype('float32')
    """
    return jax.tree.map(_wide, tree)


def _wide(array):
    dtype = wide_dtype(array.dtype)
    return array if array.dtype == dtype else array.astype(dtype)
