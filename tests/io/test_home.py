"""In every path that a user gives, "~" is the home directory, whether or not a shell has seen it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import optax
import pytest
from PIL import Image

from experiments.lib import completion, configuration
from scripts import reproduce
from tests.helpers.small_network import Small, small_data
from xai_jax import models, training
from xai_jax.concepts import cav
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.data import datasets, decoding, fashion_mnist, textures
from xai_jax.gallery import build, explorer, human_study_answers, results
from xai_jax.io import csv_file, files
from xai_jax.synthesis import checkpoints, optimize
from xai_jax.weights import safetensors_file

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    yield tmp_path / "home"
    assert not os.listdir(tmp_path / "elsewhere")


def test_names_that_begin_with_a_tilde_are_left_alone(home):
    assert files.user_path("~") == home and files.user_path("a/~/b") == Path("a/~/b")
    assert files.user_path("~nobody-of-this-name/weights") == Path("~nobody-of-this-name/weights")


def test_files_and_caches(home, monkeypatch):
    files.write_atomically("~/a.csv", csv_file.encode([("a",), ("b",)]))
    assert csv_file.read("~/a.csv") == [{"a": "b"}]
    monkeypatch.setenv("XDG_CACHE_HOME", "~/caches")
    assert files.cache_dir("compiled") == home / "caches/xai_jax/compiled"
    monkeypatch.setenv("FASHION_MNIST_DIR", "~/garments")
    (home / "garments").mkdir()
    assert fashion_mnist.PACKAGE.find() == home / "garments"


def test_weights_and_images(home):
    module = Small()
    variables = training.fit(module, small_data(64), training.Recipe(1, 64, 0.1), "~/runs/small", seed=0)
    assert [line["step"] for line in training.metrics("~/runs/small")] == [1] and training.epoch_weights("~/runs") == {}
    np.testing.assert_array_equal(
        safetensors_file.read("~/runs/small/weights.safetensors")["params/dense/kernel"],
        variables["params"]["dense"]["kernel"],
    )
    digits = models.load("digits")
    safetensors_file.write("~/digits.safetensors", safetensors_file.flatten(digits.variables), {"network": "digits"})
    found = models.load("digits", "~/digits.safetensors")
    np.testing.assert_array_equal(
        found.variables["params"]["conv1"]["kernel"], digits.variables["params"]["conv1"]["kernel"]
    )
    (home / "images/a").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(home / "images/a/1.png")
    assert len(datasets.load("folder:~/images", "all")) == 1 and len(textures.from_folder("~/images", 8)["a"]) == 1
    assert decoding.decode("~/images/a/1.png").shape == (9, 9, 3)


def test_activations_vectors_and_checkpoints(home):
    digits, x = models.load("digits"), np.zeros((2, 8, 8, 1), np.float32)
    ActivationCache(digits.net, "relu1", cache_dir="~/activations").activations(x)
    assert list((home / "activations").rglob("*.*"))
    cav.save("~/stripes", cav.CAV(np.ones(1), "net", "conv5", "stripes", "Ridge()", 0.9))
    assert cav.load("~/stripes").concept == "stripes"
    loss = lambda x: {"loss": (x**2).sum(1)}  # noqa: E731
    for _ in range(2):
        optimize.minimise(loss, np.ones((1, 2), np.float32), optax.sgd(0.1), 3, checkpoint="~/runs/found.npz")
    assert (home / "runs/found.npz").exists() and checkpoints.phase_path("~/a.npz", 1) == home / "a-1.npz"


def test_results(home):
    (home / "results").mkdir()
    assert explorer.build("~/results") is None
    for read in (build, results.load):
        with pytest.raises(ValueError, match=f"expected results at {home}/results/"):
            read("~/results")
    with pytest.raises(ValueError, match=f"in {home}/study"):
        human_study_answers.read("~/study")
    (home / "weights").write_bytes(b"1")
    assert completion._digests("~/weights") == completion._digests(str(home / "weights"))
    assert completion._digests("folder:~/results")
    assert reproduce.parse(["--results", "~/results"]).results == str(home / "results")
    (home / "a.py").touch()
    assert configuration._with_files(["x", "--config=~/a.py:smoke"], "a") == ["x", f"--config={home}/a.py:smoke"]


def test_working_directories(home):
    command = [sys.executable, "-m", "experiments.zeiler2014.invariance"]
    config = f"--config={ROOT}/configs/zeiler2014/invariance.py:smoke"
    subprocess.run(
        [*command, config, "--workdir=~/results", "--config.count=2"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    assert (home / "results/metrics.json").exists()
