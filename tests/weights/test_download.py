"""Downloads from a local server: interrupted and resumed, changed, wrong, refused, without network, room or rights."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import file_server
from xai_jax.io.checksums import sha256
from xai_jax.io.files import cache_dir
from xai_jax.weights import download

CONTENT = np.random.default_rng(0).bytes(1_000_000)
DIGEST = sha256(CONTENT)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with file_server.serving(CONTENT) as running:
        yield running


def names():
    """Files in the cache but the lock."""
    folder = cache_dir("weights")
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock")) if folder.exists() else []


def refused(error, server, *parts, digest=DIGEST):
    """One short line with these parts in it."""
    with pytest.raises(error) as caught:
        download.fetch(server.address(), digest)
    text = str(caught.value)
    assert text.startswith("Expected") and len(text) <= 600 and text.isprintable()
    assert not [part for part in parts if part not in text], text


def test_a_file_is_downloaded_once_and_verified_each_time(server, caplog):
    path = download.fetch(server.address(), DIGEST)
    assert path == cache_dir("weights") / "net.pth" and path.read_bytes() == CONTENT
    assert download.fetch(server.address(), DIGEST) == path and server.requests == [None] and names() == ["net.pth"]
    path.write_bytes(CONTENT[:-1] + b"?")
    assert download.fetch(server.address(), DIGEST).read_bytes() == CONTENT and len(server.requests) == 2
    assert "net.pth is damaged" in caplog.text


def test_an_interrupted_download_is_resumed_at_once_where_bytes_arrive(server):
    server.breaks = [300_000, 500_000]
    assert download.fetch(server.address(), DIGEST).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-", "bytes=800000-"] and names() == ["net.pth"]


def test_an_interrupted_download_is_resumed_by_the_next_call(server):
    server.breaks = [300_000, 0]
    refused(ConnectionError, server, "ended too early", "The 0.3 MB that arrived are kept")
    assert names() == [f"net.pth.{server.etag.encode().hex()}.part"]
    assert download.fetch(server.address(), DIGEST).read_bytes() == CONTENT
    assert server.requests[2:] == ["bytes=300000-"] and names() == ["net.pth"]


def test_of_a_file_that_changed_or_cannot_be_served_in_parts_nothing_is_kept(server):
    for change in ({"etag": '"second"'}, {"ranges": False}, {"etag": ""}):
        server.breaks, server.requests, server.etag, server.ranges = [300_000, 0], [], '"first"', True
        refused(ConnectionError, server, "too early")
        for name, value in change.items():
            setattr(server, name, value)
        assert download.fetch(server.address(), DIGEST).read_bytes() == CONTENT
        assert server.requests[-1] == "bytes=300000-" and names() == ["net.pth"]
        (cache_dir("weights") / "net.pth").unlink()
    server.breaks, server.requests = [300_000, 0], []  # without a validator
    refused(ConnectionError, server, "too early")
    assert download.fetch(server.address(), DIGEST).read_bytes() == CONTENT and server.requests == [None] * 3


def test_a_download_killed_before_it_was_verified_is_finished(server):
    server.breaks = [300_000, 0]
    refused(ConnectionError, server)
    (part,) = cache_dir("weights").glob("*.part")
    part.write_bytes(CONTENT)
    assert download.fetch(server.address(), DIGEST).read_bytes() == CONTENT and names() == ["net.pth"]


def test_a_wrong_digest_is_refused_and_the_file_deleted(server):
    wrong = sha256(b"other")
    refused(ValueError, server, wrong, DIGEST, "the file is deleted", digest=wrong)
    assert names() == []


def test_a_wrong_digest_after_a_resumption_is_refused_too(server):
    server.breaks = [300_000, 0]
    refused(ConnectionError, server)
    (part,) = cache_dir("weights").glob("*.part")
    part.write_bytes(b"?" * 300_000)
    refused(ValueError, server, "continued wrongly")
    assert names() == [] and download.fetch(server.address(), DIGEST).read_bytes() == CONTENT


@pytest.mark.parametrize("status, reason", [(404, "Not Found"), (503, "Service Unavailable")])
def test_the_status_of_the_server_is_named(server, status, reason):
    server.status = status
    refused(ConnectionError, server, f"status {status} ({reason})", server.address())
    assert names() == []


def test_no_network_is_named_with_what_to_do(server, tmp_path):
    closed = file_server.FileServer(b"")
    closed.server_close()
    remedy = f"put it at {tmp_path}/cache/xai_jax/weights/net.pth"
    refused(ConnectionError, closed, "no connection, as without a network", "Connection refused", remedy)
    with pytest.raises(ConnectionError, match="no connection, as without a network"):
        download.fetch("http://weights.invalid/net.pth", DIGEST)
    with pytest.raises(ConnectionError, match="no connection"):
        download.fetch("unknown://host/net.pth", DIGEST)


def test_messages_are_short_whatever_the_names(tmp_path, monkeypatch):
    long = tmp_path / "/".join(["folder" * 30] * 5)
    monkeypatch.setenv("XDG_CACHE_HOME", str(long))
    closed = file_server.FileServer(b"")
    closed.server_close()
    address = closed.address("model" * 40 + ".pth")
    with pytest.raises(ConnectionError) as connection:
        download.fetch(address, DIGEST)
    long.joinpath("xai_jax/weights").rename(tmp_path / "away")
    long.joinpath("xai_jax/weights").write_text("")
    with pytest.raises(OSError, match="File exists|Not a directory") as cache:
        download.fetch(address, DIGEST)
    assert max(len(str(each.value)) for each in (connection, cache)) <= 600


def test_a_server_that_stalls_is_left(server, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT", 0.2)
    server.release.clear()
    refused(ConnectionError, server, "timed out")
    server.release.set()


def read_only(folder):
    """Makes a folder read-only, also for root, and returns what undoes it."""
    if os.geteuid():
        folder.chmod(0o555)
        return lambda: folder.chmod(0o755)
    if subprocess.run(["mount", "--bind", "-o", "ro", folder, folder], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk here")
    return lambda: subprocess.run(["umount", folder], check=True)


def test_a_read_only_cache_is_named_and_used_where_it_has_the_file(server):
    folder = cache_dir("weights")
    folder.mkdir(parents=True)
    undo = read_only(folder)
    try:
        refused(OSError, server, str(folder), "can be written", "XDG_CACHE_HOME", server.address())
        assert server.requests == [] and names() == []
    finally:
        undo()
    path = download.fetch(server.address(), DIGEST)
    undo = read_only(folder)
    try:
        assert download.fetch(server.address(), DIGEST) == path and len(server.requests) == 1
    finally:
        undo()


def test_a_file_where_the_cache_should_be_is_named(server, tmp_path):
    (tmp_path / "cache").write_text("")
    refused(OSError, server, "Not a directory", "XDG_CACHE_HOME")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_is_named_and_the_download_resumed_once_there_is_room(server):
    folder = cache_dir("weights")
    folder.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        refused(OSError, server, os.strerror(errno.ENOSPC), "resumes")
        subprocess.run(["mount", "-o", "remount,size=20m", folder], check=True)
        assert download.fetch(server.address(), DIGEST).read_bytes() == CONTENT
        assert server.requests[1].startswith("bytes=") and names() == ["net.pth"]
    finally:
        subprocess.run(["umount", folder], check=True)


CHILD = "import sys; from xai_jax.weights import download; print(download.fetch(*sys.argv[1:]))"


def test_two_processes_at_once_download_one_file(server):
    server.release.clear()
    command = [sys.executable, "-c", CHILD, server.address(), DIGEST]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    children = [subprocess.Popen(command, **pipes) for _ in range(2)]
    waits = threading.Event()

    def read(child):
        for line in child.stderr:
            if "Another process is downloading net.pth" in line:
                waits.set()
                server.release.set()

    readers = [threading.Thread(target=read, args=(child,)) for child in children]
    for reader in readers:
        reader.start()
    try:
        assert waits.wait(60)
        outputs = [child.stdout.read() for child in children]
    finally:
        server.release.set()
        for child, reader in zip(children, readers, strict=True):
            child.wait()
            reader.join()
            child.stdout.close()
            child.stderr.close()
    assert outputs == [f"{cache_dir('weights') / 'net.pth'}\n"] * 2 and server.requests == [None]
