"""The examples in all docstrings of the library.

The examples of a module run in order and share their names, so the module's own docstring can define a network and
images for all of its functions.
"""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "xai_jax").rglob("*.py"))
    if ">>> " in path.read_text()
]


class Finder(doctest.DocTestFinder):
    """Finds decorated functions, too, whose wrappers come from other modules."""

    def _from_module(self, module, object):
        return super()._from_module(module, inspect.unwrap(object) if callable(object) else object)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    names, runner, failures = {}, doctest.DocTestRunner(optionflags=FLAGS), []
    tests = Finder().find(module, name)
    for test in sorted(tests, key=lambda test: test.lineno or 0):
        test.globs = names if names else names.update(test.globs) or names
        runner.run(test, out=failures.append, clear_globs=False)
    assert runner.tries and not runner.failures, "".join(failures)
