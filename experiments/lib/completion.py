"""Whether results of experiments are complete, for many at once without starting any.

    python -m experiments.lib.completion results default kim2018/captions zeiler2014/occlusion

prints the names of the finished ones.
"""

import dataclasses
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from xai_jax.gallery import results
from xai_jax.io import checksums
from xai_jax.io.files import user_path
from xai_jax.weights import shards


def description(name: str, tier: str, config: Any) -> str:
    """The content of config.json: everything that results depend on besides the code, with digests of files."""
    fields = dataclasses.asdict(config)
    files = {field: _digests(value, field == "folder") for field, value in fields.items()}
    described = {"experiment": name, "tier": tier} | fields
    if any(files.values()):
        described["files"] = {field: found for field, found in files.items() if found}
    return json.dumps(described, indent=2) + "\n"


def _digests(value, is_path=False):
    """SHA-256 of the file that a value of a configuration names, or of the files in a folder; None for other values."""
    if isinstance(value, list | tuple):
        return [found for found in map(_digests, value) if found]
    if not isinstance(value, str) or not value or not (is_path or "/" in value or "." in value):
        return None
    path = user_path(value.removeprefix("folder:"))
    try:
        if not path.exists():
            return None
        if path.is_file():
            return shards.digest(path)
        listed = sorted((str(p.relative_to(path)), p.stat().st_size, p.stat().st_mtime_ns) for p in path.rglob("*"))
        return checksums.sha256(repr(listed).encode(errors="surrogateescape"))
    except (OSError, ValueError):  # too long for a name, or with a null character
        return None


def is_finished(workdir: Path, described: str) -> bool:
    """Whether `workdir` has complete results of this configuration, with no file missing or damaged."""
    try:
        metrics = json.loads((workdir / "metrics.json").read_bytes())
        finished = (workdir / "config.json").read_text() == described and checksums.CHECKSUM in metrics
        return finished and not any(results.damages(workdir, metrics))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def finished(results: Path, tier: str, names: list[str]) -> list[str]:
    """The names ("paper/figure") of finished experiments; one whose configuration fails to load is not."""
    return [name for name in names if is_finished(results / name, _described(name, tier))]


def _described(name, tier):
    try:
        config = importlib.import_module(f"configs.{name.replace('/', '.')}").get_config(tier)
        return description(name, tier, config)
    except Exception:  # the experiment's own run will report it
        return ""


if __name__ == "__main__":
    folder, tier, *names = sys.argv[1:]
    print("\n".join(finished(user_path(folder), tier, names)))
