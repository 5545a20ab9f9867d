"""What all experiments share: flags, the working directory, resuming, outputs, and the dry run.

An experiment is a module with an `Experiment` and `main(EXPERIMENT)` under `if __name__ == "__main__"`. It runs as

    python -m experiments.PAPER.FIGURE --config=configs/PAPER/FIGURE.py:TIER --workdir=results/PAPER/FIGURE

and leaves config.json, arrays.npz, its figures and, last of all, metrics.json in the working directory. Every file is
written under another name first, then renamed. Stages that were finished before a kill are read back, not repeated.
"""

import contextlib
import dataclasses
import io
import json
import math
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from experiments.lib import compilation_cache, configuration, dry_run, manifest, numerics, papers
from experiments.lib.completion import description, is_finished
from experiments.lib.report import Report
from experiments.lib.workspace import Workspace, packed
from xai_jax.core.allocation import keep_freed_memory
from xai_jax.core.messages import quoted
from xai_jax.io import checksums, locks
from xai_jax.io.errors import TrainingError, UserError, differences
from xai_jax.io.files import clear_partial, user_path, write_atomically
from xai_jax.training import parallel

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration, configs/PAPER/FIGURE.py:TIER.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory for results; created if needed.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Discard the results in the working directory and recompute.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only shapes, costs, and lowering for cuda and tpu: nothing is run.")
_DISTRIBUTED = flags.DEFINE_string(
    "distributed", None, "Several processes train together: HOST:PORT,COUNT,INDEX, or auto on a cluster."
)
_DEVICE = flags.DEFINE_enum("device", "A100", sorted(dry_run.DEVICES), "Device that a dry run computes hours for.")


Config = TypeVar("Config")
TEMPORARY = ".temporary"


@dataclasses.dataclass(frozen=True)
class Experiment(Generic[Config]):
    """One figure or table of a paper.

    Attributes:
      name: "paper/figure", as the module and its configuration are called.
      title: of its page in the gallery.
      figure: the paper's figure or table.
      paper: the reference, a constant of `experiments.lib.papers`.
      summary: question, set-up and result in at most 60 words.
      run: computes the report of a configuration, its stages in the workspace.
      plan: lists the work for a dry run.
      minutes: of the default tier on 2 cores shared with another experiment; None if not measured.
      look: what to look at in the figure, of the experiments of the tour (`scripts/reproduce.sh`).
    """

    name: str
    title: str
    figure: str
    paper: str
    summary: str
    run: Callable[[Config, Workspace], Report]
    plan: Callable[[Config], list[dry_run.Step]]
    minutes: float | None = None
    look: str = ""

    @property
    def order(self) -> int:
        """Position of the paper's folder in the gallery, where experiments of one paper are sorted by name."""
        folder = self.name.partition("/")[0]
        return papers.FOLDERS.index(folder) + 1 if folder in papers.FOLDERS else 1000


def main(experiment: Experiment) -> None:
    """Runs an experiment from the command line."""
    keep_freed_memory()
    flags.mark_flag_as_required("config")
    app.run(lambda argv: _main(experiment, argv), flags_parser=lambda argv: configuration.parse(argv, experiment.name))


def _main(experiment, argv):
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags only, got {argv[1:]}.")
    logging.set_verbosity(logging.WARNING)  # JAX reports at INFO every accelerator that it does not find
    config = _CONFIG.value
    try:
        configuration.check_figure(config, experiment.name)
        configuration.check(config)
    except UserError as error:
        sys.exit(f"{experiment.name}: {error}")
    compilation_cache.keep()
    if _DRY_RUN.value:
        print(dry_run.report(experiment.name, experiment.plan(config), _DEVICE.value))
        return
    if not _WORKDIR.value:  # an empty one would be the current directory
        raise app.UsageError("Expected --workdir, the directory for results.")
    try:
        with numerics.chosen():
            if _DISTRIBUTED.value:
                _join(_DISTRIBUTED.value)
            execute(experiment, config, user_path(_WORKDIR.value), tier(), _OVERWRITE.value)
    except (UserError, TrainingError, OSError) as error:
        _stop(f"{experiment.name}: {error}")
    except ValueError as error:
        if not str(error).startswith("Expected"):  # not one of our own, about a configuration
            raise
        _stop(f"{experiment.name}: {error}")


def _join(where):
    if where == "auto":
        return parallel.join("auto")
    try:
        address, count, index = where.split(",")
        numbers = int(count), int(index)
    except ValueError:
        raise app.UsageError(f"Expected --distributed=HOST:PORT,COUNT,INDEX or auto, got {quoted(where)}.") from None
    return parallel.join(address, *numbers)


def _stop(message):
    if _DISTRIBUTED.value:  # a normal exit would wait for minutes for processes that are gone
        print(message, file=sys.stderr, flush=True)
        os._exit(1)
    sys.exit(message)


def tier() -> str:
    """The part of --config behind the colon."""
    return config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")[2] or "default"


def execute(experiment: Experiment, config: Any, workdir: Path, tier: str, overwrite: bool = False) -> None:
    """Runs an experiment in `workdir` unless its finished results are there already.

    Raises UserError if the directory holds results of another configuration, or another process works there.
    """
    configuration.check(config)
    described = description(experiment.name, tier, config)
    manifest.claim(workdir)
    with _locked(workdir):
        if overwrite and parallel.is_first():
            manifest.clear(workdir)
        parallel.meet("cleared")
        if _finished(workdir, described):
            print(f"{experiment.name}: finished before, in {workdir} (--overwrite recomputes)")
            return
        parallel.meet("not finished")
        # Stages of another version of JAX are computed again: no results are of two versions, or of two precisions.
        work = Workspace(workdir, checksums.sha256(f"{described}{numerics.settings()}".encode()))
        results = _Files(workdir)
        if parallel.is_first() and "metrics.json" in manifest.read(workdir):
            (workdir / "metrics.json").unlink(missing_ok=True)  # of damaged results
        results.write({"config.json": described.encode()})
        started = time.monotonic()
        with _temporary_files(workdir):
            report = experiment.run(config, work)
        work.seconds = max(work.seconds, time.monotonic() - started)
        if parallel.is_first():
            _finish(experiment, config, report, work, results, tier)
        parallel.meet("finished")
        print(f"{experiment.name}: done in {work.seconds:.0f} s, see {workdir}")


class _Files:
    """Files of results and their checksums, which metrics.json lists, so that no page shows a damaged one."""

    def __init__(self, workdir: Path):
        self.workdir = workdir
        self.checksums: dict[str, str] = {}

    def write(self, contents: dict[str, bytes]) -> None:
        manifest.add(self.workdir, *contents)
        for name, content in contents.items():
            self.checksums[name] = checksums.sha256(content)
            if parallel.is_first():
                (self.workdir / name).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self.workdir / name, content)


def _finished(workdir, described):
    """Whether results are complete; a configuration that differs is the user's to resolve."""
    try:
        found = (workdir / "config.json").read_text(errors="replace")
    except FileNotFoundError:
        return False
    if found == described:
        return is_finished(workdir, described)
    if not manifest.has_work(workdir):
        return False
    try:
        old, new = dict(json.loads(found)), json.loads(described)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{workdir / 'config.json'} is damaged ({error}); --overwrite recomputes.") from None
    raise UserError(
        f"Expected an empty working directory or one of this configuration, {workdir} has another "
        f"({differences(old, new)}). Choose another --workdir, or --overwrite to recompute."
    )


def _finish(experiment, config, report, work, results, tier):
    manifest.add(results.workdir, "metrics.json")
    figures = {f"{panel.name}.png": _png(panel.figure) for panel in report.panels}
    results.write(figures | report.files | {"arrays.npz": packed(work.arrays)})
    command = f"python -m experiments.{experiment.name.replace('/', '.')} {shlex.join(sys.argv[1:])}"
    metrics = {
        "experiment": experiment.name,
        **{key: getattr(experiment, key) for key in ("title", "figure", "paper", "summary", "order")},
        "tier": tier,
        "command": command,
        "seconds": round(work.seconds, 1),
        **numerics.record(),
        "seed": getattr(config, "seed", None),
        "figures": [{"file": f"{p.name}.png", "caption": p.caption, "alt": p.alt} for p in report.panels],
        "numbers": [_plain(dataclasses.asdict(number)) for number in report.numbers],
        "claims": [_plain(claim.record()) for claim in report.claims],
        "files": results.checksums,
    }
    text = json.dumps(checksums.with_checksum(metrics), indent=2, allow_nan=False) + "\n"
    write_atomically(results.workdir / "metrics.json", text.encode())


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def _plain(record):
    """NumPy scalars as Python's, and what is not finite as null, which is all that JSON knows."""
    values = {key: value.item() if isinstance(value, np.generic) else value for key, value in record.items()}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


@contextlib.contextmanager
def _locked(workdir) -> Iterator[None]:
    """Holds the directory against a second run; the lock goes with the process, however it ends."""
    if not parallel.is_first():  # process 0 holds it for all
        yield
        return
    with open(workdir / ".lock", "w") as file:
        if not locks.acquire(file):
            raise UserError(f"Another run is working in {workdir}; wait for it or choose another --workdir.")
        if TEMPORARY in manifest.read(workdir):
            shutil.rmtree(workdir / TEMPORARY, ignore_errors=True)  # of a killed run
        clear_partial(workdir, *{str(Path(name).parent) for name in manifest.read(workdir)})
        yield


@contextlib.contextmanager
def _temporary_files(workdir) -> Iterator[None]:
    """Keeps them, which may be gigabytes of activations, in the directory, where the next run finds a killed one's."""
    if not parallel.is_first():
        yield
        return
    manifest.add(workdir, TEMPORARY)
    (workdir / TEMPORARY).mkdir()
    usual, tempfile.tempdir = tempfile.tempdir, str(workdir.absolute() / TEMPORARY)
    try:
        yield
    finally:
        tempfile.tempdir = usual
        shutil.rmtree(workdir / TEMPORARY, ignore_errors=True)
