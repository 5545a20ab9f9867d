"""Whether results of experiments are complete, for many at once without starting any.

    python -m experiments.lib.completion results default kim2018/captions zeiler2014/occlusion --config.count=9

prints the names of the finished ones. Flags behind a name are those that the experiment runs with.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from xai_jax.gallery import results
from xai_jax.io import checksums
from xai_jax.io.files import user_path
from xai_jax.weights import shards


def description(name: str, tier: str, config: Any, known: dict[str, str | None] | None = None) -> str:
    """The content of config.json: everything that results depend on besides the code, with digests of files.

    `known` keeps digests for other experiments with the same files.
    """
    fields, known = dataclasses.asdict(config), {} if known is None else known
    files = {field: _digests(value, field == "folder", known) for field, value in fields.items()}
    described = {"experiment": name, "tier": tier} | fields
    if any(files.values()):
        described["files"] = {field: found for field, found in files.items() if found}
    return json.dumps(described, indent=2) + "\n"


def _digests(value, is_path=False, known=None):
    """SHA-256 of the file that a value of a configuration names, or of the files in a folder; None for other values."""
    known = {} if known is None else known
    if isinstance(value, list | tuple):
        return [found for each in value if (found := _digests(each, known=known))]
    if not isinstance(value, str) or not value or not (is_path or "/" in value or "." in value):
        return None
    if value not in known:
        known[value] = _digest(user_path(value.removeprefix("folder:")))
    return known[value]


def _digest(path):
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


def finished(results: Path, tier: str, words: list[str]) -> list[str]:
    """The finished ones out of experiments ("paper/figure"), each with its flags behind it.

    One whose configuration fails to load is not finished.
    """
    starts = [index for index, word in enumerate(words) if not word.startswith("--")]
    groups = [words[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]
    known = {}
    return [name for name, *given in groups if is_finished(results / name, _described(name, tier, given, known))]


def _described(name, tier, given, known):
    try:
        values, line = flags.FlagValues(), ["completion", f"--config=configs/{name}.py:{tier}", *given]
        config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=line)
        values(line)
        return description(name, tier, values.config, known)
    except Exception:  # the experiment's own run will report it
        return ""


if __name__ == "__main__":
    folder, tier, *words = sys.argv[1:]
    print("\n".join(finished(user_path(folder), tier, words)))
