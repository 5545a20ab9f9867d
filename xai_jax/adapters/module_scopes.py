"""Scopes for the modules of libraries that open none, so that `xai_jax.adapters.module_outputs` finds their outputs.

Each module becomes an instance of a subclass of its class, whose calls open a scope with the path of the module.

>>> import jax
"""

import functools
from typing import Any

from jax.tree_util import keystr, tree_flatten_with_path

from xai_jax.adapters import module_outputs


def scoped_nnx(model: Any) -> Any:
    """An NNX model, whose modules are changed.

    >>> from flax import nnx
    >>> model = scoped_nnx(nnx.Sequential(nnx.Linear(2, 3, rngs=nnx.Rngs(0))))
    >>> eqn = jax.make_jaxpr(model)(jax.numpy.ones((1, 2))).eqns[0]
    >>> [scope.name for scope in module_outputs.scopes(eqn)]
    ['{Sequential}', '{Sequential/layers/0}']
    """
    from flax import nnx

    root = type(model).__name__
    for path, module in list(nnx.iter_modules(model)):
        _open_scope(
            module, "/".join(map(str, (root, *path))), pytree=getattr(type(module), "_pytree__is_pytree", False)
        )
    return model


def scoped_equinox(model: Any) -> Any:
    """An Equinox model, whose modules are changed; give a copy.

    Example: `scoped_equinox(jax.tree.map(lambda leaf: leaf, model))`.
    """
    import equinox

    def visit(module, path):
        children = tree_flatten_with_path(module, lambda m: m is not module and isinstance(m, equinox.Module))[0]
        for keys, child in children:
            if isinstance(child, equinox.Module):
                visit(child, f"{path}/{keystr(keys, simple=True, separator='/')}")
        if isinstance(module, equinox.Module):
            _open_scope(module, path)

    visit(model, type(model).__name__)
    return model


def _open_scope(module, path, **options):
    if callable(module):
        object.__setattr__(module, "__class__", _subclass(type(module), path, tuple(options.items())))


@functools.cache  # JAX keeps the classes of pytrees, too
def _subclass(cls, path, options):
    def call(self, *args, **kwargs):
        with module_outputs.start(path):
            return cls.__call__(self, *args, **kwargs)

    contents = {"__call__": functools.wraps(cls.__call__)(call), "__module__": cls.__module__, "__doc__": cls.__doc__}
    return type(cls)(cls.__name__, (cls,), contents, **dict(options))
