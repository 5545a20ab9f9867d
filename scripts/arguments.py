"""Arguments of reproduce.py, which runs the experiments, one process each, and builds the gallery."""

import argparse
import os
from pathlib import Path

TIERS = ("smoke", "default", "paper")


def positive(text: str) -> int:
    """A number of processes."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of processes, 1 or more, got {text!r}")
    return int(text)


def directory(text: str) -> str:
    """A directory, which may not exist yet."""
    text = os.path.expanduser(text)  # in --results=~/x, no shell does
    if Path(text).is_file():
        raise argparse.ArgumentTypeError(f"expected a directory, got the file {text!r}")
    return text


def parse(argv: list[str]) -> argparse.Namespace:
    """The arguments; wrong ones end the process with exit status 2."""
    parser = argparse.ArgumentParser(prog="reproduce", description=__doc__, allow_abbrev=False)
    parser.add_argument("--tier", choices=TIERS, default="default")
    parser.add_argument("--all", action="store_true", help="run all experiments, not only the tour")
    parser.add_argument("--only", metavar="PAPER[/FIGURE]", action="append", default=[])
    parser.add_argument("--results", metavar="DIR", type=directory)
    parser.add_argument(
        "--inputs", metavar="FILE", help="a TOML file: where the data and weights of the paper tier are"
    )
    parser.add_argument("--jobs", metavar="N", type=positive, help="experiments at once")
    parser.add_argument("--overwrite", action="store_true", help="run finished experiments again")
    parser.add_argument("--deterministic", action="store_true", help="the same bits in every run on a GPU")
    parser.add_argument("--list", action="store_true", help="list the experiments with expected minutes, and exit")
    parser.add_argument("--plan", action="store_true", help="print what would run, and exit")
    return parser.parse_args(argv)
