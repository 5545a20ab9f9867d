"""Trained inversion: shapes, loss, checkpoints, and the comparison with optimised pre-images."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax import learned_inversion, network
from xai_jax.architectures.upconv import UpConv

RNG = np.random.default_rng(0)
PATTERN = RNG.normal(size=(4, 4, 1)).astype(np.float32)
MODULE = UpConv((4, 4, 1), 4)
IMAGES = jnp.asarray(PATTERN * RNG.choice([-20.0, 20.0], (64, 1, 1, 1)).astype(np.float32))


def both_signs(x):
    return x**2


def fit(represent=lambda x: x, steps=60, checkpoint=None, seed=0):
    options = {"steps": steps, "key": jax.random.key(seed), "learning_rate": 1e-2, "checkpoint": checkpoint}
    return learned_inversion.fit(represent, IMAGES, MODULE, **options)


@pytest.mark.parametrize("shape", [(28, 28, 1), (33, 20, 3), (6, 6, 2)])
@pytest.mark.parametrize("features", [(7,), (3, 3, 5), (6, 6, 2)])
def test_images_have_the_given_shape(shape, features):
    module = UpConv(shape, 2)
    variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((2, *features)))
    assert jax.eval_shape(module.apply, variables, jnp.zeros((2, *features))).shape == (2, *shape)
    if len(features) == 1:
        first = {28: 7, 33: 5, 6: 6}[shape[0]], {28: 7, 20: 5, 6: 6}[shape[1]]
        assert variables["params"]["Dense_0"]["kernel"].shape[1] % (first[0] * first[1]) == 0


def test_channels_grow_towards_small_maps():
    variables = jax.eval_shape(UpConv((32, 32, 3), 2).init, jax.random.key(0), jnp.zeros((1, 2, 2, 9)))
    kernels = [variables["params"][f"Conv_{n}"]["kernel"].shape for n in range(6)]
    assert [(k[2], k[3]) for k in kernels] == [(9, 16), (16, 16), (16, 8), (8, 4), (4, 2), (2, 3)]


def test_an_inverse_is_learned_where_there_is_one():
    found = network.call(fit(steps=200), IMAGES)
    assert ((found - IMAGES) ** 2).mean() < 0.02 * (IMAGES**2).mean()


def test_ambiguous_features_give_the_mean_image():
    """Both signs have the same features: the minimiser is their mean (equation 2)."""
    found = network.call(fit(both_signs, 150), both_signs(IMAGES))
    mean = IMAGES.mean(0)
    assert ((found - mean) ** 2).mean() < 0.05 * (IMAGES**2).mean()


def test_the_loss_is_the_mean_squared_error_of_scaled_images():
    module, key, scale = UpConv((4, 4, 1), 4), jax.random.key(3), jnp.float32(5.0)
    one = jax.tree.map(lambda leaf: leaf[None], module.init(jax.random.key(0), IMAGES[:1]))
    arguments = module.apply, Represent(), IMAGES, jnp.float32(0.0), jnp.float32(2.0), scale
    loss = learned_inversion._loss(*arguments, key, one)["distance"]
    x = IMAGES[jax.random.randint(key, (learned_inversion.BATCH_SIZE,), 0, 64)]
    variables = jax.tree.map(lambda leaf: leaf[0], one)
    expected = np.mean([np.mean((module.apply(variables, both_signs(i[None]) / 2.0) - i / 5.0) ** 2) for i in x])
    np.testing.assert_allclose(loss, [expected], rtol=1e-5)


class Represent:
    def __call__(self, x):
        return both_signs(x)


def test_pixels_of_8_bits_are_centred_batch_by_batch():
    pixels, mean = RNG.integers(0, 256, (64, 4, 4, 1), np.uint8), (7.0,)
    options = {"steps": 3, "key": jax.random.key(0)}
    packed = learned_inversion.fit(both_signs, pixels, MODULE, mean=mean, **options)
    floats = learned_inversion.fit(both_signs, pixels.astype(np.float32) - 7, MODULE, **options)
    jax.tree.map(np.testing.assert_array_equal, packed.args, floats.args)
    with pytest.raises(ValueError, match="got shape"):
        learned_inversion.fit(both_signs, pixels[0], MODULE, **options)


def test_an_interrupted_training_resumes_with_the_same_network(resumed):
    assert resumed(lambda **checkpoint: fit(**checkpoint).args) == [0, 25, 25, 50]
    assert not all(jax.tree.leaves(jax.tree.map(np.array_equal, fit().args, fit(seed=1).args)))


def test_checkpoints_of_other_problems_are_refused(tmp_path):
    fit(steps=2, checkpoint=tmp_path / "inverse.npz")
    with pytest.raises(ValueError, match="checkpoint of this problem"):
        fit(steps=2, checkpoint=tmp_path / "inverse.npz", seed=1)


def test_a_module_for_other_images_is_refused():
    with pytest.raises(ValueError, match=r"makes images \(4, 4, 1\) of these features, got \(5, 4, 1\)"):
        learned_inversion.fit(lambda x: x, IMAGES, UpConv((5, 4, 1)), steps=1, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"got \(16,\)"):
        flat = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(16)])
        learned_inversion.fit(lambda x: x, IMAGES, flat, steps=1, key=jax.random.key(0))
