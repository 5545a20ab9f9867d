"""On-disk cache of layer activations and of the gradients of targets with respect to them.

A file is named after a hash of everything that its content depends on: the network's program as JAX lowers it, its
weights, the images, the layer and the target. A change of any of them changes the name, so no file is ever stale.
"""

import contextlib
import functools
import hashlib
import io
import itertools
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from tqdm import tqdm

from xai_jax.core import devices, memory, network, per_image, targets
from xai_jax.core.arguments import as_names, check_count, check_image_shapes
from xai_jax.core.batching import check_counts, division
from xai_jax.core.messages import quoted
from xai_jax.core.network import Network
from xai_jax.core.precision import highest, wide, wide_dtype
from xai_jax.core.pytrees import shape_and_dtype, to_numpy
from xai_jax.core.targets import Target
from xai_jax.io.files import partial_path, user_path

BATCH_SIZE = memory.ON_CPU  # of dry runs
_CHECKSUM_BYTES = 32


class ActivationCache:
    """Activations and gradients of some layers of a network, computed once per set of images.

    Args:
      net: the network.
      layers: names of one or more layers.
      cache_dir: directory of the files, which later processes can reuse; None: a temporary one, deleted with the
        object.
      batch_size: number of images per forward or backward pass; None: by the device's memory.

    The arrays returned are read-only, memory-mapped and float32 or wider.

    >>> def net(x, relu=jax.nn.relu, tap=network.keep):
    ...     return 3 * tap("pooled", x.mean((1, 2)))
    >>> cache, x = ActivationCache(net, "pooled"), np.ones((2, 8, 8, 3), np.float32)
    >>> cache.activations(x)["pooled"].shape, cache.gradients(x, targets.logit(2))["pooled"][0].tolist()
    ((2, 3), [0.0, 0.0, 3.0])
    """

    def __init__(
        self,
        net: Network,
        layers: str | Iterable[str],
        cache_dir: str | os.PathLike | None = None,
        batch_size: int | None = None,
    ):
        self.net, self.batch_size = network.as_network(net), batch_size
        check_count(1 if batch_size is None else batch_size, "images in a batch")
        self.layers = as_names(layers)
        if cache_dir is None:
            cache_dir = tempfile.mkdtemp()
            weakref.finalize(self, shutil.rmtree, cache_dir, ignore_errors=True)
        self.cache_dir = user_path(cache_dir)

    def activations(self, x: Array) -> dict[str, np.ndarray]:
        """f_l of Kim et al. 2018 for each layer: flattened activations (N, d) of images (N, H, W, C).

        One forward pass serves all layers that are not cached. Raises ValueError for images that the network does not
        take, unknown layers, and activations that are not finite.
        """
        return self._read_or_compute(_activations, x, None)

    def gradients(self, x: Array, target: Target) -> dict[str, np.ndarray]:
        """Gradient of h_l of Kim et al. 2018 for each layer: of the target with respect to the activation, (N, d).

        One backward pass serves all layers that are not cached. Raises ValueError as `activations`, and for targets
        that do not fit the network or are computed without one of the layers, and networks that end in a softmax.
        """
        return self._read_or_compute(_gradients, x, target)

    def _read_or_compute(self, function, x, target):
        """Reads the arrays of all layers; what is missing or damaged is computed first."""
        _check(self.net, self.layers, x, target)
        shapes = network.layer_names(self.net, _abstract_image(x))
        sizes = {layer: (len(x), int(np.prod(shapes[layer].shape[1:]))) for layer in self.layers}
        program = _hash_program(function, self.net, _abstract_image(x), target)
        rows = [digest for array in per_image.arrays(self.net) for digest in digests(array)]
        key = [program.encode(), *digests(x), *rows, str(x.dtype).encode()]
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        paths = {layer: self.cache_dir / f"{_hash([layer.encode(), *key])}.npy" for layer in self.layers}
        found = {layer: _read(paths[layer], sizes[layer]) for layer in self.layers}
        if missing := tuple(layer for layer in self.layers if found[layer] is None):
            files = {layer: (paths[layer], sizes[layer], wide_dtype(shapes[layer].dtype)) for layer in missing}
            _compute(function, self.net, x, target, files, self.batch_size)
            found |= {layer: np.load(paths[layer], mmap_mode="r") for layer in missing}
        return found


def fingerprint(net: Network, x: Array) -> str:
    """Hash of a network's program and weights, for images of the size of `x` (N, H, W, C).

    >>> x = np.ones((2, 8, 8, 3), np.float32)
    >>> fingerprint(lambda x, relu, tap: x.sum((1, 2)), x) == fingerprint(lambda x, relu, tap: x.mean((1, 2)), x)
    False
    """
    return _hash_program(_activations, network.as_network(net), _abstract_image(x), None)


def digests(x: Array) -> list[bytes]:
    """Hash of each image (N, ...); equal images have equal hashes.

    >>> first, second, third = digests(np.array([[0.0], [1.0], [0.0]]))
    >>> first == third, first == second
    (True, False)
    """
    return [hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest() for image in np.asarray(x)]


def refuse_shared(name: str, own: Iterable[bytes], other: str, theirs: Iterable[bytes]) -> None:
    """Raises ValueError where an image belongs to both sets of a classification.

    Args:
      name: what the first set is called in the message.
      own: its `digests`.
      other: what the second set is called.
      theirs: its `digests`.

    Raises:
      ValueError: if the sets share an image.

    >>> own, others = digests(np.zeros((2, 3))), digests(np.ones((2, 3)))
    >>> refuse_shared("stripes", own, "random images", others)
    """
    theirs = set(theirs)
    shared = [index for index, digest in enumerate(own) if digest in theirs]
    if shared:
        raise ValueError(
            f"Expected no image of {quoted(name)} among the {quoted(other)} that it is classified against, got "
            f"{len(shared)}, the first at index {shared[0]}. Usual cause: random images from a directory that also has "
            "the concept's."
        )


def _check(net, layers, x, target):
    """Everything that shapes show; values are checked batch by batch."""
    check_image_shapes(x)
    shape = jax.ShapeDtypeStruct(x.shape, jnp.result_type(x))
    targets.check(net, shape, targets.logit(0) if target is None else target)
    for layer in layers:
        network.require(layer, network.layer_names(net, shape))
        if target is not None:
            targets.check_dependence(net, shape, target, layer)


@highest()
def _compute(function, net, x, target, files, batch_size):
    """Fills one file per layer; the last batch is padded with the last image, so that one shape compiles."""
    n = len(x)
    size, number = division(net, x, n, batch_size, (x, target))
    if size != n:
        check_counts(net, x, size)
    net = devices.copy(net, number)
    with contextlib.ExitStack() as stack:
        append = {layer: stack.enter_context(_new(*each)) for layer, each in files.items()}
        for start in tqdm(range(0, n, size), "activations", delay=2, leave=False):
            rows = np.minimum(np.arange(start, start + size), n - 1)
            images = x[rows]
            network.check_images(images, first=start)
            images, own = devices.share(images, number), devices.share_rows(per_image.rows(net, rows), number)
            computed, logits = function(own, images, target and target.rows(rows), tuple(files))
            targets.check_logits(logits[: n - start], first=start)
            for layer, write in append.items():
                values = np.asarray(computed[layer])[: n - start]
                _refuse_not_finite(values, layer, start)
                write(values)


def _refuse_not_finite(values, layer, start):
    wrong = np.flatnonzero(~np.isfinite(values).all(1))
    if wrong.size:
        raise ValueError(
            f"Expected finite numbers in layer {quoted(layer)}, got NaN or infinity for image {start + wrong[0]}. "
            "Usual causes: wrong weights, or a wrong input range."
        )


@functools.partial(jax.jit, static_argnums=3)
def _activations(net, x, target, layers):
    logits, kept = network.capture(net, x, layers)
    return {name: _flat(value) for name, value in kept.items()}, logits


@functools.partial(jax.jit, static_argnums=3)
def _gradients(net, x, target, layers):
    """With respect to a zero added to each layer, which leaves the forward pass as it is."""
    shapes = network.layer_names(net, x)

    def summed(added):
        def perturbed(x, relu=jax.nn.relu, tap=network.keep):
            return net(x, relu=relu, tap=lambda name, value: tap(name, value + added[name] if name in added else value))

        values, logits = targets.evaluate(perturbed, x, target)
        return values.sum(), logits

    zeros = {layer: jnp.zeros(shapes[layer].shape, shapes[layer].dtype) for layer in layers}
    gradients, logits = jax.grad(summed, has_aux=True)(zeros)
    return {name: _flat(value) for name, value in gradients.items()}, logits


def _flat(value):
    return wide(value.reshape(len(value), -1))


def _abstract_image(x):
    return jax.ShapeDtypeStruct((1, *np.shape(x)[1:]), x.dtype)


@highest()
def _hash_program(function, net, x, target):
    """Hash of program, weights and target. The program includes the layers' names and closed-over arrays."""
    single = target and target.rows(slice(0, 1))
    leaves, tree = jax.tree.flatten((per_image.rows(net, slice(0, 1)), x, single))
    precision = jax.config.jax_default_matmul_precision
    program = _lowered(function, tree, tuple(map(shape_and_dtype, leaves)), precision)
    arrays = (to_numpy(leaf) for leaf in jax.tree.leaves((per_image.rows(net, slice(0, 0)), target)))
    parts = (part for array in arrays for part in (f"{array.shape}{array.dtype}".encode(), array.tobytes()))
    return _hash(itertools.chain([program.encode(), jax.default_backend().encode()], parts))


@functools.lru_cache(maxsize=256)
def _lowered(function, tree, shapes, precision):
    del precision  # part of the program, so of the key of this cache
    net, x, target = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*shape) for shape in shapes])
    layers = tuple(network.layer_names(net, x))
    return _hash([function.lower(net, x, target, layers).as_text().encode(), str(sorted(layers)).encode()])


def _hash(parts):
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        digest.update(f"{len(part)}:".encode())
        digest.update(part)
    return digest.hexdigest()


@contextlib.contextmanager
def _new(path: Path, shape: tuple[int, int], dtype: Any) -> Iterator[Callable[[np.ndarray], None]]:
    """Function that appends rows to an array on disk, renamed to `path` only when complete; it ends with a checksum.

    Its space is reserved first, so that a full disk is noticed before hours of work.
    """
    partial, checksum, start = partial_path(path), hashlib.blake2b(digest_size=_CHECKSUM_BYTES), io.BytesIO()
    np.lib.format.write_array_header_1_0(start, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    try:
        with open(partial, "wb") as file:

            def append(part):
                checksum.update(part)
                file.write(part)

            size = len(start.getvalue()) + dtype.itemsize * int(np.prod(shape, dtype=np.int64)) + _CHECKSUM_BYTES
            getattr(os, "posix_fallocate", lambda *_: None)(file.fileno(), 0, size)  # macOS has none
            append(start.getvalue())
            yield lambda rows: append(np.ascontiguousarray(rows, dtype).data)
            append(checksum.digest())
        os.replace(partial, path)
    except OSError as error:
        if error.filename or error.errno is None:
            raise
        raise OSError(error.errno, f"{error.strerror}, for activations", str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def _read(path, shape):
    """The array of a file, or None for a missing or damaged file."""
    if not path.exists():
        return None
    try:
        content = np.memmap(path, np.uint8, "r")
        checksum = hashlib.blake2b(content[:-_CHECKSUM_BYTES], digest_size=_CHECKSUM_BYTES)
        if checksum.digest() != content[-_CHECKSUM_BYTES:].tobytes():
            raise ValueError("its checksum differs")
        array = np.load(path, mmap_mode="r")
        if array.shape != shape:
            raise ValueError(f"its shape is {array.shape}, not {shape}")
    except (ValueError, EOFError, OSError) as error:
        logging.getLogger(__name__).warning("%s is damaged (%s), recomputing", path, error)
        return None
    return array
