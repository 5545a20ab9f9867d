"""Digests of what a result depends on: data, settings and functions, equal in every process and after every restart.

Two values of equal digests give equal results. Functions are distinguished by their code, the values that they close
over and the functions of their own package that they call; those of libraries by name.
"""

import ast
import dataclasses
import enum
import functools
import hashlib
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

DATA = np.ndarray | jax.Array | Mapping | list | tuple | set | frozenset
SHOWN = bool | int | float | str
PLAIN = (type(None), bool, int, float, complex, str, bytes, np.dtype)


def fingerprint(value: Any) -> str:
    """Digest (64 hexadecimal digits) of arrays, settings, containers, files and functions, with all that they contain.

    A file is identified by its name, size and time of change; fields of dataclasses that are not compared do not count.
    Raises ValueError for objects whose content cannot be seen.

    >>> short, long = (functools.partial(max, size) for size in (8, 12))
    >>> fingerprint(short) == fingerprint(functools.partial(max, 8)), fingerprint(short) == fingerprint(long)
    (True, False)
    """
    return _Hash().feed(value).digest.hexdigest()


def labelled(value: Any) -> Any:
    """A setting as JSON has it, or a name and the beginning of a digest, for descriptions that people compare.

    >>> labelled(0.5), labelled(functools.partial(max, 3))[:4]
    (0.5, 'max ')
    """
    if value is None or isinstance(value, SHOWN):
        return value
    inner = value
    while wrapped := getattr(inner, "func", None) or getattr(inner, "fun", None):
        inner = wrapped
    name, fields = getattr(inner, "__qualname__", type(value).__qualname__), ""
    if dataclasses.is_dataclass(value):
        values = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.compare}
        plain = {name: inner for name, inner in values.items() if isinstance(inner, SHOWN)}
        fields = f"({', '.join(f'{name}={inner!r}' for name, inner in plain.items())})" if plain else ""
    return f"{name}{fields} {fingerprint(value)[:16]}"


class _Hash:
    """A digest under construction. Parts have digests of their own: values may be shared, or contain each other."""

    def __init__(self, known: dict[int, tuple[bytes, Any]] | None = None, outer: tuple[int, ...] = ()):
        self.digest = hashlib.sha256()
        # Digests by address, with the values: an address is not used again while its value exists.
        self.known = {} if known is None else known
        self.outer = outer  # addresses of the values that are being described

    def add(self, *texts: object) -> "_Hash":
        for text in texts:
            content = text if isinstance(text, bytes) else str(text).encode(errors="surrogatepass")
            self.digest.update(b"%d:" % len(content) + content)
        return self

    def feed(self, value: Any) -> "_Hash":
        if isinstance(value, PLAIN):
            return self.add(type(value).__name__, value if isinstance(value, bytes) else repr(value))
        if id(value) in self.outer:
            return self.add("outer", self.outer[::-1].index(id(value)))
        if id(value) not in self.known:
            inner = _Hash(self.known, (*self.outer, id(value)))
            describe = next((describe for kinds, describe in _DESCRIBED if isinstance(value, kinds)), _object)
            describe(inner, value)
            self.known[id(value)] = inner.digest.digest(), value
        return self.add(self.known[id(value)][0])

    def all(self, kind: str, values: Any) -> "_Hash":
        values = list(values)
        self.add(kind, len(values))
        for value in values:
            self.feed(value)
        return self


def _array(found, value):
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    value = np.asarray(value)
    found.add("array", value.dtype.str, value.shape)
    if value.dtype.hasobject:
        found.all("objects", value.ravel())
    else:
        found.add(np.ascontiguousarray(value).tobytes())


def _mapping(found, value):
    items = sorted(value.items(), key=lambda item: fingerprint(item[0]))
    found.all("mapping", (part for item in items for part in item))


def _path(found, path):
    """Without its folder: data may move. Reading all content would take hours for ImageNet."""
    found.add("path", path.name)
    if path.is_file():
        status = path.stat()
        found.add(status.st_size, status.st_mtime_ns)


def _partial(found, value):
    found.add("partial").feed(value.func).feed(value.args).feed(value.keywords)


def _method(found, value):
    found.add("method").feed(value.__func__).feed(value.__self__)


def _function(found, value):
    found.add("function", value.__module__, value.__qualname__)
    if not _is_library(value):
        found.add(_code(value))
        _globals(found, value)
    found.all("defaults", (value.__defaults__, value.__kwdefaults__))
    found.all("closure", map(_content, value.__closure__ or ()))


def _globals(found, value):
    """What a function reads of its module: functions and classes of the same package, and data."""
    for name in sorted(_names(value.__code__) & value.__globals__.keys()):
        read = value.__globals__[name]
        inner = inspect.unwrap(read) if callable(read) else read
        if isinstance(inner, types.FunctionType | type):
            if _package(inner) == _package(value):
                found.add(name).feed(inner)
        elif isinstance(inner, (*PLAIN, DATA, functools.partial)) or not _is_library(type(inner)):
            found.add(name).feed(inner)


def _content(cell):
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return None


def _package(value):
    return str(value.__module__).partition(".")[0]


@functools.cache
def _is_installed(package):
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return package in sys.stdlib_module_names or "site-packages" in file or "dist-packages" in file


def _is_library(value):
    """Whether a function or class is identified by its name: libraries change with their versions only."""
    package = _package(value)
    return package not in ("__main__", "xai_jax") and _is_installed(package)


def _code(function):
    """The source without comments and layout; of a lambda or without source, what the interpreter made of it."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        if isinstance(tree.body[0], ast.FunctionDef) and tree.body[0].name == function.__name__:
            return ast.unparse(tree)
    except (OSError, TypeError, SyntaxError, IndexError):
        pass
    return _compiled(function.__code__)


def _compiled(code):
    constants = [_compiled(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, constants))


def _names(code):
    """Names of globals, and of attributes, that a function and those inside of it use."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _class(found, cls):
    """Methods and settings of a class and of its bases in the same package."""
    found.add("class", cls.__module__, cls.__qualname__)
    for base in cls.__mro__:
        if not _is_library(base):
            for name, member in sorted(vars(base).items()):
                member = inspect.unwrap(getattr(member, "__func__", getattr(member, "fget", member)) or member)
                if isinstance(member, types.FunctionType) and not hasattr(dataclasses, name):
                    found.add(name).feed(member)


def _object(found, value):
    """An instance of any other class: that class, and its fields or what pickle would keep of it."""
    wrapped = inspect.unwrap(value) if callable(value) else value
    if wrapped is not value:  # by jax.jit, for one
        found.feed(wrapped)
    elif hasattr(value, "__fingerprint__"):
        found.feed(value.__fingerprint__())
    elif dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.compare and field.name != "parent"]
        found.feed(type(value)).feed({name: getattr(value, name) for name in names})
    else:
        try:
            parts = value.__reduce_ex__(4)
        except Exception as error:  # each class has its own
            raise ValueError(
                f"Expected data, settings and functions that can be distinguished after a restart, got {type(value)}. "
                "Usual cause: an open file, a connection or a compiled object, bound to a function or a data set."
            ) from error
        found.feed(parts if isinstance(parts, str) else [*parts[:3], *map(list, filter(None, parts[3:5]))])


def _named(found, value):
    found.add("named", getattr(value, "__module__", None), value.__qualname__)
    if not isinstance(owner := getattr(value, "__self__", None), types.ModuleType | None):
        found.feed(owner)


_DESCRIBED: list[tuple[Any, Callable[[_Hash, Any], Any]]] = [
    (np.ndarray | np.generic | jax.Array, _array),
    (enum.Enum, lambda found, value: found.add("enum", type(value).__qualname__, value.name)),
    (list | tuple, lambda found, value: found.all("sequence", value)),
    (set | frozenset, lambda found, value: found.all("set", sorted(map(fingerprint, value)))),
    (range, lambda found, value: found.add("range", value)),
    (Mapping, _mapping),
    (Path, _path),
    (functools.partial, _partial),
    (types.MethodType, _method),
    (types.FunctionType, _function),
    (types.BuiltinFunctionType | types.MethodWrapperType | np.ufunc, _named),
    (type, _class),
    (types.ModuleType, lambda found, value: found.add("module", value.__name__)),
]
