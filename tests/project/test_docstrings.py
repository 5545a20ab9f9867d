"""Docstrings: every public function has one, and those with more than three parameters describe all of them."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = ("Args", "Returns", "Raises")

# Files in which functions without sections may remain; the set may only shrink.
INCOMPLETE = {
    "xai_jax/architectures/allcnn.py",
    "xai_jax/architectures/googlenet.py",
    "xai_jax/architectures/zfnet.py",
    "xai_jax/data/batches.py",
    "xai_jax/data/captions.py",
    "xai_jax/data/crops.py",
    "xai_jax/data/planted.py",
    "xai_jax/data/retina.py",
    "xai_jax/data/textures.py",
    "xai_jax/gallery/article.py",
    "xai_jax/gallery/human_study_analysis.py",
    "xai_jax/gallery/page.py",
    "xai_jax/training/deepsim.py",
    "xai_jax/training/evaluation.py",
    "xai_jax/training/sgd.py",
    "xai_jax/training/supervised.py",
}


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
    assert {path: names for path, names in found.items() if names and path not in INCOMPLETE} == {}
