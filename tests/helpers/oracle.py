"""Networks given as lists of layers, run three ways: as a slow, obvious NumPy program, by JAX, and by PyTorch.

Layers: ("conv", kernel HWIO, bias, stride, pads), ("relu",), ("relu6",), ("pool", window, stride, pads), ("mean",),
("flatten",), ("dense", matrix, bias). Pads are ((top, bottom), (left, right)).
"""

import jax.numpy as jnp
import numpy as np
from jax import lax, nn

from xai_jax import pooling, rules
from xai_jax.core.network import keep

ZERO = ((0, 0), (0, 0))


def random_layers(seed=0, channels=3, classes=5, six=False):
    """Strided convolution, overlapping padded pool, 1x1 convolution, pool that drops pixels, two dense layers."""
    rng = np.random.default_rng(seed)

    def array(*shape):
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)

    rectify = ("relu6",) if six else ("relu",)
    return [
        ("conv", array(3, 3, channels, 6) * (8 if six else 1), array(6), 1, ((1, 1), (1, 1))),
        rectify,
        ("pool", 3, 2, ((1, 1), (1, 1))),
        ("conv", array(3, 2, 6, 8), array(8), 2, ((1, 0), (0, 1))),
        rectify,
        ("conv", array(1, 1, 8, 8), array(8), 1, ZERO),
        rectify,
        ("pool", 2, 2, ZERO),
        ("flatten",),
        ("dense", array(8 * 2 * 2, 10), array(10)),
        rectify,
        ("dense", array(10, classes), array(classes)),
    ]


SHAPE = (2, 17, 17, 3)


def numpy_forward(layers, x):
    """Output and the inputs of all layers."""
    inputs = []
    for layer in layers:
        inputs.append(x)
        x = FORWARD[layer[0]](x, *layer[1:])
    return x, inputs


def numpy_backward(layers, inputs, signal, rule):
    """Signal at the image. `rule(input, signal)` is the backward rule of the ReLU."""
    for layer, x in zip(reversed(layers), reversed(inputs), strict=True):
        if layer[0] == "relu":
            signal = rule(x, signal)
        elif layer[0] == "relu6":  # clipping sits on top of the rectification
            signal = rule(x, np.where(x < 6, signal, 0))
        else:
            signal = BACKWARD[layer[0]](x, signal, *layer[1:])
    return signal


RULES = {
    "gradient": lambda x, r: np.where(x > 0, r, 0),  # R_l = 1[f_l > 0] R_{l+1}
    "deconvnet": lambda x, r: np.where(r > 0, r, 0),  # R_l = 1[R_{l+1} > 0] R_{l+1}
    "guided_backprop": lambda x, r: np.where((x > 0) & (r > 0), r, 0),  # both
}


def _pad(x, pads, value):
    return np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)


def _windows(x, size, stride):
    for i in range(0, x.shape[1] - size[0] + 1, stride):
        for j in range(0, x.shape[2] - size[1] + 1, stride):
            yield i // stride, j // stride, slice(i, i + size[0]), slice(j, j + size[1])


def _out(x, size, stride, channels):
    rows, columns = ((n - k) // stride + 1 for n, k in zip(x.shape[1:3], size, strict=True))
    return np.zeros((x.shape[0], rows, columns, channels))


def conv_forward(x, kernel, bias, stride, pads):
    x = _pad(x, pads, 0)
    out = _out(x, kernel.shape[:2], stride, kernel.shape[3])
    for i, j, rows, columns in _windows(x, kernel.shape[:2], stride):
        out[:, i, j] = np.tensordot(x[:, rows, columns], kernel, 3) + bias
    return out


def conv_backward(x, signal, kernel, bias, stride, pads):
    below = np.zeros_like(_pad(x, pads, 0), dtype=np.float64)
    for i, j, rows, columns in _windows(below, kernel.shape[:2], stride):
        below[:, rows, columns] += np.tensordot(signal[:, i, j], kernel, ((1,), (3,)))
    return _unpad(below, x, pads)


def pool_forward(x, window, stride, pads):
    x = _pad(x, pads, -np.inf)
    out = _out(x, (window, window), stride, x.shape[3])
    for i, j, rows, columns in _windows(x, (window, window), stride):
        out[:, i, j] = x[:, rows, columns].max(axis=(1, 2))
    return out


def pool_backward(x, signal, window, stride, pads):
    padded = _pad(x, pads, -np.inf)
    below = np.zeros(padded.shape)
    for i, j, rows, columns in _windows(padded, (window, window), stride):
        for n in range(x.shape[0]):
            for c in range(x.shape[3]):
                patch = padded[n, rows, columns, c]
                row, column = divmod(int(patch.argmax()), window)  # the first of equals
                below[n, rows.start + row, columns.start + column, c] += signal[n, i, j, c]
    return _unpad(below, x, pads)


def _unpad(below, x, pads):
    return below[:, pads[0][0] : pads[0][0] + x.shape[1], pads[1][0] : pads[1][0] + x.shape[2]]


FORWARD = {
    "conv": conv_forward,
    "pool": pool_forward,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "mean": lambda x: x.mean(axis=(1, 2)),
    "flatten": lambda x: x.reshape(len(x), -1),
    "dense": lambda x, matrix, bias: x @ matrix + bias,
}
BACKWARD = {
    "conv": conv_backward,
    "pool": pool_backward,
    "mean": lambda x, r: np.broadcast_to(r[:, None, None] / np.prod(x.shape[1:3]), x.shape),
    "flatten": lambda x, r: r.reshape(x.shape),
    "dense": lambda x, r, matrix, bias: r @ matrix.T,
}


def jax_network(layers):
    """The layers as a Network; activations are named by kind and position: conv0, relu1, ..."""

    def net(x, relu=nn.relu, tap=keep):
        for position, (kind, *rest) in enumerate(layers):
            x = tap(f"{kind}{position}", _JAX[kind](x, relu, *rest))
        return x

    return net


_JAX = {
    "conv": lambda x, relu, kernel, bias, stride, pads: (
        lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias
    ),
    "relu": lambda x, relu: relu(x),
    "relu6": lambda x, relu: rules.relu6(x, relu),
    "pool": lambda x, relu, *geometry: pooling.max_pool(x, *geometry),
    "mean": lambda x, relu: x.mean(axis=(1, 2)),
    "flatten": lambda x, relu: x.reshape(len(x), -1),
    "dense": lambda x, relu, matrix, bias: jnp.dot(x, matrix) + bias,
}


def torch_module(layers):
    """The layers as a torch.nn.Sequential on (N, C, H, W), every ReLU a module of its own, as captum needs."""
    import torch

    return torch.nn.Sequential(*[part for kind, *rest in layers for part in _torch_parts(torch, kind, rest)])


def _torch_parts(torch, kind, rest):
    nn = torch.nn
    if kind == "conv":
        kernel, bias, stride, (rows, columns) = rest
        conv = nn.Conv2d(*kernel.shape[2:], kernel.shape[:2], stride)
        conv.weight.data, conv.bias.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy()), torch.tensor(bias)
        return [nn.ZeroPad2d((*columns, *rows)), conv]
    if kind == "pool":
        window, stride, (rows, columns) = rest
        return [nn.ConstantPad2d((*columns, *rows), -float("inf")), nn.MaxPool2d(window, stride)]
    if kind == "dense":
        dense = nn.Linear(*rest[0].shape)
        dense.weight.data, dense.bias.data = torch.tensor(rest[0].T.copy()), torch.tensor(rest[1])
        return [dense]
    if kind == "flatten":
        return [_function(torch, lambda x: x.permute(0, 2, 3, 1).flatten(1))]
    if kind == "relu6":
        return [nn.ReLU(), _function(torch, lambda x: torch.where(x < 6, x, 6.0))]
    return [nn.ReLU()]


def _function(torch, f):
    module = torch.nn.Module()
    module.forward = f
    return module
