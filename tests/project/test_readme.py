"""What the README says can be typed, and does what it says."""

import re
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from xai_jax import deconvnet, metrics, models, network, pooling, saliency, targets
from xai_jax.training import parallel

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
EXPLAIN, PHOTOGRAPH, CONCEPT, RULE, OWN, TRAIN = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


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
    for result in ("guided", "neuron", "parts"):
        assert names[result].shape == names["images"].shape and np.abs(names[result]).max() > 0
    assert np.abs(names["error"]).max() < 0.1
    assert len([line for line in EXPLAIN.splitlines() if line]) <= 6


def test_explain_a_photograph(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)).save("photo.jpg")
    names = {}
    exec(PHOTOGRAPH, names)
    assert names["picture"].shape == (224, 224, 3) and 0 <= names["picture"].min() < names["picture"].max() <= 1


def test_ask_for_concepts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, rng = reader(), np.random.default_rng(1)
    exec(EXPLAIN.partition("guided")[0], names)
    names["zebras"], names["others"] = (rng.normal(size=(n, 12, 12, 3)).astype("f") for n in (6, 30))
    names["concepts"] = {"bright": rng.normal(1, 1, (6, 12, 12, 3)).astype("f")}
    layer = list(network.layer_names(names["net"], names["images"]))[0]
    code = CONCEPT.replace("Conv_1", layer).replace("340", "3").replace("runs=50, controls=20", "runs=3, controls=3")
    exec(code, names)
    assert [row.concept for row in names["rows"]] == ["bright"] and (tmp_path / "tcav.csv").read_text().count("\n") == 2


def test_add_a_rule():
    names = reader() | {"jnp": jnp, "target": targets.logit(1)}
    exec(EXPLAIN.partition("guided")[0], names)
    names["x"] = names["images"]
    exec(RULE, names)
    assert np.abs(names["attribution"]).max() > 0


def test_write_a_network():
    names = {"nn": nn, "jax": jax, "network": network, "pooling": pooling}
    x = np.ones((1, 8, 8, 3), np.float32)
    exec(OWN.partition("module = ")[0], names)
    names["variables"] = names["Net"]().init(jax.random.key(0), x)
    exec(OWN, names)
    assert list(network.layer_names(names["net"], x)) == ["relu1"]
    assert saliency.guided_backprop(names["net"], x, targets.logit(3)).shape == x.shape


def test_train_a_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "photos/train" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (50 + number, 40)).save(tmp_path / f"photos/train/{name}/{number}.jpg")
    names = {}
    exec(TRAIN.replace("epochs=30, batch=64", "epochs=1, batch=2").replace("width=0.5", "width=0.05"), names)
    assert (tmp_path / "runs/photos/weights.safetensors").exists()
    assert names["module"].apply(names["variables"], np.ones((1, 32, 32, 3), np.float32)).shape == (1, 2)


def test_named_functions_experiments_and_networks_exist():
    modules = {"saliency": saliency, "metrics": metrics, "pooling": pooling, "targets": targets, "network": network}
    modules |= {"parallel": parallel, "deconvnet": deconvnet}
    named = re.findall(r"`(\w+)\.(?!json)(\w+)[`(]", TEXT)
    assert len(named) > 15
    for module, name in named:
        assert module not in modules or hasattr(modules[module], name), f"{module}.{name}"
    for experiment in re.findall(r"^\| `(\w+/\w+)` \|", TEXT, re.MULTILINE):
        assert (ROOT / "experiments" / f"{experiment}.py").exists() and (ROOT / "configs" / f"{experiment}.py").exists()
    assert {"efficientnet_lite0", "vgg16"} <= set(models.names())
    for picture in re.findall(r"!\[.+?\]\((.+?)\)", TEXT):
        assert (ROOT / picture).exists()


@pytest.mark.parametrize("word", ["reproduce.sh", "test.sh", "benchmark.py", "convert_weights.py"])
def test_scripts_exist(word):
    assert word in TEXT and (ROOT / "scripts" / word).exists()
