"""Parts that all pages share. All text from the results goes through `html.escape`.

>>> claim = {"verdict": "supported", "tested": False}
"""

import json
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from xai_jax.gallery import formatting
from xai_jax.gallery.methods import method_name
from xai_jax.gallery.pictures import Picture
from xai_jax.gallery.results import Experiment
from xai_jax.io.files import open_regular, write_atomically

FRONT, FIGURES, CLAIMS, UNITS = "index.html", "figures.html", "claims.html", "units.html"
GENERATED = b'<meta name="generator" content="xai_jax.gallery">'
DIALOG = '<dialog aria-label="Enlarged picture"><button type="button" class="close">Close</button></dialog>'
HEAD = 1000  # bytes at the start of a page that have the line above


def page(title: str, body: str, root: str, units: bool) -> str:
    """A whole page. Example: `page("Title", "<p>Text</p>", "", units=False)`.

    Args:
      title: plain text.
      body: HTML.
      root: relative path from the page's folder to the front page's, "" or "../../".
      units: whether the navigation links to the explorer of units.

    Returns:
      HTML.

    Raises:
      OSError: if a file of this package is missing.
    """
    names = {FRONT: "Gallery", FIGURES: "Side by side", CLAIMS: "All claims"} | ({UNITS: "All units"} if units else {})
    links = " ".join(f'<a href="{root}{file}">{name}</a>' for file, name in names.items())
    return render("page.html", [], ["script.js"], title=escape(title), label="Gallery", links=links, body=body)


def render(template: str, styles: list[str], scripts: list[str], **fields: str) -> str:
    """A page from a template with inline styles and scripts. Example: `render("page.html", [], [], title="Title")`.

    Args:
      template: name of a file of this package.
      styles: names of style sheets besides style.css.
      scripts: names of scripts.
      **fields: HTML of all other fields of the template.

    Returns:
      HTML.

    Raises:
      KeyError: if a field is missing.
    """
    style, script = ("\n".join(map(resource, names)) for names in (["style.css", *styles], scripts))
    return Template(resource(template)).substitute(style=style, script=script, **fields)


def embedded(data: Any) -> str:
    """JSON for a script element, where "<" is escaped so that no text can close it.

    >>> embedded({"name": "</script>"})
    '{"name":"\\\\u003c/script>"}'
    """
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def write(path: Path, html: str) -> None:
    """Writes a page atomically as UTF-8. Example: `write(Path("index.html"), html)`.

    Lone surrogates, legal in JSON but not in UTF-8, become character references.
    """
    write_atomically(path, html.encode("utf-8", "xmlcharrefreplace"))


def remove_generated(path: Path) -> None:
    """Removes a page of this package, but no other file. Example: `remove_generated(Path("units.html"))`."""
    if is_generated(path):
        path.unlink()


def is_generated(path: Path) -> bool:
    """Whether a file is a page of this package, by its head.

    >>> is_generated(Path("/dev/zero"))
    False
    """
    try:
        with open_regular(path) as file:
            return GENERATED in file.read(HEAD)
    except (FileNotFoundError, ValueError):
        return False


def resource(name: str) -> str:
    """The content of a text file of this package.

    >>> "$body" in resource("page.html")
    True
    """
    return files(__package__).joinpath(name).read_text(encoding="utf-8").strip()


def link(experiment: Experiment, root: str = "") -> str:
    """A link to an experiment's page with its title. Example: `link(experiment, root="../../")`."""
    return f'<a href="{root}{experiment.address}">{escape(experiment.metrics["title"])}</a>'


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "paper"), counted(2, "paper")
    ('1 paper', '2 papers')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def verdict(claim: dict[str, Any]) -> str:
    """The coloured decision on a claim, marked where it was compared with a threshold instead of tested.

    >>> verdict(claim)
    '<span class="verdict supported">supported</span> <span class="untested">descriptive, not tested</span>'
    """
    decision, plain = claim["verdict"], claim["tested"] or claim["verdict"] == "inconclusive"
    mark = "" if plain else f' <span class="untested">{formatting.UNTESTED}</span>'
    return f'<span class="verdict {formatting.VERDICTS[decision]}">{decision}</span>{mark}'


def claims_list(claims: list[dict[str, Any]]) -> str:
    """Claims with their verdicts and measurements, empty without any. Example: `claims_list(metrics["claims"])`."""
    items = "\n".join(
        f'<li>{verdict(claim)}<p class="claim">{escape(claim["claim"])} '
        f'<span class="source">{escape(claim["source"])}</span></p>'
        f'<p class="measured"><b>{"Here" if claim["verdict"] == "inconclusive" else "Measured"}:</b> '
        f"{escape(claim['measured'])}</p></li>"
        for claim in claims
    )
    return f'<ul class="claims">\n{items}\n</ul>' if items else ""


def picture_figure(entry: dict[str, str], picture: Picture, folder: str = "") -> str:
    """A picture with its caption, which a click enlarges in `DIALOG`. Example: `picture_figure(entry, picture)`.

    `folder`: path from the page to the picture's folder, with "/" at its end.
    """
    return (
        f'<figure><button type="button" class="picture"><img src="{quote(folder + entry["file"])}" '
        f'width="{picture.width}" height="{picture.height}" alt="{escape(entry["alt"])}"></button>'
        f"<figcaption>{escape(entry['caption'])}</figcaption></figure>"
    )


def table(label: str, header: list[str], rows: list[str], style: str) -> str:
    """A table that scrolls in its own box, reachable by keyboard. Example: `table("Numbers", ["Ours"], rows, "wide")`.

    Args:
      label: accessible name, plain text.
      header: column headings, HTML.
      rows: `<tr>` elements.
      style: CSS class.

    Returns:
      HTML.

    Raises:
      TypeError: for rows that are not text.
    """
    head = "".join(f'<th scope="col">{name}</th>' for name in header)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}"><table class="{style}">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
    )


def filter_form(experiments: list[Experiment]) -> str:
    """Search form by text, paper and verdict, for items with `data-verdicts`. Example: `filter_form(experiments)`."""
    papers = dict.fromkeys(experiment.paper for experiment in experiments)
    options = "".join(f'<option value="{escape(paper)}">{escape(method_name(paper))}</option>' for paper in papers)
    styles = formatting.VERDICTS.items()
    verdicts = "".join(f'<option value="{style}">{decision}</option>' for decision, style in styles)
    return (
        '<form class="filter" role="search" hidden>'
        '<label>Search <input type="search" name="text" autocomplete="off"></label>'
        f'<label>Method <select name="paper"><option value="">all</option>{options}</select></label>'
        f'<label>Claims <select name="verdict"><option value="">any</option>{verdicts}</select></label>'
        '<button type="reset">Clear</button><output></output></form>'
    )


def verdicts(experiment: Experiment) -> str:
    """CSS classes of the verdicts of an experiment's claims, for the filter. Example: `verdicts(experiment)`."""
    decisions = [claim["verdict"] for claim in experiment.metrics["claims"]]
    return " ".join(style for decision, style in formatting.VERDICTS.items() if decision in decisions)
