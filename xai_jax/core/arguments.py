"""Validation of the arguments that public functions share: images, other arrays, names of layers, counts."""

import numbers
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core import finite
from xai_jax.core.messages import quoted


def check_array(value: Any, what: str) -> None:
    """Raises TypeError unless `value` is an array of NumPy or JAX, or a `jax.ShapeDtypeStruct`, of real numbers.

    >>> check_array([np.zeros(3)], "images (N, H, W, C)")
    Traceback (most recent call last):
    TypeError: Expected an array of images (N, H, W, C), got list. Usual remedy: np.stack, for images of one size.
    """
    if isinstance(value, np.ma.MaskedArray) or not isinstance(value, np.ndarray | jax.Array | jax.ShapeDtypeStruct):
        kind = type(value)
        if isinstance(value, list | tuple):
            remedy = " Usual remedy: np.stack, for images of one size."
        elif hasattr(value, "__array__") and hasattr(value, "shape"):
            remedy = " Usual remedy: np.asarray, with the channels last; PyTorch has them first."
        else:
            remedy = ""
        module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__.partition('.')[0]}."
        raise TypeError(f"Expected an array of {what}, got {module}{kind.__name__}.{remedy}")
    if not _is_real(value.dtype):
        raise TypeError(f"Expected an array of {what}, of real numbers, got {quoted(str(value.dtype))}.")


def check_images(x: Any, first: int = 0) -> None:
    """Raises unless `x` is a non-empty batch (N, H, W, C) of finite floating-point images.

    Values are checked outside of `jax.jit` only. `first` is the index of the first image.

    >>> check_images(np.zeros((4, 4, 3), np.float32))
    Traceback (most recent call last):
    ValueError: Expected images (N, H, W, C), got shape (4, 4, 3). One image needs a leading axis: x[None].
    """
    check_image_shapes(x)
    if (bad := finite.first_bad(x)) is not None:
        raise ValueError(
            f"Expected finite images, got NaN or infinity in image {first + bad}. Usual cause: division by a zero "
            "standard deviation."
        )


def check_image_shapes(x: Any) -> None:
    """`check_images` without looking at values, which may be on disk.

    >>> check_image_shapes(np.full((1, 8, 8, 3), np.nan, np.float32))
    """
    check_array(x, "images (N, H, W, C)")
    if len(x.shape) != 4:
        raise ValueError(f"Expected images (N, H, W, C), got shape {x.shape}. One image needs a leading axis: x[None].")
    if 0 in x.shape:
        raise ValueError(f"Expected at least one image and one pixel, got shape {x.shape}.")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"Expected floating-point images, got {x.dtype}. Pixels go through the model's preprocess first."
        )


def broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether an array of a shape broadcasts to another shape.

    >>> broadcasts((3,), (2, 3)), broadcasts((2,), (2, 3))
    (True, False)
    """
    try:
        return np.broadcast_shapes(shape, to) == tuple(to)
    except ValueError:
        return False


def as_floats(value: Any, what: str) -> Array:
    """An array, or what NumPy makes an array of, such as a list, as float32 of the same shape.

    >>> as_floats([1, 2], "codes").tolist()
    [1.0, 2.0]
    """
    array = value
    if not isinstance(value, np.ndarray | jax.Array):
        try:
            array = np.asarray(value)
        except (ValueError, TypeError, RuntimeError):  # of rows of different lengths; of a tensor of PyTorch
            array = np.asarray(None)
    if not _is_real(array.dtype):
        check_array(value, what)
        raise TypeError(f"Expected an array of {what}, got {quoted(value)}.")
    return jnp.asarray(array, jnp.float32)


def as_names(layers: str | Iterable[str]) -> tuple[str, ...]:
    """Names of layers without repetition, of one name or several.

    >>> as_names("relu1"), as_names(["relu2", "relu1", "relu2"])
    (('relu1',), ('relu2', 'relu1'))
    """
    names = (layers,) if isinstance(layers, str) else tuple(layers) if hasattr(layers, "__iter__") else (None,)
    if not names:
        raise ValueError("Expected one layer or more, got none.")
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"Expected the name of a layer or several names, got {quoted(layers)}.")
    return tuple(dict.fromkeys(names))


def check_count(value: Any, what: str, least: int = 1) -> None:
    """Raises ValueError unless `value` is an integer, at least `least`.

    >>> check_count(0, "steps")
    Traceback (most recent call last):
    ValueError: Expected 1 or more steps, an integer, got 0.
    """
    if not is_integer(value) or value < least:
        raise ValueError(f"Expected {least} or more {what}, an integer, got {quoted(value)}.")


def check_amount(value: Any, what: str) -> None:
    """Raises ValueError unless `value` is a finite number, 0 or more; values are checked outside of `jax.jit` only.

    >>> check_amount(float("nan"), "noise")
    Traceback (most recent call last):
    ValueError: Expected a finite number as noise, 0 or more, got nan.
    """
    if isinstance(value, jax.core.Tracer):
        return
    try:
        is_amount = not isinstance(value, str) and 0 <= float(value) < np.inf
    except (TypeError, ValueError):
        is_amount = False
    if not is_amount:
        raise ValueError(f"Expected a finite number as {what}, 0 or more, got {quoted(value)}.")


def check_method(method: Any) -> None:
    """Raises TypeError unless `method` is an attribution method, a function, and not its name.

    >>> check_method("guided")
    Traceback (most recent call last):
    TypeError: Expected an attribution method, such as saliency.gradient, got 'guided'.
    """
    if not callable(method):
        raise TypeError(f"Expected an attribution method, such as saliency.gradient, got {quoted(method)}.")


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, of Python, NumPy or JAX, and no truth value.

    >>> is_integer(np.int64(3)), is_integer(jnp.int32(3)), is_integer(True), is_integer(3.0)
    (True, True, False, False)
    """
    if isinstance(value, np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer):
        return value.ndim == 0 and bool(jnp.issubdtype(value.dtype, jnp.integer))
    return isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)


def _is_real(dtype):
    try:
        return any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))
    except TypeError:  # of a structured dtype
        return False
