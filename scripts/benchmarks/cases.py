"""The networks that benchmark.py times, with random weights, and their bare passes."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import Partial

from xai_jax.architectures import vgg
from xai_jax.core.network import Network
from xai_jax.training import parallel, sgd, supervised
from xai_jax.training.sgd import Recipe
from xai_jax.weights import safetensors_file

CLASS = 3
RECIPE = Recipe(learning_rate=0.01, momentum=0.9, decay=5e-4)


class Case(NamedTuple):
    """A VGG with ten classes, and the size of its images."""

    side: int
    batch: int
    widths: tuple[int, ...] = (32, 64, 128, 256, 256)
    stages: tuple[int, ...] = (2, 2, 3, 3, 3)
    hidden: int = 256
    classes: int = 10
    channels: int = 3

    @property
    def module(self) -> vgg.VGG:
        return vgg.VGG(self.stages, self.widths, self.hidden, self.classes)


CASES = (Case(32, 32), Case(64, 16), Case(224, 2))
TRAINED = Case(28, 128, widths=(32, 64, 128), stages=(1, 1, 1), channels=1)


@functools.cache
def build(case: Case) -> tuple[Network, jax.Array, dict[str, np.ndarray]]:
    """Network, images, and the weights under torchvision's names."""
    state = random_state(case)
    x = jax.random.normal(jax.random.key(0), (case.batch, case.side, case.side, case.channels))
    expected = jax.eval_shape(case.module.init, jax.random.key(0), x)
    return Partial(case.module.apply, safetensors_file.fit(vgg.from_torch(state), expected)), x, state


def random_state(case: Case, seed: int = 0) -> dict[str, np.ndarray]:
    """He-normal weights and small biases, named and laid out as in torchvision's VGG."""
    rng, shapes, position, channels = np.random.default_rng(seed), {}, 0, case.channels
    for depth, width in zip(case.stages, case.widths, strict=True):
        for _ in range(depth):
            shapes[f"features.{position}"] = (width, channels, 3, 3)
            position, channels = position + 2, width
        position += 1
    flat = channels * (case.side // 2 ** len(case.stages)) ** 2
    sizes = (flat, case.hidden, case.hidden, case.classes)
    shapes |= {f"classifier.{3 * i}": (sizes[i + 1], sizes[i]) for i in range(3)}
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = (rng.normal(size=shape) * math.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        state[f"{name}.bias"] = (0.1 * rng.normal(size=shape[0])).astype(np.float32)
    return state


@jax.jit
def vjp(net, x, cotangent):
    return jax.vjp(net, x)[1](cotangent)[0]


def class_cotangent(case: Case) -> jax.Array:
    """Cotangents of the logits (batch, classes) that select the logit of CLASS."""
    return jax.nn.one_hot(np.full(case.batch, CLASS), case.classes)


@jax.jit
def forward(net, x):
    return net(x)


def training(case: Case, net: Network, x: jax.Array, labels: np.ndarray) -> Callable[[], Any]:
    """Consecutive training steps, as in `supervised.fit`."""
    shares = case.batch // supervised.share_size(case.batch)
    setting = sgd.Setting(case.module, RECIPE, case.batch, shares)
    parts = list(zip(np.split(np.asarray(x), shares), np.split(labels, shares), strict=True))
    parts = [(parallel.split(images), parallel.split(part)) for images, part in parts]
    begin = jax.jit(sgd.begin, static_argnums=0, out_shardings=parallel.everywhere())
    state = begin(setting, jax.tree.map(jax.numpy.copy, net.args[0]))
    constants = np.uint32(0), Partial(lambda x: x), None

    def step():
        nonlocal state
        state, measured = sgd.step(setting, state, parts, constants)
        return measured

    return step


def notes_of(case: Case) -> dict:
    return {"batch": case.batch, "widths": case.widths}
