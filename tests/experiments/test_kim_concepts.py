"""TCAV of colours and textures: sets of images, tests over seeds, verdicts, and a network that depends on red."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from configs.kim2018.concepts import get_config
from experiments.kim2018 import concept_figures, concept_images, concepts, scenes
from experiments.lib.runner import Workspace
from xai_jax import models, significance, tcav
from xai_jax.concepts.tcav import Scores
from xai_jax.data import textures
from xai_jax.data.textures import Kind
from xai_jax.io.errors import UserError
from xai_jax.models import LoadedModel
from xai_jax.models.input_scaling import Input

RNG = np.random.default_rng(0)
SMOKE = get_config("smoke")
COLOURS = ("blue", "red", "green")
YES, NO, OPEN = "supported", "not supported", "inconclusive"


def scores(mean, controls=10):
    """Scores of mean derivatives (L, K, C), similar in three runs, and of random images around 0."""
    shape = mean.shape
    values = np.broadcast_to(mean[None, ..., None], (3, *shape, 3)) + RNG.normal(0, 0.01, (3, *shape, 3))
    names = (tuple(f"{letter}{number}" for number in range(n)) for letter, n in zip("lkc", shape, strict=True))
    accuracy, chance = np.full((shape[0], shape[2], 3), 0.9), np.full(shape[2], 0.5)
    others = RNG.normal(0, 1, (3, *shape, controls, 3))
    return Scores(*names, values, others, accuracy, np.full(shape[2], 10), chance, np.zeros(shape[:2]))


def test_no_image_is_in_two_sets_and_seeds_differ():
    kinds = textures.kinds((*COLOURS, "stripes", "dots"), 5, 20, 8, 1)
    assert [kind.null for kind in kinds] == ["any colour", "any texture"]
    assert [list(kind.concepts) for kind in kinds] == [[*COLOURS, "any colour"], ["stripes", "dots", "any texture"]]
    for kind in kinds:
        images = np.concatenate([*kind.concepts.values(), kind.random])
        assert images.shape == (5 * len(kind.concepts) + 20, 8, 8, 3) and len(np.unique(images, axis=0)) == len(images)
    again, other = (textures.kinds(("stripes", "dots"), 5, 20, 8, seed)[0] for seed in (1, 2))
    np.testing.assert_array_equal(again.random, kinds[1].random)
    assert not (again.random == other.random).all((1, 2, 3)).any()


def test_power_is_that_of_simulated_tests():
    config = dataclasses.replace(SMOKE, seeds=tuple(range(8)), controls=3)
    own, others = RNG.normal(concepts.detectable(20, config), 1, (4000, 8)), RNG.normal(size=(4000, 24))
    p = stats.ttest_ind(own, others, axis=1).pvalue
    assert (20 * p < 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_only_tests_of_claims_are_corrected_together():
    found = scores(RNG.normal(0, 1, (2, 2, 3)))
    config = dataclasses.replace(SMOKE, pairs=(("c0", "k0"), ("c2", "k1")))
    rows = concepts.planned_tests(found, config)
    raw = significance.table(found, "mean", "random", correction=None)
    kept = [row for row in raw if (row.concept, row.label) in config.pairs]
    assert len(rows) == 4 and [row.p for row in rows] == [row.p for row in kept]
    np.testing.assert_allclose([row.adjusted for row in rows], significance.adjust([row.p for row in kept]))
    assert all(row.significant == (row.adjusted <= 0.05) for row in rows)
    shown = significance.table(found, "score", "random", tested="mean")
    for before, after in zip(shown, concepts.with_planned_tests(shown, rows), strict=True):
        own = [row for row in rows if row[:3] == before[:3]] or [before]
        assert after == before._replace(p=own[0].p, adjusted=own[0].adjusted, significant=own[0].significant)


def test_random_images_are_of_all_concepts(monkeypatch):
    monkeypatch.setattr(
        concept_images.textures,
        "images",
        lambda name, count, size, seed: np.full((count, 1), {"stripes": 0, "dots": 1, "meshes": 2}[name]),
    )
    (kind,) = textures.kinds(("stripes", "dots", "meshes"), 4, 12, 8, 0)
    assert np.bincount(kind.random.ravel()).tolist() == [4, 4, 4] and set(kind.concepts["dots"].ravel()) == {1}


def test_folders_of_concepts_have_the_data_sets_images_as_negatives(tmp_path):
    for name in ("striped", "dotted"):
        (tmp_path / name).mkdir()
        for number in range(6):
            Image.fromarray(RNG.integers(0, 256, (9, 9, 3), np.uint8)).save(tmp_path / name / f"{number}.png")
    config = dataclasses.replace(SMOKE, folder=str(tmp_path), concepts=("striped", "dotted"))
    (kind,) = concept_images.kinds(config, 8, 0)
    assert {name: len(images) for name, images in kind.concepts.items()} == dict.fromkeys(
        ("striped", "dotted", "anything"), 6
    )
    assert kind.random.shape == (6 * 6, 8, 8, 3)
    with pytest.raises(UserError, match="7 images of each concept in .* got fewer of striped, dotted"):
        concept_images.kinds(dataclasses.replace(config, examples=7), 8, 0)


def test_derivatives_are_taken_in_images_of_the_class():
    own, data = concept_images.class_images(SMOKE, models.load("digits")), concept_images.held_out("digits")
    for name, images in own.items():
        digits = [data[i][0] for i in range(len(data)) if data[i][1] == int(name)]
        np.testing.assert_array_equal(images[..., 1], np.stack(digits)[:10, ..., 0])


def test_photographs_are_predicted_to_be_of_the_class_or_show_none_of_the_classes(monkeypatch):
    pairs = ("yellow", "lemon"), ("dots", "dalmatian"), ("meshes", "chainlink fence")
    config = dataclasses.replace(SMOKE, images="photographs", pairs=pairs, explained=4)
    drawn, names = scenes.drawn, []

    def recorded(row, size, seed, number):
        names.append(row.imagenet)
        return drawn(row, size, seed, number)

    monkeypatch.setattr(scenes, "drawn", recorded)
    lemons, *others = concept_images.class_images(config, lemon_model()).values()
    np.testing.assert_array_equal(others[0], others[1])
    assert len(lemons) == len(others[0]) == 4 and names.count("lemon") == scenes.BATCH
    assert all(yellowness(image[None]) > LIMIT for image in lemons)


LIMIT = 60


def yellowness(x):
    """How much more red and green than blue the tenth of pixels that has most of it."""
    differences = np.minimum(x[..., 0], x[..., 1]).astype(float) - x[..., 2]
    return np.quantile(differences.reshape(len(x), -1), 0.9, axis=1)


def lemon_model():
    """A network that takes for a lemon what is yellow in a tenth of the image."""

    def net(x, relu=None, tap=lambda name, value: value):
        differences = jnp.minimum(x[..., 0], x[..., 1]) - x[..., 2]
        yellow = 255 * jnp.quantile(differences.reshape(len(x), -1), 0.9, axis=1) - LIMIT
        return jnp.stack([yellow, -yellow], 1)

    return LoadedModel(net, Input(16, 1.0, (0.0,) * 3, (255.0,) * 3), ("lemon", "dalmatian"), None, {})


def test_images_that_cannot_be_had_are_named():
    with pytest.raises(UserError, match="cut-outs or photographs of the class dalmatian, got none"):
        scenes.named_rightly(lemon_model(), "dalmatian", 2, 0)
    with pytest.raises(UserError, match="Expected 2 images of the class zebra"):
        constant = lambda x, relu=None, tap=None: jnp.eye(2)[jnp.zeros(len(x), int)]  # noqa: E731
        scenes.named_rightly(lemon_model()._replace(net=constant, classes=("none", "zebra")), "zebra", 2, 0)


def test_seeds_and_random_sets_are_the_samples_of_students_test():
    parts = [scores(RNG.normal(0, 1, (2, 2, 3))) for _ in range(3)]
    joined, mean = concepts.over_seeds(parts), tcav.STATISTICS.index("mean")
    rows = significance.table(joined, null="random", tested="mean", correction=None)
    for row, at in zip(rows, np.ndindex(2, 2, 3), strict=True):
        own = [part.values[mean][at].mean() for part in parts]
        others = np.concatenate([part.controls[mean][at].mean(-1) for part in parts])
        assert row.p == pytest.approx(stats.ttest_ind(own, others).pvalue) and row.runs == 3
        assert row.value == pytest.approx(np.mean([part.values[0][at].mean() for part in parts]))


def test_type_one_error_of_random_images_is_the_level():
    """Runs of one seed share images, so that their scores are correlated; those of seeds do not."""
    trials, found = 400, []
    shared = RNG.normal(size=(3, trials, 13, 1)) + RNG.normal(0, 0.3, (3, trials, 13, 6))
    for own in shared:
        part = scores(np.zeros((1, trials, 1)), 12)
        values, controls = np.split(np.broadcast_to(own[None, None, :, None], (3, 1, trials, 1, 13, 6)), [1], -2)
        found.append(part._replace(values=values[..., 0, :], controls=controls))
    rows = significance.table(concepts.over_seeds(found), null="random", tested="mean", correction=None)
    wrong = sum(row.significant for row in rows)
    assert stats.binom.cdf(wrong, trials, 0.05) > 0.005 and stats.binom.sf(wrong - 1, trials, 0.05) > 0.005


@pytest.mark.parametrize(
    "above, below, expected", [("b", "", YES), ("ab", "", YES), ("", "a", NO), ("b", "a", OPEN), ("", "", OPEN)]
)
def test_a_pair_is_supported_where_the_concept_is_significantly_above_random_images(above, below, expected):
    base = significance.table(scores(np.zeros((1, 1, 1))), "mean", "random")[0]
    rows = [
        base._replace(
            layer=name,
            label="zebra",
            concept="stripes",
            value=value,
            null=0.0,
            significant=name in above + below,
            adjusted=0.01 if name in above + below else 0.9,
        )
        for name, value in (("a", 1.0 if "a" in above else -1.0), ("b", 1.0), ("c", 9.0))
    ]
    claim = concepts.pair_claim(rows, ("stripes", "zebra"), SMOKE)
    assert claim.verdict.decision == expected
    assert f"significantly in {', '.join(above) or 'none'}, decreases in {', '.join(below) or 'none'}" in claim.measured


@pytest.mark.parametrize("first, expected", [(5, YES), (4, YES), (2, OPEN), (0, OPEN)])
def test_own_concepts_should_rank_first_more_often_than_at_chance_level(first, expected):
    mean = np.eye(5)
    mean[range(first, 5), range(first, 5)] = -1
    mean = np.concatenate([mean, np.full((5, 1), 99.0)], 1)  # random images are not ranked
    found = scores(mean[None])
    kinds = [Kind(dict.fromkeys(found.concepts), None, "c5")]
    pairs = tuple((f"c{n}", f"k{n}") for n in range(5))
    config = dataclasses.replace(SMOKE, pairs=pairs, layers=("l0",), shown="l0")
    assert concepts.ranking_claim(found, kinds, config).verdict.decision == expected


def red_model():
    """A network whose first class is all that is red, and whose second is all that is not."""

    def net(x, relu=jax.nn.relu, tap=lambda name, value: value):
        cells = tap("cells", x.reshape(len(x), 4, 4, 4, 4, 3).mean((2, 4)))
        red = jnp.tanh(3 * (cells[..., 0] - cells[..., 1:].mean(-1))).mean((1, 2))
        return tap("logits", jnp.stack([red, -red], 1) + 0.1)

    return LoadedModel(net, Input(16, 1.0, (0.0,) * 3, (255.0,) * 3), ("red things", "other things"), None, {})


def test_dependence_on_red_is_found(tmp_path):
    pairs = ("red", "red things"), ("red", "other things"), ("blue", "red things")
    config = dataclasses.replace(
        SMOKE,
        concepts=COLOURS,
        pairs=pairs,
        layers=("cells",),
        shown="cells",
        pictured="other things",
        examples=12,
        controls=8,
    )
    model = red_model()
    shown = dict.fromkeys(model.classes, scenes.anything(10, 16, 0))
    found = [Scores(**concepts.one_seed(model, shown, 16, config, tmp_path, seed)) for seed in range(3)]
    joined = concepts.over_seeds(found)
    assert joined.concepts.tolist() == [*COLOURS, "any colour"]
    rows = significance.table(joined, "mean", "random")
    assert [concepts.pair_claim(rows, pair, config).verdict.decision for pair in pairs] == [YES, NO, NO]
    assert "decreases in cells" in concepts.pair_claim(rows, pairs[1], config).measured
    assert not any(row.significant for row in rows if row.concept == "any colour")
    kinds = concept_images.kinds(config, 16, 0)
    numbers, claims = concepts.findings(joined, rows, kinds, config)
    assert numbers and [claim.verdict.decision for claim in claims[:3]] == [YES, NO, NO] and len(claims) == 4
    figure = concept_figures.scores_panel(rows, kinds, config).figure
    assert [axis.get_title() for axis in figure.axes] == list(model.classes)
    for label, axis in zip(model.classes, figure.axes, strict=True):
        own = [row for row in rows if row.label == label and row.concept in COLOURS]
        assert [bar.get_height() for bar in axis.patches] == [row.value for row in own]
        assert [bar.get_facecolor()[3] > 0 for bar in axis.patches] == [row.significant for row in own]


def test_tables_are_written_beside_the_figures(tmp_path):
    config = dataclasses.replace(SMOKE, layers=("relu2",), examples=4, controls=2)
    report = concepts.run(config, Workspace(tmp_path, ""))
    lines = report.files["scores.csv"].decode().splitlines()
    assert len(lines) == 1 + 2 * 4 and lines[0].startswith("layer,label,concept")
    assert [panel.name for panel in report.panels] == ["class", "scores", "examples"]
