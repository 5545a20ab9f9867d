"""The page of figures side by side, `figures.html`: those of the papers, in words, beside ours; see `figures.toml`."""

import tomllib
from collections.abc import Sequence
from fnmatch import fnmatch
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from xai_jax.gallery.methods import method_name
from xai_jax.gallery.page import DIALOG, claims_list, link, page, picture_figure
from xai_jax.gallery.results import Experiment, is_text
from xai_jax.gallery.sources import meaning, shown_tag

TITLE = "Figures side by side"
LEAD = (
    "What each figure of the papers shows, in our words, beside the figure that we made in the same layout. The "
    "papers’ own figures are not ours to copy: the links lead to them. Whether ours agree is decided by the tests "
    "below each."
)
RUN = "bash scripts/reproduce.sh --only"


class Comparison(NamedTuple):
    """A figure of a paper and what corresponds to it here.

    Attributes:
      experiment: "paper/figure".
      figure: its number in the paper and its contents.
      arxiv: number of the paper.
      source: tag of the source of the description, see `sources`.
      network: the paper's.
      data: the paper's.
      theirs: what the paper's figure shows and what the paper concludes from it.
      ours: what our pictures show.
      reasons: what differs by construction, and why.
      pictures: patterns of our files; none means all.
      size: how many images we use, with fields of the configuration in braces.
    """

    experiment: str
    figure: str
    arxiv: str
    source: str
    network: str
    data: str
    theirs: str
    ours: str
    reasons: str
    pictures: Sequence[str] = ()
    size: str = ""

    @property
    def paper(self) -> str:
        """Folder of the experiment."""
        return self.experiment.partition("/")[0]

    @property
    def url(self) -> str:
        """Of the paper."""
        return f"https://arxiv.org/abs/{self.arxiv}"


def _read() -> list[Comparison]:
    """All comparisons in the order of the file, with its line breaks removed."""
    entries = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    for entry in entries.values():
        entry |= {name: text.strip().replace("\n", " ") for name, text in entry.items() if isinstance(text, str)}
    return [Comparison(name, **entry) for name, entry in entries.items()]


COMPARISONS = _read()


def figures_page(experiments: list[Experiment], units: bool) -> str:
    """The whole page. Example: `figures_page(experiments, units=False)`."""
    found = {f"{experiment.paper}/{experiment.name}": experiment for experiment in experiments}
    papers = [(paper, list(group)) for paper, group in groupby(COMPARISONS, key=lambda comparison: comparison.paper)]
    contents = "".join(
        f'<li>{escape(method_name(paper))}<ul class="links">{"".join(map(_entry, group))}</ul></li>'
        for paper, group in papers
    )
    sections = "\n".join(
        f'<section class="paper" aria-labelledby="{paper}">\n<h2 id="{paper}">{escape(method_name(paper))}</h2>\n'
        + "\n".join(_beside(comparison, found.get(comparison.experiment)) for comparison in group)
        + "\n</section>"
        for paper, group in papers
    )
    run = sum(comparison.experiment in found for comparison in COMPARISONS)
    body = (
        f'<header>\n<h1>{TITLE}</h1>\n<p class="lead">{LEAD} {run} of {len(COMPARISONS)} were made '
        f'here.</p>\n</header>\n<nav aria-label="Figures"><ul class="contents">{contents}</ul></nav>\n'
        f"{sections}\n{DIALOG}"
    )
    return page(TITLE, body, "", units)


def _entry(comparison: Comparison) -> str:
    """A line of the contents."""
    return f'<li><a href="#{comparison.experiment}">{escape(comparison.figure)}</a></li>'


def _beside(comparison: Comparison, experiment: Experiment | None) -> str:
    """A figure of a paper beside ours, with the verdicts on its claims."""
    theirs = (
        f"<h4>In the paper</h4><p>{escape(comparison.theirs)}</p>\n"
        f'<p class="source"><a href="{comparison.url}">arXiv {comparison.arxiv}</a> · description: '
        f"{escape(meaning(shown_tag(comparison.source)))}</p>"
    )
    ours = _missing(comparison) if experiment is None else _pictures(comparison, experiment)
    return (
        f'<article id="{comparison.experiment}">\n<h3>{escape(comparison.figure)}</h3>\n<div class="beside">\n'
        f"<div>{theirs}</div>\n<div><h4>Here</h4><p>{escape(comparison.ours)}</p>\n{ours}</div>\n</div>\n"
        f"<h4>What differs by construction, and why</h4><p>{escape(comparison.reasons)}</p>\n"
        f"{_runs(comparison, experiment)}\n{'' if experiment is None else _verdicts(experiment)}</article>"
    )


def _missing(comparison: Comparison) -> str:
    """The command that makes pictures which are not there."""
    command = f"<code>{RUN} {comparison.experiment}</code>"
    return f'<p class="note">Not run here. To make it:</p><pre class="command">{command}</pre>'


def _pictures(comparison: Comparison, experiment: Experiment) -> str:
    """Our pictures that correspond to the paper's figure."""
    pairs = list(zip(experiment.metrics["figures"], experiment.pictures, strict=True))
    chosen = [pair for pair in pairs if any(fnmatch(pair[0]["file"], name) for name in comparison.pictures)]
    folder = f"{experiment.paper}/{experiment.name}/"
    return "\n".join(picture_figure(entry, picture, folder) for entry, picture in chosen or pairs)


def _runs(comparison: Comparison, experiment: Experiment | None) -> str:
    """Network and data of both, ours as configured."""
    ours = _configured(experiment.config, comparison.size) if experiment else ("–", "–")
    rows = [
        f'<tr><th scope="row">{name}</th><td>{escape(theirs)}</td><td>{escape(here)}</td></tr>'
        for name, theirs, here in zip(("Network", "Images"), (comparison.network, comparison.data), ours, strict=True)
    ]
    tier = f", tier {escape(experiment.metrics['tier'])}" if experiment else ""
    head = f'<tr><td></td><th scope="col">Paper</th><th scope="col">Here{tier}</th></tr>'
    return f'<table class="runs"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def _configured(config: dict[str, Any], size: str) -> tuple[str, str]:
    """Network and data of a configuration, as far as its usual fields say.

    >>> _configured({"network": "vgg16_hed", "data": "composites", "images": 1225}, "{images:,} images searched")
    ('vgg16_hed', 'composites: 1,225 images searched')
    """
    networks = [config[key] for key in ("network", "generator", "scratch") if is_text(config.get(key))]
    listed = [value if isinstance(value, list) else [value] for value in map(config.get, ("data", "images"))]
    sources = ", ".join(text for values in listed for text in values if is_text(text))
    try:
        count = size.format_map(config)
    except (KeyError, ValueError, TypeError):  # a configuration of another version
        count = ""
    return ", ".join(networks) or "none pretrained", ": ".join(filter(None, (sources, count))) or "–"


def _verdicts(experiment: Experiment) -> str:
    """Claims with verdicts, and a link to the experiment."""
    claims = claims_list(experiment.metrics["claims"])
    heading = "<h4>What the tests find</h4>\n" if claims else ""
    return f"{heading}{claims}\n<p>Numbers, configuration and code: {link(experiment)}</p>\n"
