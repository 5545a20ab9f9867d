"""Published weights by name: the table, and loading from a local server in torchvision's names."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.architectures import golden
from tests.helpers import file_server
from xai_jax import models
from xai_jax.architectures import resnet
from xai_jax.io.checksums import sha256
from xai_jax.models import entries, published

NARROW = resnet.ResNet(stages=(1, 1), width=4, classes=3)


@pytest.fixture
def narrow(monkeypatch):
    """A network "narrow" in the registry, with ResNet's names of entries."""
    monkeypatch.setitem(entries.ENTRIES, "narrow", entries.ENTRIES["resnet18"]._replace(build=lambda: NARROW))


def torch_entries():
    """Random entries of that network in torchvision's names."""
    rng, state = np.random.default_rng(0), {"conv1.weight": (4, 3, 7, 7), "fc.weight": (3, 8), "fc.bias": (3,)}
    for layer, inputs, width in (("layer1.0", 4, 4), ("layer2.0", 4, 8)):
        state |= {f"{layer}.conv1.weight": (width, inputs, 3, 3), f"{layer}.conv2.weight": (width, width, 3, 3)}
    state |= {"layer2.0.downsample.0.weight": (8, 4, 1, 1)}
    for name in [name for name, shape in state.items() if len(shape) == 4]:
        norm = name.replace("conv", "bn").replace("downsample.0", "downsample.1").removesuffix("weight")
        state |= {f"{norm}{leaf}": state[name][:1] for leaf in ("weight", "bias", "running_mean", "running_var")}
    arrays = {name: rng.uniform(0.1, 1, shape).astype("f") for name, shape in state.items()}
    return arrays | {"bn1.num_batches_tracked": np.array(7)}


def saved(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "narrow-12345678.pth"
    torch.save({name: torch.from_numpy(array) for name, array in torch_entries().items()}, path)
    return path


def test_the_table_names_networks_of_the_registry_and_pins_digests():
    rows = published.table()
    assert len({(row.network, row.source) for row in rows}) == len(rows) == 9
    for row in rows:
        entry = entries.ENTRIES[row.network]
        assert entry.from_torch and not entry.package and re.fullmatch("[0-9a-f]{64}", row.sha256)
        assert re.fullmatch(r"https?://[\w./-]+\.(pth|caffemodel)", row.address) and row.licence
        if row.source == "torchvision":  # file names end with the digest's first digits
            assert row.address.endswith(f"-{row.sha256[:8]}.pth")
            size = (
                4 * golden.load()[row.network]["parameters"]
            )  # float32; GoogLeNet's auxiliary classifiers add as many
            assert size < 1e6 * (row.megabytes + 1) < 2.1 * size


def test_the_page_of_data_lists_all_files():
    page = (Path(__file__).parents[2] / "docs/data.md").read_text()
    lines = [line.split(" | ") for line in page.splitlines() if line.startswith("| `") and "SHA" not in line]
    found = [[cell.strip("|` ") for cell in line] for line in lines if len(line) == 6]
    assert [line[:4] for line in found] == [list(map(str, row[:4])) for row in published.table()]
    assert [line[5] for line in found] == [row.sha256 for row in published.table()]
    assert all(row.address in line[4] for row, line in zip(published.table(), found, strict=True))


def test_a_state_dict_in_torchvisions_names_loads_by_path_and_by_name(narrow, tmp_path, monkeypatch):
    path = saved(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with file_server.serving(path.read_bytes()) as server:
        row = published.Published(
            "narrow", "torchvision", 1, "MIT", sha256(path.read_bytes()), server.address(path.name)
        )
        monkeypatch.setattr(published, "table", lambda: (row,))
        found = [models.load("narrow", weights) for weights in (path, "torchvision", "torchvision")]
        assert len(server.requests) == 1
    expected = torch_entries()["layer2.0.conv1.weight"].transpose(2, 3, 1, 0)
    for model in found:
        np.testing.assert_array_equal(model.variables["params"]["layer2_0"]["conv1"]["conv"]["kernel"], expected)
        assert model.classes == ("class 0", "class 1", "class 2")
    x = found[0].preprocess([np.full((300, 400, 3), 128, np.uint8)])
    assert x.shape == (1, 224, 224, 3)


def test_other_sources_are_refused_and_networks_without_weights_say_what_there_is():
    with pytest.raises(ValueError, match="published for resnet18; it has 'torchvision'; got 'caffe'") as caught:
        models.load("resnet18", "caffe")
    assert len(str(caught.value)) <= 600
    with pytest.raises(ValueError, match="published for zfnet; it has none; got 'torchvision'"):
        models.load("zfnet", "torchvision")
    with pytest.raises(ValueError, match=r"publishes them: 'torchvision' \(a download of 47 MB\). A file"):
        models.load("resnet18")


def test_without_a_network_one_line_says_so(narrow, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with file_server.FileServer(b"") as server:
        address = server.address("narrow.pth")
    monkeypatch.setattr(published, "table", lambda: (published.Published("narrow", "x", 1, "MIT", "0" * 64, address),))
    with pytest.raises(
        ConnectionError, match="narrow.pth, got no connection, as without a network.*give its path"
    ) as caught:
        models.load("narrow", "x")
    assert len(str(caught.value)) <= 600 and str(caught.value).isprintable()
