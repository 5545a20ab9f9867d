"""Locks, and file systems without them."""

import errno
import fcntl

import pytest

from xai_jax.io import locks


def test_a_lock_ends_with_its_file(tmp_path):
    with open(tmp_path / "lock", "w") as first, open(tmp_path / "lock", "w") as second:
        assert locks.acquire(first) and not locks.acquire(second)
        first.close()
        assert locks.acquire(second, wait=True)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_as_the_cause(tmp_path, monkeypatch, number):
    def refuse(file, operation):
        raise OSError(number, "")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with open(tmp_path / "lock", "w") as file, pytest.raises(OSError, match="mounted without them.*local disk.*lock"):
        locks.acquire(file)
