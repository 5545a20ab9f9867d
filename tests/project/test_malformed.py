"""Fuzzing of all readers: a malformed file loads, or an error names it and says what is wrong.

A few hundred files by default; `pytest -m slow tests/project/test_malformed.py` generates more than ten thousand.
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

from experiments.lib import runner, workspace
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

COUNTS = [15, pytest.param(800, marks=pytest.mark.slow)]  # files of each kind
MOST_MEMORY = 64_000_000  # bytes, for files of a few kilobytes


class Reader(NamedTuple):
    """`write` writes a valid file where `read` expects it; `read` may raise `errors` that name the file."""

    write: Callable[[Path], None]
    read: Callable[[Path], object]
    errors: tuple[type[Exception], ...] = (ValueError,)


def array_file(raw):
    return lambda folder: (folder / "file").write_bytes(raw)


STORAGE = torch.Storage("0", torch.VALUES.tobytes())
STATE = {"a.weight": torch.Tensor(STORAGE, 0, (3, 4), (4, 1)), "a.bias": torch.Tensor(STORAGE, 2, (3,), (1,))}
STATE_BYTES = {form: getattr(torch, form)(STATE, [STORAGE]) for form in ("old_format", "zip_format")}


def write_cav(folder):
    cav.save(folder / "file", CAV(np.arange(5, dtype="f"), "net", "layer", "stripes", "how", 0.5))


def write_stage(folder):
    workspace._write_stage(
        folder / "file", {"_fingerprint": np.array("f"), "_seconds": np.float64(1), "a": np.arange(9)}
    )


def write_activations(folder):
    with activation_cache._new(folder / "file", (3, 4), np.dtype("f4")) as append:
        append(np.arange(12).reshape(3, 4))


def write_result(name):
    """Results of an experiment of which one file is the fuzzed one."""

    def write(folder):
        path = small_gallery.write_experiment(folder, "paper", "figure") / name
        path.rename(folder / "file")
        path.symlink_to(folder / "file")

    return write


KEY = {"study": "s", "images": 24, "maps": 72}
KEY |= {"tasks": [dict(model="m", method="x", label="zebra", concept="image", images=6)] * 6}


def write_human_study_answers(folder):
    (folder / "key.json").write_text(json.dumps(KEY))
    (folder / "answers").mkdir()  # lint: keep
    (folder / "file").write_text(json.dumps(small_study.sheet(KEY, model="m")))
    (folder / "answers/file").symlink_to(folder / "file")  # lint: keep


IDX = struct.pack(">4B3i", 0, 0, 8, 3, 4, 5, 6) + bytes(range(120))


def read_idx(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    (folder / "file").rename(path)
    try:
        return fashion_mnist._idx(path, (4, 5, 6))
    finally:
        path.rename(folder / "file")


def linked(name, **content):
    """A JSON file under another name."""

    def write(folder):
        (folder / name).symlink_to(folder / "file")
        (folder / "file").write_text(json.dumps(content))

    return write


def read_weights(folder):
    return safetensors_file.read(folder / "file")


def picture(form):
    buffer, pixels = io.BytesIO(), np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, form)
    return Reader(array_file(buffer.getvalue()), lambda folder: decoding.decode(folder / "file"))


READERS = {
    "safetensors": Reader(
        lambda folder: safetensors_file.write(folder / "file", {"params/a": np.arange(6.0), "b": np.ones((2, 2), "f")}),
        read_weights,
    ),
    "foreign safetensors": Reader(array_file(safetensors.numpy.save({"a": np.arange(6.0)})), read_weights),
    "torch zip": Reader(array_file(STATE_BYTES["zip_format"]), read_weights),
    "torch pickles": Reader(array_file(STATE_BYTES["old_format"]), read_weights),
    "caffemodel": Reader(array_file(caffe.new_format(caffe.ARRAYS)), read_weights),
    "old caffemodel": Reader(array_file(caffe.old_format(caffe.ARRAYS)), read_weights),
    "CAV": Reader(write_cav, lambda folder: cav.load(folder / "file")),
    "stage": Reader(write_stage, lambda folder: workspace._read_stage(folder / "file", "f"), ()),
    "activations": Reader(write_activations, lambda folder: activation_cache._read(folder / "file", (3, 4)), ()),
    "idx": Reader(array_file(gzip.compress(IDX)), read_idx),
    **{form: picture(form) for form in ("PNG", "JPEG", "GIF", "TIFF", "WEBP")},
    "metrics.json": Reader(write_result("metrics.json"), results.load),
    "config.json": Reader(write_result("config.json"), results.load),
    "human study": Reader(write_human_study_answers, human_study_answers.read),
    "metrics.jsonl": Reader(
        array_file(b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n'),
        lambda folder: checkpoints.read_log(folder / "file"),
        (TrainingError,),
    ),
    "training.json": Reader(
        linked("training.json", network="Small", seed=1),
        lambda folder: checkpoints.agree(folder, {"network": "Small", "seed": 1}),
        (TrainingError,),
    ),
    "a run's config.json": Reader(
        linked("config.json", experiment="paper/figure", seed=1),
        lambda folder: runner._finished(folder, '{"experiment": "paper/figure"}'),
        (runner.UserError,),
    ),
}


NASTY = [b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"9" * 400, b"1e999", b"NaN", b"-1"]
NASTY += [b"[" * 3000, b'{"a":' * 3000, b"null", b"[]", b'"', b"\\ud800", b"PK\x05\x06", b"(" * 500, b"\x80\x02"]
NASTY += [b"cos\nsystem\n(S'touch hacked'\ntR."]


@st.composite
def damaged(draw, raw):
    """Bytes with a few changed, inserted, removed or repeated, or truncated; or random bytes alone."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    for _ in range(draw(st.integers(1, 3))):
        at, size = draw(st.integers(0, len(raw))), draw(st.integers(0, 40))
        kind = draw(st.sampled_from(("flip", "put", "take", "repeat", "cut")))
        if kind == "flip":
            raw = raw[:at] + bytes(byte ^ draw(st.integers(1, 255)) for byte in raw[at : at + 1]) + raw[at + 1 :]
        elif kind == "put":
            piece = draw(st.sampled_from(NASTY) | st.binary(max_size=12))
            raw = raw[:at] + piece + raw[at + draw(st.sampled_from((0, len(piece)))) :]
        elif kind == "repeat":
            raw = raw[: at + size] + raw[at:]
        else:
            raw = raw[:at] + (raw[at + size :] if kind == "take" else b"")
    return raw


def check(reader, folder, raw):
    """Reads `raw` as the reader's file: it loads, or one of the reader's errors names the file."""
    (folder / "file").write_bytes(raw)
    tracemalloc.start()
    try:
        reader.read(folder)
    except reader.errors as error:
        assert str(folder) in str(error) and len(str(error)) < 20_000, error
        str(error).encode()  # can be printed
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MOST_MEMORY
    assert not Path("hacked").exists()


def test_half_characters_in_keys_and_values_are_named_in_words(tmp_path):
    reader, odd = READERS["training.json"], b'{"\\ud800network": "\\udc00"}'
    reader.write(tmp_path)
    check(reader, tmp_path, odd)
    with pytest.raises(reader.errors, match=r"\\ud800network: \\udc00 there"):
        reader.read(tmp_path)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    """Pillow logs what it finds odd in files that it reads nevertheless."""
    caplog.set_level("CRITICAL")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", READERS)
def test_malformed_files_load_or_are_named(name, count, tmp_path):
    reader = READERS[name]
    reader.write(tmp_path)
    raw = (tmp_path / "file").read_bytes()
    if name not in ("idx", "a run's config.json"):  # of another checksum, and of another configuration
        reader.read(tmp_path)

    @given(raw=damaged(raw))
    @settings(deadline=10_000, max_examples=count, derandomize=True, database=None, suppress_health_check=HealthCheck)
    def each(raw):
        check(reader, tmp_path, raw)

    each()
