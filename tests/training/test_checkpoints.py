"""The lock of a directory in which networks are trained."""

import multiprocessing
import time

from xai_jax.training import checkpoints


def _hold(folder, locked_event, seconds):
    with checkpoints.locked(folder):
        locked_event.set()
        time.sleep(seconds)


def test_a_second_run_says_that_it_waits_and_goes_on_when_the_first_is_done(tmp_path, caplog):
    processes = multiprocessing.get_context("spawn")
    locked_event = processes.Event()
    first = processes.Process(target=_hold, args=(tmp_path, locked_event, 1.0))
    first.start()
    assert locked_event.wait(60)
    started = time.monotonic()
    with checkpoints.locked(tmp_path):
        assert time.monotonic() - started > 0.3
    first.join()
    assert first.exitcode == 0
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == f"Another run is training in {tmp_path}; waiting until it is done."


def test_a_run_alone_says_nothing(tmp_path, caplog):
    with checkpoints.locked(tmp_path):
        pass
    assert not caplog.records
