"""A Keras 3 model on the JAX backend as a pure function of weights by layer."""

import inspect
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

Weights = dict[str, dict[int, Array]]


def bind(model: Any) -> tuple[Callable, Weights]:
    """The function `f(weights, x, *inputs) -> logits` in evaluation mode, and copies of the weights by layer.

    Example: `f, weights = bind(keras.applications.VGG16(classifier_activation=None))`.
    """
    variables, trainable = model.trainable_variables + model.non_trainable_variables, len(model.trainable_variables)
    weights: Weights = {}
    for i, v in enumerate(variables):  # copies, because `fit` and `predict` donate the arrays of the model
        layer = v.path.rpartition("/")[0].removeprefix(f"{model.name}/")
        weights.setdefault(layer, {})[i] = jnp.copy(v.value)
    mode = {"training": False} if "training" in inspect.signature(model.call).parameters else {}

    def f(weights, x, *inputs):
        by_index = {i: value for layer in weights.values() for i, value in layer.items()}
        values = [by_index[i] for i in range(len(by_index))]
        given = [x, *inputs] if inputs else x
        return model.stateless_call(values[:trainable], values[trainable:], given, **mode)[0]

    return f, weights
