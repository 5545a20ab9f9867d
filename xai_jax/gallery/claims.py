"""The page of all claims, `claims.html`."""

from html import escape
from typing import Any

from xai_jax.gallery import formatting
from xai_jax.gallery.methods import method_name
from xai_jax.gallery.page import filter_form, link, page, table, verdict
from xai_jax.gallery.results import Experiment

TITLE = "What the papers claim, and what we found"
HEADER = ["Verdict", "Claim of the paper, and where it is tested", "What we measured"]


def claims_page(experiments: list[Experiment], units: bool) -> str:
    """The whole page, for experiments in the gallery's order. Example: `claims_page(experiments, units=False)`."""
    rows = [_row(experiment, claim) for experiment in experiments for claim in experiment.metrics["claims"]]
    shown = table("All claims", HEADER, rows, "overview") if rows else "<p>No experiment here checks a claim.</p>"
    body = (
        f"<header>\n<h1>{TITLE}</h1>\n"
        '<p class="lead">A claim is supported where its test is significant, not supported where that of the opposite '
        "is, else inconclusive. docs/decisions.md lists what was chosen after results were seen.</p>\n</header>\n"
        f"{filter_form(experiments)}\n{shown}"
    )
    return page(TITLE, body, "", units)


def _row(experiment: Experiment, claim: dict[str, Any]) -> str:
    """One claim, linked to the experiment that tests it."""
    style = formatting.VERDICTS[claim["verdict"]]
    return (
        f'<tr data-paper="{escape(experiment.paper)}" data-verdicts="{style}"><td>{verdict(claim)}</td>'
        f'<th scope="row">{escape(claim["claim"])}<span class="source">{escape(method_name(experiment.paper))} · '
        f"{link(experiment)} · {escape(claim['source'])}</span></th><td>{escape(claim['measured'])}</td></tr>"
    )
