"""Saliency maps of the controlled experiment's networks, what observers infer from them, and the study with people."""

import jax
import numpy as np
import pytest
from jax.tree_util import Partial

from configs.kim2018.human_study import get_config as study_config
from configs.kim2018.saliency import get_config as saliency_config
from experiments.kim2018 import caption_networks, saliency
from experiments.kim2018 import human_study as study
from experiments.lib.runner import Workspace
from tests.helpers import small_study
from xai_jax.data.captions import Canvas
from xai_jax.gallery import human_study, human_study_analysis

RNG = np.random.default_rng(0)
YES, NO, OPEN = "supported", "not supported", "inconclusive"


def test_the_share_on_the_caption_is_that_of_its_pixels():
    canvas, found = Canvas(6, 4, 2, 1), RNG.uniform(size=(2, 3, 6, 6)).astype("f")
    found[1, 2] = 0
    share = saliency.on_caption(found, canvas)
    for index in np.ndindex(2, 3):
        own = found[index]
        expected = own[4:].sum() / own.sum() if own.any() else 2 / 6
        assert share[index] == pytest.approx(expected, rel=1e-5)


def test_maps_are_normalised_to_black_and_white():
    images = saliency.normalised(np.stack([np.arange(400.0).reshape(20, 20), np.zeros((20, 20)), np.eye(20) * 1e-9]))
    assert images[0].min() == 0 and images[0].max() == 1 and images[0, 10, 0] == pytest.approx(200 / 395.01)
    assert (images[1] == 0).all() and images[2].max() == pytest.approx(1)


def test_observers_infer_from_the_share_on_the_caption():
    config = saliency_config("smoke")  # the caption has 12 of 32 rows
    share = np.full((4, 4, 6), 0.3)
    share[0] = 0.5
    share[0, 1], share[2, 1] = 0.3, 0.5  # the second method is wrong of both networks
    correct = saliency.observed(share, config)
    np.testing.assert_array_equal(correct.all((0, 2)), [True, False, True, True])
    assert not correct[:, 1].any()
    assert saliency.observed_by_example(share, config).all()  # a fitted observer reverses the inference
    assert saliency.observed_by_example(np.full((4, 4, 6), 0.3), config).mean() == 0.5


@pytest.mark.parametrize(
    "count, on_caption, accuracy, expected",
    [(12, 0.9, 0.9, NO), (96, 0.3, 0.9, YES), (12, 0.3, 0.9, OPEN), (12, 0.9, 0.5, OPEN)],
)
def test_the_claim_about_maps_needs_trained_networks(count, on_caption, accuracy, expected):
    share = np.full((4, 4, count), 0.3)
    share[0] = on_caption
    _, (claim,) = saliency.findings(share, np.full(4, accuracy), saliency_config("smoke"))
    assert claim.verdict.decision == expected


def test_tasks_have_other_images_for_each_network(tmp_path):
    config = study_config("smoke")
    images = RNG.integers(0, 256, (2, 12, 32, 36, 3), np.uint8)
    maps = RNG.uniform(size=(2, 2, 12, 32, 36)).astype("f")
    tasks = study.tasks(images, maps, config)
    assert len(tasks) == 12 and {(t.model, t.concept) for t in tasks} == {
        ("noise 0%", "caption"),
        ("noise 100%", "image"),
    }
    (task,) = [t for t in tasks if t[:3] == ("noise 100%", "SmoothGrad", config.words[1])]
    np.testing.assert_array_equal(task.images, images[1, 4:8])
    np.testing.assert_array_equal(task.maps, maps[1, 1, 4:8])
    human_study.build(tmp_path, tasks)
    assert [claim.verdict.decision for claim in study.claims(None)] == [OPEN, OPEN]
    assert study.numbers(tasks, None)[0].value == 24


def test_ratings_decide_the_claims_about_people(tmp_path):
    key = small_study.build(tmp_path)
    for number in range(8):
        small_study.save(tmp_path, small_study.sheet(key, f"w{number}", rate=lambda task: (2, 9, 4)))  # lint: keep
    analysis = human_study_analysis.analyse(tmp_path)
    decisions = [claim.verdict.decision for claim in study.claims(analysis)]
    assert decisions[0] == NO and decisions[1] in (NO, OPEN)  # all are correct about the network of captions
    numbers = study.numbers(small_study.tasks(), analysis)
    assert next(number.value for number in numbers if number.name == "correct answers") == 1  # lint: keep


def untrained(shown, config, seed, work):
    """Networks with initial weights."""
    module = caption_networks.module(config)
    variables = module.init(jax.random.key(seed), np.zeros((1, *Canvas(*config.canvas).shape), "f"))
    return dict.fromkeys(caption_networks.noises(config), Partial(module.apply, variables))


@pytest.mark.parametrize("experiment, config", [(saliency, saliency_config("smoke")), (study, study_config("smoke"))])
def test_maps_and_pages_come_from_any_networks(experiment, config, tmp_path, monkeypatch):
    monkeypatch.setattr(caption_networks, "trained", untrained)
    report = experiment.run(config, Workspace(tmp_path, ""))
    assert report.numbers and report.panels and {claim.verdict.decision for claim in report.claims} == {OPEN}
    assert (tmp_path / "study" / "human_study.html").exists() == (experiment is study)
