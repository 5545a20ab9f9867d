"""Training over all devices of all processes, by JAX's own sharding, or many trainings at once, one on each device.

>>> part(), is_first(), split(np.zeros((8, 2))).sharding == everywhere()
((0, 1), True, False)
"""

import concurrent.futures
import contextlib
import functools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from xai_jax.io.errors import TrainingError, first_line
from xai_jax.training import preemption

MEMORY = 4 << 30  # bytes, of devices that do not say how many they have

Result = TypeVar("Result")
_thread = threading.local()


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


def agreed(value: bool) -> bool:
    """What process 0 says, in every process."""
    if jax.process_count() == 1:
        return value
    try:
        return bool(multihost_utils.broadcast_one_to_all(np.asarray(value)))
    except ValueError as error:  # of a process that was lost, where a program fails while it is dispatched
        raise jax.errors.JaxRuntimeError(str(error)) from error


def devices() -> list[jax.Device]:
    """The devices that train together: those of all processes, or inside of `independent` a single one."""
    return getattr(_thread, "devices", None) or jax.devices()


def local_devices() -> list[jax.Device]:
    """Those of them that are this process's."""
    return getattr(_thread, "devices", None) or jax.local_devices()


def memory() -> int:
    """Bytes of memory of a device."""
    return (local_devices()[0].memory_stats() or {}).get("bytes_limit", MEMORY)


def everywhere() -> NamedSharding:
    """The sharding of arrays that are replicated on every device."""
    return _sharding(devices())


def replicated(tree: Any) -> Any:
    """Arrays on every device; other leaves, such as numbers that a function has bound, stay as they are."""
    return jax.tree.map(lambda leaf: jax.device_put(leaf, everywhere()) if hasattr(leaf, "dtype") else leaf, tree)


def split(array: np.ndarray) -> Array:
    """Shards an array (N, ...) over all devices along its first axis; each process passes its part."""
    return jax.make_array_from_process_local_data(_sharding(devices(), "batch"), array)


def split_last(array: np.ndarray) -> Array:
    """Shards an array (..., N) over all devices along its last axis; each process passes all of it."""
    axes = (*(None,) * (array.ndim - 1), "batch")
    return jax.make_array_from_callback(array.shape, _sharding(devices(), *axes), array.__getitem__)


def split_here(tree: Any) -> Any:
    """Shards arrays over this process's devices along their first axes, which the number of devices divides."""
    return jax.device_put(tree, _sharding(local_devices(), "batch"))


def everywhere_here(tree: Any) -> Any:
    """Replicates arrays on each of this process's devices."""
    return jax.device_put(tree, _sharding(local_devices()))


def sum_over_processes(values: np.ndarray) -> np.ndarray:
    """The sum of float32 values over processes, of the same shape."""
    return np.asarray(multihost_utils.process_allgather(values)).reshape(-1, *values.shape).sum(0)


def _sharding(devices, *axes):
    return _built(tuple(devices), axes)


@functools.cache
def _built(devices, axes):
    return NamedSharding(Mesh(np.array(devices), ("batch",)), PartitionSpec(*axes))


def independent(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Results of calls that train different networks: each on a device of its own, as many at once as there are.

    Where there is one device, and of several processes, they run one after another. A call that fails, or SIGTERM, ends
    the others, whose training saves first.

    >>> independent([lambda: 1, lambda: 2])
    [1, 2]
    """
    if min(len(jax.devices()), len(calls)) < 2 or jax.process_count() > 1:
        return [call() for call in calls]
    free, precision = queue.SimpleQueue(), jax.config.jax_default_matmul_precision
    for device in jax.devices():
        free.put(device)

    def run(call):
        device = free.get()
        _thread.devices = [device]
        try:
            with jax.default_device(device), jax.default_matmul_precision(precision):
                return call()
        finally:
            free.put(device)

    with preemption.announced(), concurrent.futures.ThreadPoolExecutor(len(jax.devices())) as pool:
        waiting = [pool.submit(run, call) for call in calls]
        try:
            concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_EXCEPTION)
            return [each.result() for each in waiting if each.done()]
        except BaseException:
            preemption.end()
            pool.shutdown(cancel_futures=True)
            raise


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
