"""Depthwise convolutions against SciPy, in the forms for CPU and accelerators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy.signal import correlate2d

from xai_jax import convolution
from xai_jax.core.precision import highest


def depthwise_scipy(x, kernel, stride):
    """Each channel by SciPy; same padding adds the odd pixel at the end."""
    size = kernel.shape[0]
    pads = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[1:3]]
    x = np.pad(x, [(0, 0), *[(pad // 2, pad - pad // 2) for pad in pads], (0, 0)])
    maps = [[correlate2d(image[..., c], kernel[:, :, 0, c], "valid") for c in range(x.shape[3])] for image in x]
    return np.moveaxis(np.array(maps), 1, -1)[:, ::stride, ::stride]


@pytest.mark.parametrize(
    "size, stride, height", [(3, 1, 8), (3, 2, 8), (5, 1, 8), (5, 2, 8), (5, 2, 3), (2, 1, 8), (1, 2, 7), (3, 4, 9)]
)
@highest()
def test_both_forms_equal_scipy(size, stride, height):
    rng, shape = np.random.default_rng(0), (2, height, 7, 3)
    x, kernel = rng.normal(size=shape).astype("f"), rng.normal(size=(size, size, 1, shape[3])).astype("f")
    expected = depthwise_scipy(x, kernel, stride)
    padding = tuple(lax.padtype_to_pads(shape[1:3], (size, size), (stride, stride), "SAME"))
    forms = (
        lambda *arguments: convolution.depthwise_convolution(*arguments[:3]),
        convolution._shifted_products,
        convolution._depthwise,
    )
    gradients = []
    for form in forms:

        @jax.jit
        def run(x, kernel, form=form):
            y, pull = jax.vjp(lambda x, kernel: form(x, kernel, stride, padding), x, kernel)
            return y, pull(jnp.sin(y))

        y, gradient = run(x, kernel)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
        gradients.append(gradient)
    for gradient in gradients[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), gradient, gradients[0])


def test_transformations():
    x = jax.random.normal(jax.random.key(0), (3, 6, 6, 2))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 1, 2))

    def f(x):
        return convolution.depthwise_convolution(x, kernel, 2)

    expected = depthwise_scipy(np.asarray(x), np.asarray(kernel), 2)
    np.testing.assert_allclose(jax.jit(jax.vmap(f))(x[:, None])[:, 0], expected, rtol=1e-4, atol=1e-5)
    assert jax.eval_shape(f, x).shape == expected.shape


@pytest.mark.parametrize("platform, grouped", [("cpu", 0), ("cuda", 1), ("tpu", 1)])
def test_exported_programs_contain_the_form_of_their_platform(platform, grouped):
    x, kernel = jnp.ones((1, 6, 6, 4)), jnp.ones((3, 3, 1, 4))
    f = jax.jit(lambda x, kernel: convolution.depthwise_convolution(x, kernel, 1))
    text = jax.export.export(f, platforms=[platform])(x, kernel).mlir_module()
    assert text.count("feature_group_count = 4") == grouped


@pytest.mark.parametrize("shape, window, strides, padding", [
    ((4, 4), (3, 3), (1, 1), "SAME"), ((5, 6), (3, 5), (1, 1), "VALID"), ((6, 6), (6, 6), (1, 1), "VALID"),
    ((14, 13), (1, 1), (1, 1), "SAME"), ((20, 9), (1, 1), (2, 3), "SAME"), ((7, 7), (1, 1), (2, 2), ((1, 0), (0, 2))),
])  # fmt: skip
@highest()
def test_products_equal_convolutions(shape, window, strides, padding):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, *shape, 3)).astype("f"), rng.normal(size=(*window, 3, 4)).astype("f")

    def run(form):
        y, pull = jax.vjp(lambda x, k: form(x, k, strides, padding, dimension_numbers=convolution.LAYOUT), x, kernel)
        return y, pull(jnp.sin(y))

    assert "dot_general" in str(jax.make_jaxpr(lambda: run(convolution.convolution))())
    actual, expected = run(convolution.convolution), run(lax.conv_general_dilated)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), actual, expected)


@highest()
def test_products_of_many_channels():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 6, 5, 256)).astype("f"), rng.normal(size=(3, 3, 256, 256)).astype("f")
    arguments, options = (x, kernel, (1, 1), "SAME"), {"dimension_numbers": convolution.LAYOUT}
    assert "dot_general" in str(jax.make_jaxpr(lambda: convolution.convolution(*arguments, **options))())
    expected = lax.conv_general_dilated(*arguments, **options)
    np.testing.assert_allclose(convolution.convolution(*arguments, **options), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"rhs_dilation": (2, 2)},
        {"dimension_numbers": ("NCHW", "OIHW", "NCHW")},
        {"preferred_element_type": jnp.float64},
        {"feature_group_count": 2},
    ],
)
def test_options_of_other_convolutions_are_kept(options):
    rng, options = np.random.default_rng(0), {"dimension_numbers": ("NHWC", "HWIO", "NHWC")} | options
    channels = 2 if "feature_group_count" in options else 4
    shape = (4, 4, 3, 3) if "O" in options["dimension_numbers"][1][:1] else (3, 3, channels, 4)
    x, kernel = rng.normal(size=(2, 4, 4, 4)).astype("f"), rng.normal(size=shape).astype("f")
    with jax.enable_x64(True):
        expected = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", **options)
        found = convolution.convolution(jnp.asarray(x), jnp.asarray(kernel), (1, 1), "SAME", **options)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 3, 1, 1), (3, 3, 2, 3)])
def test_filters_of_other_channels_are_refused_without_jit(shape):
    with pytest.raises(ValueError, match="feature"):
        convolution.depthwise_convolution(jnp.ones((1, 5, 5, 3)), jnp.ones(shape), 1)


def test_large_filters_stay_convolutions():
    assert not convolution.is_product((1, 1, 1, 8), (64, 64, 3, 8), (1, 1))
    assert convolution.is_product((1, 4, 4, 8), (7, 7, 3, 8), (1, 1))
