"""Exceptions that end a run with a message instead of a traceback."""


class UserError(Exception):
    """A problem that only the user can solve, such as a missing file or an inconsistent configuration."""


class TrainingError(RuntimeError):
    """Training cannot continue; the message gives the cause and a remedy."""


def first_line(error: BaseException) -> str:
    """First line of an exception's message, at most 300 characters; the exception's type where there is none.

    >>> first_line(ValueError("Expected 3 classes.\\nGot 4."))
    'Expected 3 classes.'
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
