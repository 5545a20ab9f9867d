"""Training of the network "digits", in seconds; its weights are cached, so that one process trains for all."""

import functools
import hashlib

import flax.linen as nn
import jax
import numpy as np
import optax

from xai_jax.data import digits
from xai_jax.io.files import cache_dir
from xai_jax.weights import safetensors_file

SEED = 0
STEPS = 400
BATCH_SIZE = 128
LEARNING_RATE = 5e-3


def train(module: nn.Module) -> dict:
    """Variables of `module` after a few hundred steps of Adam on the training images; always the same.

    They are read from the cache if an earlier process trained the same network with the same versions.
    """
    setting = f"{module} {SEED} {STEPS} {BATCH_SIZE} {LEARNING_RATE} {jax.__version__} {jax.default_backend()}"
    path = cache_dir("digits") / f"{hashlib.sha256(setting.encode()).hexdigest()[:16]}.safetensors"
    try:
        return safetensors_file.unflatten(safetensors_file.read(path))
    except (OSError, ValueError):  # not there, or damaged
        variables = jax.device_get(_train(module))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors_file.write(path, safetensors_file.flatten(variables))
    except OSError:  # a full or read-only disk: the weights are here all the same
        pass
    return variables


def _train(module):
    images, _, labels, _ = digits.arrays()
    optimiser = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, STEPS))
    step = jax.jit(functools.partial(_step, module, optimiser))
    # Not a scan over steps: inside a loop XLA's CPU backend runs convolutions on one slow path.
    rng = np.random.default_rng(SEED)
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer power
        variables = jax.jit(module.init)(jax.random.key(SEED), images[:1])
        state = variables, optimiser.init(variables)
        for _ in range(STEPS):
            batch = rng.choice(len(images), BATCH_SIZE, replace=False)
            state = step(state, images[batch], labels[batch])
    return state[0]


def _step(module, optimiser, state, x, y):
    def loss(variables):
        return optax.softmax_cross_entropy_with_integer_labels(module.apply(variables, x), y).mean()

    variables, opt_state = state
    updates, opt_state = optimiser.update(jax.grad(loss)(variables), opt_state)
    return optax.apply_updates(variables, updates), opt_state
