"""Update rules of the papers as optax transformations, cached: equal settings give one object, compiled once.

>>> rule = normalised_gradient(8.0, 0.0, steps=2)
>>> gradient = jnp.array([[3.0, -1.0]])
>>> update, state = rule.update(gradient, rule.init(gradient))
>>> update.tolist(), rule.update(gradient, state)[0].tolist()
([[-12.0, 4.0]], [[-6.0, 2.0]])
>>> for rule in (momentum(0.5, phases=((1.0, 10), (0.1, 5))), adagrad_momentum(1.0)):
...     print(rule.update(gradient, rule.init(gradient))[0].tolist())
[[-1.5, 0.5]]
[[-0.75, 0.5]]
>>> adam(0.1, steps=10) is adam(0.1, steps=10)
True
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array


@functools.cache
def adam(learning_rate: float, steps: int | None = None) -> optax.GradientTransformation:
    """Adam; with `steps`, the learning rate decays linearly to zero over so many steps."""
    return optax.adam(learning_rate if steps is None else optax.linear_schedule(learning_rate, 0.0, steps))


@functools.cache
def normalised_gradient(learning_rate: float, final_learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Descent along each problem's gradient divided by its mean absolute value; zero gradients give no step.

    The learning rate, the mean absolute change of a value, decays linearly.
    """

    def update(gradient, step, x=None):
        size = jnp.abs(gradient).mean(tuple(range(1, gradient.ndim)), keepdims=True)
        length = learning_rate + (final_learning_rate - learning_rate) * step.astype(gradient.dtype) / steps
        return jnp.where(size > 0, -length * gradient / jnp.where(size > 0, size, 1.0), 0.0), step + 1

    return optax.GradientTransformation(lambda x: jnp.zeros((), jnp.int32), update)


class _Momentum(NamedTuple):
    velocity: Array
    step: Array


@functools.cache
def momentum(learning_rate: float, phases: tuple[tuple[float, int], ...]) -> optax.GradientTransformation:
    """Momentum 0.9 that is reset at each phase; `phases` are (learning-rate factor, number of steps)."""
    ends = np.cumsum([count for _, count in phases])
    learning_rates = jnp.array([learning_rate * factor for factor, _ in phases], jnp.float32)

    def init(x):
        return _Momentum(jnp.zeros_like(x), jnp.zeros((), jnp.int32))

    def update(gradient, state, x=None):
        phase = jnp.searchsorted(jnp.array(ends), state.step, side="right")
        kept = jnp.where((state.step == jnp.array(ends)).any(), 0.0, 0.9)
        velocity = kept * state.velocity - learning_rates[phase] * gradient
        return velocity, _Momentum(velocity, state.step + 1)

    return optax.GradientTransformation(init, update)


class _AdaGradMomentum(NamedTuple):
    velocity: Array
    squares: Array


@functools.cache
def adagrad_momentum(learning_rate: float) -> optax.GradientTransformation:
    """Momentum 0.9 of gradients over 1 / learning_rate + root of their decayed squares (Mahendran & Vedaldi 2016)."""

    def init(x):
        return _AdaGradMomentum(jnp.zeros_like(x), jnp.zeros_like(x))

    def update(gradient, state, x=None):
        squares = 0.9 * state.squares + gradient**2
        velocity = 0.9 * state.velocity - gradient / (1 / learning_rate + jnp.sqrt(squares))
        return velocity, _AdaGradMomentum(velocity, squares)

    return optax.GradientTransformation(init, update)
