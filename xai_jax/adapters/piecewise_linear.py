"""Elementwise functions of one number, evaluated at probes, for `xai_jax.adapters.rectifiers`.

Probes are powers of two near zero and far from it, so that a function of one gradient on either side of zero gives
exactly doubled values at doubled probes, however it is computed. Values at the probes have shape (9,).

>>> evaluate("max", PROBES, 0.0)[-1] == PROBES[-1]
np.True_
"""

import math

import numpy as np

_NEAR, _FAR = 2.0**-10, 2.0**20
PROBES = np.array([-2 * _FAR, -_FAR, -2 * _NEAR, -_NEAR, 0.0, _NEAR, 2 * _NEAR, _FAR, 2 * _FAR])


def evaluate(name: str, *operands: np.ndarray | float) -> np.ndarray | float:
    """Values of a primitive; NaN unless it is piecewise linear, a product or a comparison.

    >>> evaluate("mul", PROBES, evaluate("gt", PROBES, 0.0))[4:6].tolist()
    [0.0, 0.0009765625]
    >>> evaluate("exp", 1.0)
    nan
    """
    with np.errstate(all="ignore"):
        unknown = sum(operands) * 0  # NaN where an operand is NaN or infinite
        if name in _COMPARISONS:
            return _COMPARISONS[name](*operands) + unknown
        return _OPERATIONS[name](*operands) if name in _OPERATIONS else unknown * np.nan


def _select(which, *cases):
    """Of two cases; a predicate that is a weight chooses a mixture."""
    if len(cases) != 2:
        return sum(cases) * np.nan
    if np.isin(which, (0, 1)).all():
        return np.where(which == 1, cases[1], cases[0])
    return (1 - which) * cases[0] + which * cases[1]


_OPERATIONS = {
    "abs": np.abs,
    "add": np.add,
    "add_any": np.add,
    "and": np.minimum,  # of predicates, 0 or 1
    "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
    "convert_element_type": lambda x: x,
    "copy": lambda x: x,
    "copy_p": lambda x: x,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "name": lambda x: x,
    "neg": np.negative,
    "not": lambda x: 1 - x,
    "or": np.maximum,
    "reduce_precision": lambda x: x,
    "select_n": _select,
    "sign": np.sign,
    "sub": np.subtract,
}
_COMPARISONS = {
    "eq": np.equal,
    "ge": np.greater_equal,
    "gt": np.greater,
    "le": np.less_equal,
    "lt": np.less,
    "ne": np.not_equal,
}
PIECEWISE_LINEAR = frozenset([*_OPERATIONS, *_COMPARISONS])


def sides(y: np.ndarray) -> tuple[float, float] | None:
    """Gradients of a rectifier on the positive and on the negative side; None for another function.

    A rectifier consists of two lines through zero: close to zero, or also far from it, as with a threshold.

    >>> sides(evaluate("max", PROBES, 0.0)), sides(evaluate("clamp", 0.0, PROBES, 6.0)), sides(PROBES)
    ((1.0, -0.0), (1.0, -0.0), None)
    >>> sides(evaluate("select_n", evaluate("gt", PROBES, 1.0), 0.0, PROBES)), sides(evaluate("max", PROBES, 1e-7))
    ((1.0, -0.0), None)
    """
    if not np.isfinite(y).all():
        return None
    n_far2, n_far, n_near2, n_near, _, p_near, p_near2, p_far, p_far2 = y
    if n_near2 != 2 * n_near or p_near2 != 2 * p_near:
        return None
    near = p_near / _NEAR, -n_near / _NEAR
    far = p_far / _FAR, -n_far / _FAR
    if not math.isclose(*near):
        return float(near[0]), float(near[1])
    if n_far2 != 2 * n_far or p_far2 != 2 * p_far or math.isclose(*far):
        return None
    return float(far[0]), float(far[1])


def kind(y: np.ndarray) -> str:
    """The name of a rectifier.

    >>> kind(evaluate("max", PROBES, 0.1 * PROBES)), kind(evaluate("min", PROBES, 0.0))
    ('leaky ReLU', 'min(x, 0)')
    """
    positive, negative = sides(y)
    if math.isclose(y[5], -y[3]):
        return "ReLU with a threshold"
    if math.isclose(positive, -negative):
        return "abs(x)"
    if positive and negative:
        return "leaky ReLU"
    return "max(x, 0)" if positive > 0 or negative < 0 else "min(x, 0)"


def has_rule_of(relu: np.ndarray, y: np.ndarray) -> bool:
    """Whether the rule of a ReLU is also that of a rectifier made of it, bounded or with a skip connection around it.

    >>> relu = evaluate("max", PROBES, 0.0)
    >>> has_rule_of(relu, PROBES + 2 * relu), has_rule_of(relu, 0.1 * PROBES + relu)
    (True, False)
    """
    both, alone = sides(y), sides(relu)
    if alone is None or all(alone):
        return False
    on, off = both if alone[0] else reversed(both)
    return off == 0 or (math.isclose(abs(off), 1) and abs(on) > 1)


def is_bounded(y: np.ndarray) -> bool:
    """Whether a function is constant at both ends.

    >>> is_bounded(evaluate("clamp", 0.0, PROBES, 1.0)), is_bounded(PROBES)
    (True, False)
    """
    return bool(y[0] == y[1] and y[7] == y[8])


def saturates(y: np.ndarray) -> bool:
    """Whether a function is bounded and, but for a constant, odd or even: a gate such as `hard_sigmoid`, or a window.

    >>> saturates(evaluate("clamp", 0.0, PROBES + 3, 6.0)), saturates(evaluate("clamp", 0.0, PROBES, 6.0))
    (True, False)
    """
    return is_bounded(y) and (is_odd(y) or _equal(y, y[::-1]))


def is_odd(y: np.ndarray) -> bool:
    """Whether a function is odd but for a constant.

    >>> is_odd(2 * PROBES + 1), is_odd(abs(PROBES))
    (True, False)
    """
    return bool(np.isfinite(y).all()) and _equal(y - y[4], y[4] - y[::-1])


def are_proportional(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether one function is a multiple of the other.

    >>> are_proportional(PROBES, -3 * PROBES), are_proportional(PROBES, abs(PROBES))
    (True, False)
    """
    i = abs(a).argmax()
    return bool(np.isfinite(a).all() and b[i] != 0) and _equal(a * b[i], b * a[i])


def _equal(a, b):
    return bool((abs(a - b) <= 1e-9 * abs(b)).all())
