"""Turns models of any JAX library into Networks, without editing them.

The model is traced to a jaxpr. Its equations are then evaluated in order, with the rule in place of each ReLU
(`jax.nn.relu`, `jax.nn.relu6`) and the fast switch-keeping pool in place of each max-pooling. Convolutions, ReLUs,
pools and dense layers get names by kind and order (`conv1`, `relu1`, ...) behind the module path where JAX knows it;
`jax.ad_checkpoint.checkpoint_name` adds names of the user's own. `jit` and `remat` are opened up; inside `scan`,
`while` and `cond` rules apply but nothing is tapped, for those values exist only inside the loop.

A model changed after it was adapted keeps its old answers: JAX caches traces. Adapt it again.
"""

import inspect
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import ClosedJaxpr, DebugInfo, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

from xai_jax import pooling, rules
from xai_jax.network import Network, Tap, keep, node, static
from xai_jax.rules import Relu

_INLINED = ("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint")
_OPAQUE = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
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
    channels in batched maps; taps always see (N, H, W, C). When a rule other than `jax.nn.relu` is asked for, the call raises ValueError if there is no ReLU, and
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
        raise TypeError(f"Expected a network made by xai_jax.adapt, got {type(net).__name__}.")
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
        run = _Run(relu, tap, self, x.shape[0])
        values = [*jax.tree.leaves((self.bound, x))]
        depends = [False] * (len(values) - 1) + [True]
        (logits,), _ = run.evaluate(closed, values, depends)
        return logits, run


class _Run:
    """One pass over the equations of a model."""

    def __init__(self, relu: Relu, tap: Tap, net: _Adapted, n: int):
        self.relu, self.tap, self.n = relu, tap, n
        self.patterns, self.per_image, self.channel_axis = net.relu_patterns, net.per_image, net.channel_axis
        self.has_rule = relu is not jax.nn.relu
        self.sites, self.names = Counter(), Counter()

    def evaluate(self, closed: Any, values: list, depends: list[bool], path: str = "") -> tuple[list, list[bool]]:
        """Evaluates a jaxpr; `depends` says which values depend on the image, for inputs and for outputs."""
        jaxpr, consts = _open(closed)
        env = dict(zip(jaxpr.constvars, [(c, False) for c in consts], strict=True))
        env.update(zip(jaxpr.invars, zip(values, depends, strict=True), strict=True))

        def read(atom):
            return (atom.val, False) if isinstance(atom, Literal) else env[atom]

        biased = _biased(jaxpr, env)
        waiting = {}
        for eqn in jaxpr.eqns:
            inputs, dependent = zip(*map(read, eqn.invars), strict=True) if eqn.invars else ((), ())
            here = "/".join(filter(None, [path, _module_path(eqn)]))
            if eqn.primitive.name in _INLINED and not _is_gate(eqn):
                outputs, reach = self.evaluate(_body(eqn), list(inputs), list(dependent), here)
            else:
                outputs, reach = self.apply(eqn, inputs, dependent), [any(dependent)] * len(eqn.outvars)
            kind = self.kind(eqn) if sum(dependent) == 1 else None
            if kind in ("conv", "dense") and eqn.outvars[0] in biased:
                waiting[biased[eqn.outvars[0]]] = self.name(kind, here)
            elif kind is not None:
                axis = _pool_channels(eqn) if kind == "pool" else self.channel_axis
                outputs = [self.tapped(self.name(kind, here), outputs[0], axis)]
            elif eqn.outvars and eqn.outvars[0] in waiting:
                outputs = [self.tapped(waiting.pop(eqn.outvars[0]), outputs[0], self.channel_axis)]
            env.update(zip(eqn.outvars, zip(outputs, reach, strict=True), strict=True))
        outs = [read(v) for v in jaxpr.outvars]
        return [value for value, _ in outs], [reach for _, reach in outs]

    def apply(self, eqn, inputs, dependent):
        """Evaluates one equation. With `per_image` it is batched alone, so that N stays the first axis everywhere."""
        substitute = self.substitute(eqn)
        if self.per_image and any(dependent):
            axes = [0 if d else None for d in dependent]
            return jax.vmap(lambda *v: self.call(eqn, substitute, v), in_axes=axes, out_axes=0)(*inputs)
        return self.call(eqn, substitute, inputs)

    def call(self, eqn, substitute, inputs):
        if substitute is not None:
            return [substitute(*inputs)]
        values = {v: value for v, value in zip(eqn.invars, inputs, strict=True) if not isinstance(v, Literal)}
        alone = self.rewrite(eqn)
        names = DebugInfo("jit", __name__, tuple(map(str, range(len(values)))), tuple(map(str, eqn.outvars)))
        jaxpr = Jaxpr((), list(values), alone.outvars, [alone], alone.effects, names)
        return jaxpr_as_fun(ClosedJaxpr(jaxpr, ()))(*values.values())

    def rewrite(self, eqn):
        """The equation with every ReLU and max-pool inside its loops and branches replaced by a call of the rule."""
        self.refuse(eqn)
        if eqn.primitive.name in _OPAQUE or _is_gate(eqn):
            return eqn
        params = {name: self.rewrite_param(value) for name, value in eqn.params.items()}
        return eqn.replace(params=params)

    def rewrite_param(self, value):
        if isinstance(value, tuple | list):
            return type(value)(map(self.rewrite_param, value)) if any(map(_is_jaxpr, value)) else value
        if not _is_jaxpr(value):
            return value
        if isinstance(value, ClosedJaxpr) and not isinstance(value, Jaxpr):
            return value.replace(jaxpr=self.rewrite_param(value.jaxpr))
        return value.replace(eqns=[self.substituted(eqn) for eqn in value.eqns])

    def substituted(self, eqn):
        substitute = self.substitute(eqn)
        if substitute is None:
            return self.rewrite(eqn)
        arguments = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
        jaxpr, _ = _open(jax.make_jaxpr(jax.jit(substitute))(*arguments))
        (call,) = jaxpr.eqns
        if len(call.invars) != len(eqn.invars):
            raise NotImplementedError("Expected a rule without arrays of its own inside scan, while or cond.")
        return call.replace(invars=eqn.invars, outvars=eqn.outvars)

    def substitute(self, eqn) -> Callable | None:
        """The function to call in place of an equation, if it is a ReLU or a max-pool."""
        kind = _rectifier(eqn) or ("relu" if "max" in self.patterns and _is_bare_relu(eqn) else None)
        pool = None if kind else _pool(eqn)
        if kind is None and pool is None:
            return None
        self.sites["relu" if kind else "pool"] += 1
        if kind == "relu6":
            return lambda x: rules.relu6(x, self.relu)
        if kind:  # a bare maximum has its zero as the other operand
            return lambda *operands: self.relu(next(o for o in operands if np.ndim(o)))
        return pool

    def refuse(self, eqn):
        name = eqn.primitive.name
        if name.startswith("call_hi_primitive"):
            raise NotImplementedError(f"Expected equations JAX lets us look into, got {name!r}, which hides its body.")
        if self.has_rule and name in _OPAQUE and any(_rectifier(e) for e in _all_equations(eqn)):
            raise NotImplementedError(
                "Expected every ReLU within reach, found one inside a function with custom_jvp or custom_vjp: a rule "
                "there would be undone by that function's own derivative. Take the decorator off."
            )

    def kind(self, eqn):
        if _rectifier(eqn) or ("max" in self.patterns and _is_bare_relu(eqn)):
            return "relu"
        if eqn.primitive.name == "name":
            return eqn.params["name"]
        kinds = {"conv_general_dilated": "conv", "dot_general": "dense"}
        kinds |= {"reduce_window_max": "pool", "reduce_window_sum": "pool"}
        return kinds.get(eqn.primitive.name)

    def name(self, kind, path):
        self.names[kind] += 1
        if kind not in ("conv", "relu", "pool", "dense"):
            return kind if self.names[kind] == 1 else f"{kind}_{self.names[kind]}"
        return "/".join(filter(None, [path, f"{kind}{self.names[kind]}"]))

    def tapped(self, name, value, channel_axis):
        """What the tap makes of a value, as (N, H, W, C); a value without N in front is not an activation."""
        if not np.ndim(value) or value.shape[0] != self.n:
            return value
        shape = value.shape
        if value.ndim == 5 and shape[1] == 1:  # one image as a batch of one
            value = value[:, 0]
        if value.ndim == 4:
            value = jnp.moveaxis(self.tap(name, jnp.moveaxis(value, channel_axis, -1)), -1, channel_axis)
        else:
            value = self.tap(name, value)
        return value.reshape(shape)


def _is_jaxpr(value):
    return isinstance(value, Jaxpr | ClosedJaxpr)


def _open(jaxpr):
    """Jaxpr and constants of an open or closed jaxpr; newer JAX has only one kind."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def _body(eqn):
    return next(value for value in eqn.params.values() if _is_jaxpr(value))


def _all_equations(eqn):
    """The equations in the jaxprs of an equation's parameters, at any depth."""
    for value in eqn.params.values():
        for jaxpr in value if isinstance(value, tuple | list) else (value,):
            if _is_jaxpr(jaxpr):
                for inner in _open(jaxpr)[0].eqns:
                    yield inner
                    yield from _all_equations(inner)


def _rectifier(eqn: JaxprEqn) -> str | None:
    """ "relu" or "relu6" for `jax.nn.relu` and `jax.nn.relu6`, which have a derivative of their own."""
    if eqn.primitive.name != "custom_jvp_call":
        return None
    inner = _open(eqn.params["call_jaxpr"])[0].eqns
    name = inner[0].params.get("name") if len(inner) == 1 else None
    return name if name in ("relu", "relu6") else None


def _is_gate(eqn):
    """`hard_sigmoid`, and `hard_swish` built on it, use ReLU6 as a gate between 0 and 1, not to rectify."""
    return eqn.params.get("name") == "hard_sigmoid"


def _is_bare_relu(eqn):
    zeros = [isinstance(v, Literal) and np.ndim(v.val) == 0 and v.val == 0 for v in eqn.invars]
    return eqn.primitive.name == "max" and sum(zeros) == 1


def _pool(eqn):
    """The fast pool for a max-pooling over two axes, else None."""
    if eqn.primitive.name != "reduce_window_max":
        return None
    p, axes = eqn.params, _pool_axes(eqn)
    rest = [a for a in range(eqn.invars[0].aval.ndim) if a not in axes]
    window, strides, padding = (
        tuple(p[k][a] for a in axes) for k in ("window_dimensions", "window_strides", "padding")
    )
    plain = {*p["base_dilation"], *p["window_dilation"]} == {1}
    fits = all(min(pads) >= 0 and max(pads) < w for pads, w in zip(padding, window, strict=True))
    if len(axes) != 2 or not rest or not plain or not fits:
        return None
    order = [*rest[:-1], *axes, rest[-1]]

    def pool(x):
        x = jnp.transpose(x, order)
        y = pooling.max_pool(x.reshape(-1, *x.shape[-3:]), window, strides, tuple(map(tuple, padding)))
        return jnp.transpose(y.reshape(*x.shape[:-3], *y.shape[1:]), np.argsort(order))

    return pool


def _pool_axes(eqn):
    """The axes along which a reduce_window equation has a window, strides or padding."""
    p = eqn.params
    geometry = zip(p["window_dimensions"], p["window_strides"], map(tuple, p["padding"]), strict=True)
    return [a for a, trivial in enumerate(g == (1, 1, (0, 0)) for g in geometry) if not trivial]


def _pool_channels(eqn):
    """The channel axis of a pool, counted from the end: the last axis without a window."""
    rank = eqn.invars[0].aval.ndim
    return max(a for a in range(-1, rank) if a not in _pool_axes(eqn)) - rank


def _biased(jaxpr, env):
    """Maps a layer's output to the sum with its bias, where that is its only use: the layer includes its bias.

    The way there may lead over a change of shape.
    """
    uses = Counter(v for eqn in jaxpr.eqns for v in eqn.invars if not isinstance(v, Literal))
    uses.update(v for v in jaxpr.outvars if not isinstance(v, Literal))
    depends = {v for v, (_, reach) in env.items() if reach}
    origin, sums = {}, {}
    for eqn in jaxpr.eqns:
        dependent = [v for v in eqn.invars if not isinstance(v, Literal) and v in depends]
        if not dependent:
            continue
        depends.update(eqn.outvars)
        source = origin.get(dependent[0], dependent[0])
        if len(dependent) > 1 or uses[dependent[0]] > 1:
            continue
        if eqn.primitive.name in ("squeeze", "reshape"):
            origin[eqn.outvars[0]] = source
        elif eqn.primitive.name == "add":
            sums[source] = eqn.outvars[0]
    return sums


def _module_path(eqn):
    """Module path from the name stack, without the transformations JAX records there."""
    stack = str(eqn.source_info.name_stack)
    return "/".join(part for part in re.sub(r"\w+\(|\)", "", stack).split("/") if part)
