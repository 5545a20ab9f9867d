"""Compiled programs on disk, so that the next run of an experiment does not compile them again."""

import jax

from xai_jax.io.files import cache_dir

LEAST_SECONDS = 0.1  # of compiling, for a program to be kept


def keep() -> None:
    """From now on this process writes what it compiles to the cache, or reads it there.

    JAX names a program after all that it depends on, versions and processor too, and compiles it anew where its file is
    damaged. A folder that was chosen before, by JAX_COMPILATION_CACHE_DIR, stays.
    """
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir("programs")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
