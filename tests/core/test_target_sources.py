"""What targets depend on, by structure: branches, calls, loops, closures; and the refusals that follow from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax import adapt, deconvnet, fooling, metrics, network, saliency, targets, tcav
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.core import target_sources
from xai_jax.synthesis import activation_maximisation

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 8, 8, 3)).astype(np.float32)
W = RNG.normal(size=(3, 3)).astype(np.float32)


def branches(x, relu=jax.nn.relu, tap=network.keep):
    stem = tap("stem", relu(x @ W))
    left, right = tap("left", relu(stem @ W)), tap("right", relu(stem @ W))
    tap("auxiliary", right.mean((1, 2)))
    top = tap("top", left + right)
    return tap("logits", top.mean((1, 2)))


def layers(target, net=branches):
    return target_sources.sources(net, X, target).layers


def test_a_target_depends_on_its_own_layer_and_those_below():
    everything = {"stem", "left", "right", "top", "logits"}
    assert layers(targets.logit(0)) == everything
    assert layers(targets.neuron("top", 0)) == {"stem", "left", "right", "top"}
    assert layers(targets.neuron("left", 0)) == {"stem", "left"}
    assert layers(targets.neuron("left", 0) - targets.neuron("auxiliary", 0)) == {"stem", "left", "right", "auxiliary"}
    assert layers(targets.direction("stem", np.ones((8, 8, 3)))) == {"stem"}


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint])
def test_calls_are_followed(wrap):
    def net(x, relu=jax.nn.relu, tap=network.keep):
        both = wrap(lambda first, second: (second @ W, first))(tap("relu1", relu(x)), tap("relu2", relu(x)))
        return tap("from2", both[0]).mean((1, 2)) + tap("from1", both[1]).mean((1, 2))

    assert layers(targets.neuron("from1", 0), net) == {"relu1", "from1"}
    assert layers(targets.neuron("from2", 0), net) == {"relu2", "from2"}
    adapted = adapt.from_function(wrap(lambda x: jax.nn.relu(jax.nn.relu(x @ W) @ W).mean((1, 2))))
    assert layers(targets.neuron("relu1", 0), adapted) == {"dense1", "relu1"}
    assert layers(targets.logit(0), adapted) == {"dense1", "relu1", "dense2", "relu2"}


def test_activations_may_be_pytrees():
    def net(x, relu=jax.nn.relu, tap=network.keep):
        first, second = tap("pair", (relu(x), {"scale": 2.0}))
        return tap("logits", (first * second["scale"]).mean((1, 2)))

    assert layers(targets.logit(0), net) == {"pair", "logits"}
    np.testing.assert_allclose(saliency.gradient(net, X, targets.logit(0))[..., 0], (X[..., 0] > 0) / 32, atol=1e-6)


def test_loops_count_as_dependence():
    def net(x, relu=jax.nn.relu, tap=network.keep):
        first = tap("first", relu(x))
        (looped, _), _ = jax.lax.scan(lambda carry, _: ((carry[1], carry[0]), None), (first, first + 1), None, 3)
        return tap("second", looped).mean((1, 2))

    assert layers(targets.logit(0), net) == {"first", "second"}
    assert layers(targets.neuron("first", 0), net) == {"first"}


def test_what_is_cached_belongs_to_structure_not_to_weights():
    net = adapt.from_function(lambda w, x: jax.nn.relu(x @ w).mean((1, 2)), W)
    for weights, k in ((W, 0), (2 * W, 1)):
        target_sources.sources(
            adapt.from_function(lambda w, x: jax.nn.relu(x @ w).mean((1, 2)), weights), X, targets.logit(k)
        )
    before = target_sources._sources.cache_info().misses
    for k in range(3):
        target_sources.sources(net, 2 * X, targets.logit(k))
    assert target_sources._sources.cache_info().misses <= before + 1


def constant(x, relu=jax.nn.relu, tap=network.keep):
    """A network whose logits were computed before."""
    tap("relu1", relu(x))
    return jnp.zeros((len(x), 2)) + jnp.arange(2.0)


LEFT = targets.neuron("left", 0)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: saliency.grad_cam(branches, X, LEFT, "top"), "depends on layer 'top'.* depends on: stem, left"),
        (lambda: saliency.grad_cam(branches, X, LEFT, "right"), "depends on layer 'right'"),
        (lambda: saliency.guided_grad_cam(branches, X, LEFT, "top"), "depends on layer 'top'"),
        (lambda: ActivationCache(branches, ["left", "auxiliary"]).gradients(X, targets.logit(0)), "'auxiliary'"),
        (lambda: tcav.measure(branches, ["auxiliary"], {"c": X}, RNG.normal(size=(20, 8, 8, 3)).astype(np.float32),
                              {"k": (targets.logit(0), X)}, runs=2, controls=2), "'auxiliary'"),
        (lambda: saliency.gradient(constant, X, targets.logit(0)), "depends on the image"),
        (lambda: saliency.occlusion(constant, X, targets.logit(0)), "depends on the image"),
        (lambda: saliency.integrated_gradients(constant, X, targets.logit(0)), "depends on the image"),
        (lambda: metrics.deletion(constant, X, X, targets.logit(0)), "depends on the image"),
        (lambda: fooling.ascend(constant, [0, 1], X), "depends on the image"),
        (lambda: activation_maximisation.maximise(constant, targets.logit(0), X, jax.random.key(0),
                                                  activation_maximisation.Simonyan(steps=1)), "depends on the image"),
    ],
)  # fmt: skip
def test_targets_computed_without_the_layer_or_the_image_raise(call, words):
    with pytest.raises(ValueError, match=words) as error:
        call()
    assert len(str(error.value)) < 600


def test_gradients_that_are_zero_for_these_weights_or_images_are_results():
    """Dead units are no structure: the map is zero, and right."""
    dead = adapt.from_function(lambda w, x: jax.nn.relu(x @ w - 99).mean((1, 2)), W)
    assert not saliency.grad_cam(dead, X, targets.logit(0), "relu1").any()
    assert not saliency.gradient(
        adapt.from_function(lambda w, x: (x @ w).mean((1, 2)), 0 * W), X, targets.logit(0)
    ).any()


def test_layers_without_the_image_have_activations_and_receptive_fields():
    def net(x, relu=jax.nn.relu, tap=network.keep):
        return (relu(x) + tap("position", jnp.ones_like(x))).mean((1, 2))

    assert ActivationCache(net, "position").activations(X)["position"].all()
    assert deconvnet.receptive_field(net, "position", X).size == (0, 0)
    assert (np.asarray(saliency.grad_cam(net, X, targets.logit(0), "position")) > 0).all()
