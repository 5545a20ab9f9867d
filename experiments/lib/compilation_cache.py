"""Persistent compilation cache, so that the next run of an experiment does not recompile its programs."""

import jax

from xai_jax.io.files import cache_dir

LEAST_SECONDS = 0.1  # of compiling, for a program to be cached


def keep() -> None:
    """Enables the cache for this process.

    JAX keys a program by everything it depends on, including versions and processor, and recompiles it where its file
    is damaged. A directory set before, by JAX_COMPILATION_CACHE_DIR, is kept.
    """
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir("programs")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
