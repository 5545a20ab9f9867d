"""Tables 4 and 5 of Springenberg et al. 2015: augmentation, and which claims a run can decide."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from configs.springenberg2015.cifar_sota import Config, get_config
from experiments.springenberg2015 import cifar_sota

RANDOM = np.random.default_rng(0)
moved = jax.jit(cifar_sota.moved)


@pytest.mark.parametrize(
    "change", [(0.3, 0.0, 0.0, 0.0), (0.0, 0.25, 0.0, 0.0), (0.0, 0.0, 1.5, -2.0), (-0.2, -0.3, 2.0, 1.0)]
)
def test_images_are_turned_zoomed_and_moved_about_their_centre(change):
    image = RANDOM.normal(size=(9, 9, 2)).astype(np.float32)
    angle, zoom, down, right = change
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / (1 + zoom)
    offset = 4 - turn @ (4 + np.array([down, right]))
    # scipy's border as in JAX: zeros begin where the last pixel ends
    expected = [
        ndimage.affine_transform(c, turn, offset, order=1, mode="grid-constant") for c in np.moveaxis(image, -1, 0)
    ]
    np.testing.assert_allclose(moved(image, jnp.array(change, jnp.float32)), np.moveaxis(expected, 0, -1), atol=1e-4)


def test_heavy_augmentation_differs_by_image_and_without_extent_only_mirrors():
    images = np.repeat(RANDOM.normal(size=(1, 9, 9, 1)).astype(np.float32), 16, 0)

    def distort(turn, zoom, slide):
        extent = functools.partial(cifar_sota.distort, turn=turn, zoom=zoom, slide=slide)
        return np.asarray(jax.jit(extent)(jax.random.key(0), images))

    found = distort(15.0, 0.2, 0.15)
    assert found.shape == images.shape and len(np.unique(found.reshape(16, -1), axis=0)) == 16
    same = distort(0.0, 0.0, 0.0)
    mirrored = np.isclose(same, images[:, :, ::-1], atol=1e-5).all((1, 2, 3))
    np.testing.assert_allclose(same[~mirrored], images[~mirrored], atol=1e-5)
    assert 0 < mirrored.sum() < 16


def test_flips_and_shifts_move_every_image_by_its_own_whole_pixels():
    image = np.pad(RANDOM.normal(size=(3, 3, 1)).astype(np.float32), ((4, 4), (4, 4), (0, 0)))
    most = jax.jit(functools.partial(cifar_sota.flip_and_shift, most=2))
    found = np.asarray(most(jax.random.key(1), np.stack([image] * 40)))
    moves = [(flip, down, right) for flip in (False, True) for down in range(-2, 3) for right in range(-2, 3)]
    possible = [np.roll(image[:, ::-1] if flip else image, (down, right), (0, 1)) for flip, down, right in moves]
    matches = [[index for index, other in enumerate(possible) if np.array_equal(one, other)] for one in found]
    assert all(len(match) == 1 for match in matches) and len({match[0] for match in matches}) > 15


def test_jobs_are_the_settings_that_there_are_data_for():
    paper, default, smoke = (cifar_sota.jobs(get_config(tier)) for tier in ("paper", "default", "smoke"))
    assert list(paper) == list(cifar_sota.SETTINGS)
    assert list(default) == list(smoke) == ["plain", "augmented"]
    assert paper["plain"].augment is None and paper["augmented"].augment.keywords == {"most": 5}
    assert paper["fine"].data == "cifar100" and paper["fine"].module.classes == 100
    assert paper["large"].module.width == 1 and paper["large"].canvas == 126


def difference(values):
    return cifar_sota.improvement("augmented", "plain", {"plain": np.full(4, 20.0), "augmented": values}, Config())


@pytest.mark.parametrize("gain, decision", [(-2.0, "supported"), (2.0, "not supported"), (0.0, "inconclusive")])
def test_augmentation_helps_only_where_seeds_agree(gain, decision):
    claim = difference(20 + gain + np.array([0.1, -0.1, 0.2, -0.2]))
    assert claim.verdict.decision == decision and f"{gain:+.2f} (95 % interval" in claim.verdict.text
    assert "-1.83 on CIFAR-10" in claim.measured


def test_one_large_network_decides_nothing():
    errors = {"augmented": np.array([20.0, 21.0]), "large": np.array([15.0])}
    claim = cifar_sota.improvement("large", "augmented", errors, Config())
    assert claim.verdict.decision == "inconclusive" and "-5.00 (n = 1, no interval)" in claim.verdict.text
    del errors["large"]
    assert "not trained" in cifar_sota.improvement("large", "augmented", errors, Config()).verdict.text


@pytest.mark.parametrize(
    "name, error, decision, other",
    [
        ("plain", 9.1, "supported", "9.69"),
        ("augmented", 8.5, "not supported", "7.97"),
        ("fine", 33.8, "inconclusive", "33.78"),
    ],
)
def test_others_are_compared_on_their_own_data_alone(name, error, decision, other):
    errors = {name: error + np.array([0.1, -0.1, 0.05, -0.05])}
    claim = cifar_sota.comparison_with_others(name, errors, get_config("paper"))
    assert claim.verdict.decision == decision and f"against {other} %" in claim.measured
    assert not cifar_sota.comparison_with_others(name, errors, get_config("default")).verdict.tested


def test_the_table_has_every_method_and_rules_between_the_settings():
    panel = cifar_sota.table_panel({"plain": np.array([20.0, 22.0])}, Config())
    words = [text.get_text() for text in panel.figure.axes[0].texts]
    assert "21.00 ± 1.00" in words and words.count("–") == 3 and "33.71" in words and "3.47" in words
    assert len(panel.figure.axes[0].lines) == 4 and panel.alt == "Table of 22 methods in 4 settings."


def test_plan_has_every_network_of_the_paper_tier():
    steps = cifar_sota.plan(get_config("paper"))
    names = ["All-CNN-C, plain", "All-CNN-C, augmented", "Large All-CNN, large", "All-CNN-C, fine"]
    assert [step.name for step in steps] == [f"{kind}, {name}" for name in names for kind in ("step", "errors")]
    assert [step.repeats for step in steps[::2]] == [9 * 350 * 390, 9 * 350 * 390, 600 * 390, 9 * 350 * 390]
    shapes = [jax.eval_shape(step.function, *step.arguments).shape for step in steps[1::2]]
    assert shapes == [(256, 10), (256, 10), (256, 10), (256, 100)]
    large = sum(leaf.size for leaf in jax.tree.leaves(steps[4].arguments[0].params))
    assert round(large / 1e6) == 77


def test_a_step_with_heavy_augmentation_traces():
    config = get_config("default")
    config = dataclasses.replace(config, large=dataclasses.replace(config.large, batch_size=2, width=1 / 64, seeds=1))
    step = cifar_sota.plan(config)[4]
    state = jax.eval_shape(step.function, *step.arguments)
    assert jax.tree.structure(state) == jax.tree.structure(step.arguments[0])
