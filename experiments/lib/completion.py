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


def description(name: str, tier: str, config: Any) -> str:
    """The content of config.json: everything that results depend on besides the code."""
    return json.dumps({"experiment": name, "tier": tier} | dataclasses.asdict(config), indent=2) + "\n"


def is_finished(workdir: Path, described: str) -> bool:
    """Whether `workdir` holds complete results of this configuration; metrics.json is written last."""
    try:
        return (workdir / "config.json").read_text() == described and (workdir / "metrics.json").exists()
    except (OSError, UnicodeDecodeError):
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
    print("\n".join(finished(Path(folder), tier, names)))
