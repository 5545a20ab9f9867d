"""SIGTERM while training, by which clusters announce that they take the machine: save first, then end.

>>> with announced() as must_end:
...     must_end(3)
False
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils


@contextlib.contextmanager
def announced() -> Iterator[Callable[[int], bool]]:
    """Within, SIGTERM ends no process; yields a function of the step, to be called after each: whether to save and end.

    Processes that train together end after the same step. A process of its own gets the signal afterwards.
    """
    if jax.process_count() > 1:  # JAX handles the signal, and agrees on a step
        yield multihost_utils.reached_preemption_sync_point
        return
    came = threading.Event()
    in_main = threading.current_thread() is threading.main_thread()  # others cannot set handlers
    usual = signal.signal(signal.SIGTERM, lambda *_: came.set()) if in_main else None
    try:
        yield lambda step: came.is_set()
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, usual or signal.SIG_DFL)
        if came.is_set():
            signal.raise_signal(signal.SIGTERM)
