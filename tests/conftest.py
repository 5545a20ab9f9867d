"""Every test runs with strict dtype promotion; warnings are errors (pyproject.toml)."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
