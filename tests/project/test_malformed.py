"""Malformed files, made by chance: every reader loads them or says what is wrong with which file, and nothing else.

A few hundred files in ordinary runs; `pytest -m slow tests/project/test_malformed.py` makes more than ten thousand.
"""

import gzip
import io
import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from experiments.lib import runner
from tests.helpers import small_gallery, small_study
from tests.weights import test_caffe_file as caffe
from tests.weights import test_torch_file as torch
from xai_jax import activation_cache, cav
from xai_jax.concepts.cav import CAV
from xai_jax.data import decoding, fashion_mnist
from xai_jax.gallery import human_study_answers, results
from xai_jax.io.errors import TrainingError
from xai_jax.training import checkpoints
from xai_jax.weights import safetensors_file

FEW, MANY = 15, 800
MOST_MEMORY = 64_000_000  # bytes, for files of a few kilobytes


class Reader(NamedTuple):
    """`write` puts a whole file where `read` looks for it; `read` may raise what `errors` says, naming the file."""

    write: Callable[[Path], None]
    read: Callable[[Path], object]
    errors: tuple[type[Exception], ...] = (ValueError,)


def array_file(name, raw):
    return lambda folder: (folder / name).write_bytes(raw)


STORAGE = torch.Storage("0", torch.VALUES.tobytes())
STATE = {"a.weight": torch.Tensor(STORAGE, 0, (3, 4), (4, 1)), "a.bias": torch.Tensor(STORAGE, 2, (3,), (1,))}
STATE_BYTES = {form: getattr(torch, form)(STATE, [STORAGE]) for form in ("old_format", "zip_format")}


def write_cav(folder):
    cav.save(folder / "file", CAV(np.arange(5, dtype="f"), "net", "layer", "stripes", "how", 0.5))


def write_stage(folder):
    runner._write_stage(folder / "file", {"_fingerprint": np.array("f"), "_seconds": np.float64(1), "a": np.arange(9)})


def write_activations(folder):
    with activation_cache._new(folder / "file", (3, 4), np.float32) as array:
        array[:] = np.arange(12).reshape(3, 4)


def write_gallery(folder):
    small_gallery.write_experiment(folder, "paper", "figure")


def write_metrics(folder):
    write_gallery(folder)
    (folder / "paper/figure/metrics.json").rename(folder / "file")
    (folder / "paper/figure/metrics.json").symlink_to(folder / "file")


def write_config(folder):
    write_gallery(folder)
    (folder / "paper/figure/config.json").rename(folder / "file")
    (folder / "paper/figure/config.json").symlink_to(folder / "file")


KEY = {"study": "s", "images": 24, "maps": 72}
KEY |= {"tasks": [dict(model="m", method="x", label="zebra", concept="image", images=6)] * 6}


def write_answers(folder):
    (folder / "key.json").write_text(json.dumps(KEY))
    (folder / "answers").mkdir()
    (folder / "file").write_text(json.dumps(small_study.sheet(KEY, model="m")))
    (folder / "answers/file").symlink_to(folder / "file")


def picture(form):
    buffer, pixels = io.BytesIO(), np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


IDX = struct.pack(">4B3i", 0, 0, 8, 3, 4, 5, 6) + bytes(range(120))


def read_idx(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    (folder / "file").rename(path)
    try:
        return fashion_mnist._idx(path, (4, 5, 6))
    finally:
        path.rename(folder / "file")


def write_checkpoint_log(folder):
    (folder / "file").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n')


def write_description(folder):
    (folder / "training.json").symlink_to(folder / "file")
    (folder / "file").write_text(json.dumps({"network": "Small", "seed": 1}))


def write_run(folder):
    (folder / "config.json").symlink_to(folder / "file")
    (folder / "file").write_text(json.dumps({"experiment": "paper/figure", "seed": 1}))


READERS = {
    "safetensors": Reader(
        lambda folder: safetensors_file.write(folder / "file", {"params/a": np.arange(6.0), "b": np.ones((2, 2), "f")}),
        lambda folder: safetensors_file.read(folder / "file"),
    ),
    "foreign safetensors": Reader(
        array_file("file", safetensors.numpy.save({"a": np.arange(6.0)})),
        lambda folder: safetensors_file.read(folder / "file"),
    ),
    "torch zip": Reader(
        array_file("file", STATE_BYTES["zip_format"]), lambda folder: safetensors_file.read(folder / "file")
    ),
    "torch pickles": Reader(
        array_file("file", STATE_BYTES["old_format"]), lambda folder: safetensors_file.read(folder / "file")
    ),
    "caffemodel": Reader(
        array_file("file", caffe.new_format(caffe.ARRAYS)), lambda folder: safetensors_file.read(folder / "file")
    ),
    "old caffemodel": Reader(
        array_file("file", caffe.old_format(caffe.ARRAYS)), lambda folder: safetensors_file.read(folder / "file")
    ),
    "CAV": Reader(write_cav, lambda folder: cav.load(folder / "file")),
    "stage": Reader(write_stage, lambda folder: runner._read_stage(folder / "file", "f"), ()),
    "activations": Reader(write_activations, lambda folder: activation_cache._read(folder / "file", (3, 4)), ()),
    "idx": Reader(array_file("file", gzip.compress(IDX)), read_idx),
    "PNG": Reader(array_file("file", picture("PNG")), lambda folder: decode(folder)),
    "JPEG": Reader(array_file("file", picture("JPEG")), lambda folder: decode(folder)),
    "GIF": Reader(array_file("file", picture("GIF")), lambda folder: decode(folder)),
    "TIFF": Reader(array_file("file", picture("TIFF")), lambda folder: decode(folder)),
    "WebP": Reader(array_file("file", picture("WEBP")), lambda folder: decode(folder)),
    "metrics.json": Reader(write_metrics, results.load),
    "config.json": Reader(write_config, results.load),
    "answers": Reader(write_answers, human_study_answers.read),
    "metrics.jsonl": Reader(
        write_checkpoint_log, lambda folder: checkpoints.read_log(folder / "file"), (TrainingError,)
    ),
    "training.json": Reader(
        write_description, lambda folder: checkpoints.agree(folder, {"network": "Small", "seed": 1}), (TrainingError,)
    ),
    "a run's config.json": Reader(
        write_run, lambda folder: runner._finished(folder, '{"experiment": "paper/figure"}'), (runner.UserError,)
    ),
}


def decode(place):
    return decoding.decode(place / "file")


NASTY = [b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"9" * 400, b"1e999", b"NaN", b"-1"]
NASTY += [b"[" * 3000, b'{"a":' * 3000, b"null", b"[]", b'"', b"\\ud800", b"PK\x05\x06", b"(" * 500, b"\x80\x02"]
NASTY += [b"cos\nsystem\n(S'touch hacked'\ntR."]


@st.composite
def damaged(draw, raw):
    """A few bytes changed, pieces put in, taken out or repeated, and the end cut off; or bytes of chance alone."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    for _ in range(draw(st.integers(1, 3))):
        at, size = draw(st.integers(0, len(raw))), draw(st.integers(0, 40))
        kind = draw(st.sampled_from(("flip", "put", "take", "repeat", "cut")))
        if kind == "flip":
            raw = (
                raw[:at] + bytes(255 & (byte ^ draw(st.integers(1, 255))) for byte in raw[at : at + 1]) + raw[at + 1 :]
            )
        elif kind == "put":
            piece = draw(st.sampled_from(NASTY) | st.binary(max_size=12))
            raw = raw[:at] + piece + raw[at + draw(st.sampled_from((0, len(piece)))) :]
        elif kind == "repeat":
            raw = raw[: at + size] + raw[at:]
        else:
            raw = raw[:at] + (raw[at + size :] if kind == "take" else b"")
    return raw


def check(reader, place, raw):
    """Reads `raw` as the reader's file: it loads, or one of its errors names the file in words."""
    (place / "file").write_bytes(raw)
    tracemalloc.start()
    try:
        reader.read(place)
    except reader.errors as error:
        assert str(place) in str(error) and len(str(error)) < 20_000, error
        str(error).encode()  # can be printed
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MOST_MEMORY
    assert not Path("hacked").exists()


def hunt(name, place, count):
    reader = READERS[name]
    reader.write(place)
    raw = (place / "file").read_bytes()
    reader.read(place) if name != "idx" and name != "a run's config.json" else None

    @given(raw=damaged(raw))
    @settings(deadline=10_000, max_examples=count, derandomize=True, database=None, suppress_health_check=HealthCheck)
    def each(raw):
        check(reader, place, raw)

    each()


def test_half_characters_in_keys_and_values_are_named_in_words(tmp_path):
    reader, odd = READERS["training.json"], b'{"\\ud800network": "\\udc00"}'
    reader.write(tmp_path)
    check(reader, tmp_path, odd)
    with pytest.raises(reader.errors, match=r"\\ud800network: \\udc00 there"):
        reader.read(tmp_path)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    """Pillow warns of what it finds odd in files that it reads all the same."""
    caplog.set_level("CRITICAL")


odd_pictures = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


@odd_pictures
@pytest.mark.parametrize("name", READERS)
def test_malformed_files_load_or_are_named(name, tmp_path):
    hunt(name, tmp_path, FEW)


@odd_pictures
@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_malformed_files_load_or_are_named(name, tmp_path):
    hunt(name, tmp_path, MANY)
