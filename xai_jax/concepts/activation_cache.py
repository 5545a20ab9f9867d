"""What layers answer to images: activations, and gradients of targets, computed once and kept on disk.

A file is named after a hash of all that its content depends on: the network's program as JAX compiles it, its weights,
the images, the layer, the target. Whatever changes, the name does, too, so no file is ever out of date.
"""

import contextlib
import functools
import hashlib
import itertools
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from tqdm import tqdm

from xai_jax.core import network, targets
from xai_jax.core.network import Network
from xai_jax.core.targets import Target

BATCH = 32
_SEAL = 32  # bytes of the checksum


def activations(
    net: Network, layers: str | Iterable[str], x: Array, folder: str | os.PathLike, batch_size: int = BATCH
) -> dict[str, np.ndarray]:
    """f_l of Kim et al. 2018 for each layer: activations (N, d) of images (N, H, W, C), flattened, on disk.

    Computed for all layers at once, `batch_size` images at a time, and only where `folder` has no answers yet. Arrays
    are read-only files mapped to memory, float32 or wider. Raises ValueError for images that the network does not take,
    unknown layers, and activations that are not finite.
    """
    return _kept(_activations, net, layers, x, None, folder, batch_size)


def gradients(
    net: Network,
    layers: str | Iterable[str],
    x: Array,
    target: Target,
    folder: str | os.PathLike,
    batch_size: int = BATCH,
) -> dict[str, np.ndarray]:
    """Gradient of h_l of Kim et al. 2018 for each layer: of the target by the activation, (N, d), as `activations`.

    One pass gives those of all layers. Raises ValueError also for targets that do not fit the network, and for networks
    that end in a softmax.
    """
    return _kept(_gradients, net, layers, x, target, folder, batch_size)


def fingerprint(net: Network, x: Array) -> str:
    """Tells networks apart: a hash of the program and the weights, for images of the size of `x` (N, H, W, C)."""
    return _mark(_activations, network.as_network(net), _one(x), None)


def digests(x: Array) -> list[bytes]:
    """A hash of each image (N, ...): equal images have equal ones."""
    return [hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest() for image in np.asarray(x)]


def refuse_shared(name: str, own: Iterable[bytes], other: str, theirs: Iterable[bytes]) -> None:
    """Raises ValueError where an image of one set is in the other, too, by their `digests`."""
    theirs = set(theirs)
    shared = [place for place, mark in enumerate(own) if mark in theirs]
    if shared:
        raise ValueError(
            f"Expected no image of {name!r} among the {other!r} that it is told from, got {len(shared)}, the first of "
            f"them its number {shared[0]}. Usual cause: random images out of a folder that holds the concept's, too."
        )


@contextlib.contextmanager
def kept_in(folder: str | os.PathLike | None) -> Iterator[Path]:
    """The folder, or one that is gone afterwards."""
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


def _kept(function, net, layers, x, target, folder, batch_size):
    """Reads the answers for the layers from the folder; what is not there, or not whole, is computed first."""
    net, layers = network.as_network(net), (layers,) if isinstance(layers, str) else tuple(dict.fromkeys(layers))
    _check(net, layers, x, target, batch_size)
    shapes = network.layer_names(net, _one(x))
    sizes = {layer: (len(x), int(np.prod(shapes[layer].shape[1:]))) for layer in layers}
    everything = [_mark(function, net, _one(x), target).encode(), *digests(x), str(x.dtype).encode()]
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = {layer: Path(folder, f"{_hash([layer.encode(), *everything])}.npy") for layer in layers}
    found = {layer: _read(paths[layer], sizes[layer]) for layer in layers}
    if missing := tuple(layer for layer in layers if found[layer] is None):
        made = {layer: (paths[layer], sizes[layer], _wide(shapes[layer].dtype)) for layer in missing}
        _compute(function, net, x, target, made, batch_size)
        found |= {layer: _read(paths[layer], sizes[layer]) for layer in missing}
    return found


def _check(net, layers, x, target, batch_size):
    """Everything that can be told from shapes; values are looked at batch by batch."""
    network.check_images(shape := jax.ShapeDtypeStruct(np.shape(x), x.dtype) if hasattr(x, "dtype") else x)
    targets.check(net, shape, targets.logit(0) if target is None else target)
    for layer in layers:
        network.require(layer, network.layer_names(net, shape))
    if not layers or batch_size < 1:
        raise ValueError(f"Expected a layer or more and a batch size of at least 1, got {layers} and {batch_size}.")


def _compute(function, net, x, target, made, batch_size):
    """Fills one file for each layer; the last batch is filled up with its last image, so that one shape compiles."""
    n, size = len(x), min(batch_size, len(x))
    with contextlib.ExitStack() as stack:
        arrays = {layer: stack.enter_context(_new(*each)) for layer, each in made.items()}
        for start in tqdm(range(0, n, size), "responses", delay=2, leave=False):
            rows = np.minimum(np.arange(start, start + size), n - 1)
            images = jnp.asarray(x[rows])
            network.check_images(images)
            answers, logits = function(net, images, target and target.rows(rows), tuple(made))
            targets.check_logits(logits[: n - start])
            for layer, array in arrays.items():
                values = np.asarray(answers[layer])[: n - start]
                _refuse_not_finite(values, layer, start)
                array[start : start + size] = values


def _refuse_not_finite(values, layer, start):
    wrong = np.flatnonzero(~np.isfinite(values).all(1))
    if wrong.size:
        raise ValueError(
            f"Expected finite numbers in layer {layer!r}, got NaN or infinity for image {start + wrong[0]}. Usual "
            "causes: wrong weights, or an input range."
        )


@functools.partial(jax.jit, static_argnums=3)
def _activations(net, x, target, layers):
    logits, kept = network.capture(net, x, layers)
    return {name: _flat(value) for name, value in kept.items()}, logits


@functools.partial(jax.jit, static_argnums=3)
def _gradients(net, x, target, layers):
    """By something added to each layer: its gradient at zero is that of the layer, whatever else is added elsewhere."""
    shapes = network.layer_names(net, x)

    def total(added):
        def moved(x, relu=jax.nn.relu, tap=network.keep):
            return net(x, relu=relu, tap=lambda name, value: tap(name, value + added[name] if name in added else value))

        values, logits = targets.evaluate(moved, x, target)
        return values.sum(), logits

    zeros = {layer: jnp.zeros(shapes[layer].shape, shapes[layer].dtype) for layer in layers}
    slopes, logits = jax.grad(total, has_aux=True)(zeros)
    return {name: _flat(value) for name, value in slopes.items()}, logits


def _flat(value):
    return value.reshape(len(value), -1).astype(_wide(value.dtype))


def _wide(dtype):
    return dtype if dtype == jnp.float64 else np.dtype(np.float32)


def _one(x):
    return jax.ShapeDtypeStruct((1, *np.shape(x)[1:]), x.dtype)


def _mark(function, net, x, target):
    """A hash of program, weights and target. The program has all layers' names, and arrays that are closed over."""
    one = target and target.rows(slice(0, 1))
    leaves, tree = jax.tree.flatten((net, x, one))
    program = _program(function, tree, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves))
    arrays = (_plain(leaf) for leaf in jax.tree.leaves((net, target)))
    described = (part for array in arrays for part in (f"{array.shape}{array.dtype}".encode(), array.tobytes()))
    return _hash(itertools.chain([program.encode(), jax.default_backend().encode()], described))


def _plain(leaf):
    is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


@functools.lru_cache(maxsize=256)
def _program(function, tree, shapes):
    net, x, target = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*shape) for shape in shapes])
    layers = tuple(network.layer_names(net, x))
    return _hash([function.lower(net, x, target, layers).as_text().encode(), str(sorted(layers)).encode()])


def _hash(parts):
    found = hashlib.blake2b(digest_size=20)
    for part in parts:
        found.update(f"{len(part)}:".encode())
        found.update(part)
    return found.hexdigest()


@contextlib.contextmanager
def _new(path: Path, shape: tuple[int, int], dtype: Any) -> Iterator[np.ndarray]:
    """An array on disk that gets its name only when it is full; a checksum of the file is its end."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        array = np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape)
        yield array
        array.flush()
        with open(partial, "ab") as file:
            file.write(_checksum(np.memmap(partial, np.uint8, "r")))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path, shape):
    """The array of a file, or None where there is no file or a damaged one."""
    if not path.exists():
        return None
    try:
        content = np.memmap(path, np.uint8, "r")
        if _checksum(content[:-_SEAL]) != content[-_SEAL:].tobytes():
            raise ValueError("its checksum differs")
        array = np.load(path, mmap_mode="r")
        if array.shape != shape:
            raise ValueError(f"its shape is {array.shape}, not {shape}")
    except (ValueError, EOFError, OSError) as error:
        logging.getLogger(__name__).warning("%s is damaged (%s): computing it again", path, error)
        return None
    return array


def _checksum(content):
    return hashlib.blake2b(content, digest_size=_SEAL).digest()
