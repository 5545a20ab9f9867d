"""Orbax leaves event loops to the garbage collector after failed reads and writes, which it reports later."""

import gc

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "training":
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(scope="module", autouse=True)
def _garbage():
    """Collected before the tests of other modules, in which warnings are errors."""
    yield
    gc.collect()
