"""An adapted model's convolutions have the form of their platform, with the same values, in every layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from xai_jax import adapt, saliency, targets
from xai_jax.core.precision import highest

LAYOUTS = {"NHWC": ("NHWC", "HWIO", "NHWC"), "NCHW": ("NCHW", "OIHW", "NCHW"), "mixed": ("CHWN", "IHWO", "NHWC")}
PADS = ((1, 2), (0, 1))
# Side and channels of the maps, side and number of filters, groups, strides, padding.
CASES = {
    "depthwise": (9, 4, 3, 4, 4, (1, 1), "SAME"),
    "strided": (9, 4, 5, 4, 4, (2, 2), "SAME"),
    "padded": (9, 4, 3, 4, 4, (2, 2), PADS),
    "wide padding": (5, 4, 3, 4, 4, (1, 1), ((4, 5), (6, 4))),
    "grouped": (9, 4, 3, 6, 2, (2, 1), PADS),
    "1x1": (9, 4, 1, 6, 1, (2, 1), "SAME"),
    "few pixels": (4, 4, 3, 6, 1, (1, 1), "SAME"),
}
UNCHANGED = {
    "many pixels": (20, 4, 3, 6, 1, (1, 1), "SAME"),
    "multiplied": (9, 40, 3, 80, 40, (1, 1), "SAME"),
    "strides differ": (9, 40, 3, 40, 40, (2, 1), "SAME"),
    "cropped": (9, 4, 3, 4, 4, (1, 1), ((-1, 2), (1, 1))),
}


def convolve(case, layout):
    """A convolution of maps (N, H, W, C) by way of a layout."""
    side, channels, window, width, groups, strides, padding = case
    kernel = np.random.default_rng(0).normal(size=(window, window, channels // groups, width)).astype("f")
    first, second, last = LAYOUTS[layout]
    kernel = kernel.transpose(["HWIO".index(axis) for axis in second])
    options = {"dimension_numbers": (first, second, last), "feature_group_count": groups}

    def function(x):
        x = jnp.transpose(x, ["NHWC".index(axis) for axis in first])
        y = lax.conv_general_dilated(x, kernel, strides, padding, **options)
        return jnp.transpose(y, [last.index(axis) for axis in "NHWC"])

    return function, np.random.default_rng(1).normal(size=(2, side, side, channels)).astype("f")


def both(case, layout, per_image=False):
    function, x = convolve(case, layout)

    def model(x):
        return jax.nn.relu(function(x)).reshape(len(x), -1)

    single = (lambda x: model(x[None])[0]) if per_image else model
    return adapt.from_function(single, per_image=per_image), model, x


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
@highest()
def test_values_and_gradients(name, layout, per_image):
    net, model, x = both(CASES[name], layout, per_image)
    np.testing.assert_allclose(net(x), model(x), rtol=1e-4, atol=1e-5)
    expected = jax.grad(lambda x: model(x)[:, 1].sum())(x)
    np.testing.assert_allclose(saliency.gradient(net, x, targets.logit(1)), expected, rtol=1e-4, atol=1e-5)


def program(net, x, platform):
    return jax.export.export(jax.jit(lambda x: net(x)), platforms=[platform])(x).mlir_module()


@pytest.mark.parametrize("name", CASES | UNCHANGED)
def test_programs(name):
    case = (CASES | UNCHANGED)[name]
    net, model, x = both(case, "NCHW")
    on_gpu, original = (program(f, x, "cuda").count("stablehlo.convolution") for f in (net, model))
    on_cpu, groups = program(net, x, "cpu").count("stablehlo.convolution"), case[4]
    assert on_gpu == original == 1
    assert on_cpu == (1 if name in UNCHANGED else groups if name == "grouped" else 0)
