"""The logits among the outputs of a model.

>>> import jax.numpy as jnp
>>> outputs = {"logits": jnp.ones((2, 10)), "features": jnp.ones((2, 64))}
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.tree_util import Partial, keystr, tree_flatten_with_path

from xai_jax.core.closures import as_leaves
from xai_jax.core.messages import Explained, excerpt, first_line, listed, quoted

Output = str | int | Callable[[Any], Any] | None


def chooser(output: Output) -> Partial:
    """The function that returns the logits, given what a model returns.

    >>> chooser("logits")(outputs).shape
    (2, 10)

    Args:
      output: key, attribute or index of the logits, a function that returns them, or None if the model returns nothing
        else.

    Returns:
      The function, a pytree. It raises ValueError for other outputs than one array.

    Raises:
      TypeError: `output` is no key, index or function.
    """
    if output is not None and not callable(output) and (isinstance(output, bool) or not isinstance(output, str | int)):
        raise TypeError(
            f"Expected output as a key, an index or a function of what the model returns, got {quoted(output)}."
        )
    return as_leaves(lambda outputs: _chosen(outputs, output))


def _chosen(outputs, output):
    if output is None and _is_single(outputs):
        return outputs
    if output is None:
        raise Explained(f"Expected one array of logits, {_returned(outputs)}")
    if _is_single(outputs) and not callable(output):
        raise Explained(f"Expected no output=, as the model returns one array, got {_given(output)}.")
    try:
        chosen = _item(outputs, output)
    except Exception as error:  # whatever a function raises
        what = excerpt(f"{type(error).__name__}: {first_line(error)}", 100)
        raise Explained(
            f"Expected an output of the model, {_given(output)} raised {what}; {_returned(outputs)}"
        ) from error
    if not _is_single(chosen):
        raise Explained(
            f"Expected one array of logits, {_given(output)} is a {type(chosen).__name__}; {_returned(outputs)}"
        )
    return chosen


def _given(output):
    return f"output={quoted(output, 40)}"


def _item(outputs, output):
    if callable(output):
        return output(outputs)
    return getattr(outputs, output) if isinstance(output, str) and not isinstance(outputs, Mapping) else outputs[output]


def _is_single(outputs):
    return jax.tree.structure(outputs) == jax.tree.structure(0)


def _returned(outputs):
    """What the model returned, and how to choose, by the example of what is likely to be the logits."""
    leaves = [(path, keystr(path), getattr(leaf, "shape", ())) for path, leaf in tree_flatten_with_path(outputs)[0]]
    described = listed(f"{name} {shape}".strip() for _, name, shape in leaves)
    if not leaves:
        return f"the model returned {quoted(outputs, 40)}."
    path, name, _ = min(leaves, key=lambda leaf: ("logit" not in leaf[1], len(leaf[0]), len(leaf[2]) or 9))
    ways = [f"output=lambda outputs: outputs{name}"]
    if len(path) == 1:
        ways.insert(0, f"output={_key(path[0])!r}")
    by = "key, index or function" if len(path) == 1 else "function"
    return f"the model returned {described}. Choose by {by}: {' or '.join(excerpt(way, 80) for way in ways)}."


def _key(entry):
    """A dictionary's key, a sequence's index, an attribute's name."""
    return next(getattr(entry, field) for field in ("key", "idx", "name") if hasattr(entry, field))
