"""The Network protocol, and functions that observe or edit activations by a tap.

A Network is any pure function `net(x, relu=jax.nn.relu, tap=keep) -> logits` with its parameters bound. It applies
`relu` at every rectification and calls `tap(name, value)` on every named activation in forward order; the value that
the tap returns is passed on. A Network that is a pytree, such as `jax.tree_util.Partial(module.apply, variables)`, is
an ordinary argument of jitted functions: new weights do not retrace. Arrays with a row for each image, such as a second
input, are bound as `PerImage` (see `xai_jax.core.per_image`).

>>> def net(x, relu=jax.nn.relu, tap=keep):
...     x = tap("relu1", relu(tap("conv1", x - 1)))
...     return tap("logits", x.sum((1, 2)))
>>> x = jnp.arange(12.0).reshape(1, 2, 2, 3)
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from xai_jax.core import dependence, edits, per_image
from xai_jax.core.arguments import as_names, check_array
from xai_jax.core.arguments import check_images as check_images
from xai_jax.core.closures import as_leaves
from xai_jax.core.layer_table import Layers
from xai_jax.core.messages import Explained, excerpt, listed, nearest, quoted
from xai_jax.core.per_image import PerImage as PerImage
from xai_jax.core.precision import highest
from xai_jax.core.pytrees import node, require_arrays, shape_and_dtype, static
from xai_jax.core.rules import Relu

Tap = Callable[[str, Array], Array]
Activations = Mapping[str, Array]


def keep(name: str, value: Array) -> Array:
    """The tap that returns every activation unchanged."""
    del name
    return value


class Network(Protocol):
    """`x` (N, H, W, C) float32 in the network's input range -> logits (N, K), before softmax."""

    def __call__(self, x: Array, relu: Relu = jax.nn.relu, tap: Tap = keep) -> Array: ...


def as_network(net: Network) -> Network:
    """Wraps a callable as a pytree, the arrays of its closure as leaves; other pytrees pass unchanged.

    >>> isinstance(as_network(net), jax.tree_util.Partial)
    True
    """
    if not callable(net):
        raise TypeError(
            f"Expected a network, a function net(x, relu, tap) -> logits, got {type(net).__name__}. "
            "A LoadedModel holds it as `.net`; adapt.from_linen and its siblings make one from a model."
        )
    is_leaf = jax.tree.structure(net) == jax.tree.structure(0)
    net = as_leaves(net) if is_leaf else net
    require_arrays(net)
    return net


def capture(
    net: Network, x: Array, names: Iterable[str] | None = None, relu: Relu = jax.nn.relu
) -> tuple[Array, dict[str, Array]]:
    """Evaluates the network and records activations.

    >>> logits, activations = capture(net, x, ["relu1"])
    >>> {name: value.shape for name, value in activations.items()}
    {'relu1': (1, 2, 2, 3)}

    Args:
      net: the network.
      x: images (N, H, W, C) in the network's input range.
      names: names of the activations to record; None for all.
      relu: a ReLU with its backward rule.

    Returns:
      Logits (N, K), and the activations by name in forward order.

    Raises:
      ValueError: a name is unknown, the network uses a name twice, or taps it inside of a jit, scan, vmap or remat.
    """
    wanted = None if names is None else as_names(names) if isinstance(names, str) else set(names)
    kept: dict[str, Array] = {}
    seen: list[str] = []
    state = dependence.trace_state()

    def tap(name, value):
        if name in seen:
            raise ValueError(f"Expected a name for every activation, the network taps {quoted(name)} twice.")
        if wanted and name in wanted and dependence.trace_state() != state:
            raise ValueError(
                f"Expected layer {quoted(name)} to be tapped where its value can be read, it is inside of a jit, scan, "
                "vmap or remat. Tap what that function returns."
            )
        seen.append(name)
        if wanted is None or name in wanted:
            kept[name] = value
        return value

    logits = net(x, relu=relu, tap=tap)
    for name in sorted(wanted or ()):
        require(name, seen)
    return logits, kept


def layer_names(net: Network, x: Any) -> Layers:
    """Names, shapes and dtypes of the activations in forward order, by abstract evaluation; printed, a table.

    `x` is an array or a `jax.ShapeDtypeStruct`.

    >>> list(layer_names(net, x))
    ['conv1', 'relu1', 'logits']
    """
    return Layers(abstract(net, x)[1])


def abstract(net: Network, x: Any) -> tuple[jax.ShapeDtypeStruct, dict[str, jax.ShapeDtypeStruct]]:
    """Shapes and dtypes of logits and activations, by abstract evaluation; cached by structure and shapes.

    Raises TypeError for images that are no array, and ValueError for those that the network cannot read.

    >>> abstract(net, x)[0].shape
    (1, 3)
    """
    check_array(x, "images (N, H, W, C)")
    try:
        found = _abstract(*_structure(net, x))
    except (NotImplementedError, Explained):
        raise
    except Exception as error:  # whatever the network's own library raises
        raise ValueError(
            f"Expected images that the network can read, got {x.dtype} {x.shape}. Usual causes: channels first, "
            "(N, C, H, W), where the network reads (N, H, W, C); another number of channels or image size than the "
            "weights require; a model that is not adapted (see xai_jax.adapters.adapt), lacks its weights or has other "
            "arguments; training mode (train=False ends it); a second input or a mask that is not in `inputs`. "
            f"It said: {excerpt(error, 150)}"
        ) from error
    while isinstance(net, _Edited):
        if net.edit is edits.zeroed and net.layer in found[1]:
            edits.check_channels(found[1][net.layer].shape, net.value)
        net = net.net
    return found


def _structure(net, x):
    """Tree of a network, and shape and dtype of each leaf and of images, as JAX takes them (not float64)."""
    leaves, tree = jax.tree.flatten(per_image.like(as_network(net), x.shape[0]))
    return tree, tuple(map(shape_and_dtype, leaves)), tuple(x.shape), jnp.result_type(x)


@functools.lru_cache(maxsize=32)  # few, as a bound method keeps its weights here
def _abstract(tree, shapes, shape, dtype):
    order: list[str] = []

    def run(net, x):
        logits, kept = capture(net, x)
        order.extend(kept)
        return logits, kept

    net = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*s) for s in shapes])
    logits, kept = jax.eval_shape(run, net, jax.ShapeDtypeStruct(shape, dtype))
    return logits, {name: kept[name] for name in order}  # eval_shape sorts dictionaries


def call(function: Callable[[Any], Any], x: Any) -> Any:
    """`function(x)` for a network, its features or any other function, compiled once for each structure and shape.

    >>> call(features(net, "relu1"), x).shape
    (1, 2, 2, 3)
    """
    return _call(as_network(function), x)


@highest()
@jax.jit
def _call(function, x):
    return function(x)


def require(name: str, seen: Iterable[str]) -> None:
    """Raises ValueError, with the nearest match, for a layer that is not among those seen.

    >>> require("relu2", ["conv1", "relu1"])
    Traceback (most recent call last):
    ValueError: Expected the name of a layer, got 'relu2'. Did you mean 'relu1'? Layers: conv1, relu1.
    """
    seen = list(seen)
    if name in seen:
        return
    hint = nearest(name, seen) or " The network never calls its tap."
    raise ValueError(f"Expected the name of a layer, got {quoted(name)}.{hint} Layers: {listed(seen)}.")


@node
class _Edited:
    """A network in which `edit(activation, value)` replaces one activation."""

    net: Network
    value: Any
    layer: str = static()
    edit: Callable[[Array, Any], Array] = static()

    def __call__(self, x, relu=jax.nn.relu, tap=keep):
        seen, given = [], self.value.value if per_image.is_per_image(self.value) else self.value

        def edited(name, value):
            seen.append(name)
            return tap(name, self.edit(value, given) if name == self.layer else value)

        logits = self.net(x, relu=relu, tap=edited)
        require(self.layer, seen)
        if seen.count(self.layer) > 1:
            raise ValueError(f"Expected a name for every activation, the network taps {quoted(self.layer)} twice.")
        return logits


@node
class _Features:
    net: Network
    layer: str = static()

    def __call__(self, x, relu=jax.nn.relu):
        return capture(self.net, x, [self.layer], relu=relu)[1][self.layer]


@node
class _Head:
    net: Network
    layer: str = static()
    image: jax.ShapeDtypeStruct = static()

    def __call__(self, activation, relu=jax.nn.relu, tap=keep):
        x = jnp.zeros((activation.shape[0], *self.image.shape), self.image.dtype)
        return _Edited(self.net, activation, self.layer, edits.replaced)(x, relu=relu, tap=tap)


def features(net: Network, layer: str) -> Callable[..., Array]:
    """f_l of Kim et al. 2018: `f(x, relu=jax.nn.relu)` returns the activation of `layer`. A pytree like the network.

    >>> features(net, "conv1")(x)[0, 0, 0].tolist()
    [-1.0, 0.0, 1.0]
    """
    return _Features(as_network(net), layer)


def head(net: Network, layer: str, x: Any) -> Callable[..., Array]:
    """h_l of Kim et al. 2018: `h(activation)` returns the logits; the compiler removes the layers below.

    `x` is an array or `jax.ShapeDtypeStruct` shaped like the network's input; its values are not used. Raises
    ValueError for a layer with a connection around it.

    >>> bool((head(net, "relu1", x)(features(net, "relu1")(x)) == net(x)).all())
    True
    """
    require(layer, layers := layer_names(net, x))
    values, structure = jax.tree.flatten(layers)
    skips = dependence.bypassed(*_structure(net, x), tuple(values), structure)
    dependence.refuse_bypassed(layer, skips)
    return _Head(as_network(net), layer, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))


def replace(net: Network, layer: str, value: Array) -> Network:
    """The network with the activation of `layer` replaced by `value`, of the same shape.

    >>> replace(net, "relu1", jnp.zeros((1, 2, 2, 3)))(x).tolist()
    [[0.0, 0.0, 0.0]]
    """
    return _Edited(as_network(net), PerImage(edits.numbers(value)), layer, edits.replaced)


def perturb(net: Network, layer: str, delta: Array) -> Network:
    """The network with `delta` added to the activation of `layer`; `delta` broadcasts, or is a `PerImage`.

    >>> (perturb(net, "relu1", jnp.float32(1))(x) - net(x)).tolist()
    [[4.0, 4.0, 4.0]]
    """
    delta = jax.tree.map(edits.numbers, delta) if per_image.is_per_image(delta) else edits.numbers(delta)
    return _Edited(as_network(net), delta, layer, edits.added)


def ablate(net: Network, layer: str, channels: Iterable[int] | int) -> Network:
    """The network with some channels (last axis) of `layer` set to zero.

    >>> ablate(net, "relu1", [0, 2])(x).tolist()
    [[0.0, 18.0, 0.0]]
    """
    return _Edited(as_network(net), edits.channel_indices(channels), layer, edits.zeroed)
