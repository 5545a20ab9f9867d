"""No page says more than the metrics.json behind it: every verdict shown, and everything that could pass for one."""

import ast
import json
import re
from collections import Counter
from html import unescape
from pathlib import Path

import pytest

from tests.helpers.small_gallery import Page, claim, write_experiment
from xai_jax.gallery import build, formatting
from xai_jax.gallery.figures import COMPARISONS
from xai_jax.gallery.methods import METHODS

ROOT = Path(__file__).parents[2]
VERDICT = r'<span class="verdict (\w+)">(.*?)</span>'
ITEM = (
    rf'<li>{VERDICT}<p class="claim">(.*?) <span class="source">.*?</span></p>\s*'
    r'<p class="measured"><b>\w+:</b> (.*?)</p>'
)
ROW = (
    rf'<tr data-paper="(.*?)" data-verdicts="(\w+)"><td>{VERDICT}</td><th scope="row">(.*?)<span class="source">.*?'
    r'<a href="(.*?)">.*?</span></th><td>(.*?)</td></tr>'
)
DECISIVE = re.compile(
    r"\b(hold|holds|held|supported|confirm\w*|refut\w*|claim\w*|verdict\w*|"  # lint: keep
    r"disprov\w*|proves?|proved)\b",
    re.I,
)


@pytest.fixture
def results(tmp_path):
    """Three experiments with claims of every verdict, one without."""
    for number, name in enumerate(("kim2018/captions", "kim2018/dream", "zeiler2014/features"), start=2):
        verdicts = enumerate([*formatting.VERDICTS, "supported"][:number])
        claims = [claim(f"{name} <{i}>", verdict, "s & t", f"{name} {i} > {number}") for i, verdict in verdicts]
        write_experiment(tmp_path, *name.split("/"), claims=claims)
    write_experiment(tmp_path, "aaai1999", "none", claims=[])
    build(tmp_path)
    return tmp_path


def recorded(results):
    """(folder, (CSS class, verdict), claim, measured) of every claim in every metrics.json."""
    for file in results.glob("*/*/metrics.json"):
        for found in json.loads(file.read_text())["claims"]:
            verdict = found["verdict"]
            yield file.parent, (formatting.VERDICTS[verdict], verdict), found["claim"], found["measured"]


def test_every_claim_shown_anywhere_is_of_metrics_json_with_its_verdict(results):
    expected = list(recorded(results))
    pages = {path: path.read_text() for path in results.rglob("*.html")}
    assert len(expected) == 9 and len(pages) == 7
    shown = [
        (path.parent, (style, word), *map(unescape, texts))
        for path in results.glob("*/*/index.html")
        for style, word, *texts in re.findall(ITEM, pages[path])
    ]
    assert sorted(shown) == sorted(expected)
    beside = [
        (results / paper, (style, word), *map(unescape, texts))
        for paper, part in re.findall(r'<article id="(.*?)">(.*?)</article>', pages[results / "figures.html"], re.S)
        for style, word, *texts in re.findall(ITEM, part)
    ]
    assert sorted(beside) == sorted(expected)
    rows = re.findall(ROW, pages[results / "claims.html"])
    assert sorted(
        ((results / address).parent, (style, word), unescape(claim), unescape(measured))
        for _, _, style, word, claim, address, measured in rows
    ) == sorted(expected)
    assert all(paper == address.split("/")[0] and found == style for paper, found, style, _, _, address, _ in rows)
    # and no verdict anywhere else
    assert sum(text.count('class="verdict') for text in pages.values()) == 3 * len(expected)


def test_the_front_page_counts_and_filters_by_these_verdicts(results):
    page = Page(results / "index.html")
    counts = Counter(style for _, (style, _), _, _ in recorded(results))
    assert counts == {"supported": 4, "refuted": 3, "inconclusive": 2}
    assert "4 experiments from 3 papers, 9 claims: 4 supported, 3 not supported, 2 inconclusive." in page.text()
    cards = [card["data-verdicts"] for card in page.all("li") if "data-verdicts" in card]
    assert cards == ["supported refuted inconclusive", "supported refuted", "supported refuted inconclusive", ""]


def _texts_of_figures(path):
    """The literal texts of a module's panels: names, captions, alternatives."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("run.figure", "Panel")):
            yield from (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))


def test_captions_carry_no_verdict():
    texts = [text for path in ROOT.glob("experiments/*/*.py") for text in _texts_of_figures(path)]
    assert len(texts) > 50
    assert [text for text in texts if isinstance(text, str) and DECISIVE.search(text)] == []


def test_what_the_front_page_says_of_methods_carries_no_verdict():
    assert [name for name, method in METHODS.items() if DECISIVE.search(method.paragraph + method.letters)] == []


def test_descriptions_of_the_papers_figures_carry_no_verdict():
    assert [entry.experiment for entry in COMPARISONS if DECISIVE.search(" ".join(map(str, entry)))] == []
