"""Interrupted runs, for all synthesis methods."""

import pytest

from xai_jax.synthesis import optimize


@pytest.fixture
def resumed(monkeypatch, tmp_path):
    """`resumed(run, after)`: the result of a run that is interrupted at the `after`-th chunk and then resumed.

    Also the steps before which chunks ended, of both runs.
    """

    def resumed(run, after=2):
        ends, check = [], optimize._check_finite

        def interrupt(terms, start):
            ends.append(start)
            if len(ends) == after:
                raise KeyboardInterrupt
            check(terms, start)

        monkeypatch.setattr(optimize, "SAVE_EVERY", 0.0)
        monkeypatch.setattr(optimize, "_check_finite", interrupt)
        path = tmp_path / "new" / "run.npz"
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint=path)
        return run(checkpoint=path), ends

    return resumed
