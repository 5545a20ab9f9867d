"""Batched solvers of linear classifiers in the span of their examples, in float64 on the device.

With an L2 penalty the normal is w = sum a_i x_i (representer theorem): outputs are f = K a + b, K the Gram matrix. The
penalty is |w|^2 / 2, and each example's loss has a cost c_i. All losses lead to the equations

    (K + diag(1 / h)) a + b = r,    sum a_i = 0

where `h` is positive: once for squared error, in each Newton step for the logistic loss (Rasmussen & Williams 2006,
algorithm 3.1), in each step of an interior-point method for the hinge loss (Mehrotra's predictor and corrector;
Ferris & Munson 2002). An example with the label 0 is padding and takes no part.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

LIMITS = {"cpu": (64, 2**26), "gpu": (4096, 2**30)}  # problems of one call, and bytes of their Gram matrices
PRECISION = 1e-8  # relative, of the objective (logistic) or of the squared length of the normal (hinge)
MAX_STEPS = 100


class Solutions(NamedTuple):
    """B classifiers: `weights` (B, n) of the training examples, whose sum is a unit normal, and `outputs` (B, k).

    `spread` (B,) is the variance of the training examples relative to their mean square; `sound` (B,) whether a
    solution was reached, and the rounding of its normal is small.
    """

    weights: np.ndarray
    outputs: np.ndarray
    spread: np.ndarray
    sound: np.ndarray


def on_device(products: np.ndarray) -> Array:
    """A Gram matrix (N, N) in float64 on the device, or on the host where the device has no float64."""
    device = None if jax.default_backend() in LIMITS else jax.devices("cpu")[0]
    with jax.enable_x64(True):
        return jax.device_put(products, device)


def is_on_host(products: Array) -> bool:
    """Whether a Gram matrix (N, N) is in the memory of the host, whose cores can then solve several batches at once.

    >>> is_on_host(on_device(np.eye(2))) == (jax.default_backend() == "cpu")
    True
    """
    return _platform(products) == "cpu"


def batch_size(n: int, products: Array) -> int:
    """Number of problems with n examples that one call should solve, a power of eight.

    >>> batch_size(200, on_device(np.eye(2)))
    64
    """
    most, size = LIMITS[_platform(products)], 1
    while 8 * size <= most[0] and 8 * size * products.dtype.itemsize * n**2 <= most[1]:
        size *= 8
    return size


def solve(
    loss: str, products: Array, training: np.ndarray, others: np.ndarray, labels: np.ndarray, costs: np.ndarray
) -> Solutions:
    """Fits B classifiers of one loss to as many examples each, in one call.

    Args:
      loss: a key of `LOSSES`.
      products: Gram matrix (N, N), see `on_device`.
      training: rows (B, n) of the examples of each classifier, in the order of the labels.
      others: rows (B, k) of examples whose outputs are wanted.
      labels: 1 and -1 (n,).
      costs: of the loss of each example (n,), where |w|^2 / 2 is the penalty.

    Returns:
      `Solutions`; those that are not `sound` are to be fitted otherwise: with a weak penalty, and more examples than
      dimensions, the weights of a short normal may be so large that float64 does not suffice.

    Raises:
      KeyError: for another loss.

    >>> x, rows = np.array([[1.0], [2.0], [0.0]]), np.array([[0, 2]])
    >>> found = solve("difference", on_device(x @ x.T), rows, np.array([[1]]), np.array([1, -1]), np.ones(2))
    >>> found.weights.tolist(), found.outputs.tolist()  # 1 x - 0.5 at x = 2
    ([[1.0, -1.0]], [[1.5]])
    """
    (problems, n), k = training.shape, others.shape[1]
    training, others = (_padded(rows, training[:, :1]) for rows in (training, others))
    labels, costs = (np.pad(np.asarray(each, np.float64), (0, training.shape[1] - n)) for each in (labels, costs))
    with jax.enable_x64(True):
        found = jax.device_get(_solve(loss, products, training, others, labels, costs))
    weights, outputs, spread, sound = (each[:problems] for each in found)
    return Solutions(weights[:, :n], outputs[:, :k], spread, sound & np.isfinite(outputs[:, :k]).all(1))


def _padded(rows, filling):
    """Rows (B, n) as one of few shapes: B is a power of eight, and n grows by an eighth at most, by first examples."""
    (problems, n), size = rows.shape, 1
    while size < problems:
        size *= 8
    step = 1 << max(0, n.bit_length() - 4)
    rows = np.concatenate([rows, np.repeat(filling, -n % step, 1)], 1)
    return np.pad(rows, ((0, size - problems), (0, 0)), "edge").astype(np.int32)


def _platform(products):
    (device,) = products.devices()
    return device.platform


@functools.partial(jax.jit, static_argnums=0)
def _solve(loss, products, training, others, labels, costs):
    def one(training, others):
        own = lax.optimization_barrier(products[training[:, None], training])  # gathered once, not in each product
        a, b, converged = LOSSES[loss](own, labels, costs)
        shown = labels**2
        total, mean = shown @ jnp.diagonal(own), shown @ own @ shown / shown.sum()
        spread = jnp.where(total == 0, 0.0, (total - mean) / total)
        square = a @ own @ a
        sound = converged & (square > PRECISION * (jnp.abs(a) @ jnp.abs(own) @ jnp.abs(a)))
        return a / jnp.sqrt(square), products[others[:, None], training] @ a + b, spread, sound

    return jax.vmap(one)(training, others)


def _equations(products: Array, h: Array) -> Callable[[Array], tuple[Array, Array]]:
    """Function that solves the equations of the module for r * sqrt(h): (a, b)."""
    root = jnp.sqrt(h)
    scaled = jnp.eye(len(h), dtype=h.dtype) + root[:, None] * products * root
    factor = lax.linalg.cholesky(scaled, symmetrize_input=False)
    triangular = functools.partial(lax.linalg.triangular_solve, factor, left_side=True, lower=True)

    def solved(right):
        v, ones = triangular(jnp.stack([right, root], 1)).T
        b = ones @ v / (ones @ ones)
        return root * triangular((v - b * ones)[:, None], transpose_a=True)[:, 0], b

    return solved


def _difference(products, labels, costs):
    """Difference of class means, with costs 1 / n of either class; the boundary is half-way between them."""
    a = labels * costs
    return a, -costs @ (products @ a) / 2, True


def _squared(products, labels, costs):
    return *_equations(products, costs)(jnp.sqrt(costs) * labels), True


class _Newton(NamedTuple):
    """A point and the decrease of the objective by the step to it, relative."""

    a: Array
    b: Any
    f: Array
    value: Any
    decrease: Any
    steps: Any


def _logistic(products, labels, costs):
    """Newton's method; of six step lengths the best is taken, since outputs are linear along a step."""

    def value(a, b, f):
        return a @ (f - b) / 2 + costs @ jnp.logaddexp(0.0, -labels * f)

    def step(old):
        right, wrong = jax.nn.sigmoid(labels * old.f), jax.nn.sigmoid(-labels * old.f)
        h = costs * right * wrong
        a, b = _equations(products, h)(jnp.sqrt(h) * old.f + labels * jnp.sqrt(costs * wrong / right))
        change = a - old.a, b - old.b, products @ a + b - old.f
        lengths = 2.0 ** (2.0 - jnp.arange(6.0))
        values = jax.vmap(lambda s: value(*(x + s * d for x, d in zip(old[:3], change, strict=True))))(lengths)
        best = values.argmin()
        point = (x + lengths[best] * d for x, d in zip(old[:3], change, strict=True))
        return _Newton(*point, values[best], 1 - values[best] / old.value, old.steps + 1)

    zeros = jnp.zeros_like(costs)
    start = _Newton(zeros, 0.0, zeros, value(zeros, 0.0, zeros), jnp.inf, 0)
    found = lax.while_loop(lambda now: (now.decrease > PRECISION) & (now.steps < MAX_STEPS), step, start)
    return found.a, found.b, jnp.abs(found.decrease) <= PRECISION


class _Interior(NamedTuple):
    """Dual variables `beta` in (0, c), intercept, the slacks of margins and of losses, and the number of steps."""

    beta: Array
    b: Any
    slack: Array
    loss: Array
    steps: Any


def _hinge(products, labels, costs):
    """Interior-point method: beta * slack and (c - beta) * loss go to zero, where a = y beta, y f - 1 = slack - loss.

    It stops by the duality gap, which bounds the squared distance to the best normal.
    """
    shown = labels**2
    costs = jnp.where(shown > 0, costs, 1.0)

    def gap(beta, slack, loss):
        return shown @ (beta * slack + (costs - beta) * loss)

    def unfinished(now):
        a = labels * now.beta
        return (gap(now.beta, now.slack, now.loss) > PRECISION * a @ products @ a) & (now.steps < MAX_STEPS)

    def step(old):
        beta, mu, f = old.beta, costs - old.beta, products @ (labels * old.beta) + old.b
        h = shown / (old.slack / beta + old.loss / mu)
        solved, root, now = _equations(products, h), jnp.sqrt(h), gap(beta, old.slack, old.loss)

        def change(target, bent):
            """Changes of beta, b, slack and loss that lead to products `target`, less those of second order."""
            first, second = (target - bent[0]) / beta, (target + bent[1]) / mu
            a, b = solved(root * (labels * (first - second) - f + labels))
            up = labels * a
            return up, b, first - old.slack * (1 + up / beta), second - old.loss * (1 - up / mu)

        def longest(up, _, slack, loss):
            """The longest step that keeps all four positive, at most 1."""
            growth = jnp.stack([-up / beta, up / mu, -slack / old.slack, -loss / old.loss]) * shown
            return 1 / jnp.maximum(growth.max(), 1.0)

        up, b, slack, loss = predicted = change(0.0, (0.0, 0.0))
        s = longest(*predicted)
        centring = (gap(beta + s * up, old.slack + s * slack, old.loss + s * loss) / now) ** 3
        corrected = change(centring * now / (2 * shown.sum()), (up * slack, up * loss))
        s = 0.999 * longest(*corrected)
        return _Interior(*(x + s * d for x, d in zip(old[:4], corrected, strict=True)), old.steps + 1)

    found = lax.while_loop(unfinished, step, _start(products, labels, costs))
    a = labels * found.beta
    return a, _middle(labels - products @ a, labels), found.steps < MAX_STEPS


def _middle(crossings, labels):
    """Where the sum of hinge losses is least as a function of the intercept: in the middle, as in LIBSVM.

    Its gradient grows by one cost at each of the `crossings`, from minus the number of positive examples.
    """
    ordered, count = jnp.sort(jnp.where(labels == 0, jnp.inf, crossings)), (labels == 1).sum()
    return (ordered[count - 1] + ordered[count]) / 2


def _start(products, labels, costs):
    """Equal `beta` in each class, with sum(y beta) = 0, of the size that the examples' spread suggests."""
    counts = jnp.stack([(labels == 1).sum(), (labels == -1).sum()]).astype(costs.dtype)
    shown = labels**2
    spread = (shown @ jnp.diagonal(products) - shown @ products @ shown / counts.sum()) / counts.sum()
    share = counts.min() / jnp.where(labels == 1, counts[0], counts[1])
    beta = share * jnp.minimum(0.5 * costs.min(), 1 / spread)
    margin = labels * (products @ (labels * beta)) - 1
    return _Interior(beta, 0.0, jnp.maximum(margin, 0) + 1, jnp.maximum(-margin, 0) + 1, 0)


LOSSES = {"difference": _difference, "squared": _squared, "logistic": _logistic, "hinge": _hinge}
