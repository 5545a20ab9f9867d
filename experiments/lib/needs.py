"""What the paper tier of every experiment needs: weights, data sets, paths, and experiments that train networks for it.

    python -m experiments.lib.needs

writes scripts/paper_tier.json, all of it derived from the configurations, for scripts/reproduce.py, which runs before
anything is installed and so can import no configuration.
"""

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from xai_jax.models import generators

ROOT = Path(__file__).parents[2]
FILE = ROOT / "scripts/paper_tier.json"

# Fields with files of weights, and those that name what the weights are of.
WEIGHTS = {
    "weights": "network",
    "evaluation_weights": "evaluation_network",
    "explained_weights": "explained",
    "generator_weights": "generator",
    "files": "generators",
}
DATA = ("data", "images", "fine", "scenes")  # fields with names of data sets
PATHS = ("folder", "positions")
# Drawn, or fetched by scripts/data.sh.
PRESENT = (
    *("digits", "fashion_mnist", "photographs", "cutouts", "composites", "composites_64", "portraits_64"),
    *("drawn", "heads", "tiles"),
)


class Need(NamedTuple):
    """A field of a configuration with what it names.

    `keys` are those of the inputs file, such as "weights.caffenet", one for each of `values`, or None for what needs no
    input. `many` says whether the field is a list of values or just the one.
    """

    field: str
    values: tuple[str, ...]
    keys: tuple[str | None, ...]
    many: bool


def needs(config: Any) -> list[Need]:
    """What a configuration names that does not come with this project.

    >>> from configs.zeiler2014 import invariance
    >>> for need in needs(invariance.get_config("paper")):
    ...     print(need.field, need.values, need.keys)
    weights ('results/zeiler2014/imagenet/training/zfnet-0/weights.safetensors',) ('weights.zfnet',)
    images ('imagenet',) ('data.imagenet2012',)
    >>> needs(invariance.get_config("smoke"))
    []
    """
    found = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        values = value if isinstance(value, tuple) else (value,)
        if field.name in (*WEIGHTS, *DATA, *PATHS) and all(isinstance(each, str) for each in values):
            keys = tuple(_key(config, field.name, index, each) for index, each in enumerate(values))
            found += [Need(field.name, values, keys, isinstance(value, tuple))] if any(keys) else []
    return found


def _key(config, field, index, value):
    if field in WEIGHTS:
        return None if value in ("", "pretrained") else f"weights.{_weights_name(config, field, index, value)}"
    if field in PATHS or value.startswith("folder:"):
        return f"paths.{Path(value.removeprefix('folder:')).stem}" if value else None
    name = {"imagenet": "imagenet2012"}.get(value, value.partition("/")[0])
    return None if value in ("", *PRESENT) else f"data.{name}"


def _weights_name(config, field, index, value):
    """The network's name; for a folder with weights after each epoch, with another ending."""
    named = getattr(config, WEIGHTS[field], None) or generators.network_of(config.generator)
    name = named[index] if isinstance(named, tuple) else named
    return name if Path(value).suffix or "/" not in value else f"{name}_epochs"


def table() -> dict[str, list[dict[str, Any]]]:
    """The needs of all experiments at the paper tier, by name."""
    names = sorted(f"{path.parent.name}/{path.stem}" for path in ROOT.glob("configs/[!_]*/[!_]*.py"))
    configs = {n: importlib.import_module(f"configs.{n.replace('/', '.')}").get_config("paper") for n in names}
    return {name: [need._asdict() for need in needs(config)] for name, config in configs.items()}


def text() -> str:
    """The content of scripts/paper_tier.json: a line for each experiment."""
    lines = [f"  {json.dumps(name)}: {json.dumps(found)}" for name, found in table().items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(text())
    print(f"wrote {FILE}")
