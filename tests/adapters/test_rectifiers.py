"""Rectifiers other than `jax.nn.relu`: those found, refused and treated as ReLUs, and what is none."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from xai_jax import adapt, network, rules, saliency, targets
from xai_jax.adapters import rectifiers
from xai_jax.attribution import occlusion
from xai_jax.units import deconvnet

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4, 4, 1)).astype(np.float32)
W = [RNG.normal(size=s).astype(np.float32) / 2 for s in ((16, 8), (8, 8), (8, 8), (8, 3))]
ALPHA = np.abs(W[1][0])
BOUND = 1.5
TARGET = targets.logit(0)


relu = jax.nn.relu


def model(activation, w, x):
    """The activation between layers with ReLUs."""
    z = relu(x.reshape(len(x), -1) @ w[0]) @ w[1]
    return relu(activation(z) @ w[2]) @ w[3]


def adapted(activation, **options):
    return adapt.from_function(functools.partial(model, activation), W, **options)


def kinds(net, x=X):
    return [site.kind for site in adapt.sites(net, x).rectifiers if not site.rule]


@jax.custom_jvp
def own_relu(z):
    return jnp.maximum(z, 0)


own_relu.defjvp(lambda z, t: (own_relu(*z), jnp.where(z[0] > 0, t[0], 0)))

COVERED = {
    "maximum": lambda z: jnp.maximum(z, 0),
    "zero first": lambda z: jnp.maximum(0, z),
    "select": lambda z: lax.select(z > 0, z, jnp.zeros_like(z)),
    "zeros": lambda z: jnp.maximum(z, jnp.zeros_like(z)),
    "array of zeros": lambda z: jnp.maximum(z, np.zeros(8, np.float32)),
    "where": lambda z: jnp.where(z > 0, z, 0),
    "where not": lambda z: jnp.where(z < 0, 0, z),
    "product": lambda z: z * (z > 0).astype(z.dtype),
    "clip": lambda z: jnp.clip(z, 0, None),
    "jit": lambda z: jax.jit(lambda z: jnp.maximum(z, 0))(z),
    "remat": lambda z: jax.checkpoint(lambda z: jnp.maximum(z, 0))(z),
    "vmap": lambda z: jax.vmap(lambda z: jnp.maximum(z, 0))(z),
    "own derivative": own_relu,
    "cond": lambda z: lax.cond(jnp.sum(W[1]) > 0, lambda z: jnp.maximum(z, 0), lambda z: jnp.where(z > 0, z, 0), z),
    "bounded": lambda z: jnp.clip(z, 0, BOUND),
    "clamp": lambda z: lax.clamp(0.0, z, BOUND),
    "minimum": lambda z: jnp.minimum(jnp.maximum(z, 0), BOUND),
    "scan": lambda z: lax.scan(lambda z, w: (jnp.maximum(z @ w, 0), None), z, jnp.asarray(W[1:3]))[0],
    "while": lambda z: lax.fori_loop(0, 2, lambda i, z: jnp.where(z > 0, z, 0) @ W[1], z),
    "square": lambda z: jnp.maximum(z, 0) ** 2,
    "root": lambda z: jnp.sqrt(jnp.maximum(z, 0) + 0.1),
    "normalised before": lambda z: jnp.maximum(jax.nn.standardize(z) * ALPHA + W[1][1], 0),
    "of a mean": lambda z: jnp.maximum(z.mean(1, keepdims=True) + 1, 0) * -ALPHA,
    "with a skip": lambda z: z + jnp.maximum(z, 0),
}
BOUNDED = {"bounded", "clamp", "minimum"}
EXPECTED = {  # the same with jax.nn.relu, where it is not the activation alone
    "scan": lambda z: jax.nn.relu(jax.nn.relu(z @ W[1]) @ W[2]),
    "while": lambda z: jax.nn.relu(jax.nn.relu(z) @ W[1]) @ W[1],
    "square": lambda z: jax.nn.relu(z) ** 2,
    "root": lambda z: jnp.sqrt(jax.nn.relu(z) + 0.1),
    "normalised before": lambda z: jax.nn.relu(jax.nn.standardize(z) * ALPHA + W[1][1]),
    "of a mean": lambda z: jax.nn.relu(z.mean(1, keepdims=True) + 1) * -ALPHA,
    "with a skip": lambda z: z + jax.nn.relu(z),
} | dict.fromkeys(BOUNDED, lambda z: jnp.where(jax.nn.relu(z) < BOUND, jax.nn.relu(z), BOUND))


def signal(net, rule):
    return jax.grad(lambda x: net(x, relu=rule).sum())(X)


def refusal(net):
    with pytest.raises(ValueError, match="keep their own gradient") as error:
        jax.eval_shape(lambda x: net(x, relu=rules.guided_relu), X)
    assert len(str(error.value)) < 600
    return str(error.value)


@pytest.mark.parametrize("name", COVERED)
def test_relus_in_other_forms_are_refused_and_get_the_rule_on_request(name):
    assert "max(x, 0) (test_rectifiers.py:" in refusal(adapted(COVERED[name]))
    explicit = adapted(EXPECTED.get(name, jax.nn.relu))
    covered = adapted(COVERED[name], relu_patterns=("max",))
    assert kinds(covered) == [] and adapt.sites(covered, X)["relu"] >= 3
    expected, got = signal(explicit, rules.guided_relu), signal(covered, rules.guided_relu)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(got, expected, atol=1e-5)


@jax.custom_vjp
def own_leaky(z):
    return jnp.where(z > 0, z, 0.1 * z)


own_leaky.defvjp(lambda z: (own_leaky(z), z), lambda z, g: (jnp.where(z > 0, g, 0.1 * g),))

WITHOUT_RULE = {
    "leaky ReLU": {
        "leaky_relu": jax.nn.leaky_relu,
        "maximum": lambda z: jnp.maximum(z, 0.1 * z),
        "where": lambda z: jnp.where(z > 0, z, ALPHA * z),
        "two ReLUs": lambda z: jax.nn.relu(z) - ALPHA * jax.nn.relu(-z),
        "one ReLU": lambda z: 0.25 * z + 0.75 * jax.nn.relu(z),
        "one ReLU and a skip": lambda z: 0.25 * z + jax.nn.relu(z),
        "maximum and minimum": lambda z: jnp.maximum(z, 0) + 0.1 * jnp.minimum(z, 0),
        "absolute value": lambda z: 0.6 * z + 0.4 * jnp.abs(z),
        "where of a ReLU": lambda z: jnp.where(z > 0, jax.nn.relu(z), 0.1 * z),
        "own derivative": own_leaky,
        "beside a smooth function": lambda z: jax.nn.silu(z) + jax.nn.leaky_relu(2 * z + 1),
        "scan": lambda z: lax.scan(lambda z, w: (jax.nn.leaky_relu(z @ w), None), z, jnp.asarray(W[1:3]))[0],
    },
    "abs(x)": {
        "abs": jnp.abs,
        "maximum": lambda z: jnp.maximum(z, -z),
        "sign": lambda z: z * jnp.sign(z),
        "two ReLUs": lambda z: jax.nn.relu(z) + jax.nn.relu(-z),
    },
    "min(x, 0)": {
        "minimum": lambda z: jnp.minimum(z, 0),
        "where": lambda z: jnp.where(z > 0, 0, z),
        "one ReLU": lambda z: z - jax.nn.relu(z),
    },
    "max(x, 0)": {
        "absolute value": lambda z: (z + jnp.abs(z)) / 2,
    },
    "ReLU with a threshold": {"where": lambda z: jnp.where(z > 0.5, z, 0)},
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, forms in WITHOUT_RULE.items() for name in forms])
def test_rectifiers_without_a_rule_are_refused(kind, name):
    for patterns in ((), ("max",)):
        net = adapted(WITHOUT_RULE[kind][name], relu_patterns=patterns)
        assert kind in kinds(net)
        assert kind in refusal(net)


def variance(z):
    return jnp.maximum((z**2).mean(1, keepdims=True) - z.mean(1, keepdims=True) ** 2, 0)


NO_RECTIFIER = {
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "celu": jax.nn.celu,
    "mish": jax.nn.mish,
    "softplus": jax.nn.softplus,
    "softplus by hand": lambda z: jnp.maximum(z, 0) + jnp.log1p(jnp.exp(-jnp.abs(z))),
    "elu by hand": lambda z: jnp.maximum(z, 0) + jnp.minimum(jnp.exp(jnp.minimum(z, 0)) - 1, 0),
    "celu by hand": lambda z: jnp.maximum(z, 0) + jnp.minimum(0, 1.5 * (jnp.exp(z / 1.5) - 1)),
    "log_sigmoid by hand": lambda z: jnp.minimum(z, 0) - jnp.log1p(jnp.exp(-jnp.abs(z))),
    "logaddexp": lambda z: jnp.logaddexp(z, z @ W[1]),
    "soft_sign": jax.nn.soft_sign,
    "squareplus": jax.nn.squareplus,
    "sparse_plus": jax.nn.sparse_plus,
    "sparse_sigmoid": jax.nn.sparse_sigmoid,
    "hard_tanh": jax.nn.hard_tanh,
    "hard_tanh by hand": lambda z: jnp.clip(z, -1, 1),
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_sigmoid by hand": lambda z: jnp.clip(0.2 * z + 0.5, 0, 1),
    "hard_silu": jax.nn.hard_silu,
    "hard_silu by hand": lambda z: z * jnp.clip(z / 6 + 0.5, 0, 1),
    "hard shrink": lambda z: jnp.where(jnp.abs(z) > 0.5, z, 0),
    "soft shrink": lambda z: jnp.sign(z) * jnp.maximum(jnp.abs(z) - 0.5, 0),
    "sign": lambda z: z + jnp.sign(z),
    "maxout": lambda z: jnp.maximum(z @ W[1], z),
    "softmax": jax.nn.softmax,
    "clipped probability": lambda z: jnp.log(jnp.maximum(jax.nn.softmax(z), 1e-7)),
    "clipped ReLU": lambda z: jnp.clip(relu(z), 0, 0.5),
    "CReLU": lambda z: jnp.concatenate([relu(z), relu(-z)], 1)[:, 4:12],
    "skip": lambda z: z + relu(z),
    "scaled skip": lambda z: z + ALPHA * relu(z),
    "clipped weights": lambda z: z @ jnp.maximum(W[1], 0),
    "mask": lambda z: jnp.where(np.arange(8) > 3, z, -1e9),
    "dropout": lambda z: jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, (8,)), z / 0.5, 0),
    "NaN": jnp.nan_to_num,
    "norm": lambda z: z / jnp.linalg.norm(z, axis=1, keepdims=True),
    "absolute norm": lambda z: z / jnp.linalg.norm(z, ord=1, axis=1, keepdims=True),
    "clipped norm": lambda z: z / jnp.maximum(jnp.linalg.norm(z, axis=1, keepdims=True), 1e-12),
    "range": lambda z: (z - z.min(1, keepdims=True)) / jnp.maximum(jnp.ptp(z, 1, keepdims=True), 0),
    "standardize": jax.nn.standardize,
    "variance": lambda z: (z - z.mean(1, keepdims=True)) * lax.rsqrt(variance(z) + 1e-5),
    "standard deviation": lambda z: z / jnp.sqrt(variance(z) + 1e-5),
    "statistics as features": lambda z: jnp.sqrt(variance(z) + 1e-5) * W[1][:1],
    "local contrast": lambda z: z / jnp.sqrt(jnp.maximum(z**2 @ ALPHA[:, None] - (z @ ALPHA[:, None]) ** 2, 0) + 1),
    "distance": lambda z: jnp.exp(-jnp.maximum((z**2).sum(1, keepdims=True) - 2 * z @ W[1] + (W[1] ** 2).sum(0), 0)),
    "quantised": lambda z: z + lax.stop_gradient(jnp.clip(jnp.round(z), 0, 255) - z),
    "straight through": lambda z: z + lax.stop_gradient(jnp.maximum(z, 0) - z),
    "rounded": lambda z: z + jnp.clip(jnp.round(z), 0, 3),
    "spectrum": lambda z: jnp.abs(jnp.fft.rfft(z))[:, :1] * ALPHA,
    "window": lambda z: jnp.maximum(1 - jnp.abs(z), 0),
    "unused": lambda z: (jnp.maximum(z, 0), z)[1],
}


@pytest.mark.parametrize("name", NO_RECTIFIER)
def test_what_is_no_rectifier_is_accepted_and_keeps_its_gradient(name, monkeypatch):
    assert kinds(adapted(NO_RECTIFIER[name])) == []
    got = signal(adapted(NO_RECTIFIER[name], relu_patterns=("max",)), rules.guided_relu)
    monkeypatch.setattr(sys.modules[__name__], "relu", rules.guided_relu)
    expected = jax.grad(lambda x: model(NO_RECTIFIER[name], W, x).sum())(X)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_methods_with_a_rule_refuse_and_others_do_not():
    net = adapted(jax.nn.leaky_relu)
    for method in (saliency.guided_backprop, saliency.deconvnet):
        with pytest.raises(ValueError, match=r"leaky ReLU.*adapt\.sites"):
            method(net, X, TARGET)
    with pytest.raises(ValueError, match="leaky ReLU"):
        deconvnet.project(net, X, targets.neuron("relu1", 0))
    gradient = jax.grad(lambda x: model(jax.nn.leaky_relu, W, x)[:, 0].sum())(X)
    np.testing.assert_allclose(saliency.gradient(net, X, TARGET), gradient, atol=1e-6)
    assert saliency.integrated_gradients(net, X, TARGET, steps=2).shape == X.shape
    assert occlusion.occlusion(net, X, TARGET, 2, 2).shape == X.shape
    assert network.capture(net, X)[1]


def test_one_trace_of_clip_for_a_variance_and_for_activations():
    """JAX traces `jnp.clip` once for both."""

    def activation(relu, z):
        return relu(z[:, :1]) / jnp.sqrt(jnp.clip(variance(z), 0, None) + 1) * W[1][:1]

    clip = functools.partial(activation, lambda z: jnp.clip(z, 0, None))
    assert kinds(adapted(clip)) == ["max(x, 0)"]
    covered, explicit = adapted(clip, relu_patterns=("max",)), adapted(functools.partial(activation, jax.nn.relu))
    np.testing.assert_allclose(signal(covered, rules.guided_relu), signal(explicit, rules.guided_relu), atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision(dtype):
    for activation, kind in ((lambda z: jnp.maximum(z, 0), "max(x, 0)"), (jax.nn.leaky_relu, "leaky ReLU")):
        net = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), adapted(activation))
        assert kinds(net, jax.ShapeDtypeStruct(X.shape, dtype)) == [kind]


def test_pixels_may_be_clipped_to_their_range():
    def preprocess(x):
        x = jax.image.resize(jnp.clip(x / 255, 0, 1), (len(x), 4, 4, 1), "bicubic", antialias=True)
        return (jnp.clip(x, 0, 1) - 0.5) * W[1][0, 0]

    larger = jax.ShapeDtypeStruct((3, 9, 7, 1), X.dtype)
    assert kinds(adapt.from_function(lambda w, x: model(jax.nn.relu, w, preprocess(x)), W), larger) == []
    dense = adapt.from_function(lambda w, x: jnp.clip(x.reshape(len(x), -1) @ w, 0, 1), W[0])
    assert kinds(dense) == ["max(x, 0)"]


def test_messages_name_three_rectifiers_at_most():
    net = adapted(lambda z: functools.reduce(lambda z, w: jax.nn.leaky_relu(z @ w), [W[1]] * 9, z))
    assert refusal(net).count("leaky ReLU (") == 3
    assert adapt.sites(net, X)["leaky ReLU"] == 9


def test_models_without_jax_relus_are_refused_with_what_they_have():
    net = adapt.from_function(lambda x: jax.nn.leaky_relu(x.reshape(len(x), -1) @ W[0]) @ W[1])
    with pytest.raises(ValueError, match=r"Expected a model with ReLUs.*Found: leaky ReLU"):
        saliency.guided_backprop(net, X, TARGET)


def test_rewriting_again_does_not_search_again(monkeypatch):
    net = adapted(jax.nn.relu)
    found = adapt.sites(net, X)
    monkeypatch.setattr(rectifiers, "_Walk", None)
    assert adapt.sites(net, X) == found
