"""The controlled experiment of TCAV: sets of images, tests of scores, agreement with the truths, and claims."""

import csv
import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from configs.kim2018.captions import get_config
from experiments.kim2018 import agreement, caption_networks, caption_results, captions, small_networks
from experiments.lib import statistics
from xai_jax import network
from xai_jax.data.captions import Canvas
from xai_jax.data.datasets import InMemory

RNG = np.random.default_rng(0)
CONFIG = get_config("smoke")
LABELS = np.arange(150, dtype=np.int32) % 3
PICTURES = InMemory(RNG.integers(0, 256, (150, 8, 8, 1), np.uint8), LABELS, CONFIG.classes)
YES, NO, OPEN = "supported", "not supported", "inconclusive"
SIZES = 3, 4, 3, 3  # seeds, networks, classes, readings


def found(scores, accuracy=None, followed=None, runs=4, sets=6):
    """Results with mean scores (S, 4, K, 3, L), accuracies (S, 4, K) without captions, and what is followed."""
    values = np.repeat(np.repeat(scores[:, :, :, :, None, :, None], 3, 4), runs, -1)
    controls = RNG.uniform(0.2, 0.8, (*values.shape[:-1], sets, runs))
    own = np.ones((len(scores), *SIZES[1:3])) if accuracy is None else accuracy
    predicted = np.stack([own, np.ones_like(own)], 2)[..., None] * np.eye(3)
    picture = own if followed is None else followed
    shares = np.stack([picture, 1 - picture, np.zeros_like(picture)], -1)
    return {"values": values, "controls": controls, "predicted": predicted, "followed": shares}


def test_both_sets_of_a_concept_differ_only_in_the_concept():
    for label in range(3):
        concepts = captions.concept_images(PICTURES, label, CONFIG, 1)
        height = CONFIG.canvas[1]
        assert [len(part) for part in concepts] == [CONFIG.examples, CONFIG.examples, *[6 * CONFIG.examples] * 2]
        for part in (concepts.image, concepts.images):
            strip = part[:, height:].reshape(len(part), -1)
            assert (strip == strip[:, :1]).all()
        for part in (concepts.caption, concepts.captions):
            assert (part[:, height:].reshape(len(part), -1).std(1) > 10).all()
        again = captions.concept_images(PICTURES, label, CONFIG, 1)
        np.testing.assert_array_equal(again.images, concepts.images)


def test_controls_of_the_relative_cav_are_images_against_captions_of_other_classes():
    concepts = captions.concept_images(PICTURES, 0, CONFIG, 1)
    parts = np.split(np.arange(sum(map(len, concepts))), np.cumsum([len(part) for part in concepts[:-1]]))
    image, caption, relative = captions.sets(concepts, CONFIG, 0)
    for each, own, pool in ((image, parts[0], parts[2]), (caption, parts[1], parts[3])):
        ((_, rows),) = each.positives.items()
        np.testing.assert_array_equal(rows, own)
        used = np.concatenate([*each.controls, *each.negatives])
        assert set(used) <= set(pool) and not set(np.concatenate(each.controls)) & set(np.concatenate(each.negatives))
        assert len(each.negatives) == CONFIG.runs and len(set(np.concatenate(each.controls))) == 4 * CONFIG.examples
    np.testing.assert_array_equal(relative.positives["relative"], parts[0])
    np.testing.assert_array_equal(relative.negatives, [parts[1]] * CONFIG.runs)
    np.testing.assert_array_equal(relative.controls, image.controls)
    np.testing.assert_array_equal(relative.control_negatives, [[rows] * CONFIG.runs for rows in caption.controls])


def test_the_table_has_every_reading_with_its_names():
    config = dataclasses.replace(CONFIG, seeds=(3, 4, 5), noises=(0.0, 0.3, 1.0), layers=("a", "b"))
    results = found(RNG.uniform(size=(*SIZES, 2)))
    results["accuracy"], p = RNG.uniform(size=(*SIZES, 2)), agreement.p_values(results)
    rows = list(csv.DictReader(io.StringIO(caption_results.table(results, p, config).decode())))
    assert len(rows) == 3 * 4 * 3 * 3 * 2 and rows[-1]["reading"] == "relative" and rows[-1]["layer"] == "b"
    (row,) = (
        row
        for row in rows
        if (row["seed"], row["network"], row["class"])
        == ("4", list(caption_networks.noises(config))[2], config.words[1])
        and (row["reading"], row["layer"]) == ("image", "b")
    )
    index = 1, 2, 1, 0, 1
    assert float(row["score"]) == pytest.approx(agreement.means(results)[index])
    assert float(row["p_controls"]) == p["controls"][index] and float(row["p_half"]) == p["half"][index]
    assert float(row["accuracy_of_cavs"]) == results["accuracy"][index]
    config = dataclasses.replace(config, layers=("=a", "caf\udce9"))
    rows = list(csv.DictReader(io.StringIO(caption_results.table(results, p, config).decode())))
    assert {row["layer"] for row in rows} == {"'=a", r"caf\udce9"}  # neither a formula nor an error


def test_tcav_distinguishes_a_network_that_depends_on_the_caption_from_one_that_depends_on_the_image():
    config = dataclasses.replace(CONFIG, layers=("pixels",), shown="pixels", controls=8, runs=3, seeds=(0,))
    shown = caption_networks.pictures(dataclasses.replace(config, images=400))
    concepts = captions.concept_images(shown.training, 1, config, 0)
    data = caption_networks.test_images(shown, 0.0, config, 0)
    images = data.images[data.labels == 1][:20]
    for own in (0, 1):
        weights = [np.asarray(small_networks.inputs(part)).mean(0) for part in (concepts[own], concepts[own + 2])]
        weight = weights[0] - weights[1]
        weight[slice(config.canvas[1], None) if own == 0 else slice(config.canvas[1])] = 0

        def net(x, relu=None, tap=lambda name, value: value, weight=weight):
            logit = (tap("pixels", x) * weight).sum((1, 2, 3))
            return tap("logits", np.stack([0.0, 1.0, 0.0])[None] * logit[:, None] - 1)

        measured = captions._measure(net, concepts, images, 1, config, 0)
        p = agreement.p_values({name: each[None, None, None] for name, each in measured.items()})["controls"][0, 0, 0]
        assert p[own, 0] < 0.005 < 0.01 < p[1 - own, 0]
        assert p[2, 0] < 0.01 and measured["values"][2, 0, 0].mean() == 1 - own  # relative to the other


def test_p_values_are_crawford_and_howells_and_t_tests_by_holm():
    joined = found(RNG.uniform(0.3, 0.7, (*SIZES, 2)))
    joined["values"] = joined["values"] + RNG.normal(0, 0.1, joined["values"].shape)
    tested, raw = agreement.p_values(joined), []
    for rest in np.ndindex(*SIZES[1:], 2):
        *which, layer = (1, *rest)
        scores = joined["values"][*which, :, layer]
        others = joined["controls"][*which, agreement.MEAN, layer].mean(1)
        t = (scores[agreement.MEAN].mean() - others.mean()) / (others.std(ddof=1) * np.sqrt(1 + 1 / 6))
        raw.append((2 * stats.t.sf(abs(t), 5), stats.ttest_1samp(scores[agreement.SCORE], 0.5).pvalue))
    for name, p in zip(("controls", "half"), np.transpose(raw), strict=True):
        order, running, expected = np.argsort(p), 0.0, np.empty(len(p))
        for rank, number in enumerate(order):
            running = max(running, min(1, (len(p) - rank) * p[number]))
            expected[number] = running
        np.testing.assert_allclose(tested[name][1].ravel(), expected, rtol=1e-6)
        assert tested[name].shape == (*SIZES, 2)


def test_random_sets_are_significant_at_the_level():
    joined = {"controls": RNG.normal(size=(5, 9, 3, 3, 3, 2, 15, 1)).repeat(2, -1)}
    p = agreement.null_p_values(joined)
    others = np.delete(joined["controls"][2, 8, 1, 2, agreement.MEAN, 1].mean(1), 8)
    own = joined["controls"][2, 8, 1, 2, agreement.MEAN, 1, 8].mean()
    t = (own - others.mean()) / (others.std(ddof=1) * np.sqrt(1 + 1 / 14))
    assert p[2, 8, 1, 2, 1] == pytest.approx(2 * stats.t.sf(abs(t), 13))
    assert caption_results.null_claim(p).verdict.decision == YES
    assert caption_results.null_claim(p / 2).verdict.decision == NO


def test_correlations_are_spearmans_of_each_seed_and_layer():
    scores, followed = RNG.uniform(size=(*SIZES, 2)), RNG.integers(0, 4, SIZES[:3]) / 4
    joined = found(scores, followed=followed)
    readings, true = agreement.readings(joined), agreement.conflict(joined)
    np.testing.assert_allclose(true, 2 * followed - 1)
    rho = {name: agreement.rank_correlations(values, true) for name, values in readings.items()}
    for seed, layer in np.ndindex(3, 2):
        difference = scores[seed, :, :, 0, layer] - scores[seed, :, :, 1, layer]
        for name, own in ((agreement.SCORES, difference), (agreement.RELATIVE, scores[seed, :, :, 2, layer])):
            expected = stats.spearmanr(own.ravel(), followed[seed].ravel()).statistic
            assert rho[name][seed, layer] == pytest.approx(expected)
    assert np.isnan(agreement.rank_correlations(scores[:, :, :, 2], np.ones(SIZES[:3]))).all()


def test_what_is_followed_in_a_cue_conflict_is_counted_by_class():
    shown = caption_networks.pictures(CONFIG)
    pairs = caption_networks.conflicts(shown, CONFIG, 0)
    assert len(pairs) == 2 and all((words != data.labels).all() for data, words in pairs)
    usual = caption_networks.test_images(shown, 0.0, CONFIG, 0)
    for data, _ in pairs:
        np.testing.assert_array_equal(data.images[:, : CONFIG.canvas[1]], usual.images[:, : CONFIG.canvas[1]])
        assert (data.images != usual.images).any((1, 2, 3)).all()

    def net(x, relu=None, tap=None):  # always the first class
        return np.array([[1.0, 0.0, 0.0]], "f").repeat(len(x), 0)

    np.testing.assert_allclose(caption_networks.followed(net, pairs), [[1, 0, 0], [0, 0.5, 0.5], [0, 0.5, 0.5]])


@pytest.mark.parametrize("tier", ["smoke", "default", "clothes", "paper"])
def test_words_fit_the_canvas_of_every_tier(tier):
    config = get_config(tier)
    picture = InMemory(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.int32), config.classes)
    images = caption_networks.captioned(picture, 0.0, config, 0).images
    assert images.shape == (1, *Canvas(*config.canvas).shape) and images[0, config.canvas[1] :].std() > 10
    layers = network.layer_names(_bound(config), np.zeros((1, *images.shape[1:]), "f"))
    assert {*config.layers} <= {*layers} and config.shown in config.layers


def _bound(config):
    module = caption_networks.module(config)

    def net(x, relu=jax.nn.relu, tap=network.keep):
        variables = jax.eval_shape(module.init, jax.random.key(0), x)
        return module.apply(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables), x, relu=relu, tap=tap)

    return net


def test_a_step_that_falls_is_found():
    np.testing.assert_array_equal(agreement.rises(np.array([[0.0, 0.1, 0.1], [0.2, 0.1, 0.3]])), [True, False])


@pytest.mark.parametrize(
    "rho, expected",
    [
        ((0.8, 0.85, 0.9), YES),
        ((0.4, 0.41, 0.42), NO),  # positive, but not close
        ((0.1, 0.15, 0.2), NO),
        ((0.1, 0.6, 0.9), OPEN),
        ((0.9,), OPEN),
        ((0.9, np.nan, 0.8), OPEN),
    ],
)
def test_a_close_match_is_tested_over_seeds(rho, expected):
    verdict = agreement.close_match(rho)
    assert verdict.decision == expected
    if expected != OPEN:
        assert str(statistics.over_seeds(rho)) in verdict.text


def test_claims_follow_the_scores():
    config = dataclasses.replace(CONFIG, layers=("pool3",), shown="pool3", noises=(0.0, 0.3, 0.7), seeds=(0, 1, 2))
    accuracy = np.tile(np.linspace(0.1, 0.9, 12).reshape(4, 3), (3, 1, 1))
    accuracy[1, 0, :2] = accuracy[1, 0, 1::-1]  # seeds differ
    scores = np.stack([accuracy, np.full_like(accuracy, 0.05), accuracy], -1)[..., None]
    scores[1] = scores[0]

    def decisions(scores, right=1.0, config=config):
        joined = found(scores, accuracy[: len(scores)])
        joined["predicted"][:, :, 1] *= right
        return [claim.verdict.decision for claim in caption_results.claims(joined, config)][:5]

    assert decisions(scores) == [YES] * 5
    assert decisions(np.where([[True], [False], [True]], 1 - scores, scores)) == [NO, NO, NO, YES, NO]
    assert decisions(scores[:, :, :, [1, 0, 2]]) == [NO, YES, YES, NO, OPEN]
    assert decisions(scores, 0.5) == [OPEN] * 5  # untrained networks
    assert decisions(scores[:1], config=dataclasses.replace(config, seeds=(0,))) == [OPEN] * 5


def test_predictions_are_those_of_one_batch():
    images = RNG.integers(0, 256, (230, 4, 4, 3), np.uint8)

    def net(x, relu=None, tap=None):
        return x.mean((1, 2))

    np.testing.assert_array_equal(small_networks.predictions(net, images), images.mean((1, 2)).argmax(1))
    confusion = small_networks.confusion(np.array([0, 1, 1, 2]), np.array([0, 0, 1, 2]), 3)
    np.testing.assert_array_equal(confusion, [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]])
