"""Validation of models and weights of other libraries."""

from collections.abc import Mapping
from typing import Any

import jax

from xai_jax.core.messages import excerpt

_PARAMETERS = {"kernel", "bias", "scale", "embedding"}  # of Flax's own layers


def check_model(model: Any, what: str, method: str = "__call__", refused: type | tuple = ()) -> None:
    """Refuses a class, and a model of another library.

    >>> check_model(abs, "a function")

    Args:
      model: what the user passed as a model.
      what: a name of what is expected, for the message.
      method: that a model has to have.
      refused: types of models that have an adapter of their own.

    Returns:
      Nothing.

    Raises:
      TypeError: it is a class, or a model of another library.
    """
    if isinstance(model, type):
        raise TypeError(f"Expected {what}, got the class {excerpt(model.__name__)}. Make an instance of it first.")
    if not callable(getattr(model, method, None)) or isinstance(model, refused):
        raise TypeError(
            f"Expected {what}, got {excerpt(type(model).__name__)}. Usual causes: arguments in another order, or a "
            "model of another library, which has its own adapter: from_linen, from_nnx, from_equinox, from_haiku, "
            "from_keras."
        )


def check_variables(variables: Any) -> None:
    """Raises TypeError unless `variables` are a mapping, and ValueError if they are the parameters alone.

    >>> check_variables({"params": {"Dense_0": {"kernel": 0.0}}})
    """
    if not isinstance(variables, Mapping):
        raise TypeError(
            f"Expected the variables of a module, {{'params': ...}}, got {type(variables).__name__}. Usual cause: the "
            "state of training, or the result of `init_with_output`, which hold them."
        )
    names = {str(getattr(path[-1], "key", "")) for path, _ in jax.tree_util.tree_leaves_with_path(variables)}
    if "params" not in variables and names & _PARAMETERS:
        raise ValueError(
            "Expected the variables of a module, {'params': ...} and perhaps further collections, got "
            f"{sorted(variables)[:3]}. Usual cause: variables['params'] instead of variables."
        )
