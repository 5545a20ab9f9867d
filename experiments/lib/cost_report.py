"""Estimated cost of every `paper` configuration: `python -m experiments.lib.cost_report`.

Writes docs/scale.md from the experiments' plans, as dry runs use them, and the assumptions below.
"""

import argparse
import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments.lib import catalogue, compilation_cache, dry_run
from experiments.lib.dry_run import UTILISATION, Cost, Device, Step
from xai_jax.io.files import user_path, write_atomically
from xai_jax.synthesis import optimize
from xai_jax.training import steps

ROOT = Path(__file__).resolve().parents[2]
OF_BANDWIDTH = 0.6  # assumed fraction of the peak memory bandwidth
PER_CORE = 520.0  # photographs read, decoded and cropped per core and second; measured on two, docs/accelerators.md
IN_MEMORY = 20_000.0  # images of data sets in memory, such as CIFAR's, batched per core and second
CALL = 1e-4  # seconds of the host per dispatched program
READERS = ("search", "features", "activations", "training the inverse")  # steps whose float images are a data set's
OPTIMISATION = ("steps", "units", "pre-images", "preferred", "generations", "training the inverse")
# Steps of training and of an optimisation in one program, on accelerators
TRAINED, OPTIMISED = steps.TOGETHER, optimize.CHUNK

# Mean bytes of an image on disk: training files of ILSVRC 2012, 138 GB of 1,281,167 photographs; archives of
# Caltech-101, 131 MB of 9,145, and of Caltech-256, 1.2 GB of 30,607; CIFAR's are plain arrays.
ON_DISK = {"photographs": 108e3, "caltech101": 14e3, "256_ObjectCategories": 39e3, "arrays": 3073.0}
SMALL = 40  # pixels; smaller images are of data sets in memory
ARRAYS = "cifar10", "cifar100", "fashion_mnist", "digits"  # such data sets, regardless of the size they are enlarged to


class Machine(NamedTuple):
    """`count` devices and the cores of their host, as cloud providers offer them."""

    name: str
    device: Device
    count: int
    cores: int


MACHINES = (
    Machine("1 x A100", dry_run.DEVICES["A100"], 1, 12),  # a2-ultragpu-1g of Google Cloud
    Machine("8 x H100", dry_run.DEVICES["H100"], 8, 208),  # a3-highgpu-8g
    Machine("TPU v5e-8", dry_run.DEVICES["TPUv5e"], 8, 224),  # ct5lp-hightpu-8t
)


class Need(NamedTuple):
    """Requirements of all calls of a step.

    `programs` are what the host dispatches, `images` what it reads, from disk or memory; `shared` if all devices share
    a call.
    """

    programs: int
    flops: float
    memory: float
    traffic: float
    images: int
    bytes_read: float
    in_memory: bool
    shared: bool


def need(step: Step, cost: Cost, data: object = "") -> Need:
    """Requirements of a step; `data` is the data set's name, where the configuration has one."""
    images, size = read(step)
    small = size <= SMALL or data in ARRAYS
    kind = next((name for name in ON_DISK if name in step.name), "arrays" if small else "photographs")
    calls, total = step.repeats, step.resident or images * step.repeats
    totals = cost.flops * calls, cost.memory, cost.traffic * calls
    return Need(-(-calls // together(step)), *totals, total, total * ON_DISK[kind], small, is_training(step))


def together(step: Step) -> int:
    """Number of calls in one program of an accelerator."""
    if step.name.split(": ")[-1].split("/")[-1].startswith(OPTIMISATION):
        return OPTIMISED
    return TRAINED if step.resident else 1


def read(step: Step) -> tuple[int, int]:
    """Number of images that a call takes from a data set, and their height; (0, 0) for none.

    uint8 images always come from one, float images in the steps of `READERS`.
    """
    readers = step.name.split(": ")[-1].startswith(READERS)
    for leaf in jax.tree.leaves(step.arguments[1:]):
        if len(leaf.shape) == 4 and (leaf.dtype == np.uint8 or readers) and leaf.shape[-1] in (1, 3):
            return leaf.shape[:2]
    return 0, 0


def is_training(step: Step) -> bool:
    """Whether a step is training, which all devices share; other steps run on one device."""
    return step.name.startswith("step, ") and read(step)[0] > 0


def seconds(each: Need, machine: Machine) -> dict[str, float]:
    """Time of a step under each possible bottleneck alone."""
    devices = machine.count if each.shared else 1
    per_second = machine.cores * (IN_MEMORY if each.in_memory else PER_CORE)
    return {
        "compute": each.flops / (devices * machine.device.peak * UTILISATION),
        "memory bandwidth": each.traffic / (devices * machine.device.bandwidth * OF_BANDWIDTH),
        "input pipeline": each.images / per_second,
        "host loop": each.programs * CALL,
    }


def verdict(needs: Sequence[Need], machine: Machine) -> tuple[float, str, bool]:
    """(hours, main bottleneck, whether memory suffices); a step takes as long as its slowest part."""
    lost: dict[str, float] = {}
    for each in needs:
        slowest, time = max(seconds(each, machine).items(), key=lambda item: item[1])
        lost[slowest] = lost.get(slowest, 0.0) + time
    fits = all(each.memory / (machine.count if each.shared else 1) <= machine.device.memory for each in needs)
    return sum(lost.values()) / 3600, max(lost, key=lost.get), fits


def row(name: str, needs: Sequence[Need]) -> str:
    """One line of the table."""
    flops, read = sum(each.flops for each in needs), sum(each.bytes_read for each in needs)
    cells = [name, f"{flops / 1e15:.3g}", f"{max(each.memory for each in needs) / 1e9:.2g}", f"{read / 1e9:.3g}"]
    for machine in MACHINES:
        hours, slowest, fits = verdict(needs, machine)
        cells.append(f"{duration(hours)}, {slowest}" + ("" if fits else " (**too little memory**)"))
    return f"| {' | '.join(cells)} |"


def duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s" if hours >= 1 / 3600 else "< 1 s"
    return f"{hours * 60:.0f} min" if hours < 1 else f"{hours:.3g} h"


def needs_of(name: str, tier: str = "paper") -> list[Need]:
    """Compiles all steps of an experiment. Raises what a dry run raises."""
    config = importlib.import_module(f"configs.{name.replace('/', '.')}").get_config(tier)
    plan = catalogue.load(name).plan(config)
    return [need(step, dry_run.cost_here(step), getattr(config, "data", "")) for step in plan]


def page(rows: Iterable[str], command: str) -> str:
    heads = ["experiment", "PFLOP", "peak GB", "GB read", *(machine.name for machine in MACHINES)]
    table = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *rows]
    return "\n".join([_INTRODUCTION.format(command=command, **_assumptions()), *table, ""])


_INTRODUCTION = """# Estimated cost of the `paper` configurations

    {command}

Generated by this command from the plans of all experiments, on a machine without accelerators; nothing was measured on
one. Each step is assumed to take as long as its slowest part. The words after the hours name the bottleneck that
accounts for most of the time.

- **compute**: FLOPs of all calls, at {utilisation:.0%} of the peak of dense matrix products in the vendor's data sheet
  (TF32 on GPUs, bfloat16 on TPUs).
- **memory bandwidth**: bytes moved by the program, at {of_bandwidth:.0%} of the data sheet's bandwidth. They are
  counted in the program compiled for a CPU, as is peak memory; other compilers fuse more.
- **input pipeline**: photographs read, decoded and cropped, {per_core:.0f} per second and core of the host, as
  [measured](accelerators.md#input) on two cores (more were not measured); an assumed {in_memory:,.0f} for small images
  in memory. "GB read" counts every pass over the files, at their mean size. Images that stay on the device are read
  once: those of CIFAR without crops, of kim2018/captions and bias, and those that mahendran2015/learned trains on.
- **host loop**: an assumed {call:.1g} s per program that the host dispatches: {trained} steps of training on images
  that stay on the device, one on others; {optimised} steps of an optimisation.

Training steps are shared by all devices. Everything else is counted as on one, although attributions, searches and
activations are divided among all devices, too; different figures can run side by side.
Early-stopped searches, host-side evaluation and compilation are not included, nor are the classifiers of TCAV: half an
hour of CPU work for kim2018/concepts and 22 minutes for kim2018/captions, see tcav.md. Data sheets: NVIDIA A100 and
H100 (SXM, 80 GB), Google Cloud TPU v5e.
"""


def _assumptions():
    assumed = {"utilisation": UTILISATION, "of_bandwidth": OF_BANDWIDTH, "per_core": PER_CORE}
    return assumed | {"in_memory": IN_MEMORY, "call": CALL, "trained": TRAINED, "optimised": OPTIMISED}


def main() -> None:
    known = catalogue.names()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=user_path, default=ROOT / "docs" / "scale.md", help="Markdown file to write")
    parser.add_argument("--only", nargs="+", default=known, choices=known, metavar="PAPER/FIGURE")
    given = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    compilation_cache.keep()
    chosen = [] if given.only == known else ["--only", *given.only]
    command, found = " ".join(["python -m experiments.lib.cost_report", *chosen]), []
    for name in given.only:
        found.append(row(name, needs_of(name)))
        print(found[-1], flush=True)
    write_atomically(given.out, page(found, command).encode())


if __name__ == "__main__":
    main()
