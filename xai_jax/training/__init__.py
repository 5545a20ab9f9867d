"""Fault-tolerant training of networks; `fit`, `Recipe` and `metrics` are those of supervised training.

>>> from xai_jax import training
>>> training.Recipe(epochs=30, batch_size=64, learning_rate=0.05, cosine=True).learning_rate
0.05

>>> import tempfile
>>> from xai_jax.architectures.digits import DigitsNet
>>> from xai_jax.data import datasets
>>> recipe = training.Recipe(epochs=1, batch_size=128, learning_rate=0.1)
>>> with tempfile.TemporaryDirectory() as checkpoint_dir:
...     variables = training.fit(DigitsNet(), datasets.load("digits", "train"), recipe, checkpoint_dir, seed=0)
...     lines = training.metrics(checkpoint_dir)
>>> list(variables), lines[-1]["step"], lines[-1]["loss"] < lines[0]["loss"]
(['params'], 11, True)
"""

import importlib

_SUPERVISED = ("Recipe", "epoch_weights", "fit", "metrics", "shared_dir")

__all__ = list(_SUPERVISED)


def __getattr__(name: str):
    """Imports supervised training on first use, since checkpoints take seconds to import."""
    if name not in _SUPERVISED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.supervised"), name)
