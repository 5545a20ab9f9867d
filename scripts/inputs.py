"""Inputs of the paper tier: what each experiment needs, where inputs.toml says it is, and how to get what is missing.

Uses the standard library only. scripts/paper_tier.json has the needs; `python -m experiments.lib.needs` derives it from
the configurations.
"""

import difflib
import json
import os
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import sources
from sources import AS_FOLDERS, SOURCES

TABLES = ("data", "weights", "paths", "overrides")
DIRECTORY = "data.tfds"  # where TFDS has its data sets
MADE = "results"  # where configurations expect what other experiments make


class Inputs(NamedTuple):
    """The content of an inputs file: values by key, such as "weights.caffenet", and other fields of experiments."""

    given: Mapping[str, str] = {}
    overrides: Mapping[str, Mapping[str, Any]] = {}

    @property
    def tfds(self) -> Path:
        """The directory of TFDS's data sets."""
        usual = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
        return Path(self.given.get(DIRECTORY, usual)).expanduser()


class Item(NamedTuple):
    """Something that an experiment needs.

    Its key, the value of the field that names it, whether it is there or fetched on first use, the experiment, if any,
    that makes it, and how to get it: a command or an address; none for what is on this machine.
    """

    key: str
    value: str
    present: bool
    maker: str
    remedy: str


class Needed(NamedTuple):
    """What an experiment needs, and the flags of its command."""

    items: tuple[Item, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def makers(self) -> tuple[str, ...]:
        """The experiments that make some of the items."""
        return tuple(sorted({item.maker for item in self.items if item.maker}))

    def missing(self, planned: set[str]) -> list[Item]:
        """The items that are not there, and that none of the experiments `planned` makes."""
        return [item for item in self.items if not item.present and item.maker not in planned]

    def state(self, planned: set[str]) -> str:
        """Whether the experiment can run, in words."""
        lacking, makers = self.missing(planned), sorted(planned.intersection(self.makers))
        states = [f"missing {', '.join(item.key for item in lacking)}"] if lacking else []
        states += [f"after {', '.join(makers)}"] if makers else []
        return "; ".join(states) or "ready"


def depth(name: str, needs: Mapping[str, Needed]) -> int:
    """Number of experiments in the longest chain that ends with `name`, each of which makes something for the next."""
    return 1 + max((depth(maker, needs) for maker in needs[name].makers if maker in needs), default=0)


def remedies(needs: list[Needed], planned: set[str]) -> list[str]:
    """Lines that say how to get what is not here, each once, with the number of experiments that need it."""
    lacking = [item for need in needs for item in need.missing(planned)]
    fetched = [item for need in needs for item in need.items if item.present and item.remedy]
    heads = {
        "missing, by the keys of the inputs file (docs/paper_tier.md has an example, and the checksums):": lacking,
        "downloaded on first use, unless the inputs file has the path of a file:": fetched,
    }
    return [line for head, items in heads.items() if items for line in (head, *_lines(items))]


def _lines(items):
    counts, texts = Counter(item.key for item in items), {item.key: item.remedy for item in items}
    return [f"  {key}, for {count}: {texts[key]}" for key, count in sorted(counts.items())]


def load(root: Path) -> dict[str, list[dict[str, Any]]]:
    """The needs of all experiments, as `experiments.lib.needs` writes them."""
    return json.loads((root / "scripts/paper_tier.json").read_text())


def read(path: str | None, known: Mapping[str, Any]) -> Inputs:
    """An inputs file, for the experiments `known`; paths in it start from its folder.

    Raises ValueError for a wrong one.
    """
    if path is None:
        return Inputs()
    file = Path(path).expanduser()
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"--inputs: expected a TOML file, got {path[:200]}: {error}") from None
    _refuse_unknown(found, TABLES, "tables", path)
    if wrong := [name for name, table in found.items() if not isinstance(table, dict)]:
        raise ValueError(f"--inputs: expected [{wrong[0]}] in {path[:200]} to be a table, got a value")
    overrides = found.pop("overrides", {})
    _refuse_unknown(overrides, known, "experiments in [overrides]", path)
    keys = {key for needs in known.values() for need in needs for key in need["keys"] if key} | {DIRECTORY}
    given = {f"{table}.{name}": value for table, values in found.items() for name, value in values.items()}
    _refuse_unknown(given, keys, "keys", path)
    if wrong := [key for key, value in given.items() if not isinstance(value, str) or not value]:
        raise ValueError(f"--inputs: expected {wrong[0]} in {path[:200]} to be a path, got {given[wrong[0]]!r:.80}")
    return Inputs({key: _absolute(key, value, file) for key, value in given.items()}, overrides)


def _refuse_unknown(found, known, what, path):
    if unknown := [name for name in found if name not in known]:
        near = difflib.get_close_matches(unknown[0][:80], known, n=1, cutoff=0)[0]
        raise ValueError(f"--inputs: expected known {what} in {path[:200]}, got {unknown[0][:80]!r}; is it {near}?")


def _absolute(key, value, file):
    """Data sets other than TFDS's are folders, weights without a slash or a dot a name of a source."""
    if key.startswith("weights.") and not set("/.") & set(value):
        return value
    path = (file.parent / Path(value.removeprefix("folder:")).expanduser()).resolve()
    return f"folder:{path}" if key.startswith("data.") and key != DIRECTORY else str(path)


def needed(name: str, known: Mapping[str, Any], inputs: Inputs, results: str, root: Path) -> Needed:
    """What the experiment `name` needs for results in `results`, with the flags that say where things are."""
    items, flags = [], []
    for need in known.get(name, ()):
        pairs = zip(need["keys"], need["values"], strict=True)
        found = [(key, usual, _located(key, usual, inputs, results)) for key, usual in pairs]
        items += [_item(key, usual, value, inputs, root) for key, usual, value in found if key]
        if (values := [value for *_, value in found]) != need["values"]:
            flags.append(f"--config.{need['field']}={_text(values if need['many'] else values[0])}")
    return Needed(tuple(items), (*flags, *_overrides(inputs.overrides.get(name, {}))))


def _located(key, usual, inputs, results):
    """The value of a field: as the inputs file says, or the usual one, if it is of results in their directory."""
    given = inputs.given.get(key or "")
    if given is None:
        return results + usual.removeprefix(MADE) if _maker(usual) else usual
    return f"folder:{given}" if usual.startswith("folder:") and not given.startswith("folder:") else given


def _maker(usual):
    """The experiment in whose results something is."""
    return "/".join(usual.split("/")[1:3]) if usual.startswith(f"{MADE}/") else ""


def _overrides(fields, prefix="--config."):
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _overrides(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={_text(value)}"


def _text(value):
    return repr(_tuple(value)) if isinstance(value, list) else str(value)


def _tuple(value):
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def _item(key, usual, value, inputs, root):
    path = root / Path(value.removeprefix("folder:")).expanduser()
    maker = "" if key in inputs.given else _maker(usual)
    if key in inputs.given and not _is_source(key, value):
        remedy = "" if path.exists() else f"expected at {path}, as the inputs file says; found nothing"
        return Item(key, value, path.exists(), "", remedy)
    if maker:
        return Item(key, value, path.exists(), maker, "" if path.exists() else f"made by {maker}")
    if key.startswith("data.") and not value.startswith("folder:"):
        return _data_set(key, value, inputs)
    table, _, name = key.partition(".")
    if _is_source(key, value):
        return _published(key, value, root)
    remedy = "" if path.exists() else f"{SOURCES.get(key, 'unknown')}; then {name} = PATH in [{table}]"
    return Item(key, value, path.exists(), "", remedy)


def _published(key, source, root):
    """Weights that a source publishes, which are fetched into the cache on first use."""
    file = sources.published(root, key.removeprefix("weights."), source)
    if file is None:
        return Item(key, source, False, "", f"{source} publishes none; see xai_jax/models/published.tsv")
    here = sources.downloaded(file["address"])
    return Item(key, source, True, "", "" if here else f"{file['address']} ({file['megabytes']} MB)")


def _is_source(key, value):
    """Whether weights are named by a source that has them, such as "torchvision"."""
    return key.startswith("weights.") and not set("/.") & set(value)


def _data_set(key, value, inputs):
    """A data set of TFDS, which must be there as array_record files."""
    key_name = key.removeprefix("data.")
    name = value if value.startswith(key_name) else key_name  # examples call ImageNet "imagenet"
    folder = inputs.tfds / name
    if any(folder.glob("*/*.array_record*")):
        return Item(key, value, True, "", "")
    if copies := sorted({path.parent for path in folder.glob("*/*.tfrecord*")}):
        convert = f".venv/bin/tfds convert_format --dataset_version_dir={copies[-1]} --out_file_format=array_record"
        return Item(key, value, False, "", f"found TFRecord files, which have no random access; convert: {convert}")
    build = f".venv/bin/tfds build {name} --file_format=array_record --data_dir={inputs.tfds}"
    folders = f"; or {key_name} = FOLDER in [data]" if key in AS_FOLDERS else ""
    return Item(key, value, False, "", f"{SOURCES.get(key, '')}{build}{folders}")
