"""Update rules of the papers as optax transformations, whose numbers compiled programs take as arguments.

>>> rule = normalised_gradient(8.0, 0.0, steps=2)
>>> gradient = jnp.array([[3.0, -1.0]])
>>> update, state = rule.update(gradient, rule.init(gradient))
>>> update.tolist(), rule.update(gradient, state)[0].tolist()
([[-12.0, 4.0]], [[-6.0, 2.0]])
>>> for rule in (momentum(0.5, phases=((1.0, 10), (0.1, 5))), adagrad_momentum(1.0)):
...     print(rule.update(gradient, rule.init(gradient))[0].tolist())
[[-1.5, 0.5]]
[[-0.75, 0.5]]
>>> adam(0.1, steps=10).update.args
(0.1, 10)
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.tree_util import Partial


def adam(learning_rate: float, steps: int | None = None) -> optax.GradientTransformation:
    """Adam; with `steps`, the learning rate decays linearly to zero over so many steps."""
    return optax.GradientTransformation(_adam(learning_rate, steps).init, Partial(_adam_update, learning_rate, steps))


def _adam(learning_rate, steps):
    if steps is None:
        return optax.adam(learning_rate)
    return optax.adam(lambda count: learning_rate * jnp.maximum(1 - count / steps, 0))


def _adam_update(learning_rate, steps, gradient, state, x=None):
    return _adam(learning_rate, steps).update(gradient, state, x)


def normalised_gradient(learning_rate: float, final_learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Descent along each problem's gradient divided by its mean absolute value; zero gradients give no step.

    The learning rate, the mean absolute change of a value, decays linearly.
    """
    return optax.GradientTransformation(_no_steps, Partial(_normalised, learning_rate, final_learning_rate, steps))


def _no_steps(x):
    return jnp.zeros((), jnp.int32)


def _normalised(learning_rate, final_learning_rate, steps, gradient, step, x=None):
    size = jnp.abs(gradient).mean(tuple(range(1, gradient.ndim)), keepdims=True)
    length = learning_rate + (final_learning_rate - learning_rate) * step.astype(gradient.dtype) / steps
    return jnp.where(size > 0, -length * gradient / jnp.where(size > 0, size, 1.0), 0.0), step + 1


class _Momentum(NamedTuple):
    velocity: Array
    step: Array


def momentum(learning_rate: float, phases: tuple[tuple[float, int], ...]) -> optax.GradientTransformation:
    """Momentum 0.9 that is reset at each phase; `phases` are (learning-rate factor, number of steps)."""
    ends = np.cumsum([count for _, count in phases], dtype=np.int32)
    learning_rates = np.array([learning_rate * factor for factor, _ in phases], np.float32)
    return optax.GradientTransformation(_still, Partial(_momentum, ends, learning_rates))


def _still(x):
    return _Momentum(jnp.zeros_like(x), jnp.zeros((), jnp.int32))


def _momentum(ends, learning_rates, gradient, state, x=None):
    phase = jnp.searchsorted(ends, state.step, side="right")
    kept = jnp.where((state.step == ends).any(), 0.0, 0.9)
    velocity = kept * state.velocity - jnp.asarray(learning_rates)[phase] * gradient
    return velocity, _Momentum(velocity, state.step + 1)


class _AdaGradMomentum(NamedTuple):
    velocity: Array
    squares: Array


def adagrad_momentum(learning_rate: float) -> optax.GradientTransformation:
    """Momentum 0.9 of gradients over 1 / learning_rate + root of their decayed squares (Mahendran & Vedaldi 2016)."""
    return optax.GradientTransformation(_no_squares, Partial(_adagrad_momentum, 1 / learning_rate))


def _no_squares(x):
    return _AdaGradMomentum(jnp.zeros_like(x), jnp.zeros_like(x))


def _adagrad_momentum(offset, gradient, state, x=None):
    squares = 0.9 * state.squares + gradient**2
    velocity = 0.9 * state.velocity - gradient / (offset + jnp.sqrt(squares))
    return velocity, _AdaGradMomentum(velocity, squares)
