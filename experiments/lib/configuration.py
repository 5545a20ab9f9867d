"""Configurations from the command line: wrong ones are refused in one line, before anything is written."""

import dataclasses
import difflib
import importlib
import math
import re
import sys
import types
import typing
from typing import Any

from absl import flags

from xai_jax.core.messages import listed, quoted
from xai_jax.io.errors import UserError, excerpt, first_line
from xai_jax.io.files import user_path

MAY_BE_ZERO = ("patience", "label", "grey")  # numbers of a configuration that are no counts
MAY_BE_EMPTY = ("changes", "rows", "parts")  # none means all, or that a file replaces them


def parse(argv: list[str], name: str) -> list[str]:
    """Parses flags, for absl's `app.run`; ends the process with one line for a configuration that does not load."""
    try:
        return flags.FLAGS(_with_files(argv, name))
    except flags.Error as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        if "None" in lines[-1] and "--config must" in lines[-1]:
            sys.exit(f"{name}: Expected --config, such as --config=configs/{name}.py:smoke, got none.")
        if wrong := re.search(
            r"flag (--config\.[\w.]+)=(.*): (invalid literal for int|could not convert str)", lines[-1]
        ):
            kind = "an integer" if wrong[3].endswith("int") else "a number"
            sys.exit(f"{name}: Expected {wrong[1]} to be {kind}, got {quoted(wrong[2])}.")
        sys.exit(f"{name}: {excerpt(lines[-1].removeprefix('ValueError: '))}")  # the rest is a traceback
    except Exception as error:  # of ml_collections, or of a file that is no configuration
        unknown = re.search(r"Field (\w+)", str(error))
        if not unknown:
            reason = excerpt(f"{type(error).__name__}: {first_line(error)}")
            sys.exit(f"{name}: Expected a configuration, such as configs/{name}.py:smoke, and its fields, got {reason}")
        near = difflib.get_close_matches(unknown[1][:80], known := fields(name), 1)
        advice = f"did you mean {near[0]}?" if near else f"it has {listed(known)}."
        sys.exit(f"{name}: Expected a field of the configuration, got --config.{excerpt(unknown[1], 80)}; {advice}")


def _with_files(argv, name):
    """The arguments with the configuration's path as one of them, for which there is a file."""
    argv, found = iter(argv), []
    for argument in argv:
        if argument in ("--config", "-config"):
            argument = f"{argument}={next(argv, '')}"
        if given := re.fullmatch(r"--?config=(.*?)(:\w*)?", argument, re.DOTALL):
            if not (path := user_path(given[1])).is_file():
                sys.exit(
                    f"{name}: Expected a configuration, such as configs/{name}.py:smoke, found no file "
                    f"{quoted(given[1])}."
                )
            argument = f"--config={path}{given[2] or ''}"
        found.append(argument)
    return found


def fields(name: str) -> list[str]:
    """Names of the fields of a figure's configuration.

    >>> fields("zeiler2014/occlusion")[:2]
    ['seed', 'images']
    """
    config = importlib.import_module(f"configs.{name.replace('/', '.')}").get_config()
    return [field.name for field in dataclasses.fields(config)]


def check_figure(config: Any, name: str) -> None:
    """Raises UserError for the configuration of another figure."""
    found = {field.name for field in dataclasses.fields(config)}
    if missing := [field for field in fields(name) if field not in found]:
        raise UserError(
            f"Expected a configuration of {name}, got one without {', '.join(missing[:5])}. Usual cause: "
            "--config is that of another figure."
        )


def check(config: Any) -> None:
    """Raises UserError for values that are not of the annotated types, and for counts, lists and ranges out of bounds.

    A pair of floats is a range.
    """
    _check_types(config)
    for field in dataclasses.fields(config):
        usual, given, name = field.default, getattr(config, field.name), f"--config.{field.name}"
        is_count = type(usual) is int and usual > 0 and field.name not in MAY_BE_ZERO
        if is_count and isinstance(given, int) and given < 1:
            raise UserError(f"Expected {name} of at least 1, got {given}.")
        if isinstance(usual, tuple):
            _check_tuple(name, usual, given, field.name in MAY_BE_EMPTY)
        if field.type == tuple[float, float] and not given[0] < given[1]:
            raise UserError(f"Expected {name} from a lower to a higher number, got {given}.")


def _check_tuple(name, usual, given, may_be_empty):
    if "" in given or (usual and not given and not may_be_empty):  # a text without letters comes of --config.name=
        raise UserError(f"Expected at least one value in {name}, got none.")
    negative = [number for number in given if isinstance(number, int) and number < 0]
    if negative and all(isinstance(number, int) and number >= 0 for number in usual):
        raise UserError(f"Expected numbers of at least 0 in {name}, got {negative[0]}.")


def _check_types(config, prefix="--config."):
    """The command line checks a number or text by itself, but neither lengths nor elements of tuples."""
    kinds = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        given, kind, name = getattr(config, field.name), kinds[field.name], prefix + field.name
        if dataclasses.is_dataclass(given):
            _check_types(given, f"{name}.")
        elif not _fits(given, kind):
            example = "" if field.default is dataclasses.MISSING else f", such as {excerpt(field.default, 100)}"
            raise UserError(f"Expected {name} to be {_words(kind)}{example}, got {excerpt(repr(given), 100)}.")


def _fits(value, kind):
    """Whether a value is of an annotated type; annotations other than classes, tuples, unions and literals fit all."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        kinds = inner[:1] * len(value) if inner[-1] is ... else inner
        return len(value) == len(kinds) and all(map(_fits, value, kinds))
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is typing.Literal:
        return value in inner
    if kind in (int, float):  # in Python, a bool is an int, and NaN and infinity are floats
        is_number = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
        return is_number and abs(value) < math.inf
    return isinstance(value, kind) if isinstance(kind, type) else True


def _words(kind):
    """
    >>> _words(tuple[tuple[str, float], ...]), _words(int | None)
    ('((text, number), ...)', 'integer or None')
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return f"({', '.join(map(_words, inner))})"
    if origin in (typing.Union, types.UnionType, typing.Literal):
        return " or ".join(map(_words, inner))
    names = {int: "integer", float: "number", str: "text", bool: "True or False", types.NoneType: "None", ...: "..."}
    return names.get(kind) or getattr(kind, "__name__", repr(kind))
