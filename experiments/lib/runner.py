"""What all experiments share: flags, the working directory, resuming, outputs, and the dry run.

An experiment is a module with an `Experiment` and `main(EXPERIMENT)` under `if __name__ == "__main__"`. It runs as

    python -m experiments.PAPER.FIGURE --config=configs/PAPER/FIGURE.py:TIER --workdir=results/PAPER/FIGURE

and leaves config.json, arrays.npz, its figures and, last of all, metrics.json in the working directory. Every file is
written under another name first, then renamed. Stages that were finished before a kill are read back, not repeated.
"""

import contextlib
import dataclasses
import fcntl
import io
import json
import math
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags, logging
from matplotlib.figure import Figure
from ml_collections import config_flags
from tqdm import tqdm

from experiments.lib import compilation_cache, dry_run
from experiments.lib.completion import description, is_finished
from xai_jax.io import checksums
from xai_jax.io.files import clear_partial, write_atomically
from xai_jax.training import parallel
from xai_jax.training.parallel import TrainingError

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration, configs/PAPER/FIGURE.py:TIER.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; made if needed.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Forget the results in the working directory and start anew.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only shapes, costs, and lowering for cuda and tpu: nothing is run.")
_DISTRIBUTED = flags.DEFINE_string(
    "distributed", None, "Several processes train together: HOST:PORT,COUNT,INDEX, or auto on a cluster."
)
_DEVICE = flags.DEFINE_enum("device", "A100", sorted(dry_run.DEVICES), "Device that a dry run computes hours for.")


@dataclasses.dataclass(frozen=True)
class Number:
    """A result, beside the paper's with its tag from the fact sheet ("M" is shown as unverified)."""

    name: str
    value: float | int | str | None
    spread: float | None = None
    unit: str = ""
    paper: float | str | None = None
    paper_tag: str | None = None
    note: str = ""

    @classmethod
    def mean(cls, name: str, values: Iterable[float]) -> "Number":
        """Mean and standard deviation of some values; those that are NaN, not defined, do not count."""
        values = np.asarray(values, np.float64)
        values = values[~np.isnan(values)]
        note = f"mean and deviation over {values.size}"
        return cls(name, values.mean() if values.size else None, values.std() if values.size else None, note=note)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of the paper and whether it held here: True, False, or None where this run cannot tell."""

    claim: str
    source: str
    held: bool | None
    measured: str


LEVEL = 0.05  # of all tests


def told(p: float, opposite: float | None = None) -> bool | None:
    """What one-sided tests at `LEVEL` say of a claim: False only where the opposite is as sure, else None.

    `opposite`: p of the opposite, 1 - p by default. None for NaN, too, of which nothing follows.
    """
    opposite = 1 - p if opposite is None else opposite
    return True if p < LEVEL else False if opposite < LEVEL else None


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One figure or table of a paper. `run(config, run)` fills a `Run`; `plan(config)` lists its work for a dry run."""

    name: str
    title: str
    figure: str
    paper: str
    summary: str
    run: Callable[[Any, "Run"], None]
    plan: Callable[[Any], list[dry_run.Step]]


_BAR = {"delay": 2, "file": sys.stderr, "leave": False, "dynamic_ncols": True}


class Run:
    """The working directory of one experiment, while it runs."""

    def __init__(self, workdir: Path, fingerprint: str):
        self.workdir, self.fingerprint = workdir, fingerprint
        self.numbers: list[Number] = []
        self.claims: list[Claim] = []
        self.figures: list[dict[str, str]] = []
        self.files: dict[str, str] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self.seconds = 0.0

    def stage(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, np.ndarray]:
        """Arrays of one stage: computed, or read back if an earlier run got that far with the same configuration."""
        path = self.workdir / "stages" / f"{name}.npz"
        arrays = _read_stage(path, self.fingerprint)
        if arrays is None:
            started = time.monotonic()
            arrays = {key: np.asarray(value) for key, value in compute().items()}
            seconds = np.float64(time.monotonic() - started)
            if parallel.is_first():
                path.parent.mkdir(exist_ok=True)
                _write_stage(path, arrays | {"_fingerprint": np.array(self.fingerprint), "_seconds": seconds})
        else:
            seconds = arrays.pop("_seconds")
        self.seconds += float(seconds)
        self.arrays |= {f"{name}/{key}": value for key, value in arrays.items()}
        return arrays

    def progress(self, items: Iterable, description: str) -> Iterable:
        """The items, behind a progress bar; it stays quiet for the first two seconds."""
        return tqdm(items, description, **_BAR)

    def bar(self, total: int, description: str) -> tqdm:
        """The same for work that reports its own progress by `update()`; a context manager."""
        return tqdm(total=total, desc=description, **_BAR)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file of results; metrics.json will have its checksum, so that no page shows a damaged one."""
        self.files[name] = checksums.sha256(content)
        if parallel.is_first():
            (self.workdir / name).parent.mkdir(exist_ok=True)
            write_atomically(self.workdir / name, content)

    def figure(self, name: str, figure: Figure, caption: str, alt: str) -> None:
        """Saves a matplotlib figure as NAME.png; `alt` says in words what the picture shows."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160, bbox_inches="tight", metadata={"Software": None})
        self.write(f"{name}.png", buffer.getvalue())
        self.figures.append({"file": f"{name}.png", "caption": caption, "alt": alt})


def main(experiment: Experiment) -> None:
    """Runs an experiment from the command line."""
    flags.mark_flag_as_required("config")
    app.run(lambda argv: _main(experiment, argv))


def _main(experiment, argv):
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags only, got {argv[1:]}.")
    logging.set_verbosity(logging.WARNING)  # JAX reports at INFO every accelerator that it does not find
    config = _CONFIG.value
    compilation_cache.keep()
    if _DRY_RUN.value:
        print(dry_run.report(experiment.name, experiment.plan(config), _DEVICE.value))
        return
    if _WORKDIR.value is None:
        raise app.UsageError("Expected --workdir, the directory for results.")
    try:
        if _DISTRIBUTED.value:
            _join(_DISTRIBUTED.value)
        execute(experiment, config, Path(_WORKDIR.value), tier(), _OVERWRITE.value)
    except (UserError, TrainingError, OSError) as error:
        _stop(f"{experiment.name}: {error}")


def _join(where):
    if where == "auto":
        return parallel.join("auto")
    try:
        address, count, index = where.split(",")
        numbers = int(count), int(index)
    except ValueError:
        raise app.UsageError(f"Expected --distributed=HOST:PORT,COUNT,INDEX or auto, got {where!r}.") from None
    return parallel.join(address, *numbers)


def _stop(message):
    if _DISTRIBUTED.value:  # a normal exit would wait for minutes for processes that are gone
        print(message, file=sys.stderr, flush=True)
        os._exit(1)
    sys.exit(message)


class UserError(Exception):
    """Something only the user can put right; shown without a traceback."""


def tier() -> str:
    """The part of --config behind the colon."""
    return config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")[2] or "default"


def execute(experiment: Experiment, config: Any, workdir: Path, tier: str, overwrite: bool = False) -> None:
    """Runs an experiment in `workdir` unless its finished results are there already.

    Raises UserError if the directory holds results of another configuration, or another process works there.
    """
    described = description(experiment.name, tier, config)
    workdir.mkdir(parents=True, exist_ok=True)
    with _locked(workdir):
        if overwrite and parallel.is_first():
            _clear(workdir)
        parallel.meet("cleared")
        if _finished(workdir, described):
            print(f"{experiment.name}: finished before, in {workdir} (--overwrite starts anew)")
            return
        parallel.meet("not finished")
        run = Run(workdir, checksums.sha256(described.encode()))
        run.write("config.json", described.encode())
        started = time.monotonic()
        experiment.run(config, run)
        if parallel.is_first():
            _finish(experiment, config, run, tier, max(run.seconds, time.monotonic() - started))
        parallel.meet("finished")
        print(f"{experiment.name}: done in {run.seconds:.0f} s, see {workdir}")


def _finished(workdir, described):
    """Whether results are complete; a configuration that differs is the user's to resolve."""
    try:
        found = (workdir / "config.json").read_text(errors="replace")
    except FileNotFoundError:
        return False
    if found == described:
        return is_finished(workdir, described)
    try:
        old, new = dict(json.loads(found)), json.loads(described)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{workdir / 'config.json'} is damaged ({error}); --overwrite starts anew.") from None
    differ = [
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} now" for key in {**old, **new} if old.get(key) != new.get(key)
    ]
    what = "; ".join(differ).encode(errors="backslashreplace").decode()  # half characters cannot be printed
    raise UserError(
        f"Expected an empty working directory or one of this configuration, {workdir} has another "
        f"({what}). Choose another --workdir, or --overwrite to start anew."
    )


def _finish(experiment, config, run, tier, seconds):
    run.write("arrays.npz", _packed(run.arrays))
    run.seconds = seconds
    metrics = {key: getattr(experiment, key) for key in ("title", "figure", "paper", "summary")}
    metrics = (
        {"experiment": experiment.name}
        | metrics
        | {
            "tier": tier,
            "command": f"python -m experiments.{experiment.name.replace('/', '.')} {shlex.join(sys.argv[1:])}",
            "seconds": round(seconds, 1),
            "hardware": f"{jax.device_count()} {jax.devices()[0].device_kind}, {os.cpu_count()} cores, "
            f"jax {jax.__version__}",
            "seed": getattr(config, "seed", None),
            "figures": run.figures,
            "numbers": [_plain(dataclasses.asdict(number)) for number in run.numbers],
            "claims": [_plain(dataclasses.asdict(claim)) for claim in run.claims],
            "files": run.files,
        }
    )
    text = json.dumps(checksums.seal(metrics), indent=2, allow_nan=False) + "\n"
    write_atomically(run.workdir / "metrics.json", text.encode())


def _plain(record):
    """NumPy scalars as Python's, and what is not finite as null, which is all that JSON knows."""
    values = {key: value.item() if isinstance(value, np.generic) else value for key, value in record.items()}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _packed(arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _write_stage(path, arrays):
    """With a checksum of all arrays together: a zip archive has one of each, but not of which there are."""
    write_atomically(path, _packed(arrays | {"_checksum": np.array(checksums.checksum(arrays, {}))}))


def _read_stage(path, fingerprint):
    """A finished stage, or None if it has to be computed: not there, damaged, or of another configuration."""
    try:
        with open(path, "rb") as file:
            arrays = dict(np.load(file))
        if str(arrays.pop("_checksum")) != checksums.checksum(arrays, {}):
            raise ValueError("its checksum differs")
        return arrays if str(arrays.pop("_fingerprint")) == fingerprint else None
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile, zlib and numpy each have their own errors for damaged files
        logging.warning("%s is damaged (%s) and will be computed again", path, error)
        return None


def _clear(workdir):
    """Removes what experiments write, the gallery's page of it, and nothing else."""
    for folder in ("stages", "training", "sheets"):
        shutil.rmtree(workdir / folder, ignore_errors=True)
    for path in workdir.iterdir():
        if path.suffix in (".png", ".npz") or path.name in ("config.json", "metrics.json", "units.json", "index.html"):
            path.unlink()


@contextlib.contextmanager
def _locked(workdir) -> Iterator[None]:
    """Holds the directory against a second run; the lock goes with the process, however it ends."""
    if not parallel.is_first():  # process 0 holds it for all
        yield
        return
    with open(workdir / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another run is working in {workdir}; wait for it or choose another --workdir.") from None
        clear_partial(workdir)
        yield
