"""The policy of numerical precision: products of float32 in float32, and sums in at least float32.

Accelerators round the operands of float32 products and convolutions by default, GPUs to TF32 (10 bits), TPUs to
bfloat16 (7 bits): a gradient of EfficientNet-Lite0 is then off by 14 % or 38 %. Methods that measure run inside of
`highest`; training, and the networks' passes in inversion and activation maximisation, run at JAX's default. Products
that cost nothing, such as changes of colours, have precision `HIGHEST` in both. A precision that the user sets, by
`jax.default_matmul_precision` or in JAX's configuration, has priority over `highest`.

In bfloat16 a sum stops growing at 256 times its terms, and a softmax adds up to 1 within a hundredth only.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

HIGHEST = lax.Precision.HIGHEST


@contextlib.contextmanager
def highest() -> Iterator[None]:
    """Products and convolutions of float32 in float32, unless the user has set a precision; also a decorator.

    The setting is part of the key of JAX's compiled functions: decorate around `jax.jit`, not inside of it.

    >>> with highest():
    ...     print(jax.config.jax_default_matmul_precision)
    highest
    >>> with jax.default_matmul_precision("tensorfloat32"), highest():
    ...     print(jax.config.jax_default_matmul_precision)
    tensorfloat32
    """
    with jax.default_matmul_precision(jax.config.jax_default_matmul_precision or "highest"):
        yield


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
