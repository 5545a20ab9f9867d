"""Flags of precision and determinism, and the record of both, of the hardware and of versions in metrics.json."""

import contextlib
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import jax
from absl import flags

_PRECISION = flags.DEFINE_enum(
    "precision",
    "default",
    ["default", "highest"],
    "Of float32 products in training, inversion and maximisation, on accelerators; everything else is in float32.",
)
_DETERMINISTIC = flags.DEFINE_bool(
    "deterministic", False, "On GPUs the same numbers in every run, bit for bit: only such operations, no autotuning."
)

DETERMINISTIC = ("--xla_gpu_exclude_nondeterministic_ops=true", "--xla_gpu_autotune_level=0")  # options of XLA
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")


@contextlib.contextmanager
def chosen() -> Iterator[None]:
    """The flags of the command line in effect; XLA reads its options once, at the first computation of the process."""
    if _DETERMINISTIC.value:
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *DETERMINISTIC]).strip()
    precision = None if _PRECISION.value == "default" else _PRECISION.value
    with jax.default_matmul_precision(precision or jax.config.jax_default_matmul_precision):
        yield


def settings() -> str:
    """What stages of one run must have in common: the version of JAX, and precision and determinism if chosen.

    >>> settings() == f"jax {jax.__version__}"
    True
    """
    chosen = [jax.config.jax_default_matmul_precision, is_deterministic() and "deterministic"]
    return " ".join([f"jax {jax.__version__}", *filter(None, chosen)])


def is_deterministic() -> bool:
    """Whether XLA has the options that make results equal, bit for bit."""
    return set(DETERMINISTIC) <= set(os.environ.get("XLA_FLAGS", "").split())


def record() -> dict[str, Any]:
    """The entries of metrics.json on hardware, precision, options and versions.

    >>> record()["precision"]
    {'training, inversion and maximisation': 'default', 'everything else': 'highest'}
    """
    user = jax.config.jax_default_matmul_precision
    hardware = f"{jax.device_count()} {jax.devices()[0].device_kind}, {os.cpu_count()} cores, jax {jax.__version__}"
    return {
        "hardware": hardware,
        "precision": {
            "training, inversion and maximisation": user or "default",
            "everything else": user or "highest",
        },
        "deterministic": is_deterministic(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
    }
