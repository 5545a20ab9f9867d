"""One step of DeePSiM as pure functions: three losses of the generator, two of the discriminator, and their balance.

Dosovitskiy & Brox 2016, Generating images with perceptual similarity metrics based on deep networks, arXiv 1602.02644,
eqs. 1 to 5. Weights of the losses and the rule that balances generator and discriminator are the released solver's.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

REAL, FAKE = 0, 1
TERMS = ("features", "adversarial", "image", "real", "fake")
TRAINS = ("generator_trains", "discriminator_trains")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Losses and schedule; each squared distance is half the sum over an image, as in Caffe.

    `features`, `adversarial` (also of the discriminator's losses) and `image` are weights of the losses: 0.01, 100 and
    2e-6 for 227x227 pixels and CaffeNet's pool5. Adam at `learning_rate`, halved after each of the steps in `halvings`;
    `decay` is the discriminator's weight decay. With r the discriminator's loss divided by the generator's adversarial
    loss, the discriminator is frozen from r < `lowest` until r > `even`, and the generator from r > `highest` until the
    discriminator is frozen.

    >>> Recipe(steps=5000, batch_size=32, features=10.0, image=3e-4, halvings=(2500, 3750)).learning_rate
    0.0002
    """

    steps: int = 1_000_000
    batch_size: int = 64
    features: float = 0.01
    adversarial: float = 100.0
    image: float = 2e-6
    learning_rate: float = 2e-4
    halvings: tuple[int, ...] = (300_000, 500_000, 700_000, 900_000, 1_100_000)
    decay: float = 4e-4
    lowest: float = 0.1
    even: float = 0.5
    highest: float = 10.0


class State(NamedTuple):
    """The state of training; each pair is (generator, discriminator).

    `trains`: which of them the next step updates. `frozen`: number of steps since both were updated and the
    discriminator had a gradient.
    """

    params: tuple[Any, Any]
    opt_state: tuple[Any, Any]
    step: Array
    trains: tuple[Array, Array]
    frozen: Array


class Setting(NamedTuple):
    """What a step is compiled for."""

    generator: Any
    discriminator: Any
    recipe: Recipe


def initial(setting: Setting, keys: Array, code: Array, x: Array) -> State:
    """The state before the first step.

    Args:
      setting: networks and recipe.
      keys: two keys, for generator and discriminator.
      code: array or shape of codes (N, ...).
      x: array or shape of images (N, H, W, C).

    Returns:
      A state in which both networks train.

    Raises:
      TypeError: for codes or images that the networks do not take.
    """
    code, x = (jnp.zeros(each.shape, each.dtype) for each in (code, x))
    params = setting.generator.init(keys[0], code), setting.discriminator.init(keys[1], x)
    opt_state = tuple(rule.init(p) for rule, p in zip(optimisers(setting.recipe), params, strict=True))
    zero = functools.partial(jnp.zeros, (), jnp.int32)
    return State(params, opt_state, zero(), (jnp.array(True), jnp.array(True)), zero())


def optimisers(recipe: Recipe) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Adam of generator and discriminator; weight decay joins the discriminator's gradient, as in Caffe."""
    learning_rate = optax.piecewise_constant_schedule(recipe.learning_rate, dict.fromkeys(recipe.halvings, 0.5))
    decayed = optax.chain(optax.add_decayed_weights(recipe.decay), optax.adam(learning_rate))
    return optax.adam(learning_rate), decayed


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def step(
    setting: Setting, state: State, shares: Sequence[tuple[Array, Array]], constants: tuple
) -> tuple[State, dict[str, Array]]:
    """One update of both networks, or of the one that trains.

    Both gradients are taken at the same parameters, where the released code updates the discriminator first.

    Args:
      setting: networks and recipe.
      state: before the step; its buffers are donated.
      shares: one, of images (N, H, W, C) uint8 and labels that do not matter.
      constants: the seed of dropout, and encode, compare and prepare of `deepsim.fit`.

    Returns:
      The next state; the losses () by name, and which networks train next.

    Raises:
      TypeError: for images that the networks do not take.
    """
    ((images, _),), (seed, encode, compare, prepare) = shares, constants
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    x = prepare(images)
    code, expected = encode(x), compare(x)

    def total(params):
        generated = centre(setting.generator.apply(params[0], code), x.shape)
        terms = losses(setting, params, key, (x, generated), (expected, compare(generated)))
        return sum(terms.values()), terms

    gradients, terms = jax.grad(total, has_aux=True)(state.params)
    pairs = zip(optimisers(setting.recipe), gradients, state.opt_state, state.params, state.trains, strict=True)
    opt_state, params = zip(*(_updated(*pair) for pair in pairs), strict=True)
    trains = balance(setting.recipe, state.trains, terms)
    alive = jax.tree.leaves(gradients[1])[0].any()  # the first layer has no gradient where all units above are dead
    frozen = jnp.where(trains[0] & trains[1] & alive, 0, state.frozen + 1)
    return State(params, opt_state, state.step + 1, trains, frozen), terms | dict(zip(TRAINS, trains, strict=True))


def _updated(rule, gradient, opt_state, params, trains):
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies integer steps by float learning rates
        updates, new = rule.update(gradient, opt_state, params)
    new = new, optax.apply_updates(params, updates)
    return jax.tree.map(functools.partial(jnp.where, trains), new, (opt_state, params))


def losses(
    setting: Setting, params: Any, key: Array, images: tuple[Array, Array], features: tuple[Array, Array]
) -> dict[str, Array]:
    """The weighted losses of both networks, of whose sum each sees its own gradient alone.

    Args:
      setting: networks and recipe.
      params: of generator and discriminator.
      key: of dropout.
      images: originals and generated images, (N, H, W, C) each.
      features: of originals and of generated images, of one shape.

    Returns:
      "features", "adversarial" and "image", which are the generator's, "real" and "fake", the discriminator's; () each.

    Raises:
      TypeError: for images and features of different shapes.
    """
    recipe, classify = setting.recipe, functools.partial(setting.discriminator.apply, train=True)
    keys, fixed = [{"dropout": k} for k in jax.random.split(key, 3)], jax.lax.stop_gradient(params[1])
    x, generated = images
    return {
        "features": recipe.features * _half_square(features[1] - features[0]),
        "adversarial": recipe.adversarial * _cross_entropy(classify(fixed, generated, rngs=keys[0]), REAL),
        "image": recipe.image * _half_square(generated - x),
        "real": recipe.adversarial * _cross_entropy(classify(params[1], x, rngs=keys[1]), REAL),
        "fake": recipe.adversarial
        * _cross_entropy(classify(params[1], jax.lax.stop_gradient(generated), rngs=keys[2]), FAKE),
    }


def _half_square(difference):
    return (difference**2).sum() / (2 * len(difference))


def _cross_entropy(logits, label):
    return -jax.nn.log_softmax(logits)[:, label].mean()


def balance(recipe: Recipe, trains: tuple[Array, Array], terms: dict[str, Array]) -> tuple[Array, Array]:
    """Whether (generator, discriminator) train in the next step, by the ratio of their losses; all of shape ().

    >>> terms = {"real": jnp.float32(0.01), "fake": jnp.float32(0.02), "adversarial": jnp.float32(1.0)}
    >>> tuple(map(bool, balance(Recipe(), (jnp.array(True), jnp.array(True)), terms)))
    (True, False)
    """
    generator, discriminator = trains
    ratio = (terms["real"] + terms["fake"]) / terms["adversarial"]
    rests, returns = discriminator & (ratio < recipe.lowest), ~discriminator & (ratio > recipe.even)
    generator, discriminator = generator | rests | returns, (discriminator & ~rests) | returns
    lost = generator & (ratio > recipe.highest)
    return generator & ~lost, discriminator | lost


def centre(images: Array, shape: tuple[int, ...]) -> Array:
    """The centre of images (N, H, W, C), as large as images of `shape` (N, h, w, C).

    >>> centre(jnp.zeros((2, 9, 9, 3)), (2, 6, 5, 3)).shape
    (2, 6, 5, 3)
    """
    top, left = ((have - want) // 2 for have, want in zip(images.shape[1:3], shape[1:3], strict=True))
    return images[:, top : top + shape[1], left : left + shape[2]]
