"""Digests: equal for what gives equal results, in every process; different for what may differ."""

import dataclasses
import functools
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.helpers.small_network import Small
from xai_jax.data import datasets
from xai_jax.io.fingerprints import fingerprint

ROOT = Path(__file__).parents[2]
SETTINGS, FACTOR = {"short": 8}, 2.0


def scaled(x, factor=2.0):
    return x * factor


def through_another(x):
    return scaled(x) * FACTOR + SETTINGS["short"]


def closure(array):
    return lambda x: x + array


@dataclasses.dataclass
class Crop:
    short: int
    cache: dict = dataclasses.field(default_factory=dict, compare=False)

    def __call__(self, image):
        return image[: self.short]


class Plain:
    def __init__(self, short):
        self.short = short

    def crop(self, image):
        return image[: self.short]


class Activated(nn.Module):
    activation: object = nn.relu

    @nn.compact
    def __call__(self, x):
        return self.activation(x)


def folder(path, content):
    (path / "a").mkdir(parents=True)
    (path / "a/1.png").write_bytes(content)
    return datasets.load(f"folder:{path}", "all")


DIFFERENT = {
    "types": (1, 1.0, True, "1", b"1", None, (), (1,), {}, {1: 1}),
    "nesting": ([[1], 2], [1, [2]], [1, 2], [[1, 2]]),
    "arrays": (np.zeros(4), np.zeros(4, np.float32), np.zeros((2, 2)), np.float64(0), np.array([0, 0, 0, -0.0])),
    "keys": (jax.random.key(0), jax.random.key(1)),
    "partials": (scaled, functools.partial(scaled, factor=3.0), functools.partial(scaled, factor=4.0)),
    "traced partials": (Partial(scaled, factor=np.ones(2)), Partial(scaled, factor=np.zeros(2))),
    "closures": (closure(np.ones(2)), closure(np.zeros(2))),
    "lambdas on one line": (lambda x: x + 1, lambda x: x + 2, lambda x: x - 1),
    "compiled": (jax.jit(closure(np.ones(2))), jax.jit(closure(np.zeros(2)))),
    "library": (jnp.abs, jnp.sin, np.abs, np.sin, nn.relu, nn.gelu, max, min),
    "instances": (Crop(8), Crop(12), Plain(8), Plain(12), Plain(8).crop, Plain(12).crop),
    "networks": (Small(width=4), Small(width=5), Activated(), Activated(nn.gelu), Activated(lambda x: x)),
    "generators": (np.random.default_rng(0), np.random.default_rng(1)),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_may_differ_has_digests_of_its_own(kind):
    found = [fingerprint(value) for value in DIFFERENT[kind]]
    assert len(set(found)) == len(found)
    assert found == [fingerprint(value) for value in DIFFERENT[kind]]


def test_what_is_equal_has_one_digest():
    shared = np.ones(2)
    assert fingerprint((shared, shared)) == fingerprint((np.ones(2), np.ones(2)))
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(Crop(8, {"seen": 1})) == fingerprint(Crop(8))
    assert fingerprint({3, 1, 2}) == fingerprint({2, 3, 1})


@pytest.mark.parametrize(("name", "value"), [("FACTOR", 3.0), ("SETTINGS", {"short": 9}), ("scaled", abs)])
def test_a_function_depends_on_what_it_reads_of_its_module(monkeypatch, name, value):
    before = fingerprint(through_another)
    monkeypatch.setitem(through_another.__globals__, name, value)
    assert fingerprint(through_another) != before


def test_values_may_contain_themselves():
    rings = [[1], [1], [2]]
    for ring in rings:
        ring.append(ring)
    first, same, other = map(fingerprint, rings)
    assert first == same != other

    def recursive(n):
        return n and recursive(n - 1)

    assert fingerprint(recursive) != fingerprint(lambda n: n)


def test_data_sets_depend_on_their_images_labels_and_files(tmp_path):
    digits = datasets.load("digits", "train")
    found = {
        fingerprint(data) for data in (digits, datasets.only(digits, ["1", "3"]), datasets.only(digits, ["3", "1"]))
    }
    first, same, other = (
        folder(tmp_path / name, content) for name, content in [("x", b"1"), ("y", b"1"), ("z", b"22")]
    )
    assert len(found | {fingerprint(first), fingerprint(other)}) == 5
    before = fingerprint(first)
    (tmp_path / "x/a/1.png").write_bytes(b"333")
    assert fingerprint(first) != before


def test_what_cannot_be_described_is_refused_by_type():
    with open(__file__) as file, pytest.raises(ValueError, match="distinguished after a restart, got .*TextIOWrapper"):
        fingerprint(functools.partial(print, file=file))


def test_other_processes_find_the_same():
    names = "scaled, through_another, closure(np.ones(2)), Crop(8), Small(), Activated(), nn.relu, {'b', 'a', 'c'}"
    code = f"from tests.io.test_fingerprints import *\nprint(*map(fingerprint, ({names})))"
    run = functools.partial(subprocess.run, [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    outputs = {run(env={"PYTHONHASHSEED": seed, "PATH": "", "JAX_PLATFORMS": "cpu"}).stdout for seed in "12"}
    assert len(outputs) == 1 and len(outputs.pop().split()) == 8
