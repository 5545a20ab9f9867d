"""Interrupted runs, for all synthesis methods."""

import jax
import numpy as np
import pytest

from xai_jax.synthesis import optimize


@pytest.fixture
def resumed(monkeypatch, tmp_path):
    """`resumed(run, after, chunk)`: the steps before which chunks ended.

    `run(checkpoint=...)` is interrupted at the `after`-th chunk and resumed; it must find what it finds uninterrupted,
    also when it is called once more. `chunk`: the number of steps between checkpoints in these runs.
    """

    def resumed(run, after=2, chunk=optimize.CHUNK):
        whole, ends, check = run(), [], optimize._check_finite

        def interrupt(terms, start):
            ends.append(start)
            if len(ends) == after:
                raise KeyboardInterrupt
            check(terms, start)

        monkeypatch.setattr(optimize, "CHUNK", chunk)
        monkeypatch.setattr(optimize, "SAVE_EVERY", 0.0)
        monkeypatch.setattr(optimize, "_check_finite", interrupt)
        path = tmp_path / "new" / "run.npz"
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint=path)
        jax.tree.map(np.testing.assert_array_equal, run(checkpoint=path), whole)
        found = list(ends)
        jax.tree.map(np.testing.assert_array_equal, run(checkpoint=path), whole)
        return found

    return resumed
