"""Adapted models of every library against the explicit Network with the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from xai_jax import adapt, network, pooling, rules, saliency, targets
from xai_jax.adapters import jaxpr_rewriting

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 10, 10, 2)).astype(np.float32)
K1, B1 = RNG.normal(size=(3, 3, 2, 4)).astype(np.float32) / 4, RNG.normal(size=4).astype(np.float32)
K2, B2 = RNG.normal(size=(3, 3, 4, 5)).astype(np.float32) / 5, RNG.normal(size=5).astype(np.float32)
W, B = RNG.normal(size=(5, 3)).astype(np.float32), RNG.normal(size=3).astype(np.float32)
TARGET = targets.logit(np.array([0, 1, 2]))
METHODS = ("gradient", "deconvnet", "guided_backprop")


def conv(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def explicit(x, relu=jax.nn.relu, tap=network.keep):
    """The network all models below are copies of."""
    x = tap("relu1", relu(tap("conv1", conv(x, K1) + B1)))
    x = tap("pool1", pooling.max_pool(x, 2))
    x = tap("relu2", rules.relu6(tap("conv2", conv(x, K2) + B2), relu))
    return tap("dense1", x.mean((1, 2)) @ W + B)


def pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def plain(x, relu=jax.nn.relu, relu6=jax.nn.relu6):
    return relu6(conv(pool(relu(conv(x, K1) + B1)), K2) + B2).mean((1, 2)) @ W + B


def plain_adapted():
    return adapt.from_function(plain)


def linen():
    import flax.linen as nn

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.max_pool(nn.relu(nn.Conv(4, (3, 3), padding="VALID")(x)), (2, 2), (2, 2))
            x = nn.relu6(nn.Dropout(0.5, deterministic=not train)(nn.Conv(5, (3, 3), padding="VALID")(x)))
            return nn.Dense(3)(x.mean((1, 2)))

    params = {"Conv_0": {"kernel": K1, "bias": B1}, "Conv_1": {"kernel": K2, "bias": B2}}
    return adapt.from_linen(Model(), {"params": params | {"Dense_0": {"kernel": W, "bias": B}}}, train=False)


def nnx():
    from flax import nnx

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Conv(2, 4, (3, 3), padding="VALID", rngs=rngs)
            self.b = nnx.Conv(4, 5, (3, 3), padding="VALID", rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)
            self.c = nnx.Linear(5, 3, rngs=rngs)

        def __call__(self, x):
            x = nnx.max_pool(nnx.relu(self.a(x)), (2, 2), (2, 2))
            return self.c(self.drop(jax.nn.relu6(self.b(x))).mean((1, 2)))

    model = Model(nnx.Rngs(0))
    for layer, kernel, bias in ((model.a, K1, B1), (model.b, K2, B2), (model.c, W, B)):
        layer.kernel[...], layer.bias[...] = jnp.asarray(kernel), jnp.asarray(bias)
    model.eval()
    return adapt.from_nnx(model)


def equinox():
    eqx = pytest.importorskip("equinox")

    class Model(eqx.Module):
        a: eqx.nn.Conv2d
        b: eqx.nn.Conv2d
        c: eqx.nn.Linear
        pool: eqx.nn.MaxPool2d
        drop: eqx.nn.Dropout

        def __call__(self, x):
            x = jax.nn.relu6(self.b(self.pool(jax.nn.relu(self.a(x)))))
            return self.c(self.drop(x.mean((1, 2))))

    key = jax.random.key(0)
    parts = eqx.nn.Conv2d(2, 4, 3, key=key), eqx.nn.Conv2d(4, 5, 3, key=key), eqx.nn.Linear(5, 3, key=key)
    model = Model(*parts, eqx.nn.MaxPool2d(2, 2), eqx.nn.Dropout())
    new = K1.transpose(3, 2, 0, 1), B1[:, None, None], K2.transpose(3, 2, 0, 1), B2[:, None, None], W.T, B
    where = lambda m: (m.a.weight, m.a.bias, m.b.weight, m.b.bias, m.c.weight, m.c.bias)  # noqa: E731
    return adapt.from_equinox(eqx.tree_at(where, model, tuple(map(jnp.asarray, new))))


def haiku():
    hk = pytest.importorskip("haiku")

    def forward(x):
        x = hk.max_pool(jax.nn.relu(hk.Conv2D(4, 3, padding="VALID")(x)), (2, 2, 1), (2, 2, 1), "VALID")
        return hk.Linear(3)(jax.nn.relu6(hk.Conv2D(5, 3, padding="VALID")(x)).mean((1, 2)))

    params = {"conv2_d": {"w": K1, "b": B1}, "conv2_d_1": {"w": K2, "b": B2}, "linear": {"w": W, "b": B}}
    return adapt.from_haiku(hk.transform(forward), params)


def haiku_without_rng_and_with_state():
    hk = pytest.importorskip("haiku")
    one, two = hk.transform(lambda x: x), hk.transform_with_state(lambda x: x)
    return [
        adapt.from_haiku(hk.without_apply_rng(one), {}),
        adapt.from_haiku(two, {}, {}),
        adapt.from_haiku(hk.without_apply_rng(two), {}, {}),
    ]


def test_haiku_transforms_of_all_kinds():
    for net in haiku_without_rng_and_with_state():
        np.testing.assert_array_equal(net(X), X)


def keras(ending=()):
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "jax":
        pytest.skip("Keras is not on the JAX backend")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((10, 10, 2)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPool2D(2),
            layers.Conv2D(5, 3, activation="relu6"),
            layers.Dropout(0.5),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
            *(getattr(layers, name)() for name in ending),
        ]
    )
    model.set_weights([K1, B1, K2, B2, W, B])
    return adapt.from_keras(model)


MODELS = [plain_adapted, linen, nnx, equinox, haiku, keras]


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


def test_new_weights_do_not_retrace():
    traces = []

    def f(weights, x):
        traces.append(1)
        return jax.nn.relu(x).mean((1, 2)) @ weights

    run = jax.jit(lambda net, x: net(x))
    for scale in (1.0, 2.0):
        run(adapt.from_function(f, jnp.full((2, 3), scale)), X)
    assert len(traces) == 1


def scanned(x, relu):
    return lax.scan(lambda carry, kernel: (relu(conv_same(carry, kernel)), None), x, STACK)[0].mean((1, 2)) @ HEAD


def conditional(x, relu):
    return lax.cond(x.sum() > 0, lambda x: relu(x), lambda x: relu(2 * x), x).mean((1, 2)) @ HEAD


def looped(x, relu):
    return lax.fori_loop(0, 3, lambda i, x: relu(conv_same(x, STACK[0])), x).mean((1, 2)) @ HEAD


def rematerialised(x, relu):
    return jax.checkpoint(lambda x: relu(conv_same(x, STACK[0])))(x).mean((1, 2)) @ HEAD


def compiled(x, relu):
    return jax.jit(lambda x: relu(conv_same(x, STACK[0])))(x).mean((1, 2)) @ HEAD


def mapped(x, relu):
    return jax.vmap(lambda x: relu(conv_same(x[None], STACK[0]))[0])(x).mean((1, 2)) @ HEAD


STACK = RNG.normal(size=(3, 3, 3, 2, 2)).astype(np.float32) / 3
HEAD = RNG.normal(size=(2, 3)).astype(np.float32)


def conv_same(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("rule", [rules.guided_relu, rules.deconv_relu])
@pytest.mark.parametrize("model", [scanned, conditional, looped, rematerialised, compiled, mapped])
def test_inside_transformations(model, rule):
    """The rule given by hand and the rule put in by the adapter give the same; so does jit around it."""
    net = adapt.from_function(lambda x: model(x, jax.nn.relu))

    def slope(f):
        return jax.grad(lambda x: f(x)[:, 0].sum())(X)

    if model is looped:  # reverse mode needs a scan, which JAX makes of a loop of known length
        slope = lambda f: jax.vjp(f, X)[1](jnp.ones((3, 3)))[0]  # noqa: E731
    expected = slope(lambda x: model(x, rule))
    assert np.abs(expected - slope(lambda x: model(x, jax.nn.relu))).max() > 1e-3
    np.testing.assert_allclose(slope(lambda x: net(x, relu=rule)), expected, atol=1e-6)
    np.testing.assert_allclose(slope(jax.jit(lambda x: net(x, relu=rule))), expected, atol=1e-5)


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


def test_models_without_relu_are_refused_when_a_rule_is_asked_for():
    net = adapt.from_function(lambda x: jax.nn.gelu(x).mean((1, 2)) @ HEAD)
    saliency.gradient(net, X, targets.logit(0))  # needs no rule
    with pytest.raises(ValueError, match="Expected a model with ReLUs"):
        saliency.guided_backprop(net, X, targets.logit(0))


@pytest.mark.parametrize("decorator", ["jvp", "vjp"])
def test_relus_behind_custom_derivatives_are_refused(decorator):
    if decorator == "jvp":
        hidden = jax.custom_jvp(lambda x: 2 * jax.nn.relu(x))
        hidden.defjvp(lambda x, t: (hidden(*x), 2 * t[0]))
    else:
        hidden = jax.custom_vjp(lambda x: 2 * jax.nn.relu(x))
        hidden.defvjp(lambda x: (hidden(x), None), lambda _, g: (2 * g,))
    net = adapt.from_function(lambda x: hidden(jax.nn.relu(x)).mean((1, 2)) @ HEAD)
    with pytest.raises(NotImplementedError, match="custom_jvp or custom_vjp"):
        saliency.guided_backprop(net, X, targets.logit(0))


def test_hidden_equations_are_refused():
    class Hidden:
        primitive = type("P", (), {"name": "call_hi_primitive"})
        params = {}

    run = jaxpr_rewriting.Pass(rules.guided_relu, network.keep, 3, (), False, -1)
    with pytest.raises(NotImplementedError, match="hides its body"):
        run.refuse(Hidden)


def test_models_that_return_more_than_logits_are_refused():
    with pytest.raises(ValueError, match="one array of logits"):
        adapt.from_function(lambda x: (x, x))(X)


def test_a_keras_model_with_softmax_is_refused():
    with pytest.raises(ValueError, match="got probabilities"):
        saliency.gradient(keras(["Softmax"]), X, targets.logit(0))


def test_wrong_arguments():
    with pytest.raises(TypeError, match="Expected a function"):
        adapt.from_function({"params": 1})
    with pytest.raises(ValueError, match="Expected relu_patterns"):
        adapt.from_function(plain, relu_patterns=("min",))
    with pytest.raises(TypeError, match=r"made by xai_jax\.adapt"):
        adapt.sites(explicit, X)
