"""SIGTERM while training."""

import os
import signal

import jax
import numpy as np
import pytest

from tests.helpers.small_network import Small, small_data
from xai_jax.io.errors import TrainingError
from xai_jax.training import checkpoints, loop, sgd, supervised

DATA, RECIPE = small_data(256), sgd.Recipe(epochs=3, batch_size=64, learning_rate=0.05)


@pytest.fixture
def received():
    """SIGTERMs that reach the handler that was there before training."""
    found = []
    usual = signal.signal(signal.SIGTERM, lambda number, frame: found.append(number))
    yield found
    signal.signal(signal.SIGTERM, usual)


def test_training_saves_before_it_ends(tmp_path, received, monkeypatch):
    write = checkpoints.Log.write

    def terminate(log, step, **values):
        write(log, step=step, **values)
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.Log, "write", terminate)
        with pytest.raises(TrainingError, match="SIGTERM after step 5, which is saved"):
            supervised.fit(Small(), DATA, RECIPE, tmp_path / "ended", seed=0)
    assert received == [signal.SIGTERM] and (tmp_path / "ended/checkpoints/000000005.safetensors").exists()
    ended, whole = (supervised.fit(Small(), DATA, RECIPE, tmp_path / name, seed=0) for name in ("ended", "whole"))
    jax.tree.map(np.testing.assert_array_equal, ended, whole)
    logs = [[line["step"] for line in supervised.metrics(tmp_path / name)] for name in ("ended", "whole")]
    assert logs[0] == logs[1] and received == [signal.SIGTERM]
