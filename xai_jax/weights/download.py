"""Files of weights from the web: in the cache, whole and with the pinned SHA-256, or not at all.

A download that is interrupted is resumed: at once while bytes arrive, else by the next call. Until its digest has been
verified the file is called NAME.VALIDATOR.part, where the validator is the server's ETag or date in hexadecimal digits;
the server sends a file that has changed since from its beginning (RFC 9110, If-Range).
"""

import contextlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from absl import logging
from tqdm import tqdm

from xai_jax.io import locks
from xai_jax.io.checksums import sha256_of_file
from xai_jax.io.errors import excerpt, first_line
from xai_jax.io.files import cache_dir

_TIMEOUT = 30.0  # seconds without a byte
_PIECE = 1 << 18
_LONGEST_VALIDATOR = 64


def fetch(address: str, sha256: str) -> Path:
    """The file at `address` as a path in the cache, downloaded unless it is there.

    Processes that need the same file wait for the first of them. Example: `fetch("https://host/vgg16.pth", "3979...")`.

    Args:
      address: http or https.
      sha256: digest that the file must have, 64 hexadecimal digits.

    Returns:
      `cache_dir("weights") / name`, whose digest has been compared.

    Raises:
      ConnectionError: no network, or a status of the server other than success.
      ValueError: the file has another digest; it is deleted.
      OSError: the cache cannot be written, or its disk is full.
    """
    path = cache_dir("weights") / Path(urlsplit(address).path).name
    with _explained(address, path.parent):
        if _is_intact(path, sha256):
            return path
        with _locked(path):
            if not _is_intact(path, sha256):  # another process may have fetched it meanwhile
                _download(address, sha256, path)
    return path


def _is_intact(path, sha256):
    if not path.exists():
        return False
    intact = sha256_of_file(path) == sha256
    if not intact:
        logging.warning("%s is damaged, its digest is not the pinned one: it is downloaded again.", path)
    return intact


def _download(address, sha256, path):
    part = None
    while part is None:
        before = _size(path)
        try:
            part = _receive(address, path)
        except ConnectionError as error:
            if _size(path) <= before:
                raise ConnectionError(_failure(address, path, error)) from error
    found = sha256_of_file(part)
    if found != sha256:
        part.unlink()
        raise ValueError(
            f"Expected the SHA-256 {sha256} of {excerpt(address)}, got {found}; the file is deleted. Usual cause: a "
            "proxy or a login page in its place, or an interrupted download that was continued wrongly. Load it again."
        )
    os.replace(part, path)


def _parts(path):
    return list(path.parent.glob(f"{path.name}.*.part"))


def _size(path):
    """Bytes that have arrived."""
    return sum(part.stat().st_size for part in _parts(path))


def _receive(address, path):
    """Begins or continues the download; returns the partial file once it is whole.

    Raises ConnectionError where the connection fails or ends too early.
    """
    kept, offset, headers = _parts(path)[:1], _size(path), {"User-Agent": "xai_jax"}
    if offset and (validator := bytes.fromhex(kept[0].name.split(".")[-2]).decode()):
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    with _response(address, headers) as response:
        if response.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # there is no more
            return kept[0]
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:  # the whole file
            offset = 0
            for part in _parts(path):
                part.unlink()
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        part = path.with_name(f"{path.name}.{validator[:_LONGEST_VALIDATOR].encode().hex()}.part")
        missing = response.length
        with open(part, "ab") as file, _bar(path.name, offset, missing) as bar:
            for piece in _pieces(response):
                file.write(piece)
                bar.update(len(piece))
            file.flush()
            os.fsync(file.fileno())
    if missing is not None and part.stat().st_size < offset + missing:
        raise ConnectionError("a connection that ended too early")
    return part


def _bar(name, offset, missing):
    total = None if missing is None else offset + missing
    return tqdm(desc=name, initial=offset, total=total, unit="B", unit_scale=True, delay=1, leave=False)


def _response(address, headers):
    """An open connection that begins to send, or says that there is no such range; raises ConnectionError."""
    try:
        return urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
            return error
        error.close()
        raise ConnectionError(f"status {error.code} ({error.reason})") from error
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(f"no connection, as without a network ({getattr(error, 'reason', error)})") from error


def _pieces(response) -> Iterator[bytes]:
    while True:
        try:
            piece = response.read(_PIECE)
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionError(f"a connection that broke ({first_line(error)})") from error
        if not piece:
            return
        yield piece


def _failure(address, path, error):
    arrived = _size(path)
    kept = f" The {arrived / 1e6:.1f} MB that arrived are kept: load it again to resume." if arrived else ""
    return (
        f"Expected the file {excerpt(address, 150)}, got {excerpt(error, 100)}.{kept} Or download it on another "
        f"machine, and give its path or put it at {excerpt(path, 150)}."
    )


@contextlib.contextmanager
def _locked(path):
    """Waits until no other process downloads the file; the lock is released with the process, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as file:
        if not locks.acquire(file):
            logging.warning("Another process is downloading %s; waiting until it is done.", path.name)
            locks.acquire(file, wait=True)
        yield


@contextlib.contextmanager
def _explained(address, folder):
    """Turns errors in writing to the cache into one line with the remedy."""
    try:
        yield
    except ConnectionError:
        raise
    except OSError as error:
        raise OSError(
            f"Expected a cache at {excerpt(folder)} that can be written, got: {excerpt(error.strerror or error, 60)}. "
            "Let XDG_CACHE_HOME name another folder, or make room: what has arrived is kept and the download resumes. "
            f"Or download {excerpt(address, 120)} yourself and give its path."
        ) from error
