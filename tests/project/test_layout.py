"""The architecture of the code base: layers and isolated method families, read from imports; small files."""

import ast
import graphlib
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = (
    {"core"},
    {"io"},
    {"weights", "data"},
    {"architectures"},
    {"attribution", "units", "synthesis", "concepts"},
    {"training"},
    {"adapters"},
    {"models"},
    {"plots"},
    {"gallery"},
    {"cli"},
)
LAYER = {package: number for number, packages in enumerate(LAYERS) for package in packages}
FAMILIES = LAYERS[4]
FOLDERS = ("xai_jax", "experiments", "configs", "scripts", "tests")


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PATHS = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
MODULES = {module_name(path): path for path in PATHS}


def imports(name):
    """Modules that a module imports, wherever in its text; attributes of a module count as the module."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                known = whole in MODULES or whole.startswith("xai_jax.models.")  # class names are not a module yet
                yield whole if known or node.module in ("xai_jax", "experiments") else node.module


GRAPH = {name: set(imports(name)) - {name} for name in MODULES}
LIBRARY = {name: found for name, found in GRAPH.items() if name.startswith("xai_jax.")}


def edges(allowed, graph):
    """The imports "a -> b" between two packages of one tree for which `allowed(package of a, of b)` is false."""
    for name, found in graph.items():
        for other in found:
            a, b = (each.split(".") for each in (name, other))
            if len(a) > 1 and len(b) > 1 and a[0] == b[0] and a[1] != b[1] and not allowed(a[1], b[1]):
                yield f"{name} -> {other}"


def test_imports_point_to_lower_layers_only():
    assert set(LAYER) == {path.name for path in (ROOT / "xai_jax").iterdir() if any(path.glob("*.py"))}
    assert set(edges(lambda a, b: LAYER.get(b, 0) < LAYER.get(a, len(LAYERS)), LIBRARY)) == set()


def test_method_families_import_core_and_io_alone():
    assert not set(edges(lambda a, b: a not in FAMILIES or b in ("core", "io"), LIBRARY))


def test_core_imports_neither_the_project_nor_flax():
    core = {name: found for name, found in LIBRARY.items() if name.startswith("xai_jax.core.")}
    outside = {other.split(".")[0] for found in core.values() for other in found} - {"xai_jax"}
    assert outside <= {"jax", "numpy", *sys.stdlib_module_names}
    assert all(other.startswith("xai_jax.core") for found in core.values() for other in found if "xai_jax" in other)


def test_imports_have_no_cycle():
    list(graphlib.TopologicalSorter(GRAPH).static_order())


def test_the_library_imports_no_experiment():
    assert not [name for name, found in LIBRARY.items() if any(o.split(".")[0] in FOLDERS[1:] for o in found)]


def test_papers_import_no_other_paper():
    papers = {path.name for path in (ROOT / "experiments").iterdir() if path.is_dir() and path.name != "lib"}
    trees = {name: found for name, found in GRAPH.items() if name.startswith(("experiments.", "configs."))}
    assert not set(edges(lambda a, b: b not in papers, trees))


def test_packages_are_few():
    assert len(LAYER) <= 15


def length(function):
    """Lines of a function without its docstring."""
    text = ast.get_docstring(function, clean=False)
    return function.end_lineno - function.lineno + 1 - (text.count("\n") + 1 if text else 0)


def test_functions_are_short():
    long = {
        f"{name}.{node.name}"
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and length(node) > 40
    }
    assert not long


def test_files_are_short():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in PATHS}
    assert {path for path, lines in lengths.items() if lines > 300} == set()
    assert statistics.median(lengths.values()) <= 130


@pytest.mark.parametrize("module", ["synthesis.optimize", "attribution.saliency", "units.deconvnet", "concepts.tcav"])
def test_a_method_imports_no_data_set_and_no_device_code(module):
    code = f"import sys, xai_jax.{module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    packages = {name.split(".")[1] for name in loaded.split() if name.startswith("xai_jax.")}
    assert packages == {"core", *module.split(".")[:1]} | packages & {"io"}
    assert not {"PIL", "tensorflow_datasets", "flax", "orbax", "jax.experimental.multihost_utils"} & set(loaded.split())
