"""Evaluation of jaxprs with substituted ReLUs and max-pools, for `xai_jax.adapters.adapt`.

Equations are rewritten, and primitives never bound directly: an equation that is not replaced is evaluated as a jaxpr
of its own, which every version of JAX can run. Inside loops and branches an equation is replaced by the single equation
of a `jit` call of its substitute.

>>> from xai_jax.adapters.origins import IMAGES
>>> closed = jax.make_jaxpr(lambda x: jax.nn.relu(x))(jnp.ones((2, 3)))
>>> run = Pass(rules.guided_relu, lambda name, value: value, 2, {}, False, -1)
>>> _ = run.evaluate(closed, [jnp.ones((2, 3))], [IMAGES])
>>> run.sites["relu"]
1
"""

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, DebugInfo, Jaxpr, Literal, jaxpr_as_fun

from xai_jax.adapters import module_outputs
from xai_jax.adapters.convolution_equations import fast_convolution
from xai_jax.adapters.jaxpr_parts import (
    INLINED,
    OPAQUE,
    all_equations,
    body,
    is_gate,
    is_jaxpr,
    module_path,
    nn_relu,
    open_jaxpr,
)
from xai_jax.adapters.layer_taps import KINDS, LayerTaps
from xai_jax.adapters.origins import Origin, follow
from xai_jax.adapters.pool_equations import fast_pool
from xai_jax.adapters.rectifiers import Rectifier
from xai_jax.core import rules
from xai_jax.core.messages import quoted
from xai_jax.core.network import Tap
from xai_jax.core.rules import Relu


class Pass:
    """One pass over the equations of a model for `n` images; options as in `adapt.from_function`.

    `covered` are further rectifiers that get the rule, as `rectifiers.find` returns them; `sites` counts the rewritten
    equations by kind.
    """

    def __init__(
        self,
        relu: Relu,
        tap: Tap,
        n: int,
        covered: Mapping[tuple[int, ...], Rectifier],
        per_image: bool,
        channel_axis: int,
    ):
        self.relu, self.n, self.covered, self.per_image = relu, n, covered, per_image
        self.taps = LayerTaps(tap, n, per_image, channel_axis)
        self.has_rule = relu is not jax.nn.relu
        self.sites = Counter()
        self.calls = ()  # identities of the enclosing equations

    def evaluate(
        self, closed: Any, values: list, origins: list[Origin | None], path: str = "", module: str = ""
    ) -> tuple[list, list[Origin | None]]:
        """Evaluates a jaxpr.

        Args:
          closed: the jaxpr.
          values: its inputs.
          origins: how each input depends on the images.
          path: path of the module that contains it, as layers are named.
          module: the same path with the scopes that adapters open.

        Returns:
          The outputs, and how each depends on the images.

        Raises:
          NotImplementedError: a ReLU is inside a function with a custom derivative.
          ValueError: the channels of the images are not the last axis.
        """
        jaxpr, consts = open_jaxpr(closed)
        env = dict(zip(jaxpr.constvars, [(c, None) for c in consts], strict=True))
        env.update(zip(jaxpr.invars, zip(values, origins, strict=True), strict=True))

        def read(atom):
            return (atom.val, None) if isinstance(atom, Literal) else env[atom]

        layers = self.taps.layers(jaxpr, {v for v, (_, origin) in env.items() if origin})
        for eqn in jaxpr.eqns:
            inputs, known = zip(*map(read, eqn.invars), strict=True) if eqn.invars else ((), ())
            here = "/".join(filter(None, [path, module_path(eqn)]))
            if eqn.primitive.name in INLINED and not is_gate(eqn):
                with self.within(eqn):
                    inner = module_outputs.join(module, [scope.name for scope in module_outputs.scopes(eqn)])
                    outputs, reach = self.evaluate(body(eqn), list(inputs), list(known), here, inner)
            else:
                origin = follow(eqn, known, None if self.per_image else self.n)
                outputs, reach = self.apply(eqn, inputs, known), [origin] * len(eqn.outvars)
            if layers is not None:
                alone = sum(o is not None for o in known) == 1
                kind = self.kind(eqn) if alone or (*self.calls, id(eqn)) in self.covered else None
                outputs = self.taps.tapped(layers, eqn, kind, outputs, reach, (here, module))
            env.update(zip(eqn.outvars, zip(outputs, reach, strict=True), strict=True))
        outs = [read(v) for v in jaxpr.outvars]
        return [value for value, _ in outs], [reach for _, reach in outs]

    def apply(self, eqn, inputs, dependent):
        """Evaluates one equation. With `per_image` each is batched on its own, so that N is always the first axis."""
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
        """The equation with every ReLU and max-pool inside its loops and branches substituted."""
        self.refuse(eqn)
        if eqn.primitive.name in OPAQUE or is_gate(eqn):
            return eqn
        with self.within(eqn):
            return eqn.replace(params={name: self.rewrite_param(value) for name, value in eqn.params.items()})

    @contextlib.contextmanager
    def within(self, eqn):
        self.calls = (*self.calls, id(eqn))
        yield
        self.calls = self.calls[:-1]

    def rewrite_param(self, value):
        if isinstance(value, tuple | list):
            return type(value)(map(self.rewrite_param, value)) if any(map(is_jaxpr, value)) else value
        if not is_jaxpr(value):
            return value
        if isinstance(value, ClosedJaxpr) and not isinstance(value, Jaxpr):
            return value.replace(jaxpr=self.rewrite_param(value.jaxpr))
        return value.replace(eqns=[self.substituted(eqn) for eqn in value.eqns])

    def substituted(self, eqn):
        substitute = self.substitute(eqn)
        if substitute is None:
            return self.rewrite(eqn)
        arguments = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
        jaxpr, _ = open_jaxpr(jax.make_jaxpr(jax.jit(substitute))(*arguments))
        (call,) = jaxpr.eqns
        if len(call.invars) != len(eqn.invars):
            raise NotImplementedError("Expected a rule without arrays of its own inside scan, while or cond.")
        return call.replace(invars=eqn.invars, outvars=eqn.outvars)

    def substitute(self, eqn) -> Callable | None:
        """The substitute of an equation that is a ReLU, a max-pool or a convolution that CPUs run slowly, else None."""
        kind = self.rectifier(eqn)
        pool = None if kind else fast_pool(eqn)
        if kind is None and pool is None:
            return fast_convolution(eqn)
        self.sites["relu" if kind else "pool"] += 1
        if kind == "relu6":
            return lambda x: rules.relu6(x, self.relu)
        if kind == "relu":
            return self.relu
        if kind:
            return functools.partial(self.rectified, eqn.primitive.name, self.covered[*self.calls, id(eqn)].operand)
        return pool

    def rectified(self, primitive, operand, *inputs):
        rectified = self.relu(inputs[operand])
        return jnp.where(rectified < inputs[2], rectified, inputs[2]) if primitive == "clamp" else rectified

    def rectifier(self, eqn):
        """The kind of an equation that gets the rule, else None."""
        found = self.covered.get((*self.calls, id(eqn)))
        return nn_relu(eqn) or (found and found.kind)

    def refuse(self, eqn):
        name = eqn.primitive.name
        if name.startswith("call_hi_primitive"):
            raise NotImplementedError(
                f"Expected equations with accessible bodies, got {quoted(name)}, which hides its body."
            )
        if self.has_rule and name in OPAQUE and any(nn_relu(e) for e in all_equations(eqn)):
            raise NotImplementedError(
                "Expected accessible ReLUs only, found one inside a function with custom_jvp or custom_vjp, whose "
                "derivative would override the backward rule. Remove the decorator."
            )

    def kind(self, eqn):
        if self.rectifier(eqn):
            return "relu"
        if eqn.primitive.name == "name":
            return eqn.params["name"]
        return KINDS.get(eqn.primitive.name)
