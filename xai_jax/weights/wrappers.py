"""What training wraps around weights: dictionaries around the state dictionary, prefixes around its names.

>>> list(unwrapped({"module.conv1.weight": np.ones(2), "module.fc.weight": np.ones(3)}))
['conv1.weight', 'fc.weight']
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from absl import logging

# Where checkpoints keep a network: its own weights first, then their moving average.
_KNOWN = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
_KNOWN += ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
_PART = re.compile(r"[^./]*[./]|[^./]+")  # "features.", "0.", "weight"
_DEPTH = 3  # dictionaries within dictionaries
OWN = ("params/", "batch_stats/", "preprocess/")  # how the entries of this project's files begin
_COMPONENTS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_COUNTER = "n_averaged"  # beside the entries of PyTorch's averaged models


def state_dict(checkpoint: Any, is_tensor: Callable[[Any], bool]) -> dict[str, Any]:
    """The tensors of one network in a checkpoint, which may hold them in a dictionary, beside anything else.

    Of several dictionaries the first known name counts, then the number of tensors; a network's own weights come before
    their moving average, and the log says which were read. Returns {} where there are no tensors. Raises ValueError if
    two dictionaries with other names have equally many.
    """
    found = sorted(
        _dictionaries(checkpoint, is_tensor, "", _DEPTH, set()), key=lambda each: (_rank(each[0]), -len(each[1]))
    )
    if not found:
        return {}
    path, tensors = found[0]
    similar = [repr(each)[:80] for each, others in found if len(others) == len(tensors)][:4]
    if len(similar) > 1 and _rank(path) == len(_KNOWN):
        raise ValueError(
            f"Expected the weights of one network, got those of {', '.join(similar)}. Save the state dictionary of one."
        )
    if len(similar) > 1:
        logging.warning("Expected the weights of one network, got those of %s: %r is read.", ", ".join(similar), path)
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
    return min((_KNOWN.index(part) for part in path.split("/") if part in _KNOWN), default=len(_KNOWN))


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


def _shared(layers):
    """The number of components with which the names of all layers begin; a single layer keeps its own."""
    prefix = os.path.commonprefix(layers)
    if any(layer == prefix for layer in layers):
        prefix = prefix[:-1]
    return next((index for index, part in enumerate(prefix) if part in OWN), len(prefix))
