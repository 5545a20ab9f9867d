"""No message is longer than 600 characters, whatever users call their layers, classes and files, and however many."""

import ast
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from experiments.lib import configuration, runner
from xai_jax import (
    deconvnet,
    metrics,
    models,
    network,
    pooling,
    saliency,
    significance,
    targets,
    tcav,
)
from xai_jax.architectures.allcnn import AllCNN
from xai_jax.concepts import cav, classifiers
from xai_jax.concepts.activation_cache import ActivationCache, refuse_shared
from xai_jax.core import messages
from xai_jax.data import datasets, decoding, examples, folder, planted, retina, textures
from xai_jax.io import errors
from xai_jax.models import generators
from xai_jax.weights import safetensors_file

ROOT = Path(__file__).resolve().parents[2]
LONG = "layer \n" * 5000
X = np.random.default_rng(0).normal(size=(3, 4, 4, 3)).astype(np.float32)
TARGET = targets.logit(0)


def deep(x, relu=jax.nn.relu, tap=network.keep):
    """200 layers with long names, and a residual connection around all but the last."""
    first = x
    for number in range(200):
        x = tap(f"model/stage{number // 20}/" * 9 + f"layer{number}", x + 1)
    return tap("logits" * 50, (x + first).mean((1, 2)))


NAMES = list(network.layer_names(deep, X))
MANY = [f"class {number} " * 9 for number in range(5000)]
CONFIG = "zeiler2014/occlusion"


def unreadable(x, relu, tap):
    raise RuntimeError(LONG)


def measured(**changes):
    given = {"concepts": {LONG: X}, "random": X, "classes": {LONG: (TARGET, X)}} | changes
    return tcav.measure(deep, NAMES[:1], *given.values(), runs=2, controls=2)


CALLS = {
    "unknown layer": lambda path: network.capture(deep, X, [LONG]),
    "unknown layer of features": lambda path: network.features(deep, "layer199")(X),
    "head": lambda path: network.head(deep, NAMES[3], X),
    "unknown head": lambda path: network.head(deep, LONG, X),
    "replace": lambda path: network.replace(deep, LONG, X)(X),
    "value": lambda path: network.replace(deep, NAMES[0], [LONG])(X),
    "ablate": lambda path: network.ablate(deep, NAMES[0], LONG),
    "ablated": lambda path: network.ablate(deep, NAMES[0], range(99999))(X),
    "twice": lambda path: network.capture(lambda x, relu, tap: tap(LONG, tap(LONG, x)), X),
    "unreadable": lambda path: network.layer_names(unreadable, X),
    "unreadable by a method": lambda path: saliency.gradient(unreadable, X, TARGET),
    "neuron": lambda path: saliency.gradient(deep, X, targets.neuron(LONG, 0)),
    "position": lambda path: targets.neuron("relu1", 0, at=LONG),
    "channel": lambda path: targets.neuron("relu1", [LONG]),
    "classes": lambda path: targets.logit([0.5] * 9999),
    "target": lambda path: saliency.gradient(deep, X, LONG),
    "direction": lambda path: saliency.gradient(deep, X, targets.direction(NAMES[0], np.zeros(7))),
    "grad_cam": lambda path: saliency.grad_cam(deep, X, TARGET, LONG),
    "grad_cam of logits": lambda path: saliency.grad_cam(deep, X, TARGET, "logits" * 50),
    "images": lambda path: saliency.gradient(deep, LONG, TARGET),
    "randomise": lambda path: metrics.randomise(deep, X.tolist()),
    "top_k": lambda path: deconvnet.top_k(deep, LONG, X, k=1),
    "switches": lambda path: deconvnet.project(deep, X, targets.neuron(NAMES[0], 0), switches=LONG),
    "receptive field": lambda path: deconvnet.receptive_field(deep, LONG, X),
    "cache": lambda path: ActivationCache(deep, [LONG]).activations(X),
    "cached layers": lambda path: ActivationCache(deep, [[LONG]]),
    "shared": lambda path: refuse_shared(LONG, [b"1"], LONG, [b"1"]),
    "concept": lambda path: measured(concepts={LONG: X[0]}),
    "concepts": lambda path: measured(concepts=[X] * 999),
    "few concepts": lambda path: measured(concepts={name: X[:1] for name in MANY}),
    "class": lambda path: measured(classes={LONG: LONG}),
    "layer of a CAV": lambda path: cav.learn(deep, NAMES, "c", X, X),
    "classifier": lambda path: classifiers.check(LONG),
    "statistic": lambda path: significance._choice("statistic", LONG, MANY),
    "correction": lambda path: significance.adjust([0.1], LONG),
    "window": lambda path: pooling.max_pool(jnp.asarray(X), [2] * 9999),
    "padding": lambda path: pooling.max_pool(jnp.asarray(X), 2, padding=LONG),
    "model": lambda path: models.load(LONG),
    "weights": lambda path: models.load("digits", LONG),
    "generator": lambda path: generators.load(LONG),
    "variant": lambda path: AllCNN(base=LONG, variant=LONG).init(jax.random.key(0), X),
    "data set": lambda path: datasets.load(LONG, "train"),
    "split": lambda path: datasets.load("digits", LONG),
    "examples": lambda path: examples.load(LONG, 1),
    "texture": lambda path: textures.images(LONG, 1, 64, 0),
    "lesion": lambda path: retina.images(LONG, 1, 64, 0),
    "attribute": lambda path: planted._check(dict.fromkeys(MANY, [0.5]), 1, 32),
    "no folders": lambda path: folder.scan(path),
    "folder": lambda path: datasets.load(f"folder:{LONG}", "all"),
    "picture": lambda path: decoding.decode(_deep_path(path)),
    "keys": lambda path: safetensors_file.fit(dict.fromkeys(MANY, X), {name: {"w": X} for name in NAMES}),
    "shapes": lambda path: safetensors_file.fit({f"{n}/w": X for n in NAMES}, {n: {"w": X[0]} for n in NAMES}),
    "reading": lambda path: _read(_deep_path(path)),
    "tier": lambda path: base.tiers(smoke=1, default=1, paper=1)(LONG),
    "field": lambda path: runner.configuration.parse(_arguments(f"--config.{'long' * 999}=3"), CONFIG),
    "far field": lambda path: configuration.parse(_arguments("--config.zzz=3"), CONFIG),
    "value of a field": lambda path: configuration.parse(_arguments(f"--config.seed={LONG}"), CONFIG),
    "configuration": lambda path: configuration.parse(["x", f"--config={LONG}"], CONFIG),
}


def _deep_path(path):
    path = path.joinpath(*["folder" * 30] * 10, "a.png")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"nothing" * 99)
    return path


def _read(path):
    with errors.reading(path, "a file"):
        raise KeyError(LONG)


def _arguments(*more):
    return ["x", f"--config={ROOT}/configs/{CONFIG}.py:smoke", *more]


@pytest.mark.parametrize("name", CALLS)
def test_messages_are_short_whatever_is_given(name, tmp_path):
    with pytest.raises((ValueError, TypeError, OSError, SystemExit, errors.UserError)) as caught:
        CALLS[name](tmp_path)
    text = str(caught.value)
    assert 20 < len(text) <= 600 and text.replace("\n", "").isprintable() and "xpected" in text


def test_an_unknown_experiment_is_refused_with_the_nearest():
    for name, near in (("kim2018/concept", "kim2018/concepts"), ("zeiler", "zeiler2014"), (LONG, "")):
        command = [sys.executable, ROOT / "scripts/reproduce.py", "--only", name]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2 and len(done.stderr) <= 600 and f"did you mean {near}" in done.stderr


@pytest.mark.parametrize("count", [0, 1, 5, 500, 50_000])
def test_lists_are_whole_or_say_how_many_there_are(count):
    names = [f"layer{number}" for number in range(count)]
    text = messages.listed(names)
    assert len(text) <= messages.LONGEST_LIST + 40
    assert text == (", ".join(names) or "none") or text.endswith(f", ... ({count} in all)")
    assert text.startswith("layer0" if count else "none")
    assert messages.listed(["long" * 999]).startswith("longlong") and "xai" in messages.nearest("xia", ["xai", *names])


def raised(tree):
    """Formatted values in the text of exceptions, and of what ends a process."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            yield from (each for each in ast.walk(node.exc) if isinstance(each, ast.FormattedValue))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.exit":
            yield from (each for each in ast.walk(node) if isinstance(each, ast.FormattedValue))


SHORT = {  # by themselves
    *("__name__", "name", "keras.backend.backend()", "image.mode", "CHECKSUM", "span.operation", "tensor.name"),
    *("padding", "', '.join(FORMATS)", "' and '.join(names)", "content[:4].hex()"),
}


def test_values_of_users_are_quoted_by_one_module():
    """`messages.quoted` and `messages.listed` in place of `!r` and `', '.join(...)`, which have no end."""
    found = []
    for path in [*ROOT.glob("xai_jax/**/*.py"), *ROOT.glob("experiments/lib/*.py"), *ROOT.glob("configs/*.py")]:
        for value in raised(ast.parse(path.read_text())):
            text = ast.unparse(value.value)
            has_end = text in SHORT or text.startswith("excerpt(") or "[:" in text or ":]" in text
            if (value.conversion == ord("r") or ".join(" in text) and not has_end:
                found.append(f"{path.relative_to(ROOT)}:{value.lineno}: {text}")
    assert not found
