"""The networks of DeePSiM: a generator of images from codes, and a discriminator of generated and real images.

Dosovitskiy & Brox 2016, Generating images with perceptual similarity metrics based on deep networks, arXiv 1602.02644;
the generators that Nguyen et al. 2016, arXiv 1605.09304, use, by their published definitions. Names of layers are those
of the published files. "Deconvolutions" of stride 1 are convolutions.
"""

import functools
import os
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from xai_jax.io.errors import excerpt
from xai_jax.weights import safetensors_file, wrappers

NEGATIVE_SLOPE = 0.3  # of leaky ReLUs


class Generator(nn.Module):
    """Codes (N, d), or maps (N, h, w, d) for the form with `convs`, -> images (N, H, W, channels), not squashed.

    `hidden`: widths of the fully connected layers, of which the last is spread over `start` (height, width, channels).
    `convs`: widths and paddings of convolutions that replace these. `stages`: for each doubling of size the
    channels of the up-convolution, and of the convolution after it, 0 for none; a last up-convolution gives the image.
    Only the fully connected layers, and in the form with `convs` these and the image, have biases, as in the published
    files.
    """

    start: tuple[int, int, int] = (4, 4, 256)
    hidden: tuple[int, ...] = (4096, 4096)
    convs: tuple[tuple[int, int], ...] = ()
    stages: tuple[tuple[int, int], ...] = ((256, 512), (256, 256), (128, 128), (64, 0), (32, 0))
    channels: int = 3

    @nn.compact
    def __call__(self, code: Array) -> Array:
        x, last = code, len(self.stages)
        for number, (width, padding) in enumerate(self.convs):
            x = _leaky(_conv(width, padding, 0.9, f"Rconv{6 + number}", biased=True)(x))
        if not self.convs:
            widths = *self.hidden, self.start[0] * self.start[1] * self.start[2]
            for number, width in enumerate(widths):
                name = f"defc{7 - number}"
                x = _leaky(nn.Dense(width, kernel_init=_scaled(1.0), name=name)(x))
            x = x.reshape(len(x), *self.start)
        for number, (up, width) in enumerate(self.stages):
            x = _leaky(UpConv(up, name=f"deconv{last - number}")(x))
            if width:
                x = _leaky(_conv(width, 1, 0.9, f"conv{last - number}_1")(x))
        return UpConv(self.channels, bool(self.convs), name="deconv0")(x)


class Discriminator(nn.Module):
    """Images (N, H, W, C) -> logits (N, 2): real, then generated.

    `convs`: kernel, width and stride of each convolution without padding; then global average pooling, dropout of
    0.5, and `hidden` units. The published one has (7, 32, 4), (5, 64, 1), (3, 128, 2), (3, 256, 1), (3, 256, 2), 512.
    """

    convs: tuple[tuple[int, int, int], ...] = ((7, 32, 4), (5, 64, 1), (3, 128, 2), (3, 256, 1), (3, 256, 2))
    hidden: int = 512

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        for number, (kernel, width, stride) in enumerate(self.convs):
            start = _scaled(1.0 if number else 0.1)
            conv = nn.Conv(width, (kernel, kernel), stride, "VALID", kernel_init=start, name=f"Dconv{number + 1}")
            x = jax.nn.relu(conv(x))
        x = nn.Dropout(0.5, deterministic=not train)(x.mean((1, 2)))
        x = jax.nn.relu(nn.Dense(self.hidden, kernel_init=_scaled(0.1), name="Dfc6")(x))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(2, kernel_init=_scaled(0.1), name="Dfc7")(x)


class UpConv(nn.Module):
    """A transposed convolution of 4x4 and stride 2: maps of twice the size."""

    width: int
    biased: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = doubled(x, self.param("kernel", _scaled(1.8), (4, 4, x.shape[-1], self.width)))
        return y + self.param("bias", nn.initializers.zeros, (self.width,)) if self.biased else y


@jax.custom_vjp
def doubled(x: Array, kernel: Array) -> Array:
    """Maps (N, H, W, C) -> (N, 2 H, 2 W, D) by the transposed convolution with `kernel` (4, 4, C, D), stride 2.

    Its gradient with respect to the kernel is that of an equivalent convolution that computes four neighbours at once:
    XLA's own is ten times slower on CPUs.
    """
    return lax.conv_transpose(x, kernel, (2, 2), ((2, 2), (2, 2)), dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _forward(x, kernel):
    return doubled(x, kernel), (x, kernel)


def _backward(saved, gradient):
    x, kernel = saved
    transposed = functools.partial(lax.conv_transpose, strides=(2, 2), padding=((2, 2), (2, 2)))
    _, to_x = jax.vjp(lambda x: transposed(x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC")), x)
    _, to_kernel = jax.vjp(lambda kernel: _by_neighbours(x, kernel), kernel)
    return *to_x(gradient), *to_kernel(gradient)


doubled.defvjp(_forward, _backward)


def _by_neighbours(x, kernel):
    """The same, as a convolution of 3x3 with four times as many channels, which are then spread."""
    n, height, width, channels = x.shape
    kernels = jnp.zeros((3, 3, channels, 2, 2, kernel.shape[-1]), kernel.dtype)
    for p in (0, 1):
        for q in (0, 1):
            kernels = kernels.at[p : p + 2, q : q + 2, :, p, q].set(kernel[p::2, q::2])
    flat = kernels.reshape(3, 3, channels, -1)
    y = lax.conv_general_dilated(x, flat, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    y = y.reshape(n, height, width, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(n, 2 * height, 2 * width, -1)


def _conv(width, padding, scale, name, biased=False):
    return nn.Conv(width, (3, 3), padding=padding, use_bias=biased, kernel_init=_scaled(scale), name=name)


def _scaled(scale: float):
    """MSRA's initialisation, sigma^2 = 2 / fan_in, of which sigma is multiplied by the layer's coefficient."""
    return nn.initializers.variance_scaling(2.0 * scale**2, "fan_in", "normal")


def _leaky(x):
    return jax.nn.leaky_relu(x, NEGATIVE_SLOPE)


def read_generator(path: str | os.PathLike, module: Generator, code: tuple[int, ...]) -> dict[str, Any]:
    """Variables of a generator of codes of shape `code` from a file that `safetensors_file.read` reads.

    Its entries are those of this module, or those of the published files (.caffemodel, or a PyTorch state dictionary of
    the same names). Raises ValueError for files that do not fit.
    """
    arrays = wrappers.unwrapped(safetensors_file.read(path))
    expected = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *code)))
    try:
        own = all(name.startswith("params/") for name in arrays)
        return safetensors_file.fit(arrays if own else from_published(arrays, module.start), expected)
    except ValueError as error:
        raise ValueError(f"{excerpt(path, 120)} does not fit the generator: {error}") from error


def from_published(state: Mapping[str, np.ndarray], start: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Arrays in Caffe's layout, named "defc7.weight", ..., "deconv0.bias" -> flat entries of this module.

    `start` is the module's. Some PyTorch files write "G.defc7.weight" or "defc7.1.weight". Images are blue, green, red
    there, here red, green, blue. Raises ValueError for biases other than zero where the published definitions never
    train them.
    """
    entries, maps = {}, any("Rconv" in name for name in state)
    trained = ("defc", "Rconv", "deconv0") if maps else ("defc",)
    for name, array in state.items():
        layer, _, leaf = name.removeprefix("G.").replace(".1.", ".").rpartition(".")
        if leaf == "weight" or layer.startswith(trained):
            entries[f"params/{layer}/{'kernel' if leaf == 'weight' else leaf}"] = _own(layer, array, start)
        elif array.any():
            raise ValueError(f"Expected biases of convolutions that are zero, got {name} from {array.min():g} up.")
    return entries


def _own(layer, array, start):
    """Published weights as they are here: transposed convolutions add what these gather, with turned kernels."""
    outputs = 1 if array.ndim == 4 else 0
    if layer == "deconv0" and array.shape[outputs] == 3:
        array = np.flip(array, outputs)
    if layer == "defc5":
        array = _spread_last(array, start)
    if array.ndim != 4:
        return array.T
    return array.transpose(2, 3, 1, 0) if layer.startswith("Rconv") else array.transpose(2, 3, 0, 1)[::-1, ::-1]


def _spread_last(array, start):
    """Rows for a (C, H, W) map -> rows for an (H, W, C) map."""
    height, width, channels = start
    if len(array) != height * width * channels:
        return array  # `safetensors_file.fit` says what does not fit
    maps = array.reshape(channels, height, width, *array.shape[1:])
    return np.moveaxis(maps, 0, 2).reshape(array.shape)
