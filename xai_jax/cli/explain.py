"""`python -m xai_jax explain PHOTO...`: a page with what all five methods say of photographs."""

import argparse
import sys
from collections.abc import Iterator

from tqdm import tqdm

from xai_jax.cli import common, drawn_concepts, maps, page, preferred, preimages, subject, units
from xai_jax.cli.parts import Computed, compute
from xai_jax.gallery.page import write
from xai_jax.io.errors import UserError

SECTIONS = {
    "maps": maps.SECTION,
    "units": units.SECTION,
    "inversion": preimages.SECTION,
    "preferred": preferred.SECTION,
    "concepts": drawn_concepts.SECTION,
}


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command. Example: `add(parser.add_subparsers())`."""
    parser = commands.add_parser("explain", help="a page with what all five methods say of photographs")
    parser.add_argument("photographs", nargs="+", metavar="PHOTO", help="image files")
    common.add_network(parser)
    parser.add_argument("--target", metavar="CLASS", help="name or number; default: the predicted class of each")
    parser.add_argument(
        "--methods", default=",".join(SECTIONS), metavar="LIST", help="separated by commas; default: %(default)s"
    )
    parser.add_argument("--out", default="explanation.html", metavar="FILE", help="default: %(default)s")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes the page; raises UserError for mistakes in the arguments. Example: `run(parser.parse_args())`."""
    methods, out = _methods(arguments.methods), common.output_file(arguments.out)
    explained = subject.load(arguments)
    done = list(_computed(explained, methods))
    html = page.render(explained, done, arguments.command)
    with common.user_errors():
        write(out, html)
    print(out)
    return 0


def _methods(text):
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in SECTIONS]
    if unknown or not names:
        raise UserError(
            f"Expected methods out of {common.listed(SECTIONS)}, separated by commas, got "
            f"{common.quoted(unknown[0] if unknown else text)}."
        )
    return names


def _computed(explained, methods) -> Iterator[tuple]:
    """Each section with its computed parts, under one progress bar."""
    sections = [(SECTIONS[name], SECTIONS[name].parts(explained)) for name in SECTIONS if name in methods]
    with tqdm(total=sum(len(parts) for _, parts in sections), unit="part", file=sys.stderr) as bar:
        for section, parts in sections:
            found: list[Computed] = []
            for part in parts:
                bar.set_description(f"{section.title}: {part.title}"[:40])
                found.append(compute(part))
                bar.update()
            yield section, found
