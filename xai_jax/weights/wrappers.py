"""What training wraps around weights: dictionaries around the state dictionary, prefixes around its names.

>>> list(unwrapped({"module.conv1.weight": np.ones(2), "module.fc.weight": np.ones(3)}))
['conv1.weight', 'fc.weight']
"""

import collections
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from absl import logging

from xai_jax.core.messages import listed, quoted

_KNOWN = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
_AVERAGES = {"ema", "swa"}  # parts of the names of moving averages
_PART = re.compile(r"[^./]*[./]|[^./]+")  # "features.", "0.", "weight"
_DEPTH = 3  # dictionaries within dictionaries
OWN = ("params/", "batch_stats/", "preprocess/")  # how the entries of this project's files begin
_COMPONENTS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_COUNTER = "n_averaged"  # beside the entries of PyTorch's averaged models


def state_dict(checkpoint: Any, is_tensor: Callable[[Any], bool]) -> dict[str, Any]:
    """The tensors of one network in a checkpoint, which may hold them in a dictionary, beside anything else.

    Of several dictionaries moving averages come last, then known names count, then the number of tensors; one with less
    than half of the most tensors is no network. The log says which was read where it could have been another. Returns
    {} where there are no tensors. Raises ValueError if two dictionaries of unknown names have equally many.
    """
    found = list(_dictionaries(checkpoint, is_tensor, "", _DEPTH, set()))
    most = max((len(tensors) for _, tensors in found), default=0)
    networks = [(path, each) for path, each in found if 2 * len(each) >= most or path == _KNOWN[0]]
    if not networks:
        return {}
    networks.sort(key=lambda each: (_rank(each[0]), -len(each[1])))
    (path, tensors), *others = networks
    if others:
        several = f"Expected the weights of one network, got those of {listed(repr(path) for path, _ in networks)}"
        unknown = _rank(path) == _rank(others[0][0]) == (False, len(_KNOWN))
        if unknown and len(tensors) == len(others[0][1]):
            raise ValueError(f"{several}. Save the state dictionary of one.")
        logging.warning("%s: %s is read.", several, quoted(path))
    return tensors


def _dictionaries(saved, is_tensor, path, depth, seen) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, tensors) of each dictionary with named tensors. Each is visited once: a hostile file may nest one."""
    if not isinstance(saved, dict) or id(saved) in seen or depth < 0:
        return
    seen.add(id(saved))
    named = {name: value for name, value in saved.items() if isinstance(name, str)}
    if tensors := {name: value for name, value in named.items() if is_tensor(value)}:
        yield path, tensors
    for name, value in named.items():
        yield from _dictionaries(value, is_tensor, f"{path}/{name[:80]}".lstrip("/"), depth - 1, seen)


def _rank(path):
    """Whether a dictionary holds a moving average, and the index of its name among the known ones."""
    parts = path.split("/")
    return any(map(_is_averaged, parts)), min(
        (_KNOWN.index(part) for part in parts if part in _KNOWN), default=len(_KNOWN)
    )


def _is_averaged(name):
    return not _AVERAGES.isdisjoint(name.rstrip(".").lower().split("_"))


def unwrapped(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Entries under their network's own names: without what parallel and compiled models and trainers put before them.

    Components of names that PyTorch's wrappers add are removed anywhere, those that all layers share from the front.
    Raises ValueError if two entries would have one name.
    """
    kept = {name: array for name, array in arrays.items() if name != _COUNTER}
    parts = {name: [part for part in _PART.findall(name) if part not in _COMPONENTS] for name in kept}
    shared = _shared([own[:-1] for own in parts.values()])
    own = {name: "".join(part[shared:]) for name, part in parts.items()}
    if len(set(own.values())) != len(own):
        raise ValueError("Expected every entry once, got some with and without a prefix such as module.")
    return {own[name]: array for name, array in kept.items()}


def parts(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """("", all entries `unwrapped`), then each prefix of at least half of them with its entries, averages last.

    A trainer may have entries of its own beside its model's, or two models of one kind.

    >>> [prefix for prefix, _ in parts({"model.a.b": np.ones(1), "model.c.b": np.ones(1), "loss.b": np.ones(1)})]
    ['', 'model.']
    """
    whole = unwrapped(arrays)
    yield "", whole
    counts = collections.Counter(_PART.match(name)[0] for name in whole if name)
    for prefix in sorted((p for p in counts if 2 * counts[p] >= len(whole) and p != p.rstrip(".")), key=_is_averaged):
        yield prefix, unwrapped({name: array for name, array in whole.items() if name.startswith(prefix)})


def _shared(layers):
    """The number of components with which the names of all layers begin; a single layer keeps its own."""
    prefix = os.path.commonprefix(layers)
    if any(layer == prefix for layer in layers):
        prefix = prefix[:-1]
    return next((index for index, part in enumerate(prefix) if part in OWN), len(prefix))
