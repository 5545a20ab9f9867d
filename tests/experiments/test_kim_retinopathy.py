"""Graders of retinas: wrong labels, agreement with the definition, and claims."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from PIL import Image

from configs.kim2018.retinopathy import get_config
from experiments.kim2018 import over_seeds, retinas, retinopathy, retinopathy_figures, small_networks
from experiments.lib.runner import Workspace
from xai_jax.data import datasets, retina
from xai_jax.data.datasets import InMemory
from xai_jax.io.errors import UserError

RNG = np.random.default_rng(0)
CONFIG = get_config("smoke")
DEFAULT = get_config("default")
LEVEL_OF = np.repeat(np.arange(5, dtype=np.int32), (40, 10, 30, 10, 10))
EYES = InMemory(RNG.integers(0, 256, (100, 60, 52, 3), np.uint8), LEVEL_OF, tuple("01234"))


def test_wrong_labels_are_a_fraction_of_one_label_and_all_of_one_level():
    data = retinas.relabelled(EYES, (1, 2, 0.6), 0)
    labels = np.array([label for _, label in data])
    changed = np.flatnonzero(labels != LEVEL_OF)
    assert (LEVEL_OF[changed] == 2).all() and (labels[changed] == 1).all()
    assert len(changed) / (labels == 1).sum() == 0.6
    assert [data.label(int(index)) for index in changed] == [1] * 15
    np.testing.assert_array_equal(data[99][0], EYES[99][0])
    with pytest.raises(UserError, match="Expected 40 images of level 2 to be 0.8 of those with label 1, got 30"):
        retinas.relabelled(EYES, (1, 2, 0.8), 0)


def test_drawn_images_have_the_configured_labels():
    for wrong in (None, (1, 2, 0.8)):
        data = retinas.training_images(CONFIG, wrong, 3)
        expected = retina.graded(CONFIG.images, CONFIG.side, 6, wrong)
        for actual, wanted in zip(data.arrays(), expected.arrays(), strict=True):
            np.testing.assert_array_equal(actual, wanted)
    assert (retinas.test_images(CONFIG, None, 3)[0][0] != data[0][0]).any()
    shown, healthy = retinas.lesions(CONFIG, 3)
    assert list(shown) == list(CONFIG.lesions) and len(healthy) == 6 * CONFIG.examples
    everything = np.concatenate([*shown.values(), healthy])
    assert len({image.tobytes() for image in everything}) == len(everything)


def test_images_of_a_data_set_and_a_folder(tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, data=get_config("paper").data, folder=str(tmp_path), examples=2, controls=3)
    monkeypatch.setattr(datasets, "load", lambda name, split: EYES if name == config.data else load(name, split))
    for lesion in config.lesions:
        (tmp_path / lesion).mkdir()
        for number in range(2):
            pixels = RNG.integers(0, 256, (50, 70, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / lesion / f"{number}.png")
    shown, healthy = retinas.lesions(dataclasses.replace(config, checked=100), 0)
    assert {name: len(images) for name, images in shown.items()} == dict.fromkeys(config.lesions, 2)
    assert healthy.shape == (10, 48, 48, 3)
    level = retinas.of_level(retinas.training_images(config, None, 0), 4, 3)
    assert level.shape == (3, 48, 48, 3)
    with pytest.raises(UserError, match="Expected 5 images of each lesion in .*, got fewer of microaneurysms, haem"):
        retinas.lesions(dataclasses.replace(config, examples=5), 0)


load = datasets.load


YES, NO, OPEN = "supported", "not supported", "inconclusive"


def found(signs, accuracy=1.0):
    """Results for the default configuration whose significant signs (S, 2, 5, C) are these."""
    shape = (len(signs), 2, 3, len(DEFAULT.layers), 5, len(DEFAULT.lesions))
    scores = np.broadcast_to(0.5 + 0.4 * signs[:, :, None, None], shape)
    values = np.repeat(scores[..., None], 4, -1)
    controls = 0.5 + 0.01 * RNG.normal(size=(*shape, 9, 4))
    predicted = np.broadcast_to(accuracy * np.eye(5), (len(signs), 2, 5, 5))
    return {"values": values, "controls": controls, "predicted": predicted, "effect": np.ones((len(signs), 2, 5, 7))}


def perfect_signs():
    """Signs of perfect graders, (2, 2, 5, C): 0 where the association is small."""
    true = retinopathy.associations(DEFAULT)
    return np.tile(np.where(abs(true) >= retinopathy.CLEAR, np.sign(true), 0).astype(int), (2, 1, 1, 1))


def decisions(own, accuracy=1.0, config=DEFAULT, unknown=()):
    joined, signs = found(own, accuracy), np.repeat(own[:, :, None], len(DEFAULT.layers), 2)
    joined["effect"][:, :, :, list(unknown)] = 0.4
    tests = {"p": np.where(signs == 0, 0.9, 0.001), "side": np.where(signs == 0, 1, signs)}
    return [claim.verdict.decision for claim in retinopathy.claims(joined, signs, tests, config)]


def test_claims_are_supported_for_perfect_graders_and_not_for_mistakes():
    perfect = perfect_signs()
    blood, small, scars = (DEFAULT.lesions.index(name) for name in ("haemorrhages", "microaneurysms", "laser scars"))
    assert perfect[0, 1, 1, blood] == 1 and perfect[0, 0, 1, blood] == -1
    assert decisions(perfect) == [YES] * 5
    assert decisions(-perfect) == [NO, NO, YES if perfect[0, 0, 4, small] >= 0 else NO, NO, NO]
    for index, value, expected in [
        ((0, 0, 4, scars), 0, [YES, OPEN, YES, YES, YES]),
        ((0, 0, 4, small), 1, [YES, YES, NO, YES, YES]),
        ((1, 0, 1, small), 0, [YES, YES, YES, OPEN, YES]),
        ((1, 0, 1, blood), 1, [YES, YES, YES, NO, NO]),
        ((1, 1, 1, blood), -1, [YES, YES, YES, YES, NO]),
    ]:
        own = perfect.copy()
        own[index] = value
        assert decisions(own)[1:] == expected[1:]
    perfect[0, 0, 4, scars] = 0
    assert decisions(perfect, unknown=[scars])[1] == YES  # the grader does not know them
    assert decisions(perfect, unknown=range(7))[1] == OPEN
    assert decisions(perfect, 0.5) == [OPEN] * 5  # untrained graders
    assert decisions(perfect[:1], config=dataclasses.replace(DEFAULT, seeds=(0,))) == [OPEN] * 5
    assert decisions(np.zeros_like(perfect))[0] == OPEN  # nothing significant


def test_agreement_counts_accurate_levels_and_clear_lesions_only():
    perfect, true = perfect_signs(), retinopathy.associations(DEFAULT)[0]
    joined, signs = found(perfect), np.repeat(perfect[:, :, None], len(DEFAULT.layers), 2).copy()
    clear = (abs(true) >= 0.15).sum()

    def counts():
        comparable, agreeing = retinopathy.agreement_with_definition(joined, signs, DEFAULT)
        return comparable, len(agreeing), agreeing.sum()

    assert counts() == (2 * clear, 2 * clear, 2 * clear)
    signs[0, 0, 1, 0] *= -1
    level = (abs(true[0]) >= 0.15).sum()
    assert counts() == (2 * clear, 2 * clear, 2 * clear - level)
    joined["predicted"] = joined["predicted"].copy()
    joined["predicted"][0, 0, 0, 0] = 0.6
    assert counts() == (2 * clear - level,) * 3
    signs[1, 0, 1, 1] = 0
    assert counts()[1] < 2 * clear - level


def test_signs_come_from_values_and_controls():
    own = perfect_signs()
    joined = found(own)
    mean = over_seeds.MEAN
    signs = over_seeds.signs(joined["values"][:, :, mean], joined["controls"][:, :, mean])
    clear = np.broadcast_to(own[:, :, None] != 0, signs.shape)
    np.testing.assert_array_equal(signs[clear], np.repeat(own[:, :, None], 2, 2)[clear])


def test_predictions_are_counted_by_level():
    def brightest(x, relu=None, tap=None):
        return jnp.pad(x.mean((1, 2)), ((0, 0), (0, 2)), constant_values=-1)

    confusion = retinopathy.confusion(brightest, EYES)
    predicted = (EYES.images / 127.5 - 1).mean((1, 2)).argmax(1)
    expected = [[(predicted[LEVEL_OF == level] == k).mean() for k in range(5)] for level in range(5)]
    np.testing.assert_allclose(confusion, expected)


def test_effects_are_those_of_a_lesion_alone():
    def reddest(x, relu=None, tap=None):
        return jnp.pad(9 * x.mean((1, 2))[:, :1], ((0, 0), (0, 4)))

    pale, red = (np.full((3, 8, 8, 3), value, np.uint8) for value in (60, 200))
    found = retinopathy.effect(reddest, {"laser scars": red, "exudates": pale}, pale)
    logits = [9 * (value / 127.5 - 1) for value in (60, 200)]
    first = [np.exp(each) / (np.exp(each) + 4) for each in logits]
    rest = [(1 - each) / 4 for each in first]
    np.testing.assert_allclose(found[:, 0], [first[1] - first[0]] + 4 * [rest[1] - rest[0]], rtol=1e-4)
    np.testing.assert_allclose(found[:, 1], 0, atol=1e-6)


def test_figures_mark_what_is_significant_in_every_seed_alone():
    own = perfect_signs()
    own[1, 0, 4, 0] *= -1  # one seed differs
    joined, signs = found(own), np.repeat(own[:, :, None], len(DEFAULT.layers), 2)
    true = retinopathy.associations(DEFAULT)
    panel = retinopathy_figures.levels_panel(joined, signs, true, DEFAULT)
    panels = {axis.get_title(): [text.get_text() for text in axis.texts] for axis in panel.figure.axes}
    assert len(panels) == 4 and "level 2 in 80 % of the images with label 1" in panel.caption
    assert len(panels["level 4, right labels"]) == (own[0, 0, 4] != 0).sum() - 1
    assert panels["level 1, wrong labels"].count("+") == (own[0, 1, 1] == 1).sum()
    figure = retinopathy_figures.definition_panel(joined, signs, true, DEFAULT).figure
    texts = [text.get_text() for text in figure.axes[4].texts]  # scores of the first grader
    assert texts[4 * 7] == "0.50" and texts[7] == "0.90 +"
    assert len(retinopathy_figures.graders_panel(joined["predicted"]).figure.axes) == 2


@pytest.mark.slow
def test_the_whole_experiment_with_graders_as_at_the_start(tmp_path, monkeypatch):
    def untrained(data, config, checkpoint_dir, seed):
        module = small_networks.module(config, len(data.classes))
        return Partial(module.apply, module.init(jax.random.key(seed), np.zeros((1, config.side, config.side, 3), "f")))

    monkeypatch.setattr(small_networks, "trained", untrained)
    config = dataclasses.replace(CONFIG, lesions=("microaneurysms", "haemorrhages"), images=20, checked=30, explained=4)
    report = retinopathy.run(config, Workspace(tmp_path, ""))
    assert report.numbers and [claim.verdict.decision for claim in report.claims] == [OPEN] * 5
    assert [panel.name for panel in report.panels] == ["levels", "definition", "graders", "examples"]
