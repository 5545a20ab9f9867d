"""Control of log messages that other libraries write through absl."""

import contextlib
from collections.abc import Iterator

from absl import logging


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses log messages, for calls that also raise what they log, or that log what is not an error.

    >>> with quiet():
    ...     logging.error("suppressed")
    """
    before = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)
