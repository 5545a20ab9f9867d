"""Adapted models of every library against the explicit Network with the same weights; transformations; errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from tests.helpers.adapted_models import K1, K2, MODELS, RNG, W, X, explicit, keras, plain, plain_adapted
from xai_jax import adapt, network, rules, saliency, targets
from xai_jax.adapters import jaxpr_rewriting

TARGET = targets.logit(np.array([0, 1, 2]))
METHODS = ("gradient", "deconvnet", "guided_backprop")


def test_haiku_transforms_of_all_kinds():
    hk = pytest.importorskip("haiku")
    one, two = hk.transform(lambda x: x), hk.transform_with_state(lambda x: x)
    for net in (
        adapt.from_haiku(hk.without_apply_rng(one), {}),
        adapt.from_haiku(two, {}, {}),
        adapt.from_haiku(hk.without_apply_rng(two), {}, {}),
    ):
        np.testing.assert_array_equal(net(X), X)


@pytest.mark.parametrize("make", MODELS)
def test_same_results_as_the_explicit_network(make):
    net = make()
    np.testing.assert_allclose(net(X), explicit(X), atol=1e-5)
    np.testing.assert_allclose(jax.jit(lambda net, x: net(x))(net, X), explicit(X), atol=1e-5)
    for method in METHODS:
        got, expected = (getattr(saliency, method)(n, X, TARGET) for n in (net, explicit))
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("make", MODELS)
def test_activations_have_names_and_the_same_values(make):
    kept = network.capture(make(), X)[1]
    _, expected = network.capture(explicit, X)
    short = {name.rpartition("/")[2]: value for name, value in kept.items()}
    assert [n for n in short if n in expected] == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(short[name], value, atol=1e-5)


@pytest.mark.parametrize("make", MODELS)
def test_number_of_rewritten_sites(make):
    assert adapt.sites(make(), X) == {"relu": 2, "pool": 1}


@pytest.mark.parametrize("make", MODELS)
def test_taps_edit_and_weights_are_leaves(make):
    net = make()
    layer = next(n for n in network.layer_names(net, X) if n.endswith("relu1"))
    ablated = network.ablate(net, layer, [0, 2])(X)
    np.testing.assert_allclose(ablated, network.ablate(explicit, "relu1", [0, 2])(X), atol=1e-5)
    assert make is plain_adapted or sum(np.size(leaf) for leaf in jax.tree.leaves(net)) >= K1.size + K2.size + W.size


def test_new_weights_do_not_change_the_tree_structure_that_jit_caches():
    first, second = (adapt.from_function(plain, jnp.full((2, 3), scale)) for scale in (1.0, 2.0))
    assert jax.tree.structure(first) == jax.tree.structure(second) and jax.tree.leaves(second)[0].max() == 2


STACK = RNG.normal(size=(3, 3, 3, 2, 2)).astype(np.float32) / 3
HEAD = RNG.normal(size=(2, 3)).astype(np.float32)


def conv_same(x, kernel=STACK[0]):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


TRANSFORMED = {
    "scan": lambda x, relu: lax.scan(lambda carry, kernel: (relu(conv_same(carry, kernel)), None), x, STACK)[0],
    "cond": lambda x, relu: lax.cond(STACK.sum() > 0, lambda x: relu(x), lambda x: relu(2 * x), x),
    "fori_loop": lambda x, relu: lax.fori_loop(0, 3, lambda i, x: relu(conv_same(x)), x),
    "checkpoint": lambda x, relu: jax.checkpoint(lambda x: relu(conv_same(x)))(x),
    "jit": lambda x, relu: jax.jit(lambda x: relu(conv_same(x)))(x),
    "vmap": lambda x, relu: jax.vmap(lambda x: relu(conv_same(x[None]))[0])(x),
}


@pytest.mark.parametrize("rule", [rules.guided_relu, rules.deconv_relu])
@pytest.mark.parametrize("name", TRANSFORMED)
def test_inside_transformations(name, rule):
    """The substituted rule equals the rule applied explicitly, also under jit."""

    def model(x, relu):
        return TRANSFORMED[name](x, relu).mean((1, 2)) @ HEAD

    net = adapt.from_function(lambda x: model(x, jax.nn.relu))

    def gradient(f):
        return jax.vjp(f, X)[1](jnp.ones((3, 3)))[0]

    expected = gradient(lambda x: model(x, rule))
    assert np.abs(expected - gradient(lambda x: model(x, jax.nn.relu))).max() > 1e-3
    np.testing.assert_allclose(gradient(lambda x: net(x, relu=rule)), expected, atol=1e-6)
    np.testing.assert_allclose(gradient(jax.jit(lambda x: net(x, relu=rule))), expected, atol=1e-5)


def test_vmap_around_an_adapted_network():
    net = plain_adapted()
    stacked = np.stack([X, 2 * X])
    got = jax.vmap(lambda x: jax.grad(lambda x: net(x, relu=rules.guided_relu).sum())(x))(stacked)
    expected = [jax.grad(lambda x: explicit(x, relu=rules.guided_relu).sum())(x) for x in stacked]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_max_pools_in_a_scan_are_rewritten_too():
    def model(x):
        return lax.scan(lambda c, _: (jax.nn.relu(pool_same(c)), None), x, None, length=2)[0].mean((1, 2)) @ HEAD

    def pool_same(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")

    net = adapt.from_function(model)
    assert adapt.sites(net, X) == {"relu": 1, "pool": 1}
    np.testing.assert_allclose(jax.grad(lambda x: net(x).sum())(X), jax.grad(lambda x: model(x).sum())(X), atol=1e-6)


def test_checkpoint_names_are_layers():
    net = adapt.from_function(lambda x: checkpoint_name(jax.nn.relu(x), "hidden").mean((1, 2)) @ HEAD)
    np.testing.assert_array_equal(network.capture(net, X, ["hidden"])[1]["hidden"], np.maximum(X, 0))


def test_bare_maximum_is_a_relu_on_request_only():
    def model(x):
        return jnp.maximum(x, 0).mean((1, 2)) @ HEAD

    with pytest.raises(ValueError, match="relu_patterns"):
        saliency.guided_backprop(adapt.from_function(model), X, targets.logit(0))
    net = adapt.from_function(model, relu_patterns=("max",))
    expected = adapt.from_function(lambda x: jax.nn.relu(x).mean((1, 2)) @ HEAD)
    got, expected = (saliency.guided_backprop(n, X, targets.logit(0)) for n in (net, expected))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_normalisation_is_not_taken_for_a_relu():
    import flax.linen as nn

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(nn.relu(nn.LayerNorm()(x)).mean((1, 2)))

    variables = Model().init(jax.random.key(0), X)
    assert adapt.sites(adapt.from_linen(Model(), variables), X) == {"relu": 1, "pool": 0}


def test_gates_are_not_rectified():
    net = adapt.from_function(lambda x: jax.nn.hard_silu(jax.nn.relu(x)).mean((1, 2)) @ HEAD)
    assert adapt.sites(net, X)["relu"] == 1


def test_models_without_relu_raise_for_other_rules():
    net = adapt.from_function(lambda x: jax.nn.gelu(x).mean((1, 2)) @ HEAD)
    saliency.gradient(net, X, targets.logit(0))  # needs no rule
    with pytest.raises(ValueError, match="Expected a model with ReLUs"):
        saliency.guided_backprop(net, X, targets.logit(0))


@pytest.mark.parametrize("decorator", ["jvp", "vjp"])
def test_relus_inside_custom_derivatives_raise(decorator):
    if decorator == "jvp":
        hidden = jax.custom_jvp(lambda x: 2 * jax.nn.relu(x))
        hidden.defjvp(lambda x, t: (hidden(*x), 2 * t[0]))
    else:
        hidden = jax.custom_vjp(lambda x: 2 * jax.nn.relu(x))
        hidden.defvjp(lambda x: (hidden(x), None), lambda _, g: (2 * g,))
    net = adapt.from_function(lambda x: hidden(jax.nn.relu(x)).mean((1, 2)) @ HEAD)
    with pytest.raises(NotImplementedError, match="custom_jvp or custom_vjp"):
        saliency.guided_backprop(net, X, targets.logit(0))


def test_equations_with_hidden_bodies_raise():
    class Hidden:
        primitive = type("P", (), {"name": "call_hi_primitive"})
        params = {}

    run = jaxpr_rewriting.Pass(rules.guided_relu, network.keep, 3, (), False, -1)
    with pytest.raises(NotImplementedError, match="hides its body"):
        run.refuse(Hidden)


def test_a_keras_model_with_softmax_raises():
    with pytest.raises(ValueError, match="got probabilities"):
        saliency.gradient(keras(["Softmax"]), X, targets.logit(0))


def test_invalid_arguments_raise():
    with pytest.raises(ValueError, match="one array of logits"):
        adapt.from_function(lambda x: (x, x))(X)
    with pytest.raises(TypeError, match="Expected a function"):
        adapt.from_function({"params": 1})
    with pytest.raises(ValueError, match="Expected relu_patterns"):
        adapt.from_function(plain, relu_patterns=("min",))
    with pytest.raises(TypeError, match=r"made by xai_jax\.adapt"):
        adapt.sites(explicit, X)
