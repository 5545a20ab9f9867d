"""Which files in a working directory are the experiment's own: they alone are ever replaced or removed.

`.manifest` lists paths below the directory, one in a line, before they are written. A line that ends with "/" is a
directory of `xai_jax.training`, whose files have names of their own.
"""

import contextlib
import shutil
from pathlib import Path

from xai_jax.gallery.page import remove_generated
from xai_jax.gallery.results import is_inside
from xai_jax.io.errors import UserError, excerpt
from xai_jax.io.files import write_atomically
from xai_jax.training import parallel

NAME = ".manifest"
TRAINED = ("*.json", "*.jsonl", "*.safetensors", "*.npz", ".*.lock", ".*.part", "*/*.safetensors")


def claim(workdir: Path) -> None:
    """Makes a working directory; raises UserError where one holds files of others, and touches none of them."""
    if (workdir / NAME).exists() or not parallel.is_first():
        return
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"Expected a directory for results, --workdir={workdir} is a file.")
    workdir.mkdir(parents=True, exist_ok=True)
    if found := sorted(path.name for path in workdir.iterdir() if not path.name.startswith(".")):
        raise UserError(
            f"Expected a new or empty directory, or one of earlier results, {workdir} has "
            f"{excerpt(', '.join(found), 80)}. Choose another --workdir; remove results of version 0.1."
        )
    write_atomically(workdir / NAME, b"")


def add(workdir: Path, *names: str) -> None:
    """Lists files that will be written; raises UserError where one exists that is not the experiment's."""
    known = read(workdir)
    if not parallel.is_first() or not (new := dict.fromkeys(name for name in names if name not in known)):
        return
    for name in new:
        if (path := workdir / name).exists() or path.is_symlink():
            raise UserError(f"Expected no {path}, which the experiment writes, got a file of somebody else. Move it.")
    write_atomically(workdir / NAME, "".join(f"{name}\n" for name in [*known, *new]).encode())


def has_work(workdir: Path) -> bool:
    """Whether there are results, finished stages or trained networks."""
    from xai_jax.training import checkpoints  # which takes seconds to import

    names = [name for name in read(workdir) if name.startswith(("metrics.json", "stages/", "training/"))]
    return any(
        checkpoints.has_work(workdir / name) if name.endswith("/") else (workdir / name).exists() for name in names
    )


def read(workdir: Path) -> list[str]:
    """The listed names; those that lead out of the directory do not count."""
    try:
        lines = (workdir / NAME).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    root = workdir.resolve()
    return [name for name in lines if is_inside(name) and (root / name).parent.resolve().is_relative_to(root)]


def clear(workdir: Path) -> None:
    """Removes the listed files, first metrics.json, without which results are not finished; then empty directories."""
    names = read(workdir)
    for name in sorted(names, key=lambda name: name != "metrics.json"):
        if name.endswith("/"):
            _clear_training(workdir / name)
        else:
            (workdir / name).unlink(missing_ok=True)
    remove_generated(workdir / "index.html")
    for folder in sorted({parent for name in names for parent in Path(name, "x").parents} - {Path()}, reverse=True):
        with contextlib.suppress(OSError):  # it has files of others, or was a file
            (workdir / folder).rmdir()
    write_atomically(workdir / NAME, b"")


def _clear_training(folder):
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    for pattern in TRAINED:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    for inner in ("epochs", "samples"):
        with contextlib.suppress(OSError):
            (folder / inner).rmdir()
