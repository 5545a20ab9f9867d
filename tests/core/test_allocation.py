"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from xai_jax.core.allocation import keep_freed_memory
if "keep" in sys.argv:
    keep_freed_memory()
b"x" * 2**26
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
b"x" * 2**26
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="an option of glibc")
def test_pages_are_cleared_once():
    def faults(*arguments):
        command = [sys.executable, "-c", PROGRAM, *arguments]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults() > 1000  # unless the pages are huge, 16384
    assert faults("keep") < 100
