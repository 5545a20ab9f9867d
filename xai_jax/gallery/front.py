"""The front page, `index.html`: a section for every method, then all figures with a search form."""

from collections import Counter
from html import escape
from itertools import groupby
from urllib.parse import quote

from xai_jax.gallery import formatting
from xai_jax.gallery.methods import METHODS, OTHERS, method_name
from xai_jax.gallery.page import CLAIMS, FIGURES, UNITS, counted, filter_form, link, page, verdicts
from xai_jax.gallery.pictures import preview, thumbnail
from xai_jax.gallery.results import Experiment

TITLE = "Seeing what a network has learned"
SIDE = 1000  # of the large pictures, which a browser shows at up to 960 pixels
THUMBNAIL = 320, 200
TIERS = (
    "Every figure names the tier it was run on. Only the tier <i>paper</i> uses the data, the networks and the "
    "schedules of the papers; on the other tiers a number of ours stands beside the paper’s for orientation, and only "
    "the claims are tested."
)


def front(experiments: list[Experiment], units: bool) -> str:
    """The whole page, for experiments in the gallery's order. Example: `front(experiments, units=False)`."""
    papers = [(paper, list(group)) for paper, group in groupby(experiments, key=lambda experiment: experiment.paper)]
    methods = "\n".join(_method_section(paper, group) for paper, group in papers)
    cards = "\n".join(_card(experiment) for experiment in experiments)
    body = (
        f'<header>\n<p class="eyebrow">xai_jax gallery</p>\n<h1>{TITLE}</h1>\n'
        f'<p class="lead">{_tally(experiments)}</p>\n'
        f"{_links(units)}</header>\n{methods}\n"
        f'<section aria-labelledby="figures"><h2 id="figures">All figures</h2>\n{filter_form(experiments)}\n'
        f'<ul class="cards">\n{cards}\n</ul></section>\n'
        f"<footer><h2>How to read the numbers</h2>\n<p>{TIERS}</p></footer>"
    )
    return page(TITLE, body, "", units)


def _tally(experiments: list[Experiment]) -> str:
    """One sentence with the numbers of experiments, papers and claims by verdict, each linked to these claims."""
    papers = {experiment.paper for experiment in experiments} - set(OTHERS)
    count = Counter(claim["verdict"] for experiment in experiments for claim in experiment.metrics["claims"])
    parts = [
        f'<a href="{CLAIMS}?verdict={style}">{count[decision]} {decision}</a>'
        for decision, style in formatting.VERDICTS.items()
        if count[decision]
    ]
    shown = f"{counted(len(experiments), 'experiment')} from {counted(len(papers), 'paper')}"
    claims = f'<a href="{CLAIMS}">{counted(count.total(), "claim")}</a>'
    return f"{shown}, {claims}" + (f": {', '.join(parts)}." if parts else ".")


def _links(units: bool) -> str:
    """Links to the papers' figures beside ours and, where there is one, to the explorer of units."""
    pages = {FIGURES: "The papers’ figures beside ours"} | ({UNITS: "Every unit, by every method"} if units else {})
    return "".join(f'<p class="lead"><a href="{file}">{text}</a></p>\n' for file, text in pages.items())


def _method_section(paper: str, experiments: list[Experiment]) -> str:
    """A paper's section: a description of its method, a figure, and links to all of its experiments."""
    identity = quote(paper)
    cited = {experiment.metrics["paper"] for experiment in experiments}
    sources = sorted(cited, key=lambda s: (paper[-4:] not in s, s))
    links = "".join(f"<li>{link(experiment)}</li>" for experiment in experiments)
    if paper in METHODS:
        links += f'<li><a href="{FIGURES}#{identity}">Beside the papers’ figures</a></li>'
    return (
        f'<section class="paper" aria-labelledby="{identity}">\n'
        f'<p class="eyebrow">{"<br>".join(map(escape, sources))}</p>\n'
        f'<h2 id="{identity}">{escape(method_name(paper))}</h2>\n'
        f'{_description(paper)}{_example_figure(paper, experiments)}<ul class="links">{links}</ul>\n</section>'
    )


def _description(paper: str) -> str:
    """Description and formula of a known method."""
    if paper not in METHODS:
        return ""
    known = METHODS[paper]
    return (
        f'<p>{escape(known.paragraph)}</p>\n<div class="formula scroll" role="region" tabindex="0" '
        f'aria-label="Formula: {escape(known.name)}">{known.formula}</div>\n'
        f'<p class="source">{escape(known.letters)}</p>\n'
    )


def _example_figure(paper: str, experiments: list[Experiment]) -> str:
    """The figure chosen for a method, else the first available one; empty without figures."""
    figures = {
        (each.name, entry["file"]): (each, entry, picture)
        for each in experiments
        for entry, picture in zip(each.metrics["figures"], each.pictures, strict=True)
    }
    wanted = METHODS[paper].figures if paper in METHODS else ()
    key = next((key for key in (*wanted, *figures) if key in figures), None)
    if key is None:
        return ""
    experiment, entry, picture = figures[key]
    uri, width, height = preview(picture, SIDE)
    return (
        f'<figure><a class="picture" href="{experiment.address}"><img src="{uri}" width="{width}" height="{height}" '
        f'alt="{escape(entry["alt"])}"></a>'
        f"<figcaption>{escape(entry['caption'])} {link(experiment)}</figcaption></figure>\n"
    )


def _card(experiment: Experiment) -> str:
    """An experiment among all figures: first image, title, and hidden text for the search."""
    metrics = experiment.metrics
    size = 'width="{}" height="{}"'.format(*THUMBNAIL)
    first = experiment.pictures[:1]
    image = "".join(f'<img src="{thumbnail(picture, *THUMBNAIL)}" {size} alt="">' for picture in first)
    hidden = " ".join([experiment.paper, experiment.name, metrics["summary"], *(c["claim"] for c in metrics["claims"])])
    return (
        f'<li data-paper="{escape(experiment.paper)}" data-verdicts="{verdicts(experiment)}" '
        f'data-text="{escape(hidden)}"><a href="{experiment.address}">{image}'
        f'<span class="title">{escape(metrics["title"])}</span></a>'
        f'<span class="source">{escape(method_name(experiment.paper))} · {escape(metrics["figure"])}</span></li>'
    )
