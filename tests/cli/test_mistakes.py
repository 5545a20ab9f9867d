"""Mistakes of users: one line on standard error, exit status 2, and no file."""

import numpy as np
import pytest
from PIL import Image

from xai_jax import __main__ as command_line
from xai_jax import models
from xai_jax.cli import common
from xai_jax.io.errors import UserError
from xai_jax.weights import safetensors_file


@pytest.fixture
def photograph(tmp_path):
    path = tmp_path / "three.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Runs a command that is refused; returns its message."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        before = sorted(tmp_path.rglob("*"))
        try:
            status = command_line.main(list(map(str, arguments)))
        except SystemExit as ended:
            status = ended.code
        out, message = capsys.readouterr()
        assert status == 2 and out == "" and sorted(tmp_path.rglob("*")) == before
        assert message.count("\n") == 1 and message.endswith("\n") and len(message) < 700
        return message

    return run


def test_a_file_that_is_no_image(refused, tmp_path):
    (tmp_path / "notes.jpg").write_text("no image")
    assert refused("explain", "notes.jpg", "--model", "digits").endswith("notes.jpg, got: cannot identify image file\n")
    assert "No such file" in refused("explain", "missing.jpg", "--model", "digits")
    assert "expected a file, got a device, a pipe or a directory" in refused("explain", tmp_path, "--model", "digits")


def test_a_class_that_is_missing(refused, photograph):
    message = refused("explain", photograph, "--model", "photo_maxpool", "--target", "mamal")
    assert "Expected a class of the network" in message and "Did you mean 'mammal'?" in message


def test_a_network_that_is_missing_or_has_no_weights_or_classes(refused, photograph):
    assert "Did you mean 'digits'?" in refused("explain", photograph, "--model", "digit")
    assert "published weights" in refused("explain", photograph, "--model", "zfnet")
    assert "missing.pth" in refused("explain", photograph, "--model", "vgg16", "--weights", "missing.pth")


def test_weights_name_their_network(photograph, tmp_path, refused):
    path = tmp_path / "weights.safetensors"
    safetensors_file.write(path, safetensors_file.flatten(models.load("digits").variables))
    assert common.network_of(path) == "digits"
    safetensors_file.write(path, {"params/other/kernel": np.zeros((2, 2), np.float32)})
    assert "which fits none" in refused("explain", photograph, "--weights", path)
    assert "got an image" in refused("explain", photograph, "--weights", photograph)
    assert "missing.pth" in refused("explain", photograph, "--weights", "missing.pth")


def test_weights_of_another_network_are_compared_in_one_line(refused, photograph, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors_file.write(path, safetensors_file.flatten(models.load("digits").variables))
    message = refused("explain", photograph, "--model", "photo_maxpool", "--weights", path)
    assert "that differ: missing: " in message and "They fit digits." in message and "\\n" not in message


def test_a_network_without_classes(monkeypatch, refused, photograph):
    found = models.load("digits")._replace(classes=())
    monkeypatch.setattr(models, "load", lambda *arguments: found)
    assert "which has none" in refused("explain", photograph, "--model", "digits")


def test_methods_and_files(refused, photograph, tmp_path):
    assert "got 'map'" in refused("explain", photograph, "--model", "digits", "--methods", "map,units")
    assert "folder that exists" in refused("explain", photograph, "--model", "digits", "--out", "no/where.html")
    assert "got the folder" in refused("explain", photograph, "--model", "digits", "--out", tmp_path)
    unwritable = refused("explain", photograph, "--model", "digits", "--out", "/proc/page.html")  # also for root
    assert "Expected a folder that can be written" in unwritable and "/proc" in unwritable


@pytest.mark.parametrize("arguments", [[], ["explain"], ["explane", "a.jpg"], ["explain", "a.jpg", "--colour"]])
def test_arguments_of_the_command(refused, arguments):
    assert "--help" in refused(*arguments)


CLASSES = ["tabby", "Persian cat", "Egyptian cat", "3"]


@pytest.mark.parametrize(
    "name, number",
    [("tabby", 0), ("persian CAT", 1), ("Egyptian_cat", 2), ("egypt", 2), ("1", 1), ("3", 3), ("0", 0)],
)
def test_classes_are_found_by_name_or_number(name, number):
    assert common.find_class(name, CLASSES) == number


@pytest.mark.parametrize(
    "name, words",
    [
        ("cat", "part of 2 names: Persian cat, Egyptian cat"),
        ("perzian cat", "'Persian cat'"),
        ("7", "0 to 3"),
        ("", ""),
    ],
)
def test_other_classes_are_refused_with_what_is_near(name, words):
    with pytest.raises(UserError, match="Expected (one|a) class") as caught:
        common.find_class(name, CLASSES)
    assert words in str(caught.value)
