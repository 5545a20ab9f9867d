"""Worker processes that read and transform images for `streaming`: independent of the script, and without JAX.

Each is a new interpreter that imports this module alone, so that scripts need no `if __name__ == "__main__"`. It reads
requests from its standard input, and ends with it: when the parent ends, however that happens.

Requests and replies are pickles; the pixels of a reply follow as bytes, which the parent reads where they are wanted.

>>> len(pool(0, os.getpid())), stack([np.zeros((2, 2, 3))] * 4).shape, check_sizes([(2, 2), (2, 2)])
(0, (4, 2, 2, 3), None)
"""

import contextlib
import fcntl
import functools
import io
import os
import pickle
import signal
import subprocess
import sys
import traceback
import types
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np

COUNT = "XAI_JAX_WORKERS"  # variable of the environment: number of processes
FEW, MOST = 4, 64  # cores that threads of one process keep busy, and processes
PIPE = 1 << 20  # bytes that a pipe takes before its writer waits, where the system grants them
# One thread each; no accelerator, should a transform's module import JAX; memory is kept for the next image.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
ENVIRONMENT |= {"MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 27)}
FOREIGN = {"__main__", "jax", "jaxlib", "flax", "tensorflow"}  # not imported by workers

Allocate = Callable[[int, tuple[int, ...], np.dtype], np.ndarray]


def count() -> int:
    """Number of worker processes: $XAI_JAX_WORKERS; by default one for each core, none where threads suffice.

    Raises ValueError for other values.

    >>> count() in range(65)
    True
    """
    given = os.environ.get(COUNT, "")
    if given and not given.isdecimal():
        raise ValueError(f"Expected a number of worker processes in {COUNT}, 0 for none, got {given[:40]!r}.")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(given) if given else min(cores, MOST) if cores > FEW else 0


def pickled(job: Any) -> bytes | None:
    """What workers are sent of (transform, seeds); None where they cannot have it.

    That is so for lambdas, functions of the script itself, and of modules that import JAX.

    >>> pickled((len, None)) is None, pickled((lambda image: image, None)) is None
    (False, True)
    """
    with contextlib.suppress(pickle.PicklingError, AttributeError, TypeError):
        _Pickler(found := io.BytesIO(), protocol=pickle.HIGHEST_PROTOCOL).dump(job)
        return found.getvalue()
    return None


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        name = getattr(value, "__module__", None) or type(value).__module__
        members = vars(sys.modules[name]).values() if name in sys.modules else ()
        imported = {m.__name__ if isinstance(m, types.ModuleType) else getattr(m, "__module__", "") for m in members}
        if any(str(module).partition(".")[0] in FOREIGN for module in (name, *imported)):
            raise pickle.PicklingError(f"{name} is not for worker processes")
        return NotImplemented


def processed(image: Any, transform: Callable | None, seeds: Sequence[int] | None, index: int) -> np.ndarray:
    """An image after its transform.

    >>> processed(np.ones(2), lambda image, rng: image * rng.integers(9), (0, 1), 5).tolist()
    [7.0, 7.0]

    Args:
      image: an array, or a file with `read(transform, ...)`.
      transform: (image) -> array, or with `seeds` (image, rng) -> array; None for none.
      seeds: that `rng` depends on.
      index: of the image, that `rng` depends on, too.

    Returns:
      The array.

    Raises:
      ValueError: the file is damaged, and what `transform` raises.
    """
    rest = () if seeds is None else (np.random.default_rng([*seeds, index]),)
    if not isinstance(image, np.ndarray):
        return image.read(transform, *rest)
    return image if transform is None else transform(image, *rest)


def stack(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images of one size as an array; raises ValueError for others."""
    check_sizes(image.shape for image in images)
    return np.stack(images)


def check_sizes(shapes: Iterable[tuple[int, ...]]) -> None:
    """Raises ValueError unless all shapes of images are the same."""
    first, *others = sorted(set(shapes))
    if others:
        raise ValueError(
            f"Expected images of one size in a batch, got {first} and {others[-1]}. Crop them with `transform`, "
            "for example xai_jax.data.crops.random_crop."
        )


class Worker:
    """A worker process, and the thread that talks to it: `thread.submit(worker.run, ...)` keeps the order."""

    def __init__(self):
        self.thread = ThreadPoolExecutor(1)

    @functools.cached_property
    def process(self) -> subprocess.Popen:
        """Started by its first images: a batch may have fewer than there are workers."""
        path = [entry for entry in sys.path if isinstance(entry, str)]
        code = f"import sys; sys.path[:] = {path!r}; from {__name__} import serve; serve()"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | ENVIRONMENT, **pipes)
        for pipe in (process.stdin, process.stdout) if hasattr(fcntl, "F_SETPIPE_SZ") else ():
            with contextlib.suppress(OSError):  # a user's pipes may take 64 MB together, those of about 30 workers
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)
        weakref.finalize(self, _end, process)
        return process

    def run(self, job: bytes, images: list[tuple[Any, int]], allocate: Allocate) -> None:
        """Sends files with their indices, and reads the pixels of each into `allocate(number, shape, dtype)`.

        Raises the error that the worker met, and ChildProcessError where it has ended.
        """
        try:
            pickle.dump((job, images), self.process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self.process.stdin.flush()
            for number in range(len(images)):
                error, shape, dtype = pickle.load(self.process.stdout)
                if error is not None:
                    break
                pixels = allocate(number, shape, dtype)
                if pixels.nbytes and self.process.stdout.readinto(pixels) < pixels.nbytes:
                    raise EOFError
        except Exception as lost:
            pool.cache_clear()  # replies may be left in the pipe: the next stream has new workers
            _end(self.process)
            if not isinstance(lost, EOFError | BrokenPipeError | pickle.UnpicklingError):
                raise
            raise ChildProcessError(
                f"Expected images from a worker process, which has ended (exit status {self.process.returncode}). "
                f"Usual cause: too little memory. {COUNT} sets the number of processes, 0 reads in this one."
            ) from lost
        if error is not None:
            raise error


def _end(process):
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            pipe.close()
    process.wait()


@functools.lru_cache(1)
def pool(count: int, process_id: int) -> tuple[Worker, ...]:
    """The workers of this process, which must not share them with one that it forks: `pool(count(), os.getpid())`."""
    return tuple(Worker() for _ in range(count))


def serve() -> None:
    """Runs a worker until its input ends. Signals that a job's processes get at once are for the parent alone.

    Example: `python -c "from xai_jax.core.worker_processes import serve; serve()"`.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # prints of transforms go elsewhere
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            _reply(*pickle.load(sys.stdin.buffer), replies)
    os._exit(0)


def _reply(job: bytes, images: list[tuple[Any, int]], replies: BinaryIO) -> None:
    """Sends (error, shape, dtype) and the pixels of each image, up to the first error."""
    try:
        transform, seeds = _job(job)
        for image, index in images:
            found = np.ascontiguousarray(processed(image, transform, seeds, index))
            pickle.dump((None, found.shape, found.dtype), replies, protocol=pickle.HIGHEST_PROTOCOL)
            replies.write(found)
    except BrokenPipeError:
        raise
    except Exception as error:
        pickle.dump((_sendable(error), None, None), replies)
    replies.flush()


_job = functools.lru_cache(8)(pickle.loads)


def _sendable(error):
    """The error, with its trace as a note; where it cannot be sent, one with its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"In a worker process:\n{traceback.format_exc()}")
    return error
