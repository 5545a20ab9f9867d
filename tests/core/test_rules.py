"""Backward rules through whole networks against the slow NumPy oracle, PyTorch and captum."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import oracle
from xai_jax import rules, saliency, targets

METHODS = sorted(oracle.RULES)


def problem(seed=0, six=False):
    layers = oracle.random_layers(seed, six=six)
    x = np.random.default_rng(seed + 100).normal(size=oracle.SHAPE).astype(np.float32)
    return layers, x


def close(a, b, tolerance=1e-5):
    return np.abs(a - b).max() <= tolerance * np.abs(b).max()


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_equals_numpy_implementation_of_the_papers_equations(method, six):
    layers, x = problem(six=six)
    k = np.array([1, 4])
    logits, inputs = oracle.numpy_forward(layers, x.astype(np.float64))
    expected = oracle.numpy_backward(layers, inputs, np.eye(logits.shape[1])[k], oracle.RULES[method])
    got = getattr(saliency, method)(oracle.jax_network(layers), x, targets.logit(k))
    assert np.abs(expected).max() > 0
    assert close(got, expected)


def test_activations_reach_six():
    layers, x = problem(six=True)
    _, inputs = oracle.numpy_forward(layers, x)
    assert any((i > 6).any() and (i < 6).any() for i, layer in zip(inputs, layers, strict=True) if layer[0] == "relu6")


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_equals_captum(method, six):
    torch = pytest.importorskip("torch")
    attr = pytest.importorskip("captum.attr")
    layers, x = problem(1, six)
    k = [2, 3]
    module = oracle.torch_module(layers).eval()
    classes = {"gradient": attr.Saliency, "deconvnet": attr.Deconvolution, "guided_backprop": attr.GuidedBackprop}
    images = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    extra = {"abs": False} if method == "gradient" else {}
    with pytest.warns() if method != "gradient" else contextlib.nullcontext():  # captum warns that it sets hooks
        expected = classes[method](module).attribute(images, target=k, **extra)
    got = getattr(saliency, method)(oracle.jax_network(layers), x, targets.logit(np.array(k)))
    assert close(got, expected.detach().numpy().transpose(0, 2, 3, 1))


def test_relu6_equals_torch_relu6_at_both_gates():
    torch = pytest.importorskip("torch")
    values = np.array([-1, -0.0, 0, 1e-6, 3, 5.999, 6, 6.001, 9], np.float32)
    x = torch.tensor(values, requires_grad=True)
    torch.nn.functional.relu6(x).sum().backward()
    value, gradient = jax.vmap(jax.value_and_grad(rules.relu6))(jnp.asarray(values))
    np.testing.assert_array_equal(value, np.clip(values, 0, 6))
    np.testing.assert_array_equal(gradient, x.grad.numpy())


def test_forward_values_dtypes_and_gradients_at_zero():
    x = jnp.array([-1.0, 0.0, 2.0])
    for relu in (rules.deconv_relu, rules.guided_relu):
        np.testing.assert_array_equal(relu(x), [0, 0, 2])
        assert jax.grad(lambda x, relu=relu: relu(x).sum())(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert jax.grad(rules.guided_relu)(0.0) == 0
    assert jax.grad(rules.deconv_relu)(0.0) == 1  # depends on the signal only
