"""What the documentation says can be typed, links to what exists, and leaves no function out."""

import ast
import importlib
import json
import re
from functools import cache
from pathlib import Path

import nbclient
import nbformat
import pdoc
import pytest

from xai_jax import targets

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NOTEBOOK = DOCS / "explain_your_own_model.ipynb"
PAGES = sorted(DOCS.glob("*.md"))
MODULES = sorted(path for path in (ROOT / "xai_jax").rglob("*.py") if path.name != "__main__.py")
SHAPE = re.compile(
    r"\bshap(e|ed|es)\b|\bbroadcasts?\b"
    r"|\((\*\w+|\.\.\.|count|side|rows|steps|[A-Za-z0-9])(,[^()]*(\([^()]*\)[^()]*)*)?\)"
)
PAGE_NAMES = ("deconvnet", "inversion", "guided_backprop", "generator_networks", "tcav", "extending")


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_snippets_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    snippets = re.findall(r"```python\n(.*?)```", (DOCS / f"{name}.md").read_text(), re.DOTALL)
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, f"{name}.md", "exec"), names)


def test_every_page_is_listed_and_links_lead_somewhere():
    index = (DOCS / "index.md").read_text()
    others = {"index.md", "scale.md", "experiments.md", "decisions.md"}
    assert {path.name for path in PAGES} - others == {f"{name}.md" for name in PAGE_NAMES}
    for page in PAGES:
        assert page.name in index or page.name == "index.md"
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (DOCS / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_named_functions_exist(page):
    for module, name in re.findall(r"`(\w+)\.(\w+)(?:\([^`]*)?`", page.read_text()):
        if (ROOT / "xai_jax" / f"{module}.py").exists() and name != "py":
            assert hasattr(importlib.import_module(f"xai_jax.{module}"), name), f"{module}.{name}"
    for paper, figure in re.findall(r"`([a-z]+20\d\d)/(\w+)`", page.read_text()):
        assert (ROOT / "experiments" / paper / f"{figure}.py").exists()


def test_messages_are_those_of_the_code():
    sources = " ".join(path.read_text() for path in MODULES)
    words = set(re.findall(r"\w+", sources))
    for page in PAGES:
        for message in re.findall(r"^\| `(?:\w+Error: )?((?:Expected|The) [^`]*)`", page.read_text(), re.MULTILINE):
            said = re.findall(r"\b[a-z]{4,}\b", re.sub(r"'\w+'", "", message))
            assert set(said) <= words, f"{page.name}: {message}"


def test_the_notebook_holds_no_outputs():
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)


def test_the_notebook_runs_and_shows_figures(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [output for output in outputs if "image/png" in output.get("data", ())]
    text = "".join(output["text"] for output in outputs if output.get("name") == "stdout")
    assert len(pictures) == 7 and "digit 0: ring" in text and "anything" not in text
    assert re.search(r"9\d\.\d% of the test images are read correctly", text)


@cache
def documented(path):
    """(name, docstring, signature, the module's docstring) of all public functions and classes of a file."""
    tree = ast.parse(path.read_text())
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    about = ast.get_docstring(tree) or ""
    return [
        (node.name, ast.get_docstring(node) or "", signature(node), about)
        for node in found
        if not node.name.startswith("_")
    ]


def signature(node):
    return f"{ast.unparse(node.args)} -> {ast.unparse(node.returns or ast.Name(''))}" if hasattr(node, "args") else ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings(path):
    """A line that sums up; and of functions of arrays, their shapes, there or for all functions in the module's."""
    assert ast.get_docstring(ast.parse(path.read_text()))
    for name, text, arguments, about in documented(path):
        assert text and "\n" not in text.split("\n\n")[0], f"{path.name}: {name} has no line that sums it up"
        arrays = re.sub(r"(Mapping|dict)\[str, \S*rray\]", "", arguments)
        if re.search(r"\bndarray|\bArray\b", arrays):
            assert SHAPE.search(text) or SHAPE.search(about), f"{path.name}: {name} does not say shapes"


def test_the_reference_renders(tmp_path):
    pdoc.render.configure(docformat="google")
    pdoc.pdoc("xai_jax.core.targets", output_directory=tmp_path)
    page = (tmp_path / "xai_jax/core/targets.html").read_text()
    assert "View Source" in page and "<code>vector</code> has the activation's shape" in page
    assert all(f'id="{name}"' in page for name, *_ in documented(Path(targets.__file__)))
