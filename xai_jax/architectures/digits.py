"""A tiny network for scikit-learn's 8x8 handwritten digits, trained in seconds: for tests and smoke runs."""

import functools

import flax.linen as nn
import jax
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from xai_jax.core.network import keep
from xai_jax.core.pooling import max_pool

SEED = 0
STEPS = 400
BATCH = 128
CLASSES = tuple("0123456789")


class DigitsNet(nn.Module):
    """(N, 8, 8, 1) in [0, 1] -> logits (N, classes). Activations: conv1, relu1, pool1, conv2, relu2, logits."""

    classes: int = 10

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        del train
        x = tap("conv1", nn.Conv(16, (3, 3), name="conv1")(x))
        x = tap("relu1", relu(x))
        x = tap("pool1", max_pool(x, 2))
        x = tap("conv2", nn.Conv(32, (3, 3), name="conv2")(x))
        x = tap("relu2", relu(x))
        return tap("logits", nn.Dense(self.classes, name="dense")(x.reshape(len(x), -1)))


@functools.cache
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(training images, test images, training labels, test labels): (n, 8, 8, 1) float32 in [0, 1] and int32.

    A fifth is held out, the same in every run, with all classes in proportion.
    """
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    labels = labels.astype(np.int32)
    return tuple(train_test_split(images, labels, test_size=0.2, random_state=SEED, stratify=labels))


def train(module: nn.Module) -> dict:
    """Variables of `module` after a few hundred steps of Adam on the training images; always the same."""
    images, _, labels, _ = data()
    optimiser = optax.adam(optax.cosine_decay_schedule(5e-3, STEPS))

    def loss(variables, x, y):
        return optax.softmax_cross_entropy_with_integer_labels(module.apply(variables, x), y).mean()

    @jax.jit
    def step(state, x, y):
        variables, memory = state
        updates, memory = optimiser.update(jax.grad(loss)(variables, x, y), memory)
        return optax.apply_updates(variables, updates), memory

    # Not a scan over steps: inside a loop XLA's CPU backend runs convolutions on one slow path.
    rng = np.random.default_rng(SEED)
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer power
        variables = jax.jit(module.init)(jax.random.key(SEED), images[:1])
        state = variables, optimiser.init(variables)
        for _ in range(STEPS):
            batch = rng.choice(len(images), BATCH, replace=False)
            state = step(state, images[batch], labels[batch])
    return state[0]
