"""The dry run: a whole experiment on abstract values, and what it would cost.

Every step is traced, lowered for cuda and tpu, and compiled for this machine, without data and without running. Any
shape error ends it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from xai_jax import models
from xai_jax.core import targets

UTILISATION = 0.3
"""Share of a device's peak that a convolutional network is assumed to reach."""


class Device(NamedTuple):
    """Peak of dense matrix products in FLOP/s, memory in bytes, and its bytes/s, all from the vendor's data sheet."""

    peak: float
    memory: float
    bandwidth: float


DEVICES = {
    "A100": Device(156e12, 80e9, 2.039e12),  # TF32; SXM
    "H100": Device(494e12, 80e9, 3.35e12),  # TF32; SXM
    "V100": Device(15.7e12, 32e9, 0.9e12),  # float32; SXM2
    "TPUv4": Device(275e12, 32e9, 1.2e12),  # bfloat16
    "TPUv5e": Device(197e12, 16e9, 0.819e12),  # bfloat16; one chip
}


class Step(NamedTuple):
    """`function(*arguments)`, called `repeats` times; arguments are pytrees of `jax.ShapeDtypeStruct`.

    Of training, `resident` is the number of images that stay on the device; 0 where the host reads every batch.
    """

    name: str
    function: Callable
    arguments: tuple
    repeats: int = 1
    resident: int = 0


def forward(
    network: str,
    batch_size: int,
    calls: int,
    compute: Callable | None = None,
    *arguments: Any,
    name: str = "forward passes",
    side: int | None = None,
) -> Step:
    """A step that computes something of a registered network for a batch of its inputs.

    Args:
      network: a name of xai_jax.models.
      batch_size: images in one call.
      calls: number of calls.
      compute: function of (net, x, *arguments); the logits by default.
      *arguments: further abstract arguments, such as targets.
      name: of the step in the report.
      side: of the images in pixels; the network's own by default.
    """
    module, variables, (height, width, channels) = models.abstract(network)
    x = jax.ShapeDtypeStruct((batch_size, side or height, side or width, channels), jnp.float32)
    compute = compute or (lambda net, x: net(x))

    def function(variables, x, *arguments):
        return compute(Partial(module.apply, variables), x, *arguments)

    return Step(name, function, (variables, x, *arguments), calls)


def gradient(network: str, batch_size: int, calls: int, target: Any, name: str = "gradients") -> Step:
    """A step that takes the gradient of a target with respect to a batch of inputs of a registered network."""

    def compute(net, x, target):
        return jax.grad(lambda x: targets.evaluate(net, x, target)[0].sum())(x)

    return forward(network, batch_size, calls, compute, target, name=name)


def class_count(network: str) -> int:
    """Number of classes of a registered network, without loading its weights."""
    module, variables, shape = models.abstract(network)
    return jax.eval_shape(module.apply, variables, jax.ShapeDtypeStruct((1, *shape), jnp.float32)).shape[1]


def calls(images: int, batch_size: int) -> int:
    """Number of batches that hold `images`."""
    return -(-images // batch_size)


class Cost(NamedTuple):
    """What one step needs: array elements of its first argument; FLOPs of one call, bytes at the peak and bytes moved.

    Memory and what is moved are those of the program that is compiled for this machine.
    """

    parameters: int
    flops: float
    memory: float
    traffic: float


def cost(step: Step) -> Cost:
    """Traces, lowers and compiles one step. Raises what JAX raises for shapes that do not fit."""
    jitted = jax.jit(step.function)
    jax.eval_shape(jitted, *step.arguments)
    jax.export.export(jitted, platforms=("cuda", "tpu"))(*step.arguments)
    return cost_here(step)


def cost_here(step: Step) -> Cost:
    """The same without lowering for machines that are not here."""
    lowered = jax.jit(step.function).lower(*step.arguments)
    compiled = lowered.compile()
    memory, traffic = compiled.memory_analysis(), (compiled.cost_analysis() or {}).get("bytes accessed", math.nan)
    peak = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    flops = (lowered.cost_analysis() or {}).get("flops", math.nan)
    return Cost(_size(step.arguments[0]), float(flops), peak, float(traffic))


def report(name: str, plan: list[Step], device: str) -> str:
    """A table of all steps and the hours they mean on `device`."""
    costs = [cost(step) for step in plan]
    total = sum(c.flops * step.repeats for c, step in zip(costs, plan, strict=True))
    hours = total / (DEVICES[device].peak * UTILISATION) / 3600
    rows = [f"{'step':40} {'calls':>8} {'parameters':>12} {'GFLOP/call':>12} {'peak MB':>9}"]
    rows += [
        f"{step.name:40} {step.repeats:8d} {c.parameters:12,d} {c.flops / 1e9:12.3f} {c.memory / 1e6:9.0f}"
        for c, step in zip(costs, plan, strict=True)
    ]
    fits = max(c.memory for c in costs) <= DEVICES[device].memory
    rows.append(
        f"{name}: {total / 1e12:.2f} TFLOP, {hours:.4f} hours on one {device} at {UTILISATION:.0%} of its peak; "
        f"memory {'fits' if fits else 'does not fit'}. All steps lower for cuda and tpu."
    )
    return "\n".join(rows)


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
