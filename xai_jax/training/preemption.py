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

_ending: list[threading.Event] = []  # of each `announced` that the main thread is in


@contextlib.contextmanager
def announced() -> Iterator[Callable[[int], bool]]:
    """Within, SIGTERM ends no process; yields a function of a count of calls from 0: whether to save and end.

    Processes that train together end after the same call; threads with the main one. A process of its own gets the
    signal afterwards.
    """
    if jax.process_count() > 1:  # JAX handles the signal, and agrees on a call
        yield multihost_utils.reached_preemption_sync_point
    elif threading.current_thread() is not threading.main_thread():  # which alone can set handlers
        ending = _ending[-1] if _ending else threading.Event()
        yield lambda number: ending.is_set()
    else:
        yield from _handled()


def _handled():
    received, ending = [], threading.Event()

    def handle(number, frame):
        received.append(number)
        ending.set()

    usual = signal.signal(signal.SIGTERM, handle)
    _ending.append(ending)
    try:
        yield lambda number: ending.is_set()
    finally:
        _ending.pop()
        signal.signal(signal.SIGTERM, usual or signal.SIG_DFL)
        if received:
            signal.raise_signal(signal.SIGTERM)


def end() -> None:
    """Ends what trains in other threads, as SIGTERM does."""
    if _ending:
        _ending[-1].set()
