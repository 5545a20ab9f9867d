"""Fault-tolerant training of networks; `fit`, `Recipe` and `metrics` are those of supervised training.

>>> from xai_jax import training
>>> training.Recipe(epochs=30, batch_size=64, learning_rate=0.05, cosine=True).learning_rate
0.05
"""

import importlib

_SUPERVISED = ("Recipe", "epoch_weights", "fit", "metrics")

__all__ = list(_SUPERVISED)


def __getattr__(name: str):
    """Imports supervised training on first use, since checkpoints take seconds to import."""
    if name not in _SUPERVISED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.supervised"), name)
