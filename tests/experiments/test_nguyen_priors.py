"""The comparison of priors: starts, measures of groups, the tests between them, and what claims follow."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from configs.nguyen2016 import priors as config
from configs.nguyen2016 import priors_imagenet as imagenet_config
from experiments.lib import evaluation_networks, maximisation_baselines, runner
from experiments.nguyen2016 import prior_comparison, priors, priors_imagenet
from xai_jax import dgn_am, realism, targets
from xai_jax.data.datasets import InMemory
from xai_jax.models import LoadedModel
from xai_jax.models.input_scaling import Input
from xai_jax.synthesis.activation_maximisation import Fourier, Simonyan, Yosinski
from xai_jax.synthesis.inversion import IJCV
from xai_jax.synthesis.multifaceted import MFV, Stage

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(3, 4)).astype("f")


def net(x, relu=None, tap=lambda name, value: value):
    return tap("logits", tap("means", x.mean((1, 2))) @ WEIGHTS)


MODEL = LoadedModel(net, Input(5, 1.0, (100.0,) * 3, (100.0,) * 3), ("a", "b", "c", "d"), None, {})


def test_every_start_has_all_classes_or_those_that_are_named():
    np.testing.assert_array_equal(
        maximisation_baselines.repeated_classes(MODEL, SimpleNamespace(starts=2, groups=2, classes=())),
        [0, 1, 2, 3, 0, 1, 2, 3],
    )
    np.testing.assert_array_equal(
        maximisation_baselines.repeated_classes(MODEL, SimpleNamespace(starts=2, groups=1, classes=(3, 1))),
        [3, 1, 3, 1],
    )
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        maximisation_baselines.repeated_classes(MODEL, SimpleNamespace(starts=6, groups=4, classes=()))


def test_groups_are_measured_by_themselves():
    classes = np.tile([0, 1, 2, 3], 6)
    pixels, logits = RNG.integers(0, 256, (24, 5, 5, 3), np.uint8), RNG.normal(size=(24, 4)).astype("f")
    x = RNG.normal(size=(60, 5, 5, 3)).astype("f")
    judge = evaluation_networks.EvaluationNetwork(MODEL, x, "means", 0)
    features = prior_comparison.natural(judge)
    np.testing.assert_allclose(features["held_out"], x[:30].mean((1, 2)), atol=1e-6)
    found = prior_comparison.measured(judge, features, {"pixels": pixels, "logits": logits}, classes, 3)
    shown = (pixels / 100 - 1).mean((1, 2))
    agrees = (shown @ WEIGHTS).argmax(1) == classes
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for group in range(3):
        rows = slice(8 * group, 8 * group + 8)
        own = range(8), classes[rows]
        assert found["confidence"][group] == pytest.approx(probabilities[rows][own].mean(), rel=1e-4)
        assert found["logit"][group] == pytest.approx(logits[rows][own].mean(), rel=1e-4)
        assert found["agreement"][group] == agrees[rows].mean()
        distances = realism.nearest(shown[rows], features["held_out"])[0]
        assert found["distance"][group] == pytest.approx(distances.mean(), rel=1e-3)
        assert found["frechet"][group] == pytest.approx(realism.frechet(shown[rows], features["held_out"]), rel=1e-3)
    others = prior_comparison.of_natural(features, 5, 8)  # room for three groups of eight
    assert others["distance"].shape == others["frechet"].shape == (3,)
    last = x[30 + 16 : 30 + 24].mean((1, 2))
    assert others["frechet"][2] == pytest.approx(realism.frechet(last, features["held_out"]), rel=1e-3)


def ways(**means):
    """Measures of five groups around a mean for each way, the same for all measures."""
    noise = np.linspace(-0.01, 0.01, 5)
    return {name: dict.fromkeys(prior_comparison.REALISM, mean + noise) for name, mean in means.items()}


@pytest.mark.parametrize("name", prior_comparison.REALISM)
def test_a_way_wins_where_it_is_better_than_every_other(name):
    sign = 1 if prior_comparison.REALISM[name].more else -1
    judged = lambda **means: prior_comparison.claim("", "", name, "ours", ways(**means))  # noqa: E731
    assert judged(ours=5 * sign, x=1 * sign, y=2 * sign).held is True
    lost = judged(ours=1.5 * sign, x=1 * sign, y=2 * sign)
    assert lost.held is False and "y is better" in lost.measured and "better than 1 of 2" in lost.measured
    undecided = judged(ours=2.0 * sign, x=1 * sign, y=2 * sign)
    assert undecided.held is None and "y is not told apart" in undecided.measured
    assert prior_comparison.claim("", "", name, "ours", ways(ours=5 * sign, x=sign), told=False).held is None


def test_comparisons_are_mann_whitneys():
    ours, theirs = np.array([1.0, 3, 4, 6]), np.array([2.0, 5, 7, 8])
    win, lose = prior_comparison.better(prior_comparison.REALISM["agreement"], ours, theirs)
    assert win == pytest.approx(stats.mannwhitneyu(ours, theirs, alternative="greater").pvalue)
    assert lose == pytest.approx(stats.mannwhitneyu(ours, theirs, alternative="less").pvalue)
    assert prior_comparison.better(prior_comparison.REALISM["distance"], ours, theirs) == (lose, win)
    assert prior_comparison.better(prior_comparison.REALISM["distance"], ours * 0, theirs * 0) == (1.0, 1.0)


def test_worse_than_one_of_many_takes_more_than_chance():
    ours = np.array([1.0, 2, 3, 4, 5])
    table = {"ours": {"agreement": ours}} | {f"rival {n}": {"agreement": ours - 10} for n in range(7)}
    table["rival 7"] = {"agreement": np.array([3.5, 4.5, 5.5, 6, 7])}  # p = 0.016 alone, not below 0.05 / 8
    found = prior_comparison.claim("", "", "agreement", "ours", table)
    assert found.held is None and "rival 7 is not told apart" in found.measured


def test_figures_have_a_line_for_each_way():
    measures = ways(ours=1.0, x=2.0)
    labels = {name: measure.label for name, measure in prior_comparison.REALISM.items()}
    figure = prior_comparison.dots(measures, {"frechet": np.ones(2)}, labels)
    assert len(figure.axes) == 3 and len(figure.axes[0].get_yticklabels()) == 2
    found = {"pixels": np.zeros((8, 5, 5, 3), np.uint8), "logits": np.zeros((8, 4))}
    pictures = prior_comparison.pictures(
        MODEL.classes, {"one": found, "two": found}, np.tile([3, 1, 0, 2], 2), columns=3
    )
    assert [axis.get_title() for axis in pictures.axes[:3]] == ["d", "b", "a"]
    assert pictures.axes[0].get_xlabel() == "25.0 %"


def test_starts_are_what_the_forms_codes_have():
    shape, mean = (40, 8, 9, 3), (100.0, 120.0, 90.0)
    plain = np.asarray(maximisation_baselines.initial_images(Simonyan(), mean, shape, 1))
    assert abs(plain.mean()) < 0.5 and plain.std() == pytest.approx(10, rel=0.05)
    grey = np.asarray(maximisation_baselines.initial_images(MFV(()), mean, shape, 1)) + mean
    assert grey.mean() == pytest.approx(175, abs=0.5) and grey.std() == pytest.approx(8, rel=0.05)
    waves = np.asarray(maximisation_baselines.initial_images(Fourier(), mean, shape, 1)) + mean
    assert waves.mean() == pytest.approx(127.5, abs=3) and waves.std() < 10
    assert not np.array_equal(plain, maximisation_baselines.initial_images(Simonyan(), mean, shape, 2))


def test_mean_images_are_of_clusters_of_a_class():
    images, labels = RNG.integers(0, 256, (120, 5, 5, 3), np.uint8), np.arange(120, dtype=np.int32) % 4
    data = InMemory(images, labels, MODEL.classes)
    given = SimpleNamespace(known=120, starts=3, groups=1, classes=(2, 0), seed=5, mean=(10.0, 20.0, 30.0))
    found = np.asarray(maximisation_baselines.mean_images(MODEL, "means", data, given))
    assert found.shape == (6, 5, 5, 3)
    for place, k in enumerate((2, 0)):
        own = images[labels == k].astype(float)
        _, members = dgn_am.facets(
            jnp.asarray((own / 100 - 1).mean((1, 2)), jnp.float32), 3, maximisation_baselines.AVERAGED, seed=5
        )
        np.testing.assert_allclose(found[place::2], own[members].mean(1) - [10, 20, 30], atol=1e-3)


def test_pictures_of_rivals_are_found_in_the_networks_units():
    classes, mean = np.array([0, 1, 2, 3, 1]), (90.0, 100.0, 110.0)
    starts = maximisation_baselines.initial_images(Simonyan(), mean, (5, 6, 6, 3), 0)
    form = Simonyan(penalty=0.0, learning_rate=400.0, steps=30)
    found = maximisation_baselines.maximise(MODEL, mean, targets.logit(classes), starts, form, 2, 0)
    sign = np.sign(WEIGHTS.T[classes])[:, None, None]  # a linear network wants black or white
    np.testing.assert_allclose(found["images"], np.broadcast_to(np.where(sign > 0, 1.55, -1), (5, 6, 6, 3)), atol=1e-5)
    np.testing.assert_allclose(found["logits"], net(found["images"]), rtol=1e-4)


def test_mahendrans_form_wants_a_share_of_a_strong_logit():
    logits = jnp.asarray(RNG.normal(size=(2, 4)), jnp.float32)
    plain, share = (
        maximisation_baselines.class_target(np.array([1, 2]), form, 8.0)(logits, {}) for form in (Simonyan(), IJCV())
    )
    np.testing.assert_allclose(share, plain / 8, rtol=1e-5)


def test_steps_are_counted():
    octaves = MFV((Stage(3, (1, 1), (1, 1)), Stage(4, (1, 1), (1, 1))))
    forms = Simonyan(steps=5), Yosinski(steps=6), IJCV(steps=(7, 2)), octaves, Fourier(steps=8)
    assert [form.step_count for form in forms] == [5, 6, 7, 7, 8]


@pytest.mark.parametrize("tier", ["smoke", "default", "paper"])
def test_all_priors_of_the_comparison_are_there(tier):
    names = ["no prior", "L2", "blur", "TV", "TV and jitter", "mean image", "centre bias", "Fourier"]
    assert list(maximisation_baselines.forms(config.get_config(tier))) == names
    assert list(maximisation_baselines.forms(imagenet_config.get_config(tier))) == [
        name for name in names if name != "mean image"
    ]


def test_there_is_a_claim_for_each_measure_of_realism():
    found = priors.claims({"DGN": ways(DGN=3.0)["DGN"]} | ways(L2=1.0), told=True)
    assert [claim.held for claim in found] == [True, False, False]
    assert {claim.held for claim in priors.claims(ways(DGN=3.0, L2=1.0), told=False)} == {None}


def test_roughness_is_the_mean_length_of_gradients():
    pixels = RNG.integers(0, 256, (2, 6, 7, 3), np.uint8)
    x = pixels.astype(float)
    down, right = np.diff(x, axis=1, append=x[:, -1:]), np.diff(x, axis=2, append=x[:, :, -1:])
    np.testing.assert_allclose(priors_imagenet.roughness(pixels), np.hypot(down, right).mean((1, 2, 3)), rtol=1e-4)


def test_claims_of_the_imagenet_network_are_paired_over_images():
    classes, other = (
        np.arange(5),
        dataclasses.replace(imagenet_config.get_config("smoke"), evaluation_network="another"),
    )
    found = {name: {"logits": np.eye(5)} for name in ("no prior", "blur", "TV")}
    steps = np.arange(5) / 10
    measures = {
        "no prior": {"rough": 3 + steps, "agrees": np.zeros(5, bool)},
        "blur": {"rough": 1 + 0.5 * steps, "agrees": np.ones(5, bool)},
        "TV": {"rough": 2 + 0.3 * steps, "agrees": np.array([True, True, False, True, True])},
    }
    held = lambda given: [claim.held for claim in priors_imagenet.claims(found, measures, classes, given)]  # noqa: E731
    assert held(other) == [True, True, True]
    assert held(imagenet_config.get_config("smoke"))[2] is None
    measures["TV"]["rough"] = measures["no prior"]["rough"] + [0.1, -0.2, 0.3, -0.4, 0.5]
    found["TV"] = {"logits": np.eye(5)[[1, 0, 2, 3, 4]]}
    assert held(other) == [False, None, True]
    measures["TV"]["rough"] = measures["no prior"]["rough"] + 1 + steps
    assert held(other)[1] is False


def test_pairs_that_are_all_alike_tell_nothing():
    same = np.ones(4)
    assert priors_imagenet.paired(same, same) == (1.0, 1.0)
    assert runner.told(1.0, 1.0) is None and runner.told(0.01, 0.99) is True and runner.told(1.0, 0.01) is False


def test_seeds_give_the_same_starts_again():
    first, again = (maximisation_baselines.initial_images(Fourier(), (72.9,), (3, 8, 8, 1), 4) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert jnp.issubdtype(first.dtype, jnp.floating) and isinstance(first, jax.Array)
