"""Docstrings: public functions with more than three parameters describe them, and public methods have examples."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = ("Args", "Returns", "Raises")
# Packages whose public functions have examples.
METHODS = ("core", "io", "adapters", "attribution", "units", "synthesis", "concepts", "data", "plots", "gallery")


def public_functions(path):
    """Public functions, and methods of public classes, that are defined at the top level of a file."""
    nodes = ast.parse(path.read_text()).body
    nodes += [node for each in nodes if isinstance(each, ast.ClassDef) and each.name[0] != "_" for node in each.body]
    return [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]


def parameters(function):
    arguments = function.args
    named = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    starred = [each for each in (arguments.vararg, arguments.kwarg) if each]
    return [name for name in named if name not in ("self", "cls")] + starred


def incomplete(path):
    """Public functions with more than three parameters whose docstring lacks a section that it needs."""
    for function in public_functions(path):
        nothing = isinstance(function.returns, ast.Constant) and function.returns.value is None
        text = ast.get_docstring(function) or ""
        wanted = [each for each in SECTIONS if not (nothing and each == "Returns")]
        if len(parameters(function)) > 3 and not all(each in text for each in wanted):
            yield function.name


def test_functions_with_many_parameters_have_args_returns_and_raises():
    found = {str(path.relative_to(ROOT)): list(incomplete(path)) for path in sorted((ROOT / "xai_jax").rglob("*.py"))}
    assert {path: names for path, names in found.items() if names} == {}


def without_example(path):
    """Public functions that no example in a docstring of their module calls."""
    docstrings = [ast.get_docstring(node) or "" for node in (ast.parse(path.read_text()), *public_functions(path))]
    examples = "\n".join(re.findall(r"(?:>>>|\.\.\.|Example:).*", "\n".join(docstrings)))
    names = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    return [name for name in names if name[0] != "_" and not re.search(rf"\b{name}\b", examples)]


def test_public_functions_have_examples():
    paths = [path for package in METHODS for path in sorted((ROOT / "xai_jax" / package).glob("*.py"))]
    found = {str(path.relative_to(ROOT)): without_example(path) for path in paths}
    assert {path: names for path, names in found.items() if names} == {}
