"""The page of one experiment, `<paper>/<figure>/index.html`, beside its pictures."""

import json
from html import escape
from typing import Any
from urllib.parse import quote

from xai_jax.gallery import formatting
from xai_jax.gallery.figures import COMPARISONS
from xai_jax.gallery.methods import method_name
from xai_jax.gallery.page import DIALOG, FIGURES, claims_list, page, picture_figure, table
from xai_jax.gallery.results import Experiment
from xai_jax.gallery.sources import meaning, shown_tag

ROOT = "../../"


def article(experiment: Experiment, before: Experiment | None, after: Experiment | None, units: bool) -> str:
    """The whole page. Example: `article(experiment, None, None, units=False)`.

    Args:
      experiment: the experiment of the page.
      before: the experiment before it in the gallery's order, if any.
      after: the experiment after it, if any.
      units: whether the navigation links to the explorer of units.

    Returns:
      HTML.

    Raises:
      KeyError: for metrics that `results.load` has not checked.
    """
    metrics = experiment.metrics
    claims = claims_list(metrics["claims"])
    claims = f"<h2>Claims</h2>\n{claims}" if claims else ""
    pictures = "\n".join(map(picture_figure, metrics["figures"], experiment.pictures))
    body = (
        f"<article>\n<header>\n"
        f'<p class="eyebrow">{escape(method_name(experiment.paper))} · {escape(metrics["figure"])}</p>\n'
        f'<h1>{escape(metrics["title"])}</h1>\n<p class="source">{escape(metrics["paper"])}{_beside(experiment)}</p>\n'
        "</header>\n"
        f'<p class="summary">{escape(metrics["summary"])}</p>\n'
        f"{_own_pages(experiment)}{pictures}\n{claims}\n{_numbers(metrics)}\n{_provenance(experiment)}\n"
        f"</article>\n{_neighbours(before, after)}\n{DIALOG}"
    )
    return page(metrics["title"], body, ROOT, units)


def refusal(name: str, root: str, units: bool) -> str:
    """The page in place of that of damaged results, without any of them.

    >>> "<img" in refusal("comparison", ROOT, units=False)
    False
    """
    body = (
        f"<article>\n<header>\n<h1>{escape(name)}</h1>\n</header>\n"
        '<p class="summary">These results are damaged, or were changed after the experiment wrote them, so they are '
        "not shown. Run the experiment again with --overwrite, then build the gallery again.</p>\n</article>"
    )
    return page(name, body, root, units)


def _beside(experiment: Experiment) -> str:
    """A link to the description of the paper's figure, if there is one."""
    name = f"{experiment.paper}/{experiment.name}"
    if name not in {comparison.experiment for comparison in COMPARISONS}:
        return ""
    return f' · <a href="{ROOT}{FIGURES}#{name}">what the paper shows</a>'


def _own_pages(experiment: Experiment) -> str:
    """Links to pages that the experiment itself has written."""
    links = [f'<a href="{quote(path)}">{escape(path)}</a>' for path in experiment.pages]
    return f"<p>The experiment has written a page of its own: {', '.join(links)}</p>\n" if links else ""


def _neighbours(before: Experiment | None, after: Experiment | None) -> str:
    """Links to the experiments before and after this one, in the gallery's order."""
    links = [
        f'<a rel="{rel}" href="{ROOT}{other.address}"><span>{word}</span> {escape(other.metrics["title"])}</a>'
        for rel, word, other in (("prev", "Before", before), ("next", "Next", after))
        if other
    ]
    return f'<nav class="neighbours" aria-label="Neighbours">{"".join(links)}</nav>'


def _numbers(metrics: dict[str, Any]) -> str:
    """The table of our numbers beside the paper's, with a legend of the source tags."""
    if not metrics["numbers"]:
        return ""
    rows = list(map(_number_row, metrics["numbers"]))
    shown = table(f"Numbers: {metrics['title']}", ["Quantity", "Ours", "Paper"], rows, "numbers")
    return f"<h2>Numbers</h2>\n{shown}\n{_tag_legend(metrics)}"


def _number_row(entry: dict[str, Any]) -> str:
    """One quantity: our value with spread and unit, the paper's with its source tag."""
    note = f'<span class="note">{escape(entry["note"])}</span>' if entry["note"] else ""
    unit = f" {escape(entry['unit'])}" if entry["unit"] else ""
    spread = f" ± {formatting.number(entry['spread'], 2)}" if entry["spread"] is not None else ""
    ours, paper = (escape(formatting.number(entry[key])) for key in ("value", "paper"))
    ours += spread + unit if entry["value"] is not None else ""
    if entry["paper"] is not None:
        paper += f'{unit} <span class="tag">{escape(shown_tag(entry["paper_tag"]))}</span>'
    return f'<tr><th scope="row">{escape(entry["name"])}{note}</th><td>{ours}</td><td>{paper}</td></tr>'


def _tag_legend(metrics: dict[str, Any]) -> str:
    """What the source tags of this page mean."""
    shown = {shown_tag(entry["paper_tag"]) for entry in metrics["numbers"] if entry["paper"] is not None}
    terms = _terms({tag: meaning(tag) for tag in sorted(shown)}, "tags")
    return f'<p class="source">The tag after a number of the paper gives its source.</p>{terms}' if shown else ""


def _terms(descriptions: dict[str, str], style: str) -> str:
    """A list of terms with their descriptions."""
    items = (f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>" for term, text in descriptions.items())
    return f'<dl class="{style}">{"".join(items)}</dl>'


def _provenance(experiment: Experiment) -> str:
    """How the experiment was run: command, time, tier, hardware, seed, config."""
    metrics = experiment.metrics
    facts = {"Time": formatting.duration(metrics["seconds"]), "Tier": metrics["tier"], "Hardware": metrics["hardware"]}
    facts["Seed"] = "–" if metrics["seed"] is None else str(metrics["seed"])
    # Whole words on a line: a browser would break the command after the dashes of an option.
    command = " ".join(f"<span>{escape(word)}</span>" for word in metrics["command"].split(" "))
    config = escape(json.dumps(experiment.config, indent=2, ensure_ascii=False))
    return (
        f'<h2>How it was run</h2>\n<pre class="command"><code>{command}</code></pre>\n'
        f"{_terms(facts, 'facts')}\n"
        f'<details><summary>Configuration</summary><pre tabindex="0"><code>{config}</code></pre></details>'
    )
