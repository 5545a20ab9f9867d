"""Names of the layers of an adapted model, and their values as a tap receives them.

Convolutions, ReLUs, pools and dense layers are named by kind and order, `checkpoint_name`s by themselves, and the
outputs of modules by their path.

>>> import jax
>>> taps = LayerTaps(lambda name, value: value, 2, False, -1)
>>> taps.name("conv", "Model/Block_0"), taps.name("conv", ""), taps.name("hidden", ""), taps.name("hidden", "")
('Model/Block_0/conv1', 'conv2', 'hidden', 'hidden_2')
"""

import math
from collections import Counter
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var

from xai_jax.adapters import module_outputs
from xai_jax.adapters.origins import Origin
from xai_jax.adapters.pool_equations import divides
from xai_jax.core.network import Tap, keep

KINDS = {"conv_general_dilated": "conv", "dot_general": "dense"}
KINDS |= {"reduce_window_max": "pool", "reduce_window_sum": "pool"}


class _Layers(NamedTuple):
    """Layers of a jaxpr: the values that complete others, the names that wait for them, and outputs of modules."""

    completed: dict[Var, Var]
    waiting: dict[Var, str]
    modules: dict[Var, list[tuple[list[str], str]]]


class LayerTaps:
    """Names and taps the layers of a model for `n` images; options as in `adapt.from_function`."""

    def __init__(self, tap: Tap, n: int, per_image: bool, channel_axis: int):
        self.tap, self.n, self.per_image, self.channel_axis = tap, n, per_image, channel_axis
        self.kinds, self.names = Counter(), Counter()

    def layers(self, jaxpr: Any, inputs: set[Var]) -> _Layers | None:
        """The layers of a jaxpr, of which `inputs` depend on the images; None if nothing is tapped.

        >>> jaxpr = jax.make_jaxpr(lambda x: x @ np.ones((3, 4)) + 1)(np.ones((2, 3))).jaxpr
        >>> len(taps.layers(jaxpr, set(jaxpr.invars)).completed)
        1
        """
        if self.tap is keep:
            return None
        depends = set(inputs)
        for eqn in jaxpr.eqns:
            if any(v in depends for v in eqn.invars if not isinstance(v, Literal)):
                depends.update(eqn.outvars)
        candidates = {v for v in depends - inputs if self._is_activation(v.aval)}
        return _Layers(_completed(jaxpr, depends), {}, module_outputs.outputs(jaxpr, candidates))

    def _is_activation(self, aval):
        shape, dtype = getattr(aval, "shape", ()), getattr(aval, "dtype", np.int32)
        return jnp.issubdtype(dtype, jnp.floating) and (self.per_image or shape[:1] == (self.n,))

    def tapped(
        self,
        layers: _Layers,
        eqn: JaxprEqn,
        kind: str | None,
        values: list,
        origins: list[Origin | None],
        paths: tuple[str, str],
    ) -> list:
        """The results of an equation after the taps of its layers.

        Args:
          layers: the layers of its jaxpr.
          eqn: the equation.
          kind: its kind of layer, or its own name, or None.
          values: its results.
          origins: how they depend on the images.
          paths: path of its module, and path of the function that contains it.

        Returns:
          The results.

        Raises:
          ValueError: what `tap` raises, and where it returns an array of another shape.
        """
        name = layers.waiting.pop(eqn.outvars[0], None) if eqn.outvars else None
        if kind is not None:
            name, whole = self.name(kind, paths[0]), layers.completed.get(eqn.outvars[0])
            if kind in KINDS.values() and whole is not None:
                layers.waiting[whole], name = name, None
        if name is not None:
            values = [self._tap(name, values[0], origins[0])]
        return [
            self._tap_modules(layers.modules.get(v, ()), value, origin, paths[1])
            for v, value, origin in zip(eqn.outvars, values, origins, strict=True)
        ]

    def name(self, kind: str, path: str) -> str:
        self.kinds[kind] += 1
        count = self.kinds[kind]
        if kind not in ("conv", "relu", "pool", "dense"):
            return self._unique(kind if count == 1 else f"{kind}_{count}")
        return self._unique("/".join(filter(None, [path, f"{kind}{count}"])))

    def _unique(self, name):
        self.names[name] += 1
        return name if self.names[name] == 1 else f"{name}#{self.names[name]}"

    def _tap_modules(self, modules, value, origin, path):
        for names, index in modules:
            value = self._tap(self._unique(module_outputs.join(path, names) + index), value, origin)
        return value

    def _tap(self, name, value, origin):
        """Passes a value to the tap as (N, H, W, C); a value without leading N is not an activation."""
        if not np.ndim(value) or value.shape[0] != self.n:
            return value
        shape = value.shape
        if value.ndim == 5 and shape[1] == 1:  # one image as a batch of one
            value = value[:, 0]
        if value.ndim == 4:
            if origin.channels is not None:  # the layout of later maps whose equations do not show it
                self.channel_axis = origin.channels
            axis = self.channel_axis
            value = jnp.moveaxis(self.tap(name, jnp.moveaxis(value, axis, -1)), -1, axis)
        else:
            value = self.tap(name, value)
        return value.reshape(shape)


def _completed(jaxpr, depends):
    """Maps a layer's output to the value that completes it, where that is its only use.

    A convolution or dense layer includes its bias, an average pool its division. The output may be reshaped before.
    """
    uses = Counter(v for eqn in jaxpr.eqns for v in eqn.invars if not isinstance(v, Literal))
    uses.update(v for v in jaxpr.outvars if not isinstance(v, Literal))
    source, sizes, found = {}, {}, {}
    for eqn in jaxpr.eqns:
        dependent = [v for v in eqn.invars if not isinstance(v, Literal) and v in depends]
        if not dependent:
            continue
        name, first = eqn.primitive.name, source.get(dependent[0], dependent[0])
        if name == "reduce_window_sum":
            sizes[eqn.outvars[0]] = math.prod(eqn.params["window_dimensions"])
        if len(dependent) > 1 or uses[dependent[0]] > 1:
            continue
        if name in ("squeeze", "reshape") or first in sizes and name in ("transpose", "convert_element_type"):
            source[eqn.outvars[0]] = first
        elif divides(eqn, sizes[first]) if first in sizes else name == "add":
            found[first] = eqn.outvars[0]
    return found
