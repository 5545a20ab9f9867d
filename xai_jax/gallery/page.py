"""The gallery as one HTML text. All text from the results goes through `html.escape`."""

import json
from collections import Counter
from html import escape
from importlib.resources import files
from itertools import groupby
from string import Template
from typing import Any
from urllib.parse import quote

from xai_jax.gallery import words
from xai_jax.gallery.methods import METHODS, lecture_order, method_name
from xai_jax.gallery.pictures import Picture
from xai_jax.gallery.results import Experiment
from xai_jax.gallery.sources import meaning, shown_tag


def page(experiments: list[Experiment]) -> str:
    """The whole page for at least one experiment, papers in the lecture's order."""
    experiments = sorted(experiments, key=lambda experiment: (lecture_order(experiment.paper), experiment.name))
    papers = [(paper, list(group)) for paper, group in groupby(experiments, key=lambda experiment: experiment.paper)]
    return Template(resource("page.html")).substitute(
        style=resource("style.css"),
        script=resource("script.js"),
        tally=escape(tally(experiments)),
        methods="\n".join(method(paper, group) for paper, group in papers),
        claims=claims_overview(experiments),
        papers="\n".join(paper_section(paper, group) for paper, group in papers),
        tags=tag_legend(experiments),
    )


def resource(name: str) -> str:
    """A text file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8").strip()


def anchor(experiment: Experiment) -> str:
    """The `id` of an experiment's article."""
    return quote(f"{experiment.paper}/{experiment.name}")


def link(experiment: Experiment) -> str:
    """A link to an experiment's article by its title."""
    return f'<a href="#{anchor(experiment)}">{escape(experiment.metrics["title"])}</a>'


def counted(count: int, noun: str) -> str:
    """`1 paper`, `2 papers`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def tally(experiments: list[Experiment]) -> str:
    """One sentence: how much is on the page and how the claims fared."""
    papers = {experiment.paper for experiment in experiments}
    verdicts = Counter(claim["held"] for experiment in experiments for claim in experiment.metrics["claims"])
    parts = [f"{verdicts[held]} {wording}" for held, (_, wording) in words.VERDICTS.items() if verdicts[held]]
    shown = f"{counted(len(experiments), 'experiment')} from {counted(len(papers), 'paper')}"
    return f"{shown}, {counted(verdicts.total(), 'claim')}" + (f": {', '.join(parts)}." if parts else ".")


def method(paper: str, experiments: list[Experiment]) -> str:
    """A paper's entry in the list of methods, with links to its experiments."""
    sentence = f"<p>{escape(METHODS[paper].sentence)}</p>" if paper in METHODS else ""
    links = " · ".join(link(experiment) for experiment in experiments)
    name, source = escape(method_name(paper)), escape(experiments[0].metrics["paper"])
    return f'<li><h3>{name}</h3>{sentence}<p class="source">{source}</p><p class="links">{links}</p></li>'


def verdict(held: bool | None) -> str:
    """The coloured word for how a claim fared."""
    style, wording = words.VERDICTS[held]
    return f'<span class="verdict {style}">{wording}</span>'


def table(label: str, header: list[str], rows: list[str], style: str) -> str:
    """A table that scrolls inside its own box, reachable by keyboard."""
    head = "".join(f'<th scope="col">{name}</th>' for name in header)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}"><table class="{style}">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
    )


def claims_overview(experiments: list[Experiment]) -> str:
    """The table of all claims, each linked to the experiment that tests it."""
    rows = [
        f'<tr><td>{verdict(claim["held"])}</td><th scope="row">{escape(claim["claim"])}'
        f'<span class="source">{escape(method_name(experiment.paper))} · {link(experiment)}</span></th></tr>'
        for experiment in experiments
        for claim in experiment.metrics["claims"]
    ]
    if not rows:
        return "<p>No experiment here checks a claim.</p>"
    return table("All claims", ["Verdict", "Claim of the paper, and where it is tested"], rows, "overview")


def paper_section(paper: str, experiments: list[Experiment]) -> str:
    """All experiments of one paper."""
    articles = "\n".join(article(experiment) for experiment in experiments)
    identity = quote(paper)
    return (
        f'<section class="paper" aria-labelledby="{identity}">\n'
        f'<p class="eyebrow">{escape(experiments[0].metrics["paper"])}</p>\n'
        f'<h2 id="{identity}">{escape(method_name(paper))}</h2>\n{articles}\n</section>'
    )


def article(experiment: Experiment) -> str:
    """One experiment: pictures, claims, numbers, and how to run it."""
    metrics = experiment.metrics
    pictures = "\n".join(
        figure(experiment, entry, picture)
        for entry, picture in zip(metrics["figures"], experiment.pictures, strict=True)
    )
    identity = anchor(experiment)
    return (
        f'<article id="{identity}" aria-labelledby="{identity}-title">\n'
        f'<h3 id="{identity}-title">{escape(metrics["title"])}</h3>\n'
        f'<p class="source">{escape(metrics["figure"])}</p>\n'
        f'<p class="summary">{escape(metrics["summary"])}</p>\n'
        f"{pictures}\n{claims(metrics)}\n{numbers(metrics)}\n{provenance(experiment)}\n</article>"
    )


def figure(experiment: Experiment, entry: dict[str, str], picture: Picture) -> str:
    """A picture with its caption; a reduced one links to the full file beside the page."""
    full = ""
    if picture.reduced:
        path = quote(f"{experiment.paper}/{experiment.name}/{entry['file']}")
        full = f' <a href="{path}">Full picture ({words.size(picture.size)})</a>'
    return (
        f'<figure><button type="button" class="picture"><img src="{picture.uri}" width="{picture.width}" '
        f'height="{picture.height}" alt="{escape(entry["alt"])}"></button>'
        f"<figcaption>{escape(entry['caption'])}{full}</figcaption></figure>"
    )


def claims(metrics: dict[str, Any]) -> str:
    """The claims of one experiment with what was measured."""
    items = "\n".join(
        f'<li>{verdict(claim["held"])}<p class="claim">{escape(claim["claim"])} '
        f'<span class="source">{escape(claim["source"])}</span></p>'
        f'<p class="measured"><b>{"Here" if claim["held"] is None else "Measured"}:</b> '
        f"{escape(claim['measured'])}</p></li>"
        for claim in metrics["claims"]
    )
    return f'<h4>Claims</h4>\n<ul class="claims">\n{items}\n</ul>' if items else ""


def numbers(metrics: dict[str, Any]) -> str:
    """The table of our numbers beside the paper's."""
    if not metrics["numbers"]:
        return ""
    rows = [number_row(entry) for entry in metrics["numbers"]]
    label = f"Numbers: {metrics['title']}"
    return "<h4>Numbers</h4>\n" + table(label, ["Quantity", "Ours", "Paper"], rows, "numbers")


def number_row(entry: dict[str, Any]) -> str:
    """One quantity: our value with spread and unit, the paper's with its source tag."""
    note = f'<span class="note">{escape(entry["note"])}</span>' if entry["note"] else ""
    unit = f" {escape(entry['unit'])}" if entry["unit"] else ""
    spread = f" ± {words.number(entry['spread'], 2)}" if entry["spread"] is not None else ""
    ours, paper = (escape(words.number(entry[key])) for key in ("value", "paper"))
    ours += spread + unit if entry["value"] is not None else ""
    if entry["paper"] is not None:
        paper += f'{unit} <span class="tag">{escape(shown_tag(entry["paper_tag"]))}</span>'
    return f'<tr><th scope="row">{escape(entry["name"])}{note}</th><td>{ours}</td><td>{paper}</td></tr>'


def provenance(experiment: Experiment) -> str:
    """How the experiment was run: command, time, tier, hardware, seed, config."""
    metrics = experiment.metrics
    facts = {
        "Time": words.duration(metrics["seconds"]),
        "Tier": metrics["tier"],
        "Hardware": metrics["hardware"],
        "Seed": "–" if metrics["seed"] is None else str(metrics["seed"]),
    }
    terms = "".join(f"<div><dt>{term}</dt><dd>{escape(fact)}</dd></div>" for term, fact in facts.items())
    # Whole words on a line: a browser would break the command after the dashes of an option.
    command = " ".join(f"<span>{escape(word)}</span>" for word in metrics["command"].split(" "))
    config = escape(json.dumps(experiment.config, indent=2, ensure_ascii=False))
    return (
        f'<h4>How it was run</h4>\n<pre class="command"><code>{command}</code></pre>\n'
        f'<dl class="facts">{terms}</dl>\n'
        f'<details><summary>Configuration</summary><pre tabindex="0"><code>{config}</code></pre></details>'
    )


def tag_legend(experiments: list[Experiment]) -> str:
    """What the source tags on this page mean."""
    entries = [entry for experiment in experiments for entry in experiment.metrics["numbers"]]
    shown = {shown_tag(entry["paper_tag"]) for entry in entries if entry["paper"] is not None}
    terms = "".join(f"<div><dt>{escape(tag)}</dt><dd>{escape(meaning(tag))}</dd></div>" for tag in sorted(shown))
    return (
        f'<p>The mark after a number of the paper says how it is known.</p><dl class="tags">{terms}</dl>'
        if terms
        else ""
    )
