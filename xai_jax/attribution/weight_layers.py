"""The weights of a network by layer, in the order in which the forward pass applies them.

>>> import jax.numpy as jnp
>>> x = jnp.ones((1, 4, 4, 3))
>>> def model(weights, x, relu=jax.nn.relu, tap=None):
...     (first, bias), second = weights
...     return relu(x[:, 0, 0] @ first + bias) @ second
>>> weights = (jnp.ones((3, 5)), jnp.ones(5)), jnp.ones((5, 2))
>>> by_layer(jax.tree_util.Partial(model, weights), x, 1)
{'0': [0, 1], '1': [2]}
"""

import itertools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import Literal

from xai_jax.core import per_image
from xai_jax.core.network import Network


def by_layer(net: Network, x: Array, depth: int) -> dict[str, list[int]]:
    """Indices of the network's leaves by layer, from the images to the logits.

    Leaves whose paths begin with the same `depth` names form a layer, unless others are applied between them, as in a
    list of kernels and one of biases. Then, or without names, a layer is a kernel and what is applied until the next.

    >>> by_layer(jax.tree_util.Partial(lambda w, x: x[:, 0, 0] @ w[0] + w[1], weights[0]), x, 1)
    {'0': [0, 1]}
    """
    leaves = jax.tree_util.tree_leaves_with_path(net)
    order = [i for i in _order_of_use(net, x) if _is_weight(jnp.result_type(leaves[i][1]))]
    weights = [i for i, is_row in enumerate(per_image.leaves(net)) if not is_row]
    words = dict(zip(weights, _words([leaves[i][0] for i in weights]), strict=True))
    named = any(len(words[i]) > 1 and not all(w.isdigit() for w in words[i]) for i in order)
    layers = [(name, [i]) for name, i in zip(_names([words[i] for i in order], depth), order, strict=True)]
    if not named or not _contiguous(layers):
        groups = _by_kernel(order, {i for i in order if _is_kernel(leaves[i][1])})
        words = _words([leaves[group[0]][0] for group in groups])
        layers = list(zip(_names(words, depth), groups, strict=True))
        if not _contiguous(layers):
            layers = list(zip(_names(words, 99), groups, strict=True))
    result = {}
    for name, group in layers:
        result.setdefault(name, []).extend(group)
    return result


def _is_weight(dtype):
    """Counters and indices are none; integers of 8 bits are quantised weights."""
    return jnp.issubdtype(dtype, jnp.floating) or (jnp.issubdtype(dtype, jnp.integer) and dtype.itemsize == 1)


def _contiguous(layers):
    runs = [name for name, _ in itertools.groupby(name for name, _ in layers)]
    return len(runs) == len(set(runs))


def _by_kernel(order, kernels):
    """Each kernel with what is applied until the next; what precedes the first belongs to it."""
    if not kernels:
        return [[i] for i in order]
    groups, before = [], list(itertools.takewhile(lambda i: i not in kernels, order))
    for i in order[len(before) :]:
        if i in kernels:
            groups.append([])
        groups[-1].append(i)
    groups[0].extend(before)
    return groups


def _words(paths):
    """The names on each path, behind what all paths share and without Flax's collections."""
    words = [[str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path] for path in paths]
    words = [[word for word in path if word not in ("params", "batch_stats")] for path in words]
    shared = len(os.path.commonprefix(words)) if len(words) > 1 else max(0, len(words[0]) - 2) if words else 0
    return [path[shared:] or path[-1:] for path in words]


def _names(words, depth):
    return ["/".join(path[: max(1, min(depth, len(path) - 1))]) for path in words]


def _order_of_use(net, x):
    """Indices of the leaves in the order in which they are combined with values that depend on the images."""
    leaves, tree = jax.tree.flatten(net)
    closed = jax.make_jaxpr(lambda leaves, x: jax.tree.unflatten(tree, leaves)(x))(leaves, x)
    used: list[frozenset] = []
    sources = [None if is_row else frozenset([i]) for i, is_row in enumerate(per_image.leaves(net))]
    _follow(closed.jaxpr, [*sources, None], used)
    kernels_first = (sorted(together, key=lambda i: (not _is_kernel(leaves[i]), i)) for together in used)
    return list(dict.fromkeys(itertools.chain(*kernels_first)))


def _is_kernel(leaf):
    return sum(n > 1 for n in np.shape(leaf)) > 1


def _follow(jaxpr: Any, sources: list[frozenset | None], used: list[frozenset]) -> list[frozenset | None]:
    """The leaves that each output is made of, None for what depends on the images; lists in `used` what meets it."""
    env = dict.fromkeys(jaxpr.constvars, frozenset()) | dict(zip(jaxpr.invars, sources, strict=True))
    for eqn in jaxpr.eqns:
        inputs = [frozenset() if isinstance(v, Literal) else env[v] for v in eqn.invars]
        bodies = [b for b in (getattr(p, "jaxpr", p) for p in eqn.params.values()) if hasattr(b, "eqns")]
        if len(bodies) == 1 and len(bodies[0].invars) == len(inputs):
            outputs = _follow(bodies[0], inputs, used)
        else:
            leaves = frozenset().union(*(i for i in inputs if i is not None))
            if None in inputs:
                used.append(leaves)
            outputs = [None if None in inputs else leaves] * len(eqn.outvars)
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [frozenset() if isinstance(v, Literal) else env[v] for v in jaxpr.outvars]
