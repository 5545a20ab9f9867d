"""The numbers behind Zeiler & Fergus's figures 2, 4 and 5, Table 1 and the switches, on small arrays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs.zeiler2014 import correspondence as correspondence_config
from configs.zeiler2014 import invariance as invariance_config
from experiments.lib import runner, top_activations
from experiments.lib.report import paired_claim
from experiments.zeiler2014 import correspondence, evolution, features, invariance, switches
from xai_jax import deconvnet, models, network, targets
from xai_jax.data import cutouts, photographs
from xai_jax.data.dataset_types import InMemory

needs_images = pytest.mark.skipif(
    None in (photographs.PACKAGE.find(), cutouts.PACKAGE.find()), reason="Debian's packages of images are missing"
)


@pytest.fixture(scope="module")
def digits():
    return models.load("digits")


def test_a_tile_is_the_receptive_field_with_its_unit_at_the_same_position():
    def net(x, relu=jax.nn.relu, tap=network.keep):
        return tap(
            "conv",
            jax.lax.conv_general_dilated(
                x, jnp.ones((5, 3, 1, 1)), (2, 1), [(2, 2), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
            ),
        ).mean((1, 2))

    image = np.arange(1.0, 101, dtype=np.float32).reshape(10, 10, 1)
    field = deconvnet.receptive_field(net, "conv", image[None])
    padded = np.pad(image, ((2, 2), (1, 1), (0, 0)))
    for row in range(5):
        for column in range(10):
            expected = padded[2 * row : 2 * row + 5, column : column + 3]
            np.testing.assert_array_equal(top_activations.tile(image, field, row, column), expected)


def test_tiles_are_never_larger_than_the_image(digits):
    x = np.ones((1, 8, 8, 1), np.float32)
    field = deconvnet.receptive_field(digits.net, "relu2", x)
    assert top_activations.tile(x[0], field, 0, 3).shape == (8, 8, 1)


def test_mosaic_lays_out_row_by_row():
    tiles = [np.full((2, 3, 1), i, np.float32) for i in range(5)]
    sheet = features.mosaic(tiles, 2, 1, -1)
    assert sheet.shape == (8, 7, 1)
    assert [sheet[0, 0, 0], sheet[0, 4, 0], sheet[3, 0, 0], sheet[6, 0, 0], sheet[6, 4, 0]] == [0, 1, 2, 4, -1]
    assert (sheet[2] == -1).all() and (sheet[:, 3] == -1).all()


def test_purity_counts_the_commonest_class():
    np.testing.assert_allclose(features.purity(np.array([[1, 1, 2], [3, 3, 3], [0, 1, 2]])), [2 / 3, 1, 1 / 3])


def test_maps_that_too_few_images_activate_are_left_out():
    values = np.array([[3.0, 2, 1], [3, 1, 0], [0, 0, 0]])
    assert features.active({"relu1 values": values}, "relu1").tolist() == [0]


def test_chance_level_has_the_frequencies_of_classes():
    images = np.zeros((10, 8, 8, 1), np.uint8)
    for labels, expected in (([0] * 10, 1), ([0] * 9 + [1], 0.9)):
        data = InMemory(images, np.int32(labels), ("cat", "dog"))
        assert features.chance(data, 9) == pytest.approx(expected, abs=0.01)


def test_correlations_are_numpys_and_undefined_for_dead_maps():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 7, 3, 3, 4))
    b[..., 2] = 5
    found = evolution.correlations(a, b)
    for channel in (0, 1, 3):
        expected = np.corrcoef(a[..., channel].ravel(), b[..., channel].ravel())[0, 1]
        np.testing.assert_allclose(found[channel], expected)
    assert np.isnan(found[2])


def test_transformations_move_enlarge_and_turn():
    image = np.zeros((9, 9, 1), np.float32)
    image[4, 6] = 1
    moved = invariance.transform(image, "translation", 2)
    assert np.argwhere(moved > 0.5).tolist() == [[6, 6, 0]]
    turned = invariance.transform(image, "rotation", 90)
    assert np.argwhere(turned > 0.5).tolist() == [[2, 4, 0]]
    image[3:6, 3:6] = 1
    assert (invariance.transform(image, "scale", 2.0) > 0.5).sum() > 2 * image.sum()
    for kind, none in (("translation", 0), ("scale", 1), ("rotation", 0)):
        np.testing.assert_allclose(invariance.transform(image, kind, none), image, atol=1e-6)


def test_transformed_images_are_shown_of_a_network_that_names_none_of_them(tmp_path, monkeypatch):
    config, load = invariance_config.get_config("smoke"), invariance.examples.load

    def wrong(*arguments):
        found = load(*arguments)
        return found._replace(labels=(found.labels + 1) % 10)

    monkeypatch.setattr(invariance.examples, "load", wrong)
    report = invariance.run(config, runner.Workspace(tmp_path, ""))
    assert report.panels[0].figure.axes and "remains: unknown" in report.claims[1].measured


def test_distances_are_shares_of_those_between_images(digits):
    x = np.random.default_rng(0).random((3, 8, 8, 1)).astype(np.float32)
    config = type("Config", (), {"layers": ("relu1", "relu2")})
    found = invariance.measure(digits.net, x, np.array([1, 2, 3]), "translation", np.array([0.0, 1.0]), config)
    maps = np.asarray(network.capture(digits.net, jnp.asarray(x), ["relu1"])[1]["relu1"]).reshape(3, -1)
    apart = np.mean([np.linalg.norm(maps[i] - maps[j]) for i in range(3) for j in range(3) if i != j])
    moved = np.stack([invariance.transform(image, "translation", 1.0) for image in x])
    shifted = np.asarray(network.capture(digits.net, jnp.asarray(moved), ["relu1"])[1]["relu1"]).reshape(3, -1)
    np.testing.assert_allclose(found["relu1"][:, 1], np.linalg.norm(shifted - maps, axis=1) / apart, rtol=1e-5)
    np.testing.assert_allclose(found["relu1"][:, 0], 0, atol=1e-6)
    probabilities = np.asarray(jax.nn.softmax(digits.net(jnp.asarray(x))))
    np.testing.assert_allclose(found["probability"][:, 0], probabilities[[0, 1, 2], [1, 2, 3]], rtol=1e-5)


def test_epochs_that_were_not_kept_are_named(tmp_path):
    from configs.zeiler2014.evolution import get_config

    config = get_config("paper")
    config.weights = str(tmp_path)
    with pytest.raises(runner.UserError, match=r"after the epochs \(1, 2, 5.*keep_epochs=True"):
        evolution.kept(config, None, tmp_path)


def test_projections_use_the_switches_that_they_say(digits):
    x, others = np.random.default_rng(0).random((2, 3, 8, 8, 1)).astype(np.float32)
    found = switches.projections(digits.net, jnp.asarray(x), jnp.asarray(others), "relu2")
    maps = np.asarray(network.capture(digits.net, jnp.asarray(x), ["relu2"])[1]["relu2"])
    for n in range(3):
        row, column, channel = (found[name][n] for name in ("row", "column", "channel"))
        assert maps[n, row, column, channel] == maps[n].max()
        neuron = targets.neuron("relu2", channel, (row, column))
        for kind, lent in (("own", "own"), ("other", jnp.asarray(others[n : n + 1])), ("none", "none")):
            expected = deconvnet.project(digits.net, jnp.asarray(x[n : n + 1]), neuron, lent)
            np.testing.assert_allclose(found[kind][n], expected[0], atol=1e-5)


def test_projections_follow_edges_where_they_lie_on_them():
    bar = np.zeros((2, 12, 12, 1))
    bar[0, :, 4:6], bar[1, 7:9] = 1, 1
    upright, level = (switches.edges(image)[None, ..., None] for image in bar)
    found = {"own": upright, "other": level, "none": np.full((1, 12, 12, 1), 0.1)}
    measured = {key: values[0] for key, values in switches.measure(found, bar[:1], bar[1:]).items()}
    assert measured["own edges"] == pytest.approx(1) and measured["other other's edges"] == pytest.approx(1)
    assert measured["own other's edges"] < 0.5 and np.isnan(measured["none edges"])
    assert measured["own cosine"] == pytest.approx(1) and 0 < measured["other cosine"] < 0.9


def test_claims_of_comparisons_need_three_values():
    more, less = (np.array([1.0, 2, 3, np.nan]), "a"), (np.array([0.0, 1.1, 1.9, 4]), "b")
    assert paired_claim("words", "Fig. 1", more, less).verdict.decision == "supported"
    assert paired_claim("words", "Fig. 1", less, more).verdict.decision == "not supported"
    few = (np.array([1.0, 2, np.nan, np.nan]), "a")
    assert paired_claim("words", "Fig. 1", few, less).verdict.decision == "inconclusive"


def test_sign_distances_are_the_papers_sum_over_pairs():
    changes = np.random.default_rng(0).normal(size=(5, 40))
    changes[:, ::3] = 0
    changes[2, 3] = 1e-9  # rounding
    total, pairs = 0, 0
    for i in range(5):
        for j in range(5):
            if i != j:
                signs = [np.sign(row) * (abs(row) > 1e-8) for row in (changes[i], changes[j])]
                total += np.count_nonzero(signs[0] != signs[1]) / 40
                pairs += 1
    assert correspondence.distance(changes) == pytest.approx(total / pairs)
    assert correspondence.distance(np.ones((3, 7))) == 0


def parts_config(**changes):
    return dataclasses.replace(correspondence_config.get_config("default"), **changes)


def test_squares_are_clipped_at_borders():
    image = np.zeros((8, 12), np.uint8)
    hidden = correspondence.hide(image, (4, 6), parts_config(side=0.5))
    assert np.argwhere(hidden == 127).min(0).tolist() == [2, 4] and (hidden == 127).sum() == 16
    assert (correspondence.hide(image, (0, 12), parts_config(side=0.5)) == 127).sum() == 4
    assert (correspondence.hide(image, (-9, 6), parts_config(side=0.5)) == 127).sum() == 0
    assert (image == 0).all()


def test_sets_are_drawn_by_their_number_and_random_squares_lie_inside():
    images = [np.full((20, 30), n, np.uint8) for n in range(250)]
    parts = correspondence.Parts(images, {"nose": np.arange(500.0).reshape(250, 2)})
    config = parts_config(side=0.3)
    first, again, second = (correspondence.draw(parts, config, number) for number in (0, 0, 1))
    chosen = [image[0, 0] for image in first.images]
    assert len(set(chosen)) == 5 and chosen == [image[0, 0] for image in again.images]
    assert not set(chosen) & {image[0, 0] for image in second.images}
    np.testing.assert_array_equal(first.centres["nose"], parts.centres["nose"][chosen])
    common = first.centres[correspondence.COMMON]
    assert (common == common[0]).all() and len(np.unique(first.centres[correspondence.RANDOM])) == 10
    for number in range(50):
        for name in (correspondence.RANDOM, correspondence.COMMON):
            for centre in correspondence.draw(parts, config, number).centres[name]:
                assert (correspondence.hide(images[0], centre, config) == 127).sum() == 36


def test_parts_are_read_from_a_file_and_what_is_missing_is_named(tmp_path):
    Image.fromarray(np.zeros((6, 5, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.ones((7, 5), np.uint8)).save(tmp_path / "b.png")
    table = tmp_path / "parts.csv"
    lines = ["image,part,row,column", "b.png,nose,1,2", "a.png,nose,3,4.5", "b.png,eye,5,6", "a.png,eye,0,0"]
    table.write_text("\n".join(lines))
    found = correspondence.from_file(str(table))
    assert [image.shape for image in found.images] == [(6, 5, 3), (7, 5, 3)]
    np.testing.assert_array_equal(found.centres["nose"], [[3, 4.5], [1, 2]])
    table.write_text("\n".join(lines[:-1]))
    with pytest.raises(runner.UserError, match="missing: eye in a.png"):
        correspondence.from_file(str(table))
    head = "image,part,row,column"
    for text in ("image,part,row\na.png,nose,1", f"{head}\na.png,nose,one,2", f"{head}\na.png,nose,1"):
        table.write_text(text)
        with pytest.raises(runner.UserError, match="columns image, part, row and column"):
            correspondence.from_file(str(table))
    with pytest.raises(runner.UserError, match="not published"):
        correspondence.from_file(str(tmp_path / "none.csv"))


@needs_images
def test_heads_come_with_their_parts_as_often_as_there_are_sets():
    config = parts_config(sets=100)
    parts = correspondence.loaded(config)
    assert list(parts.centres) == ["eye", "nose", "ear"] and {image.shape for image in parts.images} == {(224, 224, 3)}
    model = models.load("digits")
    few = dataclasses.replace(config, layers=("relu1", "relu2"), count=20)
    found = correspondence.measure(model, parts, few, runner.Workspace(None, ""))
    assert {len(values) for values in found.values()} == {2}


def test_too_few_images_of_a_class_are_refused(tmp_path):
    config = dataclasses.replace(correspondence_config.get_config("smoke"), count=100)
    with pytest.raises(runner.UserError, match="at least 100 images"):
        correspondence.run(config, runner.Workspace(tmp_path, ""))
