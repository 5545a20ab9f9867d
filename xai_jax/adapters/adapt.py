"""Adapts unmodified models of any JAX library to the Network protocol.

The model is traced to a jaxpr. Its equations are then evaluated in order, with the backward rule substituted for each
ReLU (`jax.nn.relu`, `jax.nn.relu6`) and the fast switch-keeping pool for each max-pooling. `jit` and `remat` are
inlined; inside `scan`, `while` and `cond` rules apply but nothing is tapped, since those values exist only inside the
loop.

Layers that can be tapped:

- Outputs of modules, such as a residual block with its sum, by path: `ViT/encoderblock_6` (Linen), `ViT/blocks/6`
  (NNX, Equinox), `vi_t/block_6` (Haiku), `encoderblock_6` (Keras), and of `jax.named_scope`. A second call is
  `ViT/Block_0#2`; of several outputs `ViT/Block_0[1]` is the one computed second. A module that returns its input has
  no output of its own.
- Convolutions, ReLUs, pools and dense layers by kind and order, prefixed by the module path where the library records
  it: `Model/Block_0/conv1`, `relu1`.
- `jax.ad_checkpoint.checkpoint_name`s.

JAX caches traces: adapt a model again after changing it.

>>> def f(weights, x):
...     return jax.nn.relu(x).mean((1, 2)) @ weights
>>> net = from_function(f, jnp.ones((3, 10)))
>>> x = jnp.ones((2, 8, 8, 3))
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from xai_jax.adapters import keras_model, model_checks
from xai_jax.adapters.adapted_network import Adapted
from xai_jax.adapters.adapted_network import sites as sites
from xai_jax.adapters.module_scopes import scoped_equinox, scoped_nnx
from xai_jax.adapters.outputs import Output, chooser
from xai_jax.core.closures import as_leaves
from xai_jax.core.messages import quoted
from xai_jax.core.network import Network
from xai_jax.core.per_image import PerImage

_PATTERNS = ("max",)


def from_function(
    f: Callable,
    *bound: Any,
    inputs: tuple = (),
    relu_patterns: tuple[str, ...] = (),
    per_image: bool = False,
    channel_axis: int = -1,
    output: Output = None,
) -> Network:
    """Network of a pure function.

    Called with a rule other than `jax.nn.relu`, the network raises ValueError if there is no ReLU, or a rectifier that
    does not get the rule, and NotImplementedError for a ReLU inside a function with a custom derivative.

    >>> net(x, relu=jax.nn.relu).shape
    (2, 10)

    Args:
      f: `f(*bound, x, *inputs) -> logits`, images (N, H, W, C) to (N, K), perhaps among other outputs.
      *bound: pytrees of weights.
      inputs: pytrees of arrays (N, ...) with a row for each image, such as a second input or a mask. Each row goes
        along with its image, wherever a method cuts or repeats images.
      relu_patterns: ("max",) also treats `max(x, 0)` as a ReLU, in any form: `maximum`, `where(x > 0, x, 0)`,
        `x * (x > 0)`, `clip(x, 0, 6)`. Clipped variances and distances are no ReLUs.
      per_image: whether f maps one image (H, W, C), and one row of each input, to (K,). Prefer it to your own `vmap`,
        which may move the batch axis, so that activations would not be tapped.
      channel_axis: axis of the channels in batched maps of the model; taps always receive (N, H, W, C).
      output: which of several outputs of f the logits are: a key such as "logits", an index, or a function such as
        `lambda outputs: outputs["heads"][0]`.

    Returns:
      The network, a pytree whose leaves are `bound` and the arrays that f closes over.

    Raises:
      ValueError: a pattern is unknown.
      TypeError: f is not callable, `inputs` is no tuple, or `output` no key, index or function.
    """
    is_tuple = isinstance(relu_patterns, tuple | list)
    if not is_tuple or not all(isinstance(p, str) and p in _PATTERNS for p in relu_patterns):
        raise ValueError(
            f"Expected relu_patterns=() or {_PATTERNS}, got {quoted(relu_patterns)}. Usual causes: a string for a "
            "tuple, or arguments of the model, which are passed by name, or as `inputs` with a row for each image."
        )
    if not callable(f):
        raise TypeError(f"Expected a function f(*bound, x) -> logits, got {type(f).__name__}.")
    if not isinstance(inputs, tuple | list):
        raise TypeError(f"Expected a tuple of inputs, such as (mask,), got {type(inputs).__name__}.")
    rows = PerImage(jax.tree.map(jnp.asarray, tuple(inputs)))
    return Adapted(bound, as_leaves(f), chooser(output), rows, tuple(relu_patterns), per_image, channel_axis)


def from_linen(
    module: Any,
    variables: Mapping,
    relu_patterns: tuple[str, ...] = (),
    inputs: tuple = (),
    output: Output = None,
    **kwargs: Any,
) -> Network:
    """Network of a Flax Linen module.

    >>> import flax.linen as nn
    >>> module = nn.Sequential([nn.Conv(4, (3, 3)), nn.relu, lambda x: x.mean((1, 2))])
    >>> net = from_linen(module, module.init(jax.random.key(0), x))
    >>> from xai_jax.core import network
    >>> list(network.layer_names(net, x))
    ['Sequential/layers_0/conv1', 'Sequential/layers_0', 'Sequential/relu1', 'Sequential']

    Args:
      module: the module.
      variables: its variables.
      relu_patterns: as in `from_function`.
      inputs: as in `from_function`; arguments of the module's `__call__` after the images.
      output: as in `from_function`.
      **kwargs: further arguments of the module's `__call__`, such as `train=False`.

    Returns:
      The network.

    Raises:
      ValueError: a pattern is unknown, or `variables` are the parameters alone.
      TypeError: `module` is no Linen module, or `variables` no mapping.
    """
    model_checks.check_model(module, "a Flax Linen module", "apply")
    model_checks.check_variables(variables)
    options = tuple(sorted(kwargs.items()))  # comparable, so that new variables do not retrace

    def f(variables, x, *inputs):
        return module.apply(variables, x, *inputs, **dict(options))

    return from_function(f, variables, inputs=inputs, relu_patterns=relu_patterns, output=output)


def from_nnx(model: Any, relu_patterns: tuple[str, ...] = (), inputs: tuple = (), output: Output = None) -> Network:
    """Network of a Flax NNX model with its current weights, in evaluation mode; the model itself keeps its mode.

    >>> from flax import nnx
    >>> model = nnx.Sequential(nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0)), nnx.relu, lambda x: x.mean((1, 2)))
    >>> from_nnx(model)(x).shape
    (2, 4)

    Args:
      model: the model.
      relu_patterns, inputs, output: as in `from_function`; inputs are arguments of the model after the images.

    Returns:
      The network.

    Raises:
      ValueError: a pattern is unknown.
      TypeError: `model` is no NNX model.
    """
    from flax import linen, nnx

    model_checks.check_model(model, "an NNX model", refused=linen.Module)
    own = nnx.merge(*nnx.split(model))  # its modes are its own, its arrays those of the model
    if isinstance(own, nnx.Module):
        own.eval()
    graph, state = nnx.split(own)

    def f(state, x, *inputs):
        return scoped_nnx(nnx.merge(graph, state))(x, *inputs)

    return from_function(f, state, inputs=inputs, relu_patterns=relu_patterns, output=output)


def from_equinox(
    model: Any, state: Any = None, relu_patterns: tuple[str, ...] = (), inputs: tuple = (), output: Output = None
) -> Network:
    """Network of an Equinox model of one image (C, H, W), in inference mode; `state` if it has batch norm.

    Example: `adapt.from_equinox(*eqx.nn.make_with_state(Model)(key))`.

    Args:
      model: the model.
      state: its state, its last argument; a model with a state returns a pair, outputs and state.
      relu_patterns, output: as in `from_function`.
      inputs: as in `from_function`; arguments of the model after the image, without their first axis.

    Returns:
      The network.

    Raises:
      ValueError: a pattern is unknown.
      TypeError: `model` is no model.
    """
    import equinox

    model_checks.check_model(model, "an Equinox model")
    arrays, rest = equinox.partition(equinox.nn.inference_mode(model), equinox.is_array)

    def f(arrays, state, image, *inputs):
        model, image = scoped_equinox(equinox.combine(arrays, rest)), jnp.moveaxis(image, -1, 0)
        return model(image, *inputs) if state is None else model(image, *inputs, state)[0]

    options = {"inputs": inputs, "relu_patterns": relu_patterns, "output": output}
    return from_function(f, arrays, state, per_image=True, channel_axis=1, **options)


def from_haiku(
    transformed: Any,
    params: Mapping,
    state: Any = None,
    relu_patterns: tuple[str, ...] = (),
    inputs: tuple = (),
    output: Output = None,
    **kwargs: Any,
) -> Network:
    """Network of a Haiku transform.

    Example: `adapt.from_haiku(hk.transform(forward), params, is_training=False)`.

    Args:
      transformed: result of `hk.transform` or `hk.transform_with_state`.
      params: its parameters.
      state: its state, for `hk.transform_with_state`.
      relu_patterns, output: as in `from_function`.
      inputs: as in `from_function`; arguments of its `apply` after the images.
      **kwargs: further arguments of its `apply`.

    Returns:
      The network.

    Raises:
      ValueError: a pattern is unknown, or a state is missing or superfluous.
      TypeError: `transformed` is no transform.
    """
    import haiku

    model_checks.check_model(transformed, "the result of hk.transform", "apply")
    if isinstance(transformed, haiku.TransformedWithState) != (state is not None):
        raise ValueError(
            f"Expected {'a state' if state is None else 'no state'}, got {'none' if state is None else 'one'}: "
            "hk.transform_with_state has a state, hk.transform has none."
        )
    rng = (None,) if "rng" in inspect.signature(transformed.apply).parameters else ()
    options = tuple(sorted(kwargs.items()))

    def f(params, state, x, *inputs):
        if state is None:
            return transformed.apply(params, *rng, x, *inputs, **dict(options))
        return transformed.apply(params, state, *rng, x, *inputs, **dict(options))[0]

    return from_function(f, params, state, inputs=inputs, relu_patterns=relu_patterns, output=output)


def from_keras(model: Any, relu_patterns: tuple[str, ...] = (), inputs: tuple = (), output: Output = None) -> Network:
    """Network of a built Keras 3 model on the JAX backend, whose outputs must be logits.

    Example: `adapt.from_keras(keras.applications.VGG16(classifier_activation=None))`.

    Args:
      model: the model.
      relu_patterns, inputs, output: as in `from_function`; inputs are those of the model after the images.

    Returns:
      The network.

    Raises:
      ValueError: a pattern is unknown, the model is not built, or Keras runs on another backend.
      TypeError: `model` is no Keras model.
    """
    import keras

    if keras.backend.backend() != "jax":
        raise ValueError(
            f"Expected Keras on the JAX backend, it runs on {keras.backend.backend()!r}. "
            "Set the environment variable KERAS_BACKEND=jax before importing keras."
        )
    model_checks.check_model(model, "a Keras model", "stateless_call")
    if not model.built:
        raise ValueError("Expected a built model, got one without weights. Call model.build((None, H, W, C)) first.")
    f, weights = keras_model.bind(model)
    return from_function(f, weights, inputs=inputs, relu_patterns=relu_patterns, output=output)
