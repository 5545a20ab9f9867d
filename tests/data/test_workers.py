"""Batches read by worker processes: bit for bit those of threads, also after kills; and how the processes end."""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import photo_files, worker_transforms
from xai_jax.core import streaming, worker_processes
from xai_jax.data import batches, crops, datasets

ROOT = Path(__file__).resolve().parents[2]
CROP = partial(crops.random_crop, side=20, short=24)
CENTRE = partial(crops.centre_crop, side=8, short=10)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    photo_files.write(root / "train", 23)
    return datasets.load(f"folder:{root}", "train")


@pytest.fixture
def workers(monkeypatch):
    """Sets the number of processes; those of the test end with it."""
    worker_processes.pool.cache_clear()
    yield lambda count: monkeypatch.setenv(worker_processes.COUNT, str(count))
    worker_processes.pool.cache_clear()


def _equal(left, right):
    for (images, labels), (others, other_labels) in zip(left, right, strict=True):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, other_labels)
        assert images.dtype == others.dtype == np.uint8 and labels.dtype == other_labels.dtype == np.int32


@pytest.mark.parametrize("count", [1, 2, 3])
def test_batches_are_the_same_for_any_number_of_workers(photos, workers, count):
    tenth, centre = partial(crops.one_of_ten, side=20, short=24), partial(crops.centre_crop, side=20, short=24)
    ten = partial(crops.ten_crop, side=20, short=24)
    readings = [
        *(lambda e=e, t=t: batches.batches(photos, 5, 3, e, transform=t) for e in (0, 1) for t in (CROP, tenth)),
        lambda: batches.batches(photos, 4, 3, 0, transform=CROP, part=(1, 2)),
        *(lambda t=t: batches.in_order(photos, 4, t) for t in (centre, ten)),
    ]
    workers(0)
    expected = [list(read()) for read in readings]
    workers(count)
    for read, found in zip(readings, expected, strict=True):
        _equal(found, read())
    assert len(worker_processes.pool(count, os.getpid())) == count
    assert worker_processes.pool.cache_info().misses == 1  # all of them by the same processes


def test_small_batches_start_few_processes(photos, workers):
    workers(3)
    list(batches.in_order(photos, 2, partial(crops.centre_crop, side=8, short=10)))
    assert ["process" in vars(worker) for worker in worker_processes.pool(3, os.getpid())] == [True, True, False]


def test_crops_of_files_are_those_of_their_pixels(photos, workers):
    workers(2)
    order = np.random.default_rng([3, 0]).permutation(len(photos))[:5]
    images, labels = next(batches.batches(photos, 5, 3, 0, transform=CROP))
    for image, label, index in zip(images, labels, order, strict=True):
        pixels, own = photos[index]
        np.testing.assert_array_equal(image, CROP(pixels, np.random.default_rng([3, 0, index])))
        assert label == own


def test_workers_import_neither_jax_nor_tensorflow(photos, workers):
    workers(2)
    found = np.concatenate([images for images, _ in batches.in_order(photos, 5, worker_transforms.imported)])
    assert not found[:, :2].any() and len(set(found[:, 2])) == 2 and os.getpid() not in found[:, 2]


def test_a_killed_worker_is_reported_and_the_next_stream_resumes_with_others(photos, workers):
    workers(0)
    whole = list(batches.batches(photos, 2, 0, 0, transform=CROP))
    workers(2)
    stream = batches.batches(photos, 2, 0, 0, transform=CROP)
    before = [next(stream) for _ in range(2)]
    os.kill(worker_processes.pool(2, os.getpid())[1].process.pid, signal.SIGKILL)
    with pytest.raises(ChildProcessError, match=r"worker process, which has ended \(exit status -9\)"):
        before += list(stream)
    _equal(whole[len(before) :], batches.batches(photos, 2, 0, 0, len(before), CROP))
    _equal(whole[: len(before)], before)


def test_errors_of_workers_are_those_of_threads(photos, workers, tmp_path):
    for number in range(4):
        path = tmp_path / "a" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((9 + number, 9, 3), np.uint8)).save(path)
    sizes = datasets.load(f"folder:{tmp_path}", "all")
    (tmp_path / "a" / "2.png").write_bytes(b"no image")
    messages = []
    for count in (0, 2):
        workers(count)
        with pytest.raises(ValueError, match="Expected a readable image .*2.png, got: cannot identify") as damaged:
            list(batches.in_order(sizes, 1))
        with pytest.raises(ValueError, match="Expected images of one size in a batch, got .* Crop them") as mixed:
            next(batches.in_order(sizes, 2))
        with pytest.raises(ValueError, match="Expected a crop of 1 to 24 pixels, got 30") as small:
            next(batches.batches(photos, 4, 0, 0, transform=partial(crops.random_crop, side=30, short=24)))
        with pytest.raises(KeyError, match="no such thing as 0"):
            next(batches.batches(photos, 4, 0, 0, transform=worker_transforms.failing))
        messages.append([str(each.value) for each in (mixed, small)])
    assert messages[0] == messages[1] and "2.png" in str(damaged.value)
    assert worker_processes.pool.cache_info().misses == 1  # errors end no process


def test_a_stream_that_is_left_early_does_not_disturb_the_next(photos, workers):
    workers(2)
    centre = partial(crops.centre_crop, side=8, short=10)
    expected = list(batches.in_order(photos, 4, centre))
    for _ in range(3):
        stream = batches.batches(photos, 2, 0, 0, transform=CROP)
        next(stream)
        stream.close()
    pairs = list(zip(batches.in_order(photos, 4, centre), batches.in_order(photos, 4, centre), strict=True))  # in turns
    for stream in zip(*pairs, strict=True):
        _equal(expected, stream)


@pytest.mark.parametrize("first", [0, 3])
def test_images_of_several_types_are_those_of_threads(photos, workers, first):
    """Bytes and floats in one batch become floats, whichever comes first; nothing is left in the pipes."""
    some = datasets.select(photos, [*range(first, len(photos)), *range(first)])
    found = []
    for count in (0, 1, 2):
        workers(count)
        found.append(list(batches.in_order(some, 6, worker_transforms.halves_of_some)))
    assert {images.dtype for images, _ in found[0]} == {np.dtype(np.float64)}
    for each in found[1:]:
        for (images, _), (others, _) in zip(found[0], each, strict=True):
            np.testing.assert_array_equal(images, others)
            assert images.dtype == others.dtype


def test_an_interrupted_reading_leaves_no_worker_out_of_step(photos, workers, monkeypatch):
    workers(1)
    expected = list(batches.in_order(photos, 4, CENTRE))

    def full(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(streaming._Batch, "_row", full)
        with pytest.raises(MemoryError):
            list(batches.in_order(photos, 4, CENTRE))
    _equal(expected, batches.in_order(photos, 4, CENTRE))


def test_workers_start_where_their_pipes_may_not_grow(photos, workers, monkeypatch):
    """As of a user who has many: the system refuses large pipes."""

    def refuse(*_):
        raise PermissionError

    workers(0)
    expected = list(batches.in_order(photos, 4, CENTRE))
    monkeypatch.setattr(worker_processes.fcntl, "fcntl", refuse)
    workers(2)
    _equal(expected, batches.in_order(photos, 4, CENTRE))


def test_a_data_set_may_have_its_own_open_and_images(workers):
    """Attributes of the same names as ours, such as a method that opens an archive, mean nothing."""

    class Archive:
        classes = ("a", "b")

        def __len__(self):
            return 5

        def __getitem__(self, index):
            return np.full((2, 2, 3), index, np.uint8), index % 2

        def open(self):
            raise AssertionError

    workers(2)
    for data in (Archive(), datasets.select(Archive(), range(5)), datasets.numbered(Archive(), ("b", "a"))):
        images, labels = next(batches.in_order(data, 5))
        assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4] and len(set(labels.tolist())) == 2


def test_prints_of_a_transform_are_no_pixels(photos, workers, capfd):
    workers(1)
    images, _ = next(batches.in_order(photos, 2, worker_transforms.printing))
    np.testing.assert_array_equal(images[1], photos[1][0][:8, :8])
    assert "a line that is no pixel" in capfd.readouterr().err


def test_functions_that_workers_cannot_have_are_applied_by_threads(photos, workers):
    workers(2)
    process = next(batches.in_order(photos, 3, lambda image: np.array([os.getpid()])))[0]
    assert set(process[:, 0]) == {os.getpid()}
    import jax

    assert worker_processes.pickled((jax.nn.relu, None)) is None
    assert worker_processes.pickled((partial(np.add, jax.numpy.ones(2)), None)) is None
    assert worker_processes.pickled((CROP, (0, 1))) is not None


@pytest.mark.parametrize("value", ["-1", "two", "1.5"])
def test_another_number_of_workers_is_refused(photos, workers, value):
    workers(value)
    with pytest.raises(ValueError, match=f"Expected a number of worker processes in XAI_JAX_WORKERS.*{value}"):
        batches.in_order(photos, 4)


def test_by_default_few_cores_have_no_workers_and_many_have_one_each(monkeypatch):
    monkeypatch.delenv(worker_processes.COUNT, raising=False)
    for cores, expected in ((1, 0), (4, 0), (5, 5), (16, 16), (208, 64)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: range(cores), raising=False)
        assert worker_processes.count() == expected


SCRIPT = """
import os, sys, time
from functools import partial
from xai_jax.core import streaming, worker_processes
from xai_jax.data import batches, crops, datasets

def own(image, rng):
    return crops.random_crop(image, rng, 20, 24)

photos = datasets.load("folder:" + sys.argv[1], "train")
transforms = own, partial(crops.random_crop, side=20, short=24)
found = [next(batches.batches(photos, 4, 0, 0, transform=transform))[0] for transform in transforms]
print("same", (found[0] == found[1]).all(), flush=True)
print("pids", *(worker.process.pid for worker in worker_processes.pool(2, os.getpid())), flush=True)
if sys.argv[2] == "wait":
    many = datasets.select(photos, [i % 20 for i in range(10**6)])
    list(batches.batches(many, 10**6, 0, 0, transform=crops.random_crop))
"""


def _run(tmp_path, photos, what):
    (tmp_path / "script.py").write_text(SCRIPT)
    root = photos.encoded(0)[0].content.parents[2]
    environment = os.environ | {"PYTHONPATH": str(ROOT), worker_processes.COUNT: "2"}
    command = [sys.executable, tmp_path / "script.py", root, what]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def _running(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_script_needs_no_guard_and_leaves_no_process(photos, tmp_path):
    process = _run(tmp_path, photos, "end")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and err == "" and "same True" in out and out.count("same") == 1
    assert not any(_running(int(pid)) for pid in re.findall(r"\d+", out))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(photos, tmp_path, number):
    with _run(tmp_path, photos, "wait") as process:
        process.stdout.readline()
        pids = [int(pid) for pid in process.stdout.readline().split()[1:]]
        assert len(pids) == 2 and all(map(_running, pids))
        process.send_signal(number)
        process.wait(timeout=60)
    deadline = time.monotonic() + 20
    while any(map(_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_running, pids))
