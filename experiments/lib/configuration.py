"""Configurations from the command line: wrong ones are refused in one line, before anything is written."""

import dataclasses
import difflib
import importlib
import re
import sys
from pathlib import Path
from typing import Any

from absl import flags

from xai_jax.io.errors import UserError, excerpt

MAY_BE_ZERO = ("patience", "label", "grey")  # numbers of a configuration that are no counts


def parse(argv: list[str], name: str) -> list[str]:
    """Parses flags, for absl's `app.run`; ends the process with one line for a configuration that does not load."""
    for path in re.findall(r"^--?config=([^\n]*?)(?::\w*)?$", "\n".join(argv), re.MULTILINE):
        if not Path(path).is_file():
            sys.exit(f"{name}: Expected a configuration, such as configs/{name}.py:smoke, found no file {path!r}.")
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        if "None" in lines[-1] and "--config must" in lines[-1]:
            sys.exit(f"{name}: Expected --config, such as --config=configs/{name}.py:smoke, got none.")
        sys.exit(f"{name}: {excerpt(lines[-1].removeprefix('ValueError: '))}")  # the rest is a traceback
    except (KeyError, AttributeError) as error:  # from ml_collections
        unknown = re.search(r"Field (\w+)", str(error))
        if not unknown:
            raise
        near = difflib.get_close_matches(unknown[1], known := fields(name), 1)
        advice = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}."
        sys.exit(f"{name}: Expected a field of the configuration, got --config.{unknown[1]}; {advice}")


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
    """Raises UserError for counts and lists that are positive by default and are not in `config`."""
    for field in dataclasses.fields(config):
        usual, given = field.default, getattr(config, field.name)
        is_count = type(usual) is int and usual > 0 and field.name not in MAY_BE_ZERO
        if is_count and isinstance(given, int) and given < 1:
            raise UserError(f"Expected --config.{field.name} of at least 1, got {given}.")
        if isinstance(usual, tuple) and usual and isinstance(given, list | tuple) and not given:
            raise UserError(f"Expected at least one value in --config.{field.name}, got none.")
