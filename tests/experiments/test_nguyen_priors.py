"""The comparison of priors: starts, measures of groups, the tests between them, and what claims follow."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.nguyen2016 import priors as config
from configs.nguyen2016 import priors_imagenet as imagenet_config
from experiments.lib import evaluation_networks, maximisation_baselines
from experiments.nguyen2016 import prior_comparison, priors, priors_imagenet
from xai_jax import dgn_am, realism, targets
from xai_jax.data.datasets import InMemory
from xai_jax.models import LoadedModel
from xai_jax.models.input_scaling import Input
from xai_jax.synthesis.activation_maximisation import Fourier, Simonyan, Yosinski
from xai_jax.synthesis.inversion import IJCV
from xai_jax.synthesis.multifaceted import MFV, Stage

WEIGHTS = np.random.default_rng(0).normal(size=(3, 4)).astype("f")


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
    rng = np.random.default_rng(1)
    classes = np.tile([0, 1, 2, 3], 6)
    pixels, logits = rng.integers(0, 256, (24, 5, 5, 3), np.uint8), rng.normal(size=(24, 4)).astype("f")
    x = rng.normal(size=(60, 5, 5, 3)).astype("f")
    evaluator = evaluation_networks.EvaluationNetwork(MODEL, x, "means", 0)
    features = prior_comparison.natural_features(evaluator)
    np.testing.assert_allclose(features["held_out"], x[:30].mean((1, 2)), atol=1e-6)
    found = prior_comparison.measure(evaluator, features, {"pixels": pixels, "logits": logits}, classes, 3)
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
    others = prior_comparison.natural_reference(features, 5, 8)  # room for three groups of eight
    assert others["distance"].shape == others["frechet"].shape == (3,)
    last = x[30 + 16 : 30 + 24].mean((1, 2))
    assert others["frechet"][2] == pytest.approx(realism.frechet(last, features["held_out"]), rel=1e-3)


def conditions(**means):
    """Measures of five groups around a mean for each condition, the same for all measures."""
    noise = np.linspace(-0.01, 0.01, 5)
    return {name: dict.fromkeys(prior_comparison.REALISM, mean + noise) for name, mean in means.items()}


YES, NO, OPEN = "supported", "not supported", "inconclusive"


@pytest.mark.parametrize("name", prior_comparison.REALISM)
@pytest.mark.parametrize(
    "means, expected, words",
    [
        ({"ours": 5, "x": 1, "y": 2}, YES, "better than 2 of 2"),
        ({"ours": 1.5, "x": 1, "y": 2}, NO, "better than 1 of 2, not y"),
        ({"ours": 2, "x": 1, "y": 2}, OPEN, "better than 1 of 2, not y"),
    ],
)
def test_a_condition_wins_where_it_is_better_than_every_other(name, means, expected, words):
    sign = 1 if prior_comparison.REALISM[name].higher else -1
    measures = conditions(**{key: sign * mean for key, mean in means.items()})
    claim = prior_comparison.claim("", "", name, "ours", measures)
    assert claim.verdict.decision == expected and words in claim.measured
    assert prior_comparison.claim("", "", name, "ours", measures, independent=False).verdict.decision == OPEN


def test_worse_than_one_of_many_is_corrected_for_their_number():
    ours = np.array([1.0, 2, 3, 4, 5])
    table = {"ours": {"agreement": ours}} | {f"baseline {n}": {"agreement": ours - 10} for n in range(7)}
    table["baseline 7"] = {"agreement": np.array([3.5, 4.5, 5.5, 6, 7])}  # p = 0.016 alone, not below 0.05 / 8
    claim = prior_comparison.claim("", "", "agreement", "ours", table)
    assert claim.verdict.decision == OPEN and "not baseline 7" in claim.measured


def test_figures_have_a_row_for_each_condition():
    measures = conditions(ours=1.0, x=2.0)
    labels = {name: measure.label for name, measure in prior_comparison.REALISM.items()}
    figure = prior_comparison.dots(measures, {"frechet": np.ones(2)}, labels)
    assert len(figure.axes) == 3 and len(figure.axes[0].get_yticklabels()) == 2
    found = {"pixels": np.zeros((8, 5, 5, 3), np.uint8), "logits": np.zeros((8, 4))}
    images = prior_comparison.images(MODEL.classes, {"one": found, "two": found}, np.tile([3, 1, 0, 2], 2), columns=3)
    assert [axis.get_title() for axis in images.axes[:3]] == ["d", "b", "a"]
    assert images.axes[0].get_xlabel() == "25.0 %"


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
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (120, 5, 5, 3), np.uint8), np.arange(120, dtype=np.int32) % 4
    data = InMemory(images, labels, MODEL.classes)
    given = SimpleNamespace(known=120, starts=3, groups=1, classes=(2, 0), seed=5, mean=(10.0, 20.0, 30.0))
    found = np.asarray(maximisation_baselines.mean_images(MODEL, "means", data, given))
    assert found.shape == (6, 5, 5, 3)
    for position, k in enumerate((2, 0)):
        own = images[labels == k].astype(float)
        _, members = dgn_am.facets(
            jnp.asarray((own / 100 - 1).mean((1, 2)), jnp.float32), 3, maximisation_baselines.AVERAGED, seed=5
        )
        np.testing.assert_allclose(found[position::2], own[members].mean(1) - [10, 20, 30], atol=1e-3)
    reversed_data = InMemory(images, 3 - labels, MODEL.classes[::-1])  # another data set of the same classes
    np.testing.assert_array_equal(maximisation_baselines.mean_images(MODEL, "means", reversed_data, given), found)


def test_images_of_baselines_are_in_the_networks_units():
    classes, mean = np.array([0, 1, 2, 3, 1]), (90.0, 100.0, 110.0)
    starts = maximisation_baselines.initial_images(Simonyan(), mean, (5, 6, 6, 3), 0)
    form = Simonyan(penalty=0.0, learning_rate=400.0, steps=30)
    found = maximisation_baselines.maximise(MODEL, mean, targets.logit(classes), starts, form, 2, 0)
    sign = np.sign(WEIGHTS.T[classes])[:, None, None]  # the maxima of a linear network are black or white
    np.testing.assert_allclose(found["images"], np.broadcast_to(np.where(sign > 0, 1.55, -1), (5, 6, 6, 3)), atol=1e-5)
    np.testing.assert_allclose(found["logits"], net(found["images"]), rtol=1e-4)


def test_mahendrans_form_divides_by_a_typical_logit():
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(2, 4)), jnp.float32)
    plain, share = (
        maximisation_baselines.class_target(np.array([1, 2]), form, 8.0)(logits, {}) for form in (Simonyan(), IJCV())
    )
    np.testing.assert_allclose(share, plain / 8, rtol=1e-5)


def test_steps_are_counted():
    multifaceted = MFV((Stage(3, (1, 1), (1, 1)), Stage(4, (1, 1), (1, 1))))
    forms = Simonyan(steps=5), Yosinski(steps=6), IJCV(steps=(7, 2)), multifaceted, Fourier(steps=8)
    assert [form.step_count for form in forms] == [5, 6, 7, 7, 8]


@pytest.mark.parametrize("tier", ["smoke", "default", "paper"])
def test_all_priors_of_the_comparison_are_there(tier):
    names = ["no prior", "L2", "blur", "TV", "TV and jitter", "mean image", "centre bias", "Fourier"]
    assert list(maximisation_baselines.forms(config.get_config(tier))) == names
    assert list(maximisation_baselines.forms(imagenet_config.get_config(tier))) == [
        name for name in names if name != "mean image"
    ]


def test_there_is_a_claim_for_each_measure_of_realism():
    found = priors.claims(conditions(DGN=3.0, L2=1.0), independent=True)
    assert [claim.verdict.decision for claim in found] == [YES, NO, NO]
    assert {claim.verdict.decision for claim in priors.claims(conditions(DGN=3.0, L2=1.0), independent=False)} == {OPEN}


def test_roughness_is_the_mean_length_of_gradients():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (2, 6, 7, 3), np.uint8)
    x = pixels.astype(float)
    down, right = np.diff(x, axis=1, append=x[:, -1:]), np.diff(x, axis=2, append=x[:, :, -1:])
    np.testing.assert_allclose(priors_imagenet.roughness(pixels), np.hypot(down, right).mean((1, 2, 3)), rtol=1e-4)


def test_claims_of_the_imagenet_network_are_paired_over_images():
    classes, other = (
        np.arange(8),
        dataclasses.replace(imagenet_config.get_config("smoke"), evaluation_network="another"),
    )
    found = {name: {"logits": np.eye(8)} for name in ("no prior", "blur", "TV")}
    steps = np.arange(8) / 10
    measures = {
        "no prior": {"rough": 3 + steps, "agrees": np.zeros(8, bool)},
        "blur": {"rough": 1 + 0.5 * steps, "agrees": np.ones(8, bool)},
        "TV": {"rough": 2 + 0.3 * steps, "agrees": np.arange(8) != 2},
    }

    def decisions(config):
        return [claim.verdict.decision for claim in priors_imagenet.claims(found, measures, classes, config)]

    assert decisions(other) == [YES, YES, YES]
    assert decisions(imagenet_config.get_config("smoke"))[2] == OPEN
    measures["TV"]["rough"] = measures["no prior"]["rough"] + [0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7, -0.8]
    found["TV"] = {"logits": np.eye(8)[[1, 0, 3, 2, 4, 5, 6, 7]]}
    assert decisions(other) == [OPEN, OPEN, YES]
    measures["TV"]["rough"] = measures["no prior"]["rough"] + 1 + steps
    found["TV"] = {"logits": np.roll(np.eye(8), 1, axis=1)}
    measures["blur"]["agrees"] = measures["TV"]["agrees"] = measures["no prior"]["agrees"]
    assert decisions(other) == [NO, NO, OPEN]


def test_seeds_give_the_same_starts_again():
    first, again = (maximisation_baselines.initial_images(Fourier(), (72.9,), (3, 8, 8, 1), 4) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert jnp.issubdtype(first.dtype, jnp.floating) and isinstance(first, jax.Array)


def test_forms_are_shortened_by_one_number():
    papers = config.get_config("paper")
    papers.steps = 0.1
    forms = maximisation_baselines.forms(papers)
    assert {name: form.step_count for name, form in forms.items() if name in ("L2", "blur", "TV", "Fourier")} == {
        name: round(getattr(papers.baselines, name).step_count / 10) for name in ("L2", "blur", "TV", "Fourier")
    }
    assert forms["TV"].steps[1] == 0 and maximisation_baselines.shortened(papers.dgn, 0.001).steps == 1
    whole = papers.baselines.centre_bias
    assert [stage.steps for stage in forms["centre bias"].stages] == [round(s.steps / 10) for s in whole.stages]
    assert maximisation_baselines.shortened(whole, 1.0) == whole
