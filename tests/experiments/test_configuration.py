"""Values of configurations: those of all tiers are accepted, others are refused by name, in one line."""

import dataclasses
import importlib
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from configs.zeiler2014 import invariance
from experiments.lib import catalogue, configuration
from xai_jax.io.errors import UserError

ROOT = Path(__file__).parents[2]
TIERS = ("smoke", "default", "paper")


def config(name, tier="default"):
    return importlib.import_module(f"configs.{name.replace('/', '.')}").get_config(tier)


def parts(whole, path=()):
    """All (path, configuration, field, annotation) of a configuration and of those within it."""
    kinds = typing.get_type_hints(type(whole))
    for field in dataclasses.fields(whole):
        value = getattr(whole, field.name)
        if dataclasses.is_dataclass(value):
            yield from parts(value, (*path, field.name))
        else:
            yield (*path, field.name), value, kinds[field.name]


def example(kind):
    """A value that an annotation allows."""
    if typing.get_origin(kind) is tuple:
        return tuple(example(inner) for inner in typing.get_args(kind) if inner is not ...)
    return {int: 1, float: 0.5, str: "text", bool: True}.get(kind)


def wrong(value, kind):
    """Values that an annotation does not allow, of one slip each."""
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        yield from (5, "text", None)
        kinds = inner[:1] * max(1, len(value)) if inner[-1] is ... else inner
        if inner[-1] is not ...:
            yield from ((), value[:-1], (*value, value[0]))
        usual = value or example(kind)
        for number, each in enumerate(kinds):
            yield from ((*usual[:number], slip, *usual[number + 1 :]) for slip in wrong(usual[number], each))
    elif kind in (int, float, str, bool):
        yield from {int: ("a", 1.5, True), float: ("a", True, float("nan")), str: (3, ("a",)), bool: (1, "True")}[kind]
        yield None


def changed(whole, path, value):
    inner = value if len(path) == 1 else changed(getattr(whole, path[0]), path[1:], value)
    return dataclasses.replace(whole, **{path[0]: inner})


@pytest.mark.parametrize("name", catalogue.names())
def test_all_tiers_are_accepted_and_every_slip_of_a_tuple_is_refused(name):
    for tier in TIERS:
        configuration.check(config(name, tier))
    whole, slips = config(name), 0
    for path, value, kind in parts(whole):
        for given in wrong(value, kind) if typing.get_origin(kind) is tuple else ():
            field = ".".join(path)
            with pytest.raises(
                UserError, match=rf"^Expected (at least one value in )?--config\.{field} ?.*, ?.*got"
            ) as caught:
                configuration.check(changed(whole, path, given))
            assert len(str(caught.value)) < 600 and "\n" not in str(caught.value)
            slips += 1
    assert slips or not any("tuple" in str(kind) for *_, kind in parts(whole))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"translation": (5,)}, r"--config.translation to be (number, number), such as (-60.0, 60.0), got (5,)."),
        ({"layers": ("a",)}, "--config.layers to be (text, text), such as ('stem', 'pool'), got ('a',)."),
        ({"layers": ("", "pool")}, "Expected at least one value in --config.layers, got none."),
        ({"rotation": (350.0, 0.0)}, "--config.rotation from a lower to a higher number, got (350.0, 0.0)."),
        ({"scale": (1.0, 1.0)}, "--config.scale from a lower to a higher number, got (1.0, 1.0)."),
        ({"scale": (1, float("nan"))}, "--config.scale to be (number, number)"),
        ({"rotation": (0.0, float("inf"))}, "--config.rotation to be (number, number)"),
        ({"seed": None}, "--config.seed to be integer, such as 0, got None."),
    ],
)
def test_messages(change, message):
    with pytest.raises(UserError) as caught:
        configuration.check(dataclasses.replace(invariance.get_config(), **change))
    assert message in str(caught.value)
    configuration.check(dataclasses.replace(invariance.get_config(), translation=(-5, 5)))  # integers are numbers


def test_counts_in_tuples_are_not_negative():
    with pytest.raises(UserError, match="numbers of at least 0 in --config.widths, got -3"):
        configuration.check(dataclasses.replace(config("kim2018/bias"), widths=(16, -3, 64)))


def test_files_of_configurations_on_the_command_line(tmp_path):
    path = tmp_path / "occlusion.py"
    path.touch()
    for given in ([f"--config={path}:smoke"], ["--config", f"{path}:smoke"], ["-config", f"{path}:smoke"]):
        assert configuration._with_files(["run", *given, "--x"], "a/b") == ["run", f"--config={path}:smoke", "--x"]
    for given in (["--config=none.py:smoke"], ["--config", "none.py"], ["--config"], [f"--config={tmp_path}"]):
        with pytest.raises(
            SystemExit, match="a/b: Expected a configuration, such as configs/a/b.py:smoke, found no file"
        ):
            configuration._with_files(["run", *given], "a/b")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--config=configs/base.py"], "got AttributeError: module .* has no attribute 'get_config'"),
        (["--config=configs/zeiler2014/invariance.py:smoke", "--config.layers.x=1"], "and its fields, got TypeError"),
        (["--config=configs/zeiler2014/invariance.py:smoke", "--config.count=1.5"], "to be an integer, got '1.5'.$"),
        (
            ["--config=configs/zeiler2014/invariance.py:smoke", "--dry_run", "--config.scale=5"],
            r"scale .*, got \(5,\)\.$",
        ),
    ],
)
def test_what_is_no_configuration_takes_one_line(flags, message):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.zeiler2014.invariance", *flags], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode and re.search(message, done.stderr.rstrip()) and "Traceback" not in done.stderr
