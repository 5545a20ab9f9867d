"""`python -m xai_jax models`: a table of the networks that other commands take."""

import argparse

from xai_jax.models import catalogue

HEADER = ("name", "input", "parameters", "weights", "licence")


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command. Example: `add(parser.add_subparsers())`."""
    parser = commands.add_parser("models", help="networks: input, size, where weights come from, licence")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the table. Example: `run(parser.parse_args())`."""
    lines = [HEADER, *map(_cells, catalogue.rows())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print("\nWeights in a file: --weights FILE, see docs/training.md.")
    return 0


def _cells(row):
    height, width, depth = row.shape
    size = f"{row.parameters / 1e6:.1f} M" if row.parameters >= 1e6 else f"{row.parameters / 1e3:.0f} k"
    return row.name, f"{height} x {width} x {depth}", size, row.origin, row.licence
