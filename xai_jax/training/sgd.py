"""One step of training as pure functions: gradients of shares of a batch, momentum, weight decay, limits on filters."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from xai_jax.core.batching import pixels
from xai_jax.core.pytrees import as_partial


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained: stochastic gradient descent with momentum, as in all the papers here.

    The rate is constant, or falls to a tenth after each of the epochs in `drops`, or along half a `cosine`; with
    `patience` it also falls to a tenth when that many epochs bring no lower error on the `check` images (Zeiler &
    Fergus 2014, section 3). `decay` is the weight decay of filters and matrices, not of biases. `renormalise` is the
    largest RMS of a filter (Zeiler & Fergus: 0.1). `half` computes in bfloat16, for accelerators; the parameters stay
    float32. `epochs` may have a fraction.
    """

    epochs: float = 10
    batch: int = 128
    rate: float = 0.05
    drops: tuple[float, ...] = ()
    cosine: bool = False
    patience: int = 0
    momentum: float = 0.9
    decay: float = 0.0
    renormalise: float | None = None
    half: bool = False


class State(NamedTuple):
    """All that training goes on from.

    `scale`: what plateaus left of the rate; `best`: the lowest error on the check images, `stale` epochs ago.
    """

    params: Any
    memory: Any
    step: Array
    scale: Array
    best: Array
    stale: Array


class Setting(NamedTuple):
    """What a step is compiled for. `per_epoch` counts the steps of an epoch, `shares` the gradients of a step."""

    module: nn.Module
    recipe: Recipe
    per_epoch: int
    shares: int = 1


def begin(setting: Setting, variables: Any) -> State:
    """The state before the first step."""
    params = variables["params"]
    memory = optimiser(setting.recipe, setting.per_epoch).init(params)
    step, stale = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)  # two buffers: updates are given both to reuse
    return State(params, memory, step, jnp.float32(1), jnp.float32(jnp.inf), stale)


def step(
    setting: Setting,
    prepare: Callable[[Array], Array] = pixels,
    augment: Callable[[Array, Array], Array] | None = None,
) -> Callable[[State, Array, Array], State]:
    """(state, uint8 images (N, H, W, C), labels (N,)) -> state: a step with one share as one function, for dry runs."""

    def run(state, images, labels):
        share, seeds = (images, labels), (np.uint32(0), state.step)
        transforms = as_partial(prepare), augment and as_partial(augment)
        gradient = add_gradient(setting, zeros(state.params), state.params, share, seeds, *transforms)
        return update(setting, state, gradient)[0]

    return run


@jax.jit
def zeros(params: Any) -> tuple[Array, Any]:
    """A loss () and a gradient of zero, shaped like the parameters, which shares are added to."""
    return jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def add_gradient(setting, gradient, params, share, seeds, prepare, augment):
    """Adds a share's mean loss and its gradient, divided by the number of shares; `seeds`: (seed, share's number)."""
    (images, labels), (seed, number) = share, seeds
    augmenting, dropping = jax.random.split(jax.random.fold_in(jax.random.key(seed), number))
    x = prepare(images)
    x = x if augment is None else augment(augmenting, x)

    def loss(params):
        values = _half((params, x)) if setting.recipe.half else (params, x)
        logits = setting.module.apply({"params": values[0]}, values[1], train=True, rngs={"dropout": dropping})
        each = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
        return each.mean() / setting.shares

    return jax.tree.map(jnp.add, gradient, jax.value_and_grad(loss)(params))


def _half(tree):
    return jax.tree.map(lambda array: array.astype(jnp.bfloat16), tree)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def update(setting, state, gradient):
    """(state, (loss, gradient)) -> (state, zeros for the next step, (loss, rate))."""
    recipe, (loss, gradient) = setting.recipe, gradient
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies integer steps by float rates
        changes, memory = optimiser(recipe, setting.per_epoch).update(gradient, state.memory, state.params)
        rate = jnp.float32(schedule(recipe, setting.per_epoch)(state.step)) * state.scale
    params = jax.tree.map(lambda p, change: p + state.scale * change, state.params, changes)
    if recipe.renormalise is not None:
        params = renormalise(params, recipe.renormalise)
    return state._replace(params=params, memory=memory, step=state.step + 1), zeros(params), (loss, rate)


def schedule(recipe: Recipe, per_epoch: int) -> optax.Schedule:
    """step -> learning rate, plateaus aside."""
    if recipe.cosine:
        return optax.cosine_decay_schedule(recipe.rate, max(1, round(recipe.epochs * per_epoch)))
    return optax.piecewise_constant_schedule(recipe.rate, {round(epoch * per_epoch): 0.1 for epoch in recipe.drops})


def optimiser(recipe: Recipe, per_epoch: int) -> optax.GradientTransformation:
    """Momentum; decay is added to the gradient before, as in Krizhevsky et al. 2012, section 5."""
    decay = optax.add_decayed_weights(recipe.decay, lambda params: jax.tree.map(lambda p: p.ndim > 1, params))
    return optax.chain(decay, optax.sgd(schedule(recipe, per_epoch), recipe.momentum))


def renormalise(params: Any, radius: float) -> Any:
    """Filters (H, W, in, out) whose RMS exceeds `radius` are scaled down to it (Zeiler & Fergus 2014, section 3)."""

    def limit(array):
        if array.ndim != 4:
            return array
        rms = jnp.sqrt(jnp.mean(array**2, (0, 1, 2)))
        return array * (radius / jnp.maximum(rms, radius))

    return jax.tree.map(limit, params)
