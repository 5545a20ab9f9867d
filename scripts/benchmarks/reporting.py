"""What benchmark.py prints and writes: lines, JSON, and docs/benchmarks.md, whose figures the lines repeat."""

import datetime
import json
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax
import jax
import jaxlib
import numpy as np
from benchmarks.timing import BUSY, ROOT, Result, cores

import xai_jax

DOCS = ROOT / "docs" / "benchmarks.md"
ABOUT = """# Benchmarks

Speed of the methods as ratios to alternatives, which took turns with ours in one run. Median over pairs of timings,
with the range. A goal with `>=` concerns throughput, as a multiple of the alternative's, one with `<=` time. There is
no verdict where other processes took more than a twentieth of the cores.

`.venv/bin/python scripts/benchmark.py --docs` measures and writes this page; without `--docs`, each printed line ends
with the figure given here.
"""
REASONS = {
    "captum": "captum is what users of PyTorch have. In its default layout we want to be faster, in channels\n"
    "last, which few choose, no slower.",
    "lite0": "The network of many figures. PyTorch's eager passes, in the better layout, are the least to expect.",
    "vjp": "A map is one forward and one backward pass; whatever else it takes is overhead.",
    "photo": "A person who waits for the map of one photograph should hardly notice.",
    "training": "The networks are small, and PyTorch's filter gradients faster: a tenth may be lost, no more.",
    "occlusion": "As many forward passes as patches; cutting and pasting should not show.",
    "deconvnet": "A search is a forward pass with a running maximum; a projection is a guided map with other rules.",
    "inversion": "A step is one forward and one backward pass with a small prior; many images share one program;\n"
    "PyTorch's eager loop does the same work.",
    "dgn": "As for inversion, through generator and network.",
    "tcav": "CAVs lie in the span of the examples, which takes a fraction of scikit-learn's time in all dimensions.",
    "cavs": "The papers' tier fits hundreds of thousands of CAVs: that should take minutes, not an hour.",
    "bare": "Each method takes a known number of passes; a tenth is left for everything else.",
    "loader": "What it saves to decode and resize the crop alone, and to choose one of ten crops before cutting.",
    "growth": "Time and memory should grow no faster than the work: an exponent of 1.",
    "compile": "What the compilation cache saves a second process.",
}


def line(result: Result, docs: Mapping[str, str]) -> str:
    """One line of the printed table: the value with its range, the goal, and times in milliseconds."""
    median = statistics.median(result.values)
    value = f"{median:.2f}{result.goal.unit} ({min(result.values):.2f} .. {max(result.values):.2f})"
    sides = [("ours", result.ours), (result.other_name, result.other)] if result.goal.unit in ("x", " s") else []
    times = [f"{name} {_milliseconds(seconds)}" for name, seconds in sides if seconds]
    notes = [f"at best {result.at_best:.2f}{result.goal.unit}"]
    notes += [f"{key} {note:.1f}" for key, note in result.notes.items() if key.startswith("seconds of")]
    notes += [result.notes["growth"]] if "growth" in result.notes else []
    notes += [f"OTHERS TOOK {result.busy:.0%} OF THE CORES"] if result.busy > BUSY else []
    notes += [f"docs {docs[result.name]}"] if result.name in docs else []
    return f"{result.name:48} {value:24} goal {str(result.goal):8} {_verdict(result):12} {'; '.join(times + notes)}"


def _milliseconds(seconds):
    middle, least, most = (1e3 * s for s in (statistics.median(seconds), min(seconds), max(seconds)))
    return f"{middle:.1f} ms ({least:.1f} .. {most:.1f})"


def table(results: Mapping[str, Sequence[Result]]) -> str:
    """docs/benchmarks.md: the results of each measurement with the reason for its goals."""
    machine = f"{cores()} cores ({_processor()}), JAX {jax.__version__}, {datetime.date.today()}"
    parts = [f"{ABOUT}\nMeasured on {machine}.\n"]
    for name, rows in results.items():
        lines = [f"| {row.name} | {row.goal} | {_value(row)} | {_verdict(row)} | {row.other_name} |" for row in rows]
        head = "| | goal | measured | | beside |\n|---|---|---|---|---|"
        parts.append("\n".join([f"## {name}\n\n{REASONS[name]}\n", head, *lines]) + "\n")
    return "\n".join(parts)


def documented(page: Path = DOCS) -> dict[str, str]:
    """The measured value of each line of docs/benchmarks.md."""
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| (\S+) [^|]*\|", page.read_text(), re.M) if page.exists() else []
    return dict(rows)


def _processor() -> str:
    found = re.search(r"model name\s*: (.*)", text) if (text := _cpuinfo()) else None
    return found[1] if found else platform.processor() or platform.machine()


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _value(result: Result) -> str:
    low, high = min(result.values), max(result.values)
    return f"{statistics.median(result.values):.2f}{result.goal.unit.strip()} ({low:.2f} to {high:.2f})"


def _verdict(result: Result) -> str:
    return {True: "reached", False: "NOT reached", None: "no verdict"}[result.reached]


def summary(values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    return {"min": min(values), "median": statistics.median(values), "max": max(values), "all": list(values)}


def report(results: Sequence[Result], left_out: dict, torch_versions: dict, load: float, seconds: float) -> str:
    versions = {"xai_jax": xai_jax.__version__, "python": platform.python_version(), "numpy": np.__version__}
    versions |= {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "flax": flax.__version__}
    facts = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {"cores": cores(), "processor": platform.processor() or platform.machine(), "load_before": load},
        "versions": versions,
        "torch_side": torch_versions,
        "seconds": seconds,
        "results": [_record(result) for result in results],
        "left_out": left_out,
    }
    return json.dumps(facts, indent=2, allow_nan=False) + "\n"


def _record(result):
    return {
        "name": result.name,
        "goal": str(result.goal),
        "reached": result.reached,
        "value": summary(result.values),
        "at_best": result.at_best,
        "cores_taken_by_others": result.busy,
        "ours_seconds": summary(result.ours),
        "other": result.other_name or None,
        "other_seconds": summary(result.other),
        "notes": result.notes,
    }
