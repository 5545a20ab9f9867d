"""A slow deconvnet in NumPy, independent of JAX."""

import numpy as np

from tests.helpers import oracle


class SlowDeconvnet:
    """The deconvnet of Zeiler & Fergus 2014, section 2.1, attached to the first `depth` layers of a network."""

    def __init__(self, layers, x, depth):
        self.layers, self.maps, self.switches = layers[:depth], [np.asarray(x, np.float64)], []
        for kind, *rest in self.layers:
            self.switches.append(find_switches(self.maps[-1], *rest) if kind == "pool" else None)
            forward = contrast if kind == "norm" else oracle.FORWARD[kind]
            self.maps.append(forward(self.maps[-1], *rest))

    def project(self, neurons, switches=None):
        """`neurons`: (channel, row, column) of each image; `switches`: those of another deconvnet."""
        signal = np.zeros_like(self.maps[-1])
        for n, (channel, row, column) in enumerate(neurons):
            at = (n, row, column, channel) if signal.ndim == 4 else (n, channel)
            signal[at] = self.maps[-1][at]
        switches = self.switches if switches is None else switches
        for (kind, *rest), below, switch in zip(self.layers[::-1], self.maps[-2::-1], switches[::-1], strict=True):
            if kind == "pool":
                signal = unpool(signal, switch, below.shape)
            elif kind == "relu":
                signal = np.maximum(signal, 0)
            elif kind == "conv":
                signal = filter_down(signal, below.shape, *rest)
            elif kind == "dense":
                signal = signal @ rest[0].T
            elif kind == "flatten":
                signal = signal.reshape(below.shape)  # a norm passes the signal unchanged
        return signal


def find_switches(maps, window, stride, pads, first=False):
    """Row and column, in the map, of the maximum of each window or of its first element inside the map."""
    padded = np.pad(maps, ((0, 0), *pads, (0, 0)), constant_values=-np.inf)
    if first:
        padded = np.where(np.isinf(padded), padded, 0)
    out = np.zeros((*oracle.pool_forward(maps, window, stride, pads).shape, 2), int)
    for n, i, j, c in np.ndindex(out.shape[:4]):
        patch = padded[n, i * stride : i * stride + window, j * stride : j * stride + window, c]
        row, column = np.unravel_index(patch.argmax(), patch.shape)
        out[n, i, j, c] = i * stride + row - pads[0][0], j * stride + column - pads[1][0]
    return out


def unpool(signal, switches, shape):
    below = np.zeros(shape)
    for n, i, j, c in np.ndindex(signal.shape):
        row, column = switches[n, i, j, c]
        below[n, row, column, c] += signal[n, i, j, c]
    return below


def filter_down(signal, shape, kernel, bias, stride, pads):
    """Transposed convolution: the map, dilated by the stride, convolved with the flipped filters."""
    flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    sizes = [n + sum(p) + k - 1 for n, p, k in zip(shape[1:3], pads, kernel.shape[:2], strict=True)]
    dilated = np.zeros((len(signal), *sizes, signal.shape[-1]))
    rows, columns = (k - 1 + stride * np.arange(n) for k, n in zip(kernel.shape[:2], signal.shape[1:3], strict=True))
    dilated[:, rows[:, None], columns] = signal
    whole = oracle.conv_forward(dilated, flipped, 0, 1, oracle.ZERO)
    return whole[:, pads[0][0] :, pads[1][0] :][:, : shape[1], : shape[2]]


def contrast(x):
    """Krizhevsky et al. 2012, section 3.3: sums over five adjacent channels."""
    energy = np.stack([(x[..., max(0, c - 2) : c + 3] ** 2).sum(-1) for c in range(x.shape[-1])], axis=-1)
    return x / (2 + 1e-4 * energy) ** 0.75
