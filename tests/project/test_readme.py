"""What the README says can be typed, and does what it says."""

import re
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
EXPLAIN, PHOTOGRAPH, CONCEPT = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


class CNN(nn.Module):
    """The model of a reader."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.max_pool(nn.relu(nn.Conv(8, (3, 3))(x)), (2, 2), (2, 2))
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(nn.Conv(8, (3, 3))(x)))
        return nn.Dense(10)(x.mean((1, 2)))


def reader():
    images = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype(np.float32)
    model = CNN()
    return {"model": model, "variables": model.init(jax.random.key(0), images, train=False), "images": images}


def test_explain_your_own_model():
    names = reader()
    exec(EXPLAIN, names)
    for result in ("guided", "neuron", "attributions"):
        assert names[result].shape == names["images"].shape and np.abs(names[result]).max() > 0
    assert np.abs(names["error"]).max() < 0.1
    assert len([line for line in EXPLAIN.splitlines() if line]) <= 6


def test_explain_a_photograph(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)).save("photo.jpg")
    names = {}
    exec(PHOTOGRAPH, names)
    assert names["picture"].shape == (224, 224, 3) and 0 <= names["picture"].min() < names["picture"].max() <= 1


def test_test_concepts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, rng = reader(), np.random.default_rng(1)
    exec(EXPLAIN.partition("guided")[0], names)
    names["zebras"], names["random"] = (rng.normal(size=(n, 12, 12, 3)).astype("f") for n in (6, 30))
    names["concepts"] = {"bright": rng.normal(1, 1, (6, 12, 12, 3)).astype("f")}
    code = CONCEPT.replace("340", "3").replace("runs=50, controls=20", "runs=3, controls=3")
    exec(code, names)
    assert [row.concept for row in names["rows"]] == ["bright"] and (tmp_path / "tcav.csv").read_text().count("\n") == 2


def test_is_short_and_its_pictures_exist():
    assert len(TEXT.splitlines()) <= 150
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", TEXT)
    links = re.findall(r"\]\((?!https?:)([^)#]+)", TEXT)
    assert len(pictures) == 4 and len(links) > 8
    assert [path for path in pictures + links if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("script", re.findall(r"scripts/\w+\.\w+", TEXT))
def test_scripts_exist(script):
    assert (ROOT / script).exists()
