"""What all pages share. All text from the results goes through `html.escape`."""

from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from xai_jax.gallery import words
from xai_jax.gallery.methods import method_name
from xai_jax.gallery.results import Experiment

FRONT, CLAIMS, UNITS = "index.html", "claims.html", "units.html"


def page(title: str, body: str, root: str, units: bool) -> str:
    """A whole page; `root` leads from its folder to the front page's, "" or "../../"."""
    names = {FRONT: "Gallery", CLAIMS: "All claims"} | ({UNITS: "All units"} if units else {})
    return Template(resource("page.html")).substitute(
        title=escape(title),
        style=resource("style.css"),
        script=resource("script.js"),
        links=" ".join(f'<a href="{root}{file}">{name}</a>' for file, name in names.items()),
        body=body,
    )


def resource(name: str) -> str:
    """A text file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8").strip()


def link(experiment: Experiment, root: str = "") -> str:
    """A link to an experiment's page by its title."""
    return f'<a href="{root}{experiment.address}">{escape(experiment.metrics["title"])}</a>'


def counted(count: int, noun: str) -> str:
    """`1 paper`, `2 papers`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def verdict(claim: dict[str, Any]) -> str:
    """The coloured decision on a claim, marked where it was compared with a threshold instead of tested."""
    decision = claim["verdict"]
    mark = "" if claim["tested"] or decision == "inconclusive" else f' <span class="untested">{words.UNTESTED}</span>'
    return f'<span class="verdict {words.VERDICTS[decision]}">{decision}</span>{mark}'


def table(label: str, header: list[str], rows: list[str], style: str) -> str:
    """A table that scrolls inside its own box, reachable by keyboard."""
    head = "".join(f'<th scope="col">{name}</th>' for name in header)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}"><table class="{style}">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
    )


def filter_form(experiments: list[Experiment]) -> str:
    """Search by words, paper and verdict; the script shows it, and hides what has `data-verdicts` and does not fit."""
    papers = dict.fromkeys(experiment.paper for experiment in experiments)
    options = "".join(f'<option value="{escape(paper)}">{escape(method_name(paper))}</option>' for paper in papers)
    verdicts = "".join(f'<option value="{style}">{decision}</option>' for decision, style in words.VERDICTS.items())
    return (
        '<form class="filter" role="search" hidden>'
        '<label>Search <input type="search" name="text" autocomplete="off"></label>'
        f'<label>Method <select name="paper"><option value="">all</option>{options}</select></label>'
        f'<label>Claims <select name="verdict"><option value="">any</option>{verdicts}</select></label>'
        '<button type="reset">Clear</button><output></output></form>'
    )


def verdicts(experiment: Experiment) -> str:
    """The verdicts of an experiment's claims as the filter knows them."""
    decisions = [claim["verdict"] for claim in experiment.metrics["claims"]]
    return " ".join(style for decision, style in words.VERDICTS.items() if decision in decisions)
