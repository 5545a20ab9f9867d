"""Data parallelism over all devices of all processes, by JAX's own sharding.

>>> part(), is_first(), split(np.zeros((8, 2))).sharding == everywhere()
((0, 1), True, False)
"""

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

    `address`: HOST:PORT of process 0; "auto" where the cluster provides all three (Slurm, Kubernetes, TPU).
    Raises TrainingError where the others do not join.
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


def meet(name: str) -> None:
    """Waits until every process has reached this point."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def everywhere() -> NamedSharding:
    """The sharding of arrays that are replicated on every device."""
    return NamedSharding(_mesh(jax.devices()), PartitionSpec())


def split(array: np.ndarray) -> Array:
    """Shards an array (N, ...) over all devices along its first axis; each process passes its part."""
    return jax.make_array_from_process_local_data(NamedSharding(_mesh(jax.devices()), PartitionSpec("batch")), array)


def split_here(tree: Any) -> Any:
    """Shards arrays over this process's devices along their first axes, which the number of devices divides."""
    return jax.device_put(tree, NamedSharding(_mesh(jax.local_devices()), PartitionSpec("batch")))


def everywhere_here(tree: Any) -> Any:
    """Replicates arrays on each of this process's devices."""
    return jax.device_put(tree, NamedSharding(_mesh(jax.local_devices()), PartitionSpec()))


def sum_over_processes(values: np.ndarray) -> np.ndarray:
    """The sum of float32 values over processes, of the same shape."""
    return np.asarray(multihost_utils.process_allgather(values)).reshape(-1, *values.shape).sum(0)


def _mesh(devices):
    return Mesh(np.array(devices), ("batch",))


@contextlib.contextmanager
def losses_explained() -> Iterator[None]:
    """Turns errors in the communication between processes into a TrainingError with the usual causes."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        raise TrainingError(
            f"Process {jax.process_index()} of {jax.process_count()} lost another one ({first_line(error)}). Usual "
            "causes: it was killed, or ran out of memory; see its own output. Start all processes again: training "
            "resumes from the newest checkpoint."
        ) from error
