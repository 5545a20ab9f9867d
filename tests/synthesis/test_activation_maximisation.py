"""Activation maximisation in pixels against NumPy loops written from the papers' code; checkpoints and errors."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from tests.helpers import oracle
from xai_jax import activation_maximisation, network, parametrisation, priors, saliency, targets, transforms
from xai_jax.synthesis.activation_maximisation import Fourier, Simonyan, Yosinski
from xai_jax.synthesis.inversion import IJCV
from xai_jax.synthesis.multifaceted import CENTRE_BIAS, MEAN_IMAGE, MFV, Stage

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
MODEL = oracle.jax_network(oracle.random_layers())
NET = activation_maximisation.of_pixels(
    MODEL, lambda x: (x + jnp.array([3.0, -2.0, 1.0])) / jnp.array([50.0, 60.0, 55.0])
)
LOWER, UPPER = np.array([-120.0, -110, -100], np.float32), np.array([135.0, 145, 155], np.float32)
START = (10 * RNG.normal(size=(3, 17, 17, 3))).astype("f")
CLASSES = np.array([0, 1, 2])
maximise = partial(activation_maximisation.maximise, NET, targets.logit(CLASSES), START, KEY, lower=LOWER, upper=UPPER)
STAGES = MFV((Stage(3, (2.0, 1.0), (0.5, 0.2)), Stage(4, (1.0, 3.0), (0.1, 2.0), 1.3, 2, 0.4)), iterations=5)
SHORT = {
    "simonyan": Simonyan(penalty=1e-5, learning_rate=3.0, final_learning_rate=0.5, steps=4),
    "yosinski": Yosinski(
        steps=4,
        max_learning_rate=4000.0,
        decay=0.01,
        blur_std=0.7,
        blur_every=2,
        norm_percentile=20.0,
        contribution_percentile=10.0,
    ),
    "ijcv": IJCV(jitter=3, steps=(4, 0)),
    "mfv": STAGES,
    "fourier": Fourier(steps=4, jitter=3),
}


denoise = jax.jit(partial(priors.denoise, iterations=5))


@jax.jit
def jitted_gradient(x, k):
    return jax.grad(lambda x: NET(x[None])[0, k])(x)


def gradient(x, k):
    """The gradient of one image's logit."""
    return np.asarray(jitted_gradient(jnp.asarray(x, jnp.float32), k), np.float64)


def test_networks_of_pixels_scale_their_input():
    inputs = (START + [3, -2, 1]) / [50, 60, 55]
    x = jnp.asarray(inputs, jnp.float32)
    np.testing.assert_allclose(NET(START), MODEL(x), rtol=1e-4, atol=1e-4)
    for name, value in network.capture(MODEL, x)[1].items():
        np.testing.assert_allclose(network.capture(NET, START)[1][name], value, rtol=1e-4, atol=1e-4)
    maps = saliency.guided_backprop(NET, jnp.asarray(START), targets.logit(1))
    theirs = saliency.guided_backprop(MODEL, x, targets.logit(1)) / np.array([50, 60, 55], np.float32)
    np.testing.assert_allclose(maps, theirs, rtol=1e-3, atol=1e-6)


def test_simonyans_steps_follow_the_penalised_logit():
    form, rows = SHORT["simonyan"], []
    for x, k in zip(START.astype(float), CLASSES, strict=True):
        for i in range(4):
            g = gradient(x, k) - 2e-5 * x
            x = np.clip(x + (3 - 2.5 * i / 4) * g / abs(g).mean(), LOWER, UPPER)
        rows.append(x)
    found = maximise(form)
    np.testing.assert_allclose(found.x, rows, atol=0.02)
    logits = np.asarray(NET(START))[range(3), CLASSES]
    np.testing.assert_allclose(found.history["activation"][0], -logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.history["penalty"][0], 1e-5 * (START**2).sum((1, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize(
    "changes", [{}, {"increase": 0.5}, {"blur_std": 0.0, "norm_percentile": 0.0}, {"contribution_percentile": 0.0}]
)
def test_yosinskis_steps_are_those_of_the_code(changes):
    form, rows = dataclasses.replace(SHORT["yosinski"], **changes), []
    for x, k in zip(START.astype(float), CLASSES, strict=True):
        for i in range(4):
            g = gradient(x, k)
            learning_rate = min(form.max_learning_rate, 0.5 / (g**2).sum()) if form.increase else form.max_learning_rate
            x = (x + learning_rate * g) * (1 - form.decay)
            if form.blur_std and i % form.blur_every == 0:
                x = ndimage.gaussian_filter(x, (form.blur_std, form.blur_std, 0), mode="nearest")
            for percent, amount in (
                (form.norm_percentile, lambda x: np.linalg.norm(x, axis=-1)),
                (form.contribution_percentile, None),
            ):
                amount = abs((g * x).sum(-1)) if amount is None else amount(x)
                if percent:
                    x = np.where((amount < np.percentile(amount, percent))[..., None], 0, x)
            x = np.clip(x, LOWER, UPPER)
        rows.append(x)
    found = np.asarray(maximise(form).x)
    apart = abs(found - np.array(rows))
    assert np.median(apart) < 1e-3 and (apart > 0.1).mean() < 0.02  # pixels at a percentile may be clipped or not
    assert abs(found - START).mean() > 0.5


def test_mahendrans_steps_maximise_jittered_images_under_their_priors():
    form, steps = SHORT["ijcv"], 4
    wide = np.asarray(transforms.pad_for_jitter(START, 3)).astype(float)
    assert wide.shape == (3, 19, 19, 3) and (wide[:, 0, 1:-1] == START[:, 0]).all()

    @jax.jit
    def gradient(x, i):
        def loss(x):
            seen = transforms.random_crop(jax.random.fold_in(KEY, i), x, (17, 17))
            norm = priors.colour_norm(x / 80.0, 6.0) + priors.mean_total_variation(x * (6.5 / 80), 2.0)
            return (norm - 100 * NET(seen)[jnp.arange(3), CLASSES]).sum()

        return jax.grad(loss)(x)

    x, squares, velocity = wide, 0.0, 0.0
    for i in range(steps):
        g = np.asarray(gradient(jnp.asarray(x, jnp.float32), jnp.int32(i)), np.float64)
        squares = 0.9 * squares + g**2
        velocity = 0.9 * velocity - g / (1 / (0.05 * 80**2 / 6 * 19 * 19) + np.sqrt(squares))
        x = x + velocity
        length = np.sqrt((x**2).sum(-1, keepdims=True))
        x = np.clip(x * np.minimum(1, 160 / length), LOWER, UPPER)
    found = maximise(form)
    np.testing.assert_allclose(found.x, x[:, 1:-1, 1:-1], atol=0.05)
    assert set(found.history) == {"activation", "norm", "total_variation"}


def test_stages_enlarge_and_denoise_as_the_code_does():
    x = np.clip(START, LOWER, UPPER)
    for number, stage in enumerate(STAGES.stages):
        side = round(x.shape[1] * stage.scale)
        x = np.clip(np.asarray(jax.image.resize(x, (3, side, side, 3), "cubic")), LOWER, UPPER).astype(float)
        key, room = jax.random.fold_in(KEY, number), side - 17
        for i in range(stage.steps):
            normal = np.asarray(jax.random.normal(jax.random.fold_in(key, i), (3, 2)))
            for n, k in enumerate(CLASSES):
                top, left = np.clip(room / 2 + stage.spread * room * normal[n], 0, room).astype(int)
                window, m = x[n, top : top + 17, left : left + 17], stage.margin
                g = np.zeros((17, 17, 3))
                g[m : 17 - m, m : 17 - m] = gradient(window, k)[m : 17 - m, m : 17 - m]
                first, last = stage.learning_rates
                window += (first + (last - first) * i / stage.steps) * g / abs(g).mean()
            first, last = stage.denoising
            weight = first + (last - first) * i / stage.steps
            x = np.asarray(denoise(jnp.asarray(np.clip(x, LOWER, UPPER), jnp.float32), weight)).astype(float)
    found = maximise(STAGES)
    assert x.shape[1] == 22
    np.testing.assert_allclose(found.x, x[:, 2:19, 2:19], atol=0.05)
    assert found.history["activation"].shape == (7, 3)


def test_fourier_takes_adam_steps_on_coefficients():
    start = np.clip(RNG.normal(10, 60, START.shape), LOWER + 3, UPPER - 3).astype("f")
    still = activation_maximisation.maximise(NET, targets.logit(CLASSES), start, KEY, Fourier(1e-9, 1, 1), LOWER, UPPER)
    np.testing.assert_allclose(still.x, start, atol=0.05)
    form, low, range_ = SHORT["fourier"], LOWER, UPPER - LOWER
    wide = np.asarray(transforms.pad_for_jitter(start, 3))
    share = np.clip((wide - low) / range_, 0.01, 0.99)
    c = np.asarray(parametrisation.to_fourier(jnp.asarray(np.log(share / (1 - share)), jnp.float32)), np.float64)

    @jax.jit
    def gradient(c, i):
        def loss(c):
            images = low + range_ / (1 + jnp.exp(-parametrisation.from_fourier(c, 19)))
            return -NET(transforms.random_crop(jax.random.fold_in(KEY, i), images, (17, 17)))[
                jnp.arange(3), CLASSES
            ].sum()

        return jax.grad(loss)(c)

    mean, square = 0.0, 0.0
    for i in range(form.steps):
        g = np.asarray(gradient(jnp.asarray(c, jnp.float32), jnp.int32(i)), np.float64)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        c = c - 0.05 * (mean / (1 - 0.9 ** (i + 1))) / (np.sqrt(square / (1 - 0.999 ** (i + 1))) + 1e-8)
    images = np.asarray(parametrisation.from_fourier(jnp.asarray(c, jnp.float32), 19))
    found = activation_maximisation.maximise(NET, targets.logit(CLASSES), start, KEY, form, LOWER, UPPER)
    np.testing.assert_allclose(found.x, (low + range_ / (1 + np.exp(-images)))[:, 1:-1, 1:-1], atol=0.1)


@pytest.mark.parametrize("name", [*(n for n in SHORT if n != "mfv"), pytest.param("mfv", marks=pytest.mark.slow)])
def test_every_form_increases_the_activation_within_the_range(name):
    changes = {"stages": tuple(dataclasses.replace(o, steps=20) for o in STAGES.stages)}
    changes = changes if name == "mfv" else {"steps": (40, 0) if name == "ijcv" else 40}
    found = maximise(dataclasses.replace(SHORT[name], **changes))
    assert found.x.shape == START.shape
    assert (found.x >= LOWER - 1e-3).all() and (found.x <= UPPER + 1e-3).all()
    before, after = (np.asarray(NET(x))[range(3), CLASSES] for x in (START, found.x))
    assert (after > before).all()


@pytest.mark.parametrize("name", ["simonyan", "yosinski", "ijcv", pytest.param("mfv", marks=pytest.mark.slow)])
def test_images_of_a_batch_are_independent(name):
    still = {
        "ijcv": IJCV(jitter=1, steps=(4, 0)),
        "mfv": MFV(STAGES.stages[:1], 5),
    }  # jitter is drawn for the whole batch
    form = still.get(name, SHORT[name])
    together = maximise(form).x
    alone = activation_maximisation.maximise(NET, targets.logit(2), START[2:], KEY, form, LOWER, UPPER).x
    np.testing.assert_allclose(together[2:], alone, atol=0.05)


def test_without_a_gradient_only_the_prior_acts():
    def blind(x, relu=None, tap=None):
        return 0.0 * x.sum((1, 2))

    run = partial(activation_maximisation.maximise, blind, targets.logit(CLASSES), START, KEY)
    np.testing.assert_array_equal(run(Simonyan(penalty=0.0, steps=3)).x, START)
    plain = Yosinski(steps=3, decay=0.5, blur_std=0.0, increase=1.0)
    np.testing.assert_allclose(run(plain).x, START / 8, rtol=1e-5)


@pytest.mark.parametrize("name", ["yosinski", *(pytest.param(n, marks=pytest.mark.slow) for n in ("mfv", "fourier"))])
def test_an_interrupted_run_resumes_with_the_same_images(name, resumed):
    stages = tuple(dataclasses.replace(stage, steps=30) for stage in STAGES.stages)
    form = MFV(stages, 2) if name == "mfv" else dataclasses.replace(SHORT[name], steps=60)
    ends = resumed(partial(maximise, form), after=4, chunk=15)
    assert ends == ([0, 15, 0, 15, 15] if name == "mfv" else [0, 15, 30, 45, 45])


def test_stages_of_the_paper_are_those_of_the_code():
    assert [stage.steps for stage in MEAN_IMAGE.stages] == [190, 150, 20, 10]
    assert [stage.steps for stage in CENTRE_BIAS.stages] == [190, 150, 150, 30, 10]


@pytest.mark.parametrize(
    "changes, kind, words",
    [
        ({"form": "blur"}, TypeError, "form of activation maximisation, such as Yosinski\\(\\), got 'blur'"),
        ({"target": targets.logit(99)}, ValueError, "class"),
        ({"start": START[:0]}, ValueError, "at least one image"),
        ({"start": START[..., :2], "lower": 0, "upper": 1}, ValueError, "images that the network can read"),
        ({"lower": UPPER, "upper": LOWER}, ValueError, "lower limits below upper ones"),
        ({"lower": LOWER[:2]}, ValueError, "limits for \\(3,\\) channels"),
        ({"form": Fourier(), "lower": -np.inf}, ValueError, "finite limits for Fourier"),
        ({"form": MFV((Stage(1, (1.0, 1.0), (1.0, 1.0), margin=9),))}, ValueError, "less than half of 17 pixels"),
    ],
)
def test_invalid_arguments_are_refused(changes, kind, words):
    given = {"net": NET, "target": targets.logit(CLASSES), "start": START, "key": KEY, "form": Simonyan(steps=1)}
    with pytest.raises(kind, match=words):
        activation_maximisation.maximise(**(given | {"lower": LOWER, "upper": UPPER} | changes))
