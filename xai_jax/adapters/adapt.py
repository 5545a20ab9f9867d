"""Turns models of any JAX library into Networks, without editing them.

The model is traced to a jaxpr. Its equations are then evaluated in order, with the rule in place of each ReLU
(`jax.nn.relu`, `jax.nn.relu6`) and the fast switch-keeping pool in place of each max-pooling. Convolutions, ReLUs,
pools and dense layers get names by kind and order (`conv1`, `relu1`, ...) behind the module path where JAX knows it;
`jax.ad_checkpoint.checkpoint_name` adds names of the user's own. `jit` and `remat` are opened up; inside `scan`,
`while` and `cond` rules apply but nothing is tapped, for those values exist only inside the loop.

A model changed after it was adapted keeps its old answers: JAX caches traces. Adapt it again.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from xai_jax.adapters.jaxpr_rewriting import Pass
from xai_jax.core.network import Network, Tap, keep
from xai_jax.core.pytrees import node, static
from xai_jax.core.rules import Relu

_PATTERNS = ("max",)


def from_function(
    f: Callable,
    *bound: Any,
    relu_patterns: tuple[str, ...] = (),
    per_image: bool = False,
    channel_axis: int = -1,
) -> Network:
    """Network of a pure function `f(*bound, x) -> logits (N, K)`; `bound`, its weights, may be any pytrees.

    `relu_patterns=("max",)` also takes a bare `maximum(x, 0)` for a ReLU (it need not be one: normalisation layers
    clip variances so). `per_image`: f takes one image without N and gives (K,); prefer it to a `vmap` of your own,
    which leaves the batch at any axis, so that activations would not be tapped. `channel_axis`: where the model keeps
    channels in batched maps; taps always see (N, H, W, C).

    When a rule other than `jax.nn.relu` is asked for, the call raises ValueError if there is no ReLU, and
    NotImplementedError for a ReLU out of reach, inside a function with a derivative of its own.
    """
    unknown = [p for p in relu_patterns if p not in _PATTERNS]
    if unknown:
        raise ValueError(f"Expected relu_patterns out of {_PATTERNS}, got {unknown}.")
    if not callable(f):
        raise TypeError(f"Expected a function f(*bound, x) -> logits, got {type(f).__name__}.")
    return _Adapted(bound, f, tuple(relu_patterns), per_image, channel_axis)


def from_linen(module: Any, variables: Mapping, relu_patterns: tuple[str, ...] = (), **kwargs: Any) -> Network:
    """Network of a Flax Linen module; `kwargs` go to its `__call__` (`train=False`)."""
    return from_function(lambda v, x: module.apply(v, x, **kwargs), variables, relu_patterns=relu_patterns)


def from_nnx(model: Any, relu_patterns: tuple[str, ...] = ()) -> Network:
    """Network of a Flax NNX model as it is now; call `model.eval()` first if it has dropout or batch norm."""
    from flax import nnx

    graph, state = nnx.split(model)
    return from_function(lambda s, x: nnx.merge(graph, s)(x), state, relu_patterns=relu_patterns)


def from_equinox(model: Any, state: Any = None, relu_patterns: tuple[str, ...] = ()) -> Network:
    """Network of an Equinox model of one image (C, H, W), in inference mode; `state` if it has batch norm."""
    import equinox

    arrays, rest = equinox.partition(equinox.nn.inference_mode(model), equinox.is_array)

    def f(arrays, state, image):
        model, image = equinox.combine(arrays, rest), jnp.moveaxis(image, -1, 0)
        return model(image) if state is None else model(image, state)[0]

    return from_function(f, arrays, state, relu_patterns=relu_patterns, per_image=True, channel_axis=1)


def from_haiku(
    transformed: Any, params: Mapping, state: Any = None, relu_patterns: tuple[str, ...] = (), **kwargs: Any
) -> Network:
    """Network of a Haiku transform; `state` for `transform_with_state`; `kwargs` go to its `apply`."""
    rng = (None,) if "rng" in inspect.signature(transformed.apply).parameters else ()
    if state is None:
        return from_function(lambda p, x: transformed.apply(p, *rng, x, **kwargs), params, relu_patterns=relu_patterns)

    def f(params, state, x):
        return transformed.apply(params, state, *rng, x, **kwargs)[0]

    return from_function(f, params, state, relu_patterns=relu_patterns)


def from_keras(model: Any, relu_patterns: tuple[str, ...] = ()) -> Network:
    """Network of a built Keras 3 model on the JAX backend that ends in logits, without a softmax."""
    import keras

    if keras.backend.backend() != "jax":
        raise ValueError(
            f"Expected Keras on the JAX backend, it runs on {keras.backend.backend()!r}. "
            "Set the environment variable KERAS_BACKEND=jax before importing keras."
        )
    weights = [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]
    return from_function(
        lambda w, x: model.stateless_call(*w, x, training=False)[0], weights, relu_patterns=relu_patterns
    )


def sites(net: Network, x: Any) -> dict[str, int]:
    """How many places of an adapted network were rewritten: `{"relu": ..., "pool": ...}`; computes nothing."""
    if not isinstance(net, _Adapted):
        raise TypeError(f"Expected a network made by xai_jax.adapters.adapt, got {type(net).__name__}.")
    counts = {}

    def trace(x):
        logits, run = net.run(x, jax.nn.relu, keep)
        counts.update(run.sites)
        return logits

    jax.eval_shape(trace, x)
    return {"relu": counts.get("relu", 0), "pool": counts.get("pool", 0)}


@node
class _Adapted:
    bound: tuple
    function: Callable = static()
    relu_patterns: tuple[str, ...] = static()
    per_image: bool = static()
    channel_axis: int = static()

    def __call__(self, x: Array, relu: Relu = jax.nn.relu, tap: Tap = keep) -> Array:
        logits, run = self.run(x, relu, tap)
        if run.has_rule and not run.sites["relu"]:
            raise ValueError(
                "Expected a model with ReLUs to give a backward rule to, found none. Usual causes: another activation "
                "function, or ReLUs written as a bare maximum(x, 0); for those pass relu_patterns=('max',)."
            )
        return logits

    def run(self, x, relu, tap):
        example = jax.ShapeDtypeStruct(x.shape[self.per_image :], x.dtype)
        closed, shape = jax.make_jaxpr(self.function, return_shape=True)(*self.bound, example)
        if not isinstance(shape, jax.ShapeDtypeStruct):
            raise ValueError(f"Expected a model that returns one array of logits, got {jax.tree.structure(shape)}.")
        run = Pass(relu, tap, x.shape[0], self.relu_patterns, self.per_image, self.channel_axis)
        values = jax.tree.leaves((self.bound, x))
        (logits,), _ = run.evaluate(closed, values, [False] * (len(values) - 1) + [True])
        return logits, run
