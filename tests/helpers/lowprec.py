"""A pytest plugin that emulates accelerators' default precision on a CPU: LOWPREC=tf32 (GPUs) or bf16 (TPUs).

    LOWPREC=tf32 python -m pytest -p tests.helpers.lowprec tests/attribution

Rounds the operands of float32 products and convolutions, unless they have precision HIGH or HIGHEST.
"""

import contextlib
import dataclasses
import os

BITS = {"tf32": 10, "bf16": 7}  # of the mantissa


def pytest_configure(config):
    """After tests/conftest.py, which has to set JAX's cache of programs before JAX is imported."""
    mode = os.environ.get("LOWPREC", "")
    if mode not in BITS:
        raise ValueError(f"Expected LOWPREC to be one of {sorted(BITS)}, got {mode!r}.")
    _wrap(lambda rule: _rounding(rule, BITS[mode]))


def is_low(precision):
    """Whether an operation leaves the precision to the device: None, DEFAULT, or a pair of them."""
    from jax import lax

    both = precision if isinstance(precision, tuple) else (precision,)
    return all(each in (None, lax.Precision.DEFAULT) for each in both)


@contextlib.contextmanager
def recorded():
    """A list that receives (primitive, precision) of each float32 product and convolution that is lowered meanwhile.

    What was compiled before is not lowered again.
    """
    import numpy as np

    found = []

    def recording(rule):
        def lower(ctx, lhs, rhs, *args, **options):
            if ctx.avals_in[0].dtype == np.float32:
                found.append((str(ctx.primitive), options.get("precision")))
            return rule(ctx, lhs, rhs, *args, **options)

        return lower

    undo = _wrap(recording)
    try:
        yield found
    finally:
        undo()


def _rounding(rule, bits):
    import numpy as np
    from jax._src.interpreters import mlir
    from jax._src.lib.mlir.dialects import hlo

    def rounded(aval, value):
        if aval.dtype != np.float32:
            return value
        return hlo.ReducePrecisionOp(value, mlir.i32_attr(8), mlir.i32_attr(bits)).result

    def lower(ctx, lhs, rhs, *args, **options):
        if is_low(options.get("precision")):
            lhs, rhs = (rounded(aval, value) for aval, value in zip(ctx.avals_in[:2], (lhs, rhs), strict=True))
        return rule(ctx, lhs, rhs, *args, **options)

    return lower


def _wrap(wrapper):
    """Wraps the lowering of both primitives on every platform; returns the function that undoes it."""
    from jax import lax
    from jax._src.interpreters import mlir

    before = []
    for table in (mlir._lowerings, *mlir._platform_specific_lowerings.values()):
        for primitive in (lax.conv_general_dilated_p, lax.dot_general_p):
            if primitive in table:
                before.append((table, primitive, table[primitive]))
                entry = table[primitive]
                is_record = dataclasses.is_dataclass(entry)
                new = wrapper(entry.rule if is_record else entry)
                table[primitive] = dataclasses.replace(entry, rule=new) if is_record else new
    if not before:
        raise RuntimeError("Expected lowering rules of products and convolutions. Usual cause: another version of JAX.")

    def undo():
        for table, primitive, entry in before:
            table[primitive] = entry

    return undo
