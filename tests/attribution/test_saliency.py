"""Attribution methods against slow versions of their definitions and captum; chunks, compilation, and errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from tests.helpers import oracle
from xai_jax import network, saliency, targets
from xai_jax.core.precision import highest

LAYERS = oracle.random_layers(5)
NET = oracle.jax_network(LAYERS)
X = np.random.default_rng(1).normal(size=(5, 17, 17, 3)).astype(np.float32)
K = np.array([0, 4, 2, 2, 1])
TARGET = targets.logit(K)

EVERY = {
    "gradient": saliency.gradient,
    "deconvnet": saliency.deconvnet,
    "guided_backprop": saliency.guided_backprop,
    "input_x_gradient": saliency.input_x_gradient,
    "grad_cam": functools.partial(saliency.grad_cam, layer="relu4"),
    "guided_grad_cam": functools.partial(saliency.guided_grad_cam, layer="relu4"),
    "integrated_gradients": functools.partial(saliency.integrated_gradients, steps=8),
    "smoothgrad": functools.partial(saliency.smoothgrad, samples=3),
    "vargrad": functools.partial(saliency.vargrad, samples=3),
    "occlusion": functools.partial(saliency.occlusion, patch=6, stride=5),
}


def logits(x):
    return oracle.numpy_forward(LAYERS, np.asarray(x, np.float64))[0]


@pytest.mark.parametrize("name", EVERY)
def test_attributions_are_shaped_like_x_and_independent_of_chunks(name):
    whole = EVERY[name](NET, X, TARGET)
    assert whole.shape == X.shape and np.abs(whole).max() > 0
    np.testing.assert_allclose(EVERY[name](NET, X, TARGET, batch_size=2), whole, atol=1e-5)
    alone = EVERY[name](NET, X[3:4], targets.logit(2))
    if name not in ("smoothgrad", "vargrad"):  # their noise depends on the position in the batch
        np.testing.assert_allclose(alone, whole[3:4], atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_targets_may_be_combinations_of_hidden_neurons(name):
    target = targets.neuron("relu1", 2) - 2 * targets.neuron("conv3", np.arange(5), "mean") + targets.logit(1)
    assert np.abs(EVERY[name](NET, X, target)).max() > 0


@pytest.mark.parametrize("name", ["gradient", "deconvnet", "guided_backprop"])
def test_hidden_neurons_equal_the_truncated_oracle(name):
    """A projection of one activation: everything else in its layer is zero (Zeiler & Fergus 2014, section 2.1)."""
    below = LAYERS[:5]
    maps, inputs = oracle.numpy_forward(below, X.astype(np.float64))
    signal = np.zeros_like(maps)
    for n, channel in enumerate(maps):
        i, j = np.unravel_index(channel[..., 3].argmax(), channel.shape[:2])
        signal[n, i, j, 3] = 1
    expected = oracle.numpy_backward(below, inputs, signal, oracle.RULES[name])
    got = EVERY[name](NET, X, targets.neuron("relu4", 3))
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_gradient_equals_finite_differences():
    x, step = X[:1].astype(np.float64), 1e-5
    gradients = np.asarray(saliency.gradient(NET, X[:1], targets.logit(3)))[0]
    rng = np.random.default_rng(0)
    for _ in range(20):
        at = (0, *(rng.integers(n) for n in x.shape[1:]))
        up, down = x.copy(), x.copy()
        up[at] += step
        down[at] -= step
        np.testing.assert_allclose(gradients[at[1:]], (logits(up)[0, 3] - logits(down)[0, 3]) / (2 * step), atol=1e-4)


def test_integrated_gradients_equal_the_mean_gradient_and_are_complete():
    baseline = np.full(X.shape, 0.3, np.float32)
    attributions, delta = saliency.integrated_gradients(NET, X, TARGET, baseline, steps=300, return_delta=True)
    midpoints = [saliency.gradient(NET, baseline + (i + 0.5) / 300 * (X - baseline), TARGET) for i in range(300)]
    expected = np.mean(midpoints, axis=0) * (X - baseline)
    np.testing.assert_allclose(attributions, expected, atol=0.02 * np.abs(expected).max())
    rows = np.arange(5)
    change = (logits(X) - logits(baseline))[rows, K]
    np.testing.assert_allclose(attributions.sum((1, 2, 3)) - delta, change, atol=1e-4)
    assert np.abs(delta).max() < 0.02 * np.abs(change).max()


@pytest.mark.parametrize("baseline", [0.5, np.array([0.1, 0.2, 0.3]), X[::-1]])
def test_baselines_of_integrated_gradients_broadcast(baseline):
    _, delta = saliency.integrated_gradients(NET, X, TARGET, baseline, return_delta=True, batch_size=2)
    assert delta.shape == (5,) and np.abs(delta).max() < 0.2


@pytest.mark.parametrize("name", ["guided_backprop", "integrated_gradients"])
def test_attributions_are_the_same_under_jit(name):
    got = jax.jit(lambda x: EVERY[name](NET, x, TARGET, batch_size=2))(X)
    np.testing.assert_allclose(got, EVERY[name](NET, X, TARGET), rtol=1e-4, atol=1e-5)


def test_grad_cam_equals_its_equations():
    head = network.head(NET, "relu6", X)
    with highest():
        maps = np.asarray(network.capture(NET, X)[1]["relu6"])
        gradients = np.asarray(jax.grad(lambda a: head(a)[jnp.arange(5), K].sum())(jnp.asarray(maps)))
    weights = gradients.mean((1, 2))
    cam = np.maximum((weights[:, None, None] * maps).sum(-1), 0)
    expected = jax.image.resize(jnp.asarray(cam), X.shape[:3], "bilinear")
    got = saliency.grad_cam(NET, X, TARGET, "relu6")
    np.testing.assert_allclose(got[..., 0], expected, atol=1e-5)
    np.testing.assert_array_equal(got[..., 0], got[..., 2])
    np.testing.assert_allclose(
        saliency.guided_grad_cam(NET, X, TARGET, "relu6"), saliency.guided_backprop(NET, X, TARGET) * got, atol=1e-6
    )


def test_smoothgrad_and_vargrad_are_mean_and_variance_over_seeded_noise():
    seen = []

    def method(net, x, target, batch_size=None):
        seen.append(np.asarray(x))
        return jnp.asarray(x) ** 2

    mean = saliency.smoothgrad(NET, X, TARGET, method, samples=6, noise=0.2, key=jax.random.key(3))
    np.testing.assert_allclose(mean, np.mean(np.square(seen), 0), rtol=1e-5, atol=1e-6)
    variance = saliency.vargrad(NET, X, TARGET, method, samples=6, noise=0.2, key=jax.random.key(3))
    np.testing.assert_array_equal(seen[:6], seen[6:])
    np.testing.assert_allclose(variance, np.var(np.square(seen[:6]), 0), rtol=1e-3, atol=1e-5)
    noise = np.array(seen[:6]) - X
    spread = 0.2 * (X.max((1, 2, 3)) - X.min((1, 2, 3)))
    np.testing.assert_allclose(noise.std((0, 2, 3, 4)), spread, rtol=0.05)
    assert (
        np.abs(saliency.smoothgrad(NET, X, TARGET, method, samples=6, noise=0.2, key=jax.random.key(4)) - mean).max()
        > 1e-3
    )


def test_occlusion_equals_a_slow_loop():
    patch, stride, fill = (6, 4), (5, 4), np.array([0.5, -1, 0], np.float32)
    tops, lefts = [0, 5, 10, 11], [0, 4, 8, 12, 13]
    scores, covered = np.zeros((5, 17, 17)), np.zeros((17, 17))
    base = logits(X)[np.arange(5), K]
    table = np.zeros((5, len(tops), len(lefts)))
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            hidden = X.copy()
            hidden[:, top : top + 6, left : left + 4] = fill
            table[:, i, j] = logits(hidden)[np.arange(5), K]
            scores[:, top : top + 6, left : left + 4] += (base - table[:, i, j])[:, None, None]
            covered[top : top + 6, left : left + 4] += 1
    got = saliency.occlusion(NET, X, TARGET, patch, stride, fill, batch_size=7)
    np.testing.assert_allclose(got[..., 1], scores / covered, atol=1e-4)
    np.testing.assert_allclose(saliency.occlude(NET, X, TARGET, (), patch, stride, fill), table, atol=1e-4)


BLURRED = np.stack([ndimage.gaussian_filter(image, (2, 2, 0)) for image in X])


@pytest.mark.parametrize("fill", [BLURRED, BLURRED[0], BLURRED[:, :1, :1], BLURRED[..., :1]])
@pytest.mark.parametrize("batch_size", [3, 500])
def test_occlusion_by_images(fill, batch_size):
    got = saliency.occlude(NET, X, TARGET, (), 9, 8, fill, batch_size)
    for i, top in enumerate((0, 8)):
        for j, left in enumerate((0, 8)):
            hidden, area = X.copy(), (slice(None), slice(top, top + 9), slice(left, left + 9))
            hidden[area] = np.broadcast_to(fill, X.shape)[area]
            np.testing.assert_allclose(got[:, i, j], logits(hidden)[np.arange(5), K], atol=1e-4)


@pytest.mark.parametrize(
    "sides, patch, stride",
    [
        ((224, 224), (32, 32), (16, 16)),
        ((227, 300), (32, 32), (16, 16)),
        ((32, 32), (4, 4), (2, 2)),
        ((28, 96), (4, 13), (2, 6)),
        ((8, 8), (1, 1), (1, 1)),
        ((1, 210), (1, 30), (1, 15)),
    ],
)
def test_the_patch_follows_the_size_of_the_image(sides, patch, stride):
    def net(x, relu=jax.nn.relu, tap=network.keep):
        return x.sum((1, 2))

    x = np.random.default_rng(0).normal(size=(1, *sides, 1)).astype(np.float32)
    got = saliency.occlude(net, x, targets.logit(0), batch_size=256)
    np.testing.assert_array_equal(got, saliency.occlude(net, x, targets.logit(0), (), patch, stride, batch_size=256))
    assert got.shape[1:] == tuple(-(-(n - p) // s) + 1 for n, p, s in zip(sides, patch, stride, strict=True))


def test_a_wide_stride_that_covers_all_pixels_is_no_error():
    got = saliency.occlusion(NET, X, TARGET, 9, 10)  # the last patch ends at the border
    assert np.isfinite(got).all()


def tokens(x, relu=jax.nn.relu, tap=network.keep):
    return tap("tokens", relu(x.reshape(len(x), -1, 3)[:, ::2])).mean(1)


@pytest.mark.parametrize("axis", [1, 2])
def test_grad_cam_of_signals(axis):
    x = np.expand_dims(X[:, :, 0], axis)
    got = saliency.grad_cam(tokens, x, targets.logit(np.array([0, 1, 2, 0, 1])), "tokens", batch_size=2)
    maps = np.maximum(X[:, ::2, 0], 0)[range(5), :, [0, 1, 2, 0, 1]] / 9  # the gradient of the mean of 9 tokens
    expected = jax.image.resize(jnp.asarray(maps), (5, 17), "bilinear")
    np.testing.assert_allclose(got.reshape(5, 17, 3), np.repeat(expected[..., None], 3, -1), atol=1e-6)


def test_occlude_returns_any_outputs():
    def read(logits, activations):
        return {"label": logits.argmax(-1), "total": activations["relu1"].sum((1, 2))}

    out = saliency.occlude(NET, X[:2], read, ("relu1",), patch=9, stride=4)
    assert out["label"].shape == (2, 3, 3) and out["total"].shape == (2, 3, 3, 6)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "net, x, target, words",
    [
        (NET, X[0], TARGET, "leading axis|Expected images"),
        (NET, X[:0], TARGET, "at least one image"),
        (NET, X[..., :2], TARGET, "network can read"),
        (NET, X.astype(np.int32), TARGET, "floating-point"),
        (NET, np.where(X > 2.5, np.nan, X), TARGET, "finite"),
        (NET, X, targets.logit(5), "between 0 and 4"),
        (NET, X, targets.neuron("relu9", 0), "Did you mean"),
        (lambda x, relu=jax.nn.relu, tap=network.keep: jax.nn.softmax(NET(x, relu, tap)), X, TARGET, "probabilities"),
    ],
)
def test_invalid_input_raises(name, net, x, target, words):
    with pytest.raises(ValueError, match=words):
        EVERY[name](net, x, target)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: saliency.gradient(NET, X, TARGET, batch_size=0), "batch size"),
        (lambda: saliency.occlusion(NET, X, TARGET, 6, 5, batch_size=-1), "batch size"),
        (lambda: saliency.grad_cam(NET, X, TARGET, "dense9"), "Expected a layer with maps"),
        (lambda: saliency.grad_cam(NET, X, TARGET, "conv9"), "Did you mean"),
        (lambda: saliency.integrated_gradients(NET, X, TARGET, np.zeros(2)), "broadcasts"),
        (lambda: saliency.integrated_gradients(NET, X, TARGET, steps=0), "at least one step"),
        (lambda: saliency.smoothgrad(NET, X, TARGET, samples=0), "samples"),
        (lambda: saliency.occlusion(NET, X, TARGET, patch=18), "patch within"),
        (lambda: saliency.occlusion(NET, X, TARGET, patch=4, stride=0), "stride"),
        (lambda: saliency.occlusion(NET, X, TARGET, patch="4"), "number of pixels, or a pair, .* got '4'"),
        (lambda: saliency.occlude(NET, X, TARGET, (), 4, (2, 2, 2)), r"or a pair, .* got \(2, 2, 2\)"),
        (
            lambda: saliency.occlusion(NET, X, TARGET, 2, 3),
            r"stride .* uncovered, got \(3, 3\) for a patch of \(2, 2\)",
        ),
        (lambda: saliency.occlusion(NET, X, TARGET, (2, 17), (3, 1)), "stride .* uncovered"),
        (lambda: saliency.occlusion(NET, X, TARGET, 17, 1), "patch smaller than the images"),
        (lambda: saliency.occlusion(NET, X, TARGET, 6, 5, np.zeros(2)), r"fill that broadcasts .* got \(2,\)"),
        (lambda: saliency.occlusion(NET, X, TARGET, 6, 5, X[:2]), "fill that broadcasts"),
        (lambda: saliency.occlude(NET, X, TARGET, (), 6, 5, X[None]), "fill that broadcasts"),
        (lambda: saliency.grad_cam(tokens, X, targets.logit(0), "tokens"), "tokens of a transformer"),
    ],
)
def test_invalid_options_raise(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_agrees_with_captum():
    torch = pytest.importorskip("torch")
    attr = pytest.importorskip("captum.attr")
    module = oracle.torch_module(LAYERS).eval()
    images, k = torch.tensor(X.transpose(0, 3, 1, 2).copy()), torch.tensor(K)

    def back(a):
        return a.detach().numpy().transpose(0, 2, 3, 1)

    expected = back(attr.InputXGradient(module).attribute(images.requires_grad_(), target=k))
    got = saliency.input_x_gradient(NET, X, TARGET)
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())
    expected, delta = attr.IntegratedGradients(module).attribute(
        images, target=k, n_steps=64, return_convergence_delta=True
    )
    got, ours = saliency.integrated_gradients(NET, X, TARGET, steps=64, return_delta=True)
    np.testing.assert_allclose(got, back(expected), atol=1e-4 * np.abs(back(expected)).max())
    np.testing.assert_allclose(ours, delta.detach().numpy(), atol=1e-3)
    with torch.no_grad():
        expected = back(attr.Occlusion(module).attribute(images, (3, 6, 6), (3, 6, 6), target=k))
    got = saliency.occlusion(NET, X, TARGET, patch=6, stride=6)  # the last patches differ: ours end at the border
    np.testing.assert_allclose(got[:, :11, :11], expected[:, :11, :11], atol=1e-4)
