"""Every test runs with strict dtype promotion; warnings are errors (pyproject.toml)."""

import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
