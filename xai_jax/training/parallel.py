"""All devices of all processes as one row, over which batches are split; the engine is JAX's own."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from xai_jax.io.errors import TrainingError, first_line


def join(address: str, processes: int | None = None, index: int | None = None) -> None:
    """Makes this process number `index` of several that train together; to be called before anything else of JAX.

    `address`: HOST:PORT of process 0; "auto" where a cluster's own settings tell all three (Slurm, Kubernetes, TPU).
    Raises TrainingError where the others do not come.
    """
    try:
        if address == "auto":
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(address, processes, index, initialization_timeout=120)
    except (RuntimeError, ValueError, TypeError) as error:
        raise TrainingError(
            f"Could not join the other processes at {address} as number {index} of {processes}: {first_line(error)}. "
            "Every process needs the same address and count, and its own number from 0."
        ) from error


def is_first() -> bool:
    """Whether this is process 0, the one that writes files and shows progress."""
    return jax.process_index() == 0


def part() -> tuple[int, int]:
    """(this process, number of processes)."""
    return jax.process_index(), jax.process_count()


def meet(place: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def everywhere() -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(_mesh(jax.devices()), PartitionSpec())


def split(array: np.ndarray) -> Array:
    """One array (N, ...) over all devices by its first axis, each process giving its part."""
    return jax.make_array_from_process_local_data(NamedSharding(_mesh(jax.devices()), PartitionSpec("batch")), array)


def split_here(tree: Any) -> Any:
    """Arrays over this process's devices by their first axes, whose lengths the number of devices divides."""
    return jax.device_put(tree, NamedSharding(_mesh(jax.local_devices()), PartitionSpec("batch")))


def everywhere_here(tree: Any) -> Any:
    """The same arrays on each of this process's devices."""
    return jax.device_put(tree, NamedSharding(_mesh(jax.local_devices()), PartitionSpec()))


def sum_over_processes(values: np.ndarray) -> np.ndarray:
    """The sum of every process's float32 values, of their shape."""
    return np.asarray(multihost_utils.process_allgather(values)).reshape(-1, *values.shape).sum(0)


def _mesh(devices):
    return Mesh(np.array(devices), ("batch",))


@contextlib.contextmanager
def losses_explained() -> Iterator[None]:
    """Says of an error in the communication between processes what it means."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        raise TrainingError(
            f"Process {jax.process_index()} of {jax.process_count()} lost another one ({first_line(error)}). Usual "
            "causes: it was killed, or ran out of memory; its own output tells. Start all processes again: training "
            "goes on from the newest checkpoint."
        ) from error
