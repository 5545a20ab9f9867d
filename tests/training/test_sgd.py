"""One step of training against NumPy twins written from the formulas."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax.core.batching import pixels
from xai_jax.core.network import keep
from xai_jax.core.pytrees import as_partial
from xai_jax.training import sgd
from xai_jax.training.sgd import Recipe


class Net(nn.Module):
    """A filter, a bias, a matrix: one of each that decay and renormalisation treat differently."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        x = nn.Dropout(self.dropout, deterministic=not train)(tap("conv1", nn.Conv(4, (3, 3), name="conv1")(x)))
        return tap("logits", nn.Dense(3, name="dense")(relu(x).mean((1, 2))))


IMAGES = np.random.default_rng(0).integers(0, 256, (8, 5, 5, 1), np.uint8)
LABELS = np.arange(8, dtype=np.int32) % 3
SEEDS = np.uint32(0), np.int32(0), np.int32(0)
PIXELS = as_partial(pixels)


begin = jax.jit(sgd.begin, static_argnums=0)
init = jax.jit(Net().init)


def variables():
    return init(jax.random.key(1), pixels(jnp.asarray(IMAGES)))


def gradients(setting, params, parts, augment=None, seeds=SEEDS):
    total = sgd.zeros(params)
    for images, labels in zip(np.split(IMAGES, parts), np.split(LABELS, parts), strict=True):
        total = sgd.add_gradient(setting, total, params, (images, labels), seeds, PIXELS, augment)
    return total


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_shares_add_up_to_the_mean_loss_and_its_gradient(parts):
    params = variables()["params"]

    @jax.jit
    def loss(params):
        logits = Net().apply({"params": params}, pixels(jnp.asarray(IMAGES)))
        return (jax.nn.logsumexp(logits, 1) - logits[jnp.arange(8), LABELS]).mean()

    found = gradients(sgd.Setting(Net(), Recipe(), 10, parts), params, parts)
    expected = jax.value_and_grad(loss)(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), found, expected)


RECIPES = [
    Recipe(learning_rate=0.1, momentum=0.9),
    Recipe(learning_rate=0.1, momentum=0.5, decay=0.01),
    Recipe(learning_rate=0.2, drops=(0.5, 1)),
    Recipe(learning_rate=0.1, epochs=2, cosine=True),
    Recipe(learning_rate=0.5, renormalise=0.1),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_updates_equal_the_formulas(recipe):
    """v <- momentum * v + gradient + decay * w;  w <- w - learning_rate * v;  then the limit on the RMS of filters."""
    setting, per_epoch = sgd.Setting(Net(), recipe, 4), 4
    state = begin(setting, variables())
    w = jax.tree.map(lambda a: np.asarray(a, np.float64), state.params)
    v = jax.tree.map(np.zeros_like, w)
    for step in range(6):
        gradient = jax.tree.map(lambda a, s=step: np.cos(np.arange(a.size) + s).reshape(a.shape).astype(np.float32), w)
        step_size = twin_schedule(recipe, step, per_epoch)
        decay = jax.tree.map(lambda a: recipe.decay if a.ndim > 1 else 0.0, w)
        v = jax.tree.map(lambda v, g, d, w: recipe.momentum * v + g + d * w, v, gradient, decay, w)
        w = jax.tree.map(lambda w, v, r=step_size: twin_limit(w - r * v, recipe.renormalise), w, v)
        state, measured = sgd.update(setting, state, (jnp.float32(2.5), jax.tree.map(jnp.asarray, gradient)))
        np.testing.assert_allclose(measured, (2.5, step_size), rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5), state.params, w)
    assert int(state.step) == 6


def twin_schedule(recipe, step, per_epoch):
    if recipe.cosine:
        return recipe.learning_rate * 0.5 * (1 + np.cos(np.pi * step / (recipe.epochs * per_epoch)))
    return recipe.learning_rate * 0.1 ** sum(step >= round(epoch * per_epoch) for epoch in recipe.drops)


def twin_limit(w, radius):
    if radius is None or w.ndim != 4:
        return w
    out = w.copy()
    for k in range(w.shape[-1]):
        rms = np.sqrt(np.mean(w[..., k] ** 2))
        out[..., k] *= radius / rms if rms > radius else 1
    return out


def test_a_plateau_scales_every_change():
    setting = sgd.Setting(Net(), Recipe(learning_rate=0.1), 4)
    gradient = jax.tree.map(jnp.ones_like, variables()["params"])
    changes = []
    for scale in (1.0, 0.1):
        state = begin(setting, variables())._replace(scale=jnp.float32(scale))
        before = jax.tree.map(np.asarray, state.params)
        after, (_, learning_rate) = sgd.update(setting, state, (jnp.float32(0), gradient))
        np.testing.assert_allclose(learning_rate, 0.1 * scale, rtol=1e-6)
        changes.append(np.asarray(after.params["dense"]["bias"]) - before["dense"]["bias"])
    np.testing.assert_allclose(changes[1], 0.1 * changes[0], rtol=1e-5)


def test_dropout_and_augmentation_depend_on_seed_and_number_alone():
    setting = sgd.Setting(Net(dropout=0.5), Recipe(), 10)
    params = variables()["params"]

    def noise(key, x):
        return x + jax.random.normal(key, x.shape)

    def loss(seed, number):
        seeds = np.uint32(seed), np.int32(number), np.int32(0)
        return float(gradients(setting, params, 1, as_partial(noise), seeds)[0])

    assert loss(0, 3) == loss(0, 3)
    assert len({loss(0, 3), loss(0, 4), loss(1, 3)}) == 3


def test_bfloat16_keeps_float32_parameters_and_nearly_the_gradient():
    params = variables()["params"]
    full, half = (gradients(sgd.Setting(Net(), Recipe(half=h), 10), params, 1)[1] for h in (False, True))
    for a, b in zip(jax.tree.leaves(full), jax.tree.leaves(half), strict=True):
        assert b.dtype == jnp.float32
        assert 0 < np.linalg.norm(a - b) < 0.02 * np.linalg.norm(a)
    jaxpr = str(jax.make_jaxpr(lambda p: gradients(sgd.Setting(Net(), Recipe(half=True), 10), p, 1))(params))
    assert "conv_general_dilated" in jaxpr and "bf16" in jaxpr


def test_step_is_the_same_as_its_pieces():
    setting = sgd.Setting(Net(), Recipe(learning_rate=0.1), 4, 2)
    start = begin(setting, variables())
    shares = list(zip(np.split(IMAGES, 2), np.split(LABELS, 2), strict=True))
    whole, _ = jax.jit(sgd.step, static_argnums=0)(setting, start, shares, (np.uint32(0), PIXELS, None))
    pieces, _ = sgd.update(setting, start, gradients(setting, start.params, 2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), whole.params, pieces.params)


def test_shares_and_steps_have_random_numbers_of_their_own():
    setting = sgd.Setting(Net(dropout=0.5), Recipe(), 10, 2)
    params, share = variables()["params"], (IMAGES, LABELS)
    found = []
    for step, number in ((0, 0), (0, 1), (1, 0)):
        seeds = np.uint32(0), np.int32(step), np.int32(number)
        found.append(float(sgd.add_gradient(setting, sgd.zeros(params), params, share, seeds, PIXELS, None)[0]))
    assert len(set(found)) == 3
