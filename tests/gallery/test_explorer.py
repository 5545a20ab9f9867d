"""The explorer of units: measurements of units, sheets of images, the index, and their display."""

import dataclasses
import functools
import io
import json
import operator
import re

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from PIL import Image
from sklearn.metrics import roc_auc_score

from configs.explorer import units as config_of
from experiments.explorer import sprites, unit_panels, units
from experiments.lib import manifest, runner
from tests.helpers.browser import attributes
from tests.helpers.small_units import LOADED, write_units
from xai_jax import deconvnet, models, network, plots, saliency, targets
from xai_jax.data import datasets
from xai_jax.gallery import ResultsError, explorer
from xai_jax.units.receptive_field import ReceptiveField

RNG = np.random.default_rng(0)
CONFIG = dataclasses.replace(
    config_of.get_config("smoke"), layers=("digits/conv2",), inversion=(4, 2), steps=4, drawn=8
)


def test_areas_are_those_under_the_roc_curve_with_ties_counted_half():
    activations, labels = RNG.integers(0, 6, (50, 4)).astype("f"), RNG.integers(0, 3, 50)
    expected = [[roc_auc_score(labels == label, column) for label in range(3)] for column in activations.T]
    np.testing.assert_allclose(unit_panels.areas(activations, labels, 3), expected, rtol=1e-6)


def test_bounds_have_the_stated_level_under_the_null_hypothesis():
    labels = np.repeat([0, 1], [30, 120])
    found = unit_panels.areas(RNG.normal(size=(150, 20_000)), labels, 1)[:, 0]
    (limit,) = unit_panels.bounds(np.array([[30, 120]]), 1)
    assert (found > limit).mean() == pytest.approx(unit_panels.LEVEL, abs=0.006)
    assert unit_panels.bounds(np.array([[30, 120]]), 1000)[0] > limit


def test_each_row_has_its_own_channel():
    weights = jnp.asarray(RNG.normal(size=(3, 5)), jnp.float32)
    x = jnp.asarray(RNG.normal(size=(2, 4, 4, 3)), jnp.float32)
    maps = unit_panels._own(Partial(lambda w, x: x @ w, weights), jnp.array([4, 1]), x)
    np.testing.assert_allclose(maps, np.stack([x[0] @ weights[:, 4], x[1] @ weights[:, 1]]), rtol=1e-5)
    flat = unit_panels._own(Partial(lambda w, x: x.mean((1, 2)) @ w, weights), jnp.array([0, 2]), x)
    np.testing.assert_allclose(flat, [x[0].mean((0, 1)) @ weights[:, 0], x[1].mean((0, 1)) @ weights[:, 2]], rtol=1e-4)


def test_projections_are_cut_to_what_the_unit_sees():
    model, data = models.load("digits"), datasets.load("digits", "test")
    found = deconvnet.top_k(model.net, ["relu1"], data, 2)["relu1"]
    top = {f"relu1 {name}": value for name, value in found._asdict().items()}
    some = unit_panels.units(model, top, "relu1", np.array([3, 9]))
    shown = unit_panels.projections(model, data, some, 8)
    image, row, column = (int(getattr(found, name)[9, 1]) for name in ("images", "rows", "columns"))
    x, neuron = unit_panels.inputs(model, data, [image]), targets.neuron("relu1", 9, (row, column))
    maps = {"patches": x * 255, "deconvnet": deconvnet.project(model.net, x, neuron)}
    maps["guided"] = saliency.guided_backprop(model.net, x, neuron)
    for name, fill in (("patches", 255), ("deconvnet", 0), ("guided", 0)):
        around = np.pad(np.asarray(maps[name])[0], [(1, 1), (1, 1), (0, 0)], constant_values=fill)
        cut = around[row : row + 3, column : column + 3]
        cut = np.rint(cut if name == "patches" else 255 * plots.signed(cut))
        assert shown[name].shape == (2, 2, 3, 3, 1)
        np.testing.assert_allclose(shown[name][1, 1], cut, atol=1)


def test_large_pictures_are_made_smaller_and_small_ones_left():
    pictures = RNG.integers(0, 256, (2, 3, 8, 4, 1), dtype=np.uint8)
    assert unit_panels.reduced(pictures, 8) is pictures
    halves = unit_panels.reduced(pictures, 4)
    np.testing.assert_allclose(halves, pictures.reshape(2, 3, 4, 2, 2, 2, 1).mean((3, 5)), atol=1)
    assert unit_panels.reduced(np.zeros((2, 8, 8, 3), np.uint8), 6).shape == (2, 6, 6, 3)


def test_sheets_have_a_row_for_each_unit():
    pictures = RNG.integers(0, 256, (4, 3, 5, 6, 1), dtype=np.uint8)
    found = np.asarray(Image.open(io.BytesIO(sprites.sheet(pictures))).convert("RGB"))
    np.testing.assert_array_equal(found[10:15, 6:12, 0], pictures[2, 1, ..., 0])
    colour = RNG.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    found = np.asarray(Image.open(io.BytesIO(sprites.sheet(colour))).convert("RGB"))
    np.testing.assert_array_equal(found, colour.reshape(20, 6, 3))


def test_a_class_without_images_is_detected_by_no_unit():
    activations = np.random.default_rng(0).normal(size=(60, 4))
    found = unit_panels.areas(activations, np.arange(60) % 2, 3)
    limits = unit_panels.bounds(np.array([[30, 30], [30, 30], [0, 60]]), 1)
    np.testing.assert_array_equal(found[:, 2], 0.5)
    np.testing.assert_allclose(limits[:2], unit_panels.bounds(np.array([[30, 30]] * 2), 1))
    assert limits[2] == 1 and np.isfinite(limits).all()


def test_the_box_is_what_the_unit_in_the_middle_sees():
    rows = np.array([[0, 2], [1, 4], [3, 6]])
    field = ReceptiveField((3, 3), (2, 2), (-1, -1), rows, rows + 2)
    some = unit_panels.Units("conv", np.arange(1), *np.zeros((3, 1, 1), int), field, (1, 1), (8, 10))
    assert sprites.box(some) == [1 / 8, 0.3, 0.5, 0.6]
    assert sprites.box(some._replace(at=None)) is None
    assert sprites.box(some._replace(field=field._replace(rows=rows * 0 + [0, 8], columns=rows * 0 + [0, 10]))) is None


def test_only_concepts_above_chance_are_near():
    areas, bounds = np.array([0.9, 0.6, 0.2, 0.95, 0.8, 0.7]), np.array([0.6, 0.6, 0.6, 0.96, 0.6, 0.6])
    assert sprites.nearest(areas, bounds) == [(0, 0.9), (4, 0.8), (5, 0.7)]


def test_claims_about_units():
    def layer(best, error):
        return {"areas": np.stack([np.linspace(best, best + 0.1, 20), np.ones(20)], 1), "error": np.full(20, error)}

    rising = {("a", "low"): layer(0.6, 0.1), ("a", "high"): layer(0.8, 0.1)}
    falling = {("b", "low"): layer(0.8, 0.3), ("b", "high"): layer(0.6, 0.3)}
    flat = {("b", "low"): layer(0.6, 0.3), ("b", "high"): layer(0.6, 0.3)}
    claims = [units.class_claim(found, 1) for found in (rising, rising | falling, rising | flat)]
    claims += [units.error_claim(found) for found in (rising, rising | falling)]
    decisions = [claim.verdict.decision for claim in claims]
    assert decisions == ["supported", "not supported", "inconclusive", "supported", "not supported"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A finished run on the digits' network."""
    folder = tmp_path_factory.mktemp("results")
    runner.execute(units.EXPERIMENT, CONFIG, folder / explorer.FOLDER, "smoke")
    return folder


def test_the_experiment_writes_sheets_and_an_index(results):
    folder = results / explorer.FOLDER
    index = explorer.load(folder)
    (found,) = index["layers"]
    assert (found["network"], found["layer"], len(found["sheets"])) == ("digits", "conv2", 2)
    assert index["concepts"][:2] == ["0", "1"] and index["concepts"][-1] == "meshes" and index["classes"] == 10
    assert found["cells"]["patches"] == [8, 8] == found["cells"]["preimage"] == found["field"]
    assert found["box"] == [1 / 8, 1 / 8, 1, 1] and found["count"] == 32
    stage = np.load(folder / "stages" / "digits-conv2-1.npz")
    picture = np.asarray(Image.open(folder / found["sheets"][1]["patches"]).convert("RGB"))
    np.testing.assert_array_equal(picture[8:16, 16:24, 0], stage["patches"][1, 2, ..., 0])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["claims"] and [figure["file"] for figure in metrics["figures"]] == ["digits.png", "measures.png"]


def test_concepts_of_the_experiment_are_separated_by_the_unit(results):
    index = explorer.load(results / explorer.FOLDER)
    (found,), model, data = index["layers"], models.load("digits"), datasets.load("digits", "test")
    maps = network.features(model.net, "conv2")(unit_panels.inputs(model, data, range(len(data))))
    peaks, labels = np.asarray(maps).max((1, 2)), data.labels
    np.testing.assert_allclose(found["strongest"], peaks.max(0)[found["channels"]], rtol=1e-3)
    for channel, near in zip(found["channels"], found["concepts"], strict=True):
        own = [roc_auc_score(labels == label, peaks[:, channel]) for label in range(10)]
        for number, area in near:
            assert area > index["bounds"][number]
            assert number >= 10 or area == pytest.approx(own[number], rel=1e-3)


def test_a_killed_run_resumes_from_its_layers(results, monkeypatch):
    folder = results / explorer.FOLDER
    kept = [path for path in folder.rglob("*") if path.suffix == ".webp" or path.name in ("units.json", "arrays.npz")]
    before = {path: path.read_bytes() for path in kept}
    for path in (folder / "metrics.json", folder / "units.json", folder / "stages" / "digits-conv2-1.npz"):
        path.unlink()
    done, projections = [], unit_panels.projections
    monkeypatch.setattr(unit_panels, "projections", lambda *a: done.append(a[2].channels) or projections(*a))
    runner.execute(units.EXPERIMENT, CONFIG, folder, "smoke")
    assert [chunk.tolist() for chunk in done] == [list(range(16, 32))]
    old, arrays = np.load(io.BytesIO(before.pop(folder / "arrays.npz"))), np.load(folder / "arrays.npz")
    assert all(np.array_equal(arrays[name], old[name]) for name in old)  # the file contains the time of writing
    assert all(path.read_bytes() == content for path, content in before.items())


def test_overwrite_clears_sheets_and_index(tmp_path):
    (tmp_path / "sheets").mkdir()
    manifest.add(tmp_path, "units.json", "sheets/old.webp")
    for name in ("units.json", "sheets/old.webp", "notes.txt"):
        (tmp_path / name).write_text("{}")
    manifest.clear(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".manifest", "notes.txt"]


def test_no_results_no_page(tmp_path):
    assert explorer.build(tmp_path) is None
    folder = write_units(tmp_path, [3])
    explorer.build(tmp_path)
    (folder / "metrics.json").unlink()  # a run that has not finished
    assert explorer.build(tmp_path) is None and not (tmp_path / "units.html").exists()
    (tmp_path / "units.html").write_text("a foreign page")
    assert explorer.build(tmp_path) is None and (tmp_path / "units.html").exists()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["bounds"], None, "bounds: expected a list"),
        (["layers", 0, "error"], [1, 2], r"layers\[0\]: error: expected 3 entries"),
        (["layers", 0, "chunk"], 2, r"layers\[0\]: sheets: expected 2, got 1"),
        (["layers", 0, "concepts", 0], [[7, 0.9]], "expected numbers below 2"),
        (["layers", 0, "labels", 0], [1], "labels: expected numbers below 1"),
        (["layers", 0, "sheets", 0, "guided"], "../x.webp", "expected the path of a sheet"),
        (["layers", 0, "sheets", 0, "guided"], "sheets/x.webp", "expected a sheet at .*x.webp"),
        (["layers", 0, "box"], [1], "box: expected four numbers or null"),
        ([], "{", "units.json: expected JSON"),
    ],
)
def test_what_is_wrong_in_the_index_is_named_and_the_old_page_stays(tmp_path, path, value, message):
    file = write_units(tmp_path, [3]) / "units.json"
    before = explorer.build(tmp_path).read_bytes()
    index = json.loads(file.read_text())
    if path:
        functools.reduce(operator.getitem, path[:-1], index)[path[-1]] = value
    file.write_text(json.dumps(index) if path else value)
    with pytest.raises(ResultsError, match=message):
        explorer.build(tmp_path)
    assert (tmp_path / "units.html").read_bytes() == before


def test_browser_shows_pictures_of_the_experiment_without_errors(chromium, results):
    chromium.get_log("browser")
    chromium.get(explorer.build(results).as_uri() + "#digits/conv2/21")
    assert attributes(chromium, "#name", "textContent") == ["digits › conv2 › unit 21"]
    found = chromium.execute_async_script(LOADED)
    assert len(found) == 6 and all(width > 0 for _, width, _ in found)  # the list shows the other patches, too
    size = {re.search(r"(\d-\w+)\.webp", url)[1]: (width, height) for url, width, height in found}
    assert size["1-patches"] == (72, 128) and size["0-patches"] == (72, 128) and size["1-preferred"] == (8, 128)
    assert attributes(chromium, ".pictures", "childElementCount") == [9, 9, 9, 1, 1]
    near = explorer.load(results / explorer.FOLDER)["layers"][0]["concepts"][21]
    assert attributes(chromium, "#near button span", "textContent") == [f"{area:.2f}" for _, area in near]
    assert chromium.get_log("browser") == []
