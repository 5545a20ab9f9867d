"""What the documentation says can be typed, links to what exists, and leaves no function out."""

import ast
import importlib.util
import json
import re
from functools import cache
from pathlib import Path

import nbclient
import nbformat
import pdoc
import pytest
from PIL import Image

import xai_jax
from xai_jax import targets
from xai_jax.data import cutouts, photographs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NOTEBOOKS = sorted(DOCS.glob("*.ipynb"))
PAGES = sorted(DOCS.glob("*.md"))
MODULES = sorted(path for path in (ROOT / "xai_jax").rglob("*.py") if path.name != "__main__.py")
SHAPE = re.compile(
    r"\bshap(e|ed|es)\b|\bbroadcasts?\b"
    r"|\((\*\w+|\.\.\.|count|side|rows|steps|[A-Za-z0-9])(,[^()]*(\([^()]*\)[^()]*)*)?\)"
)
PAGE_NAMES = "deconvnet inversion guided_backprop generator_networks tcav extending training data accelerators".split()


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_snippets_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photographs(tmp_path / "photos/train")
    names = {"__name__": "page"}
    snippets = re.findall(r"```python\n(.*?)```", (DOCS / f"{name}.md").read_text(), re.DOTALL)
    assert snippets
    for snippet in snippets:
        exec(compile(brief(snippet), f"{name}.md", "exec"), names)


def brief(snippet):
    """Training on a page's terms would take minutes."""
    return re.sub(r"epochs=\d+, batch_size=\d+", "epochs=1, batch_size=2", snippet).replace("width=0.5", "width=0.05")


def write_photographs(folder):
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (50 + number, 40)).save(folder / f"{name}/{number}.jpg")


def test_every_page_is_listed_and_links_lead_somewhere():
    index = (DOCS / "index.md").read_text()
    others = {f"{name}.md" for name in "index scale experiments decisions running paper_tier benchmarks".split()}
    assert {path.name for path in PAGES} - others == {f"{name}.md" for name in PAGE_NAMES}
    for page in PAGES:
        assert page.name in index or page.name == "index.md"
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (DOCS / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_named_functions_and_experiments_exist(page):
    modules = {"tests", *dir(xai_jax)}
    for module, name in re.findall(r"`(\w+)\.(\w+)(?:\([^`]*)?`", page.read_text()):
        if module in modules and name not in ("py", "json", "html"):
            owner = getattr(xai_jax, module)
            if hasattr(owner, "__path__"):  # a package, whose modules are attributes once they are imported
                assert hasattr(owner, name) or importlib.util.find_spec(f"{owner.__name__}.{name}"), f"{module}.{name}"
            else:
                assert hasattr(owner, name), f"{module}.{name}"
    for paper, figure in re.findall(r"`([a-z]+20\d\d)/(\w+)`", page.read_text()):
        assert (ROOT / "experiments" / paper / f"{figure}.py").exists()


@cache
def messages():
    """Constant parts of all strings of the library, joined in the order of the code: a tuple for each string."""
    found = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.append(tuple(part.value for part in node.values if isinstance(part, ast.Constant)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append((node.value,))
    return found


def is_raised(message):
    """Whether some string of the library has all parts of a message but its values: quoted words, numbers, tuples."""
    parts = [part.strip(" .,'[]") for part in re.split(r"…|(?<=got )\w+|'[^']*'|\((?=\d|\))[^()]*\)|\d[\d.]*", message)]
    return any(all(any(part in text for text in string) for part in parts if len(part) > 2) for string in messages())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_messages_are_those_of_the_code(page):
    for message in re.findall(r"^\| `(?:\w+Error: )?((?:Expected|The) [^`]*)`", page.read_text(), re.MULTILINE):
        assert is_raised(message), message


def test_other_messages_are_found_out():
    assert is_raised("Expected a target such as targets.logit(3), got 5.")
    assert not is_raised("Expected a target such as targets.probability(3), got 5.")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_hold_no_outputs(path):
    for cell in json.loads(path.read_text())["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)


def test_notebooks_install_what_is_missing_on_a_hosted_machine():
    """The versions of Debian's packages are those whose files the tables list."""
    sources = {path.stem: json.loads(path.read_text())["cells"][1]["source"] for path in NOTEBOOKS}
    own = sources.pop("explain_your_own_model")
    assert len({"".join(source) for source in sources.values()}) == 1 and own not in sources.values()
    for package in (photographs.PACKAGE, cutouts.PACKAGE):
        assert f"{package.name}_{package.version}-" in "".join(sources["tcav"])


# Number of figures, and what is printed.
SHOWN = {
    "deconvnet": (4, r"unseen objects: [4-6]\d% right.*another image's switches: -?0\.[0-3]"),
    "explain_your_own_model": (7, r"9\d\.\d% test accuracy.*digit 0: ring"),
    "generator_networks": (3, r"agrees on (8|9|10)\d% of 13 classes.*agrees on [0-6]?\d% of 13 fooling"),
    "guided_backprop": (3, r"'lesser panda', 'tabby'.*guided backprop +correlation .* (1\.00|0\.9\d)"),
    "inversion": (3, r"relu1 .* 0\.0\d+, correlation 0\.[89].*fc8 .*correlation .* 0\.[0-3]"),
    "tcav": (4, r"score [01]\.\d\d, p of the mean"),
}


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_and_show_figures(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [output for output in outputs if "image/png" in output.get("data", ())]
    text = "".join(output["text"] for output in outputs if output.get("name") == "stdout")
    number, printed = SHOWN[path.stem]
    assert len(pictures) == number and re.search(printed, text, re.DOTALL), text


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
