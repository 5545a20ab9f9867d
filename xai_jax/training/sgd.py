"""One step of supervised training as pure functions: gradients of shares of a batch, and updates of parameters."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings of stochastic gradient descent with momentum, which all the papers here use.

    The learning rate is constant, or divided by ten after each of the epochs in `drops`, or follows half a `cosine`;
    with `patience` it is also divided by ten when that many epochs bring no lower validation error (Zeiler & Fergus
    2014, section 3). `decay` is the weight decay of filters and matrices, not of biases. `renormalise` is the largest
    RMS of a filter (Zeiler & Fergus: 0.1). `half` computes in bfloat16, for accelerators; parameters stay float32.
    `epochs` may have a fraction.

    >>> recipe = Recipe(epochs=2, learning_rate=0.1, drops=(1,))
    >>> [round(float(schedule(recipe, steps_per_epoch=3)(step)), 3) for step in range(6)]
    [0.1, 0.1, 0.1, 0.01, 0.01, 0.01]
    """

    epochs: float = 10
    batch_size: int = 128
    learning_rate: float = 0.05
    drops: tuple[float, ...] = ()
    cosine: bool = False
    patience: int = 0
    momentum: float = 0.9
    decay: float = 0.0
    renormalise: float | None = None
    half: bool = False


class State(NamedTuple):
    """The state of training.

    `scale`: factor of the learning rate after plateaus; `best`: the lowest validation error, `stale` epochs ago.
    """

    params: Any
    opt_state: Any
    step: Array
    scale: Array
    best: Array
    stale: Array


class Setting(NamedTuple):
    """What a step is compiled for; `shares` is the number of parts of a batch whose gradients are averaged."""

    module: nn.Module
    recipe: Recipe
    steps_per_epoch: int
    shares: int = 1


def begin(setting: Setting, variables: Any) -> State:
    """The state before the first step.

    >>> state = begin(Setting(nn.Dense(2), Recipe(), 10), {"params": {"kernel": jnp.ones((3, 2))}})
    >>> int(state.step), float(state.scale)
    (0, 1.0)
    """
    params = variables["params"]
    opt_state = optimiser(setting.recipe, setting.steps_per_epoch).init(params)
    step, stale = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)  # two buffers: updates are given both to reuse
    return State(params, opt_state, step, jnp.float32(1), jnp.float32(jnp.inf), stale)


def step(
    setting: Setting, state: State, shares: Sequence[tuple[Array, Array]], constants: tuple
) -> tuple[State, tuple[Array, Array]]:
    """One step of training; compiled share by share, or inside of a larger program.

    Args:
      setting: the network and its recipe.
      state: before the step; its buffers are donated.
      shares: of a batch, uint8 images (n, H, W, C) and labels (n,) each.
      constants: the run's seed uint32, `prepare` and `augment` of `add_gradient`.

    Returns:
      The next state, and the loss and the learning rate.

    Raises:
      TypeError: for images that the network does not take.
    """
    seed, *transforms = constants
    gradient = zeros(state.params)
    for number, share in enumerate(shares):
        seeds = seed, state.step, np.int32(number)
        gradient = add_gradient(setting, gradient, state.params, share, seeds, *transforms)
    return update(setting, state, gradient)


@jax.jit
def zeros(params: Any) -> tuple[Array, Any]:
    """A loss () and a gradient of zero, shaped like the parameters, which shares are added to."""
    return jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def add_gradient(setting, gradient, params, share, seeds, prepare, augment):
    """Adds the mean loss of a share and its gradient, both divided by the number of shares.

    Args:
      setting: the network and its recipe.
      gradient: (loss, gradient) of earlier shares; its buffers are donated.
      params: the parameters.
      share: uint8 images (n, H, W, C) and labels (n,).
      seeds: the run's seed, the step and the share's number in it, of augmentation and dropout.
      prepare: images -> the network's input.
      augment: (key, x) -> x, or None.

    Returns:
      (loss, gradient).

    Raises:
      TypeError: for images that the network does not take.
    """
    (images, labels), (seed, step, number) = share, seeds
    key = jax.random.fold_in(jax.random.key(seed), step * setting.shares + number)
    augmenting, dropping = jax.random.split(key)
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


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def update(setting, state, gradient):
    """(state, (loss, gradient)) -> (state, (loss, learning rate))."""
    recipe, (loss, gradient) = setting.recipe, gradient
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies integer steps by float learning rates
        transform = optimiser(recipe, setting.steps_per_epoch)
        updates, opt_state = transform.update(gradient, state.opt_state, state.params)
        learning_rate = jnp.float32(schedule(recipe, setting.steps_per_epoch)(state.step)) * state.scale
    params = jax.tree.map(lambda p, change: p + state.scale * change, state.params, updates)
    if recipe.renormalise is not None:
        params = renormalise(params, recipe.renormalise)
    return state._replace(params=params, opt_state=opt_state, step=state.step + 1), (loss, learning_rate)


def schedule(recipe: Recipe, steps_per_epoch: int) -> optax.Schedule:
    """Step -> learning rate, without the reductions on plateaus."""
    if recipe.cosine:
        return optax.cosine_decay_schedule(recipe.learning_rate, max(1, round(recipe.epochs * steps_per_epoch)))
    drops = {round(epoch * steps_per_epoch): 0.1 for epoch in recipe.drops}
    return optax.piecewise_constant_schedule(recipe.learning_rate, drops)


def optimiser(recipe: Recipe, steps_per_epoch: int) -> optax.GradientTransformation:
    """Gradient descent with momentum and weight decay, which is added to the gradient (Krizhevsky et al. 2012)."""
    decay = optax.add_decayed_weights(recipe.decay, lambda params: jax.tree.map(lambda p: p.ndim > 1, params))
    return optax.chain(decay, optax.sgd(schedule(recipe, steps_per_epoch), recipe.momentum))


def renormalise(params: Any, radius: float) -> Any:
    """Scales filters (H, W, in, out) whose RMS exceeds `radius` down to it (Zeiler & Fergus 2014, section 3).

    >>> float(renormalise(jnp.ones((3, 3, 1, 1)), 0.1).max())
    0.10000000149011612
    """

    def limit(array):
        if array.ndim != 4:
            return array
        rms = jnp.sqrt(jnp.mean(array**2, (0, 1, 2)))
        return array * (radius / jnp.maximum(rms, radius))

    return jax.tree.map(limit, params)
