"""Files of weights for a network whose last layer may have another size: its classes, and what does not fit.

>>> labels(("cat", "dog"), 2, None), labels(("cat", "dog"), 3, None)
(('cat', 'dog'), ('class 0', 'class 1', 'class 2'))
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from xai_jax.core.messages import quoted

Shapes = Mapping[str, Any]  # entries by name, each with a `shape`


def count_classes(arrays: Mapping[str, np.ndarray], one: Shapes, two: Shapes) -> int | None:
    """The number of classes of a file's entries, given the network's with one and with two classes; None if unknown.

    >>> one, two = ({"bias": np.ones(n), "kernel": np.ones((3, n))} for n in (1, 2))
    >>> count_classes({"bias": np.ones(7), "kernel": np.ones((3, 7))}, one, two)
    7
    """
    for name in sorted(one, key=lambda name: one[name].ndim):  # biases first
        axes = [axis for axis, size in enumerate(two[name].shape) if size != one[name].shape[axis]]
        if axes and name in arrays and arrays[name].ndim == one[name].ndim:
            return arrays[name].shape[axes[0]] or None
    return None


def labels(usual: Sequence[str], count: int, classes: int | Iterable[str] | None) -> tuple[str, ...]:
    """Names of `count` classes: those given, those of the network's data set where the number agrees, or numbers.

    Raises ValueError where `classes` names or is another number.
    """
    if isinstance(classes, str | bool | Mapping) or not isinstance(classes, int | np.integer | Iterable | None):
        raise TypeError(f"Expected the names of the classes or their number, got {quoted(classes)}.")
    names = tuple(map(str, classes)) if isinstance(classes, Iterable) else None
    wanted = count if classes is None else classes if names is None else len(names)
    if wanted != count:
        raise ValueError(
            f"Expected weights for {wanted} classes, as `classes` says, got weights for {count}. Usual cause: the file "
            "before its last layer was trained for other classes."
        )
    return names or (tuple(usual) if len(usual) == count else tuple(f"class {number}" for number in range(count)))


def hint(arrays: Mapping[str, np.ndarray], expected: Shapes, others: Mapping[str, Shapes]) -> str:
    """The cause why entries do not fit a network, where it is known: the name of another one, or batch normalisation.

    >>> hint({"bias": np.ones(2)}, {"bias": np.ones(3)}, {"small": {"bias": np.ones(2)}})
    ' They fit small.'
    """
    shapes = {name: array.shape for name, array in arrays.items()}
    for other, entries in others.items():
        if shapes == {name: entry.shape for name, entry in entries.items()}:
            return f" They fit {other}."
    if any("running_mean" in name for name in arrays) and not any(name.startswith("batch_stats") for name in expected):
        return " The file has batch normalisation, this network has none."
    return ""
