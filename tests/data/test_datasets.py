"""One interface to every data set: digits, idx files, TFDS with mock data, folders; and what damage says."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from xai_jax.data import dataset_types, datasets, digits, fashion_mnist

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def _write(folder, name, content):
    (folder / f"{name}.gz").write_bytes(gzip.compress(content))


def _contents(count=5):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)
    labels = (np.arange(count) * 3 % 10).astype(np.uint8)
    return {
        IMAGES: struct.pack(">IIII", 0x803, count, 28, 28) + pixels.tobytes(),
        LABELS: struct.pack(">II", 0x801, count) + labels.tobytes(),
    }, (pixels, labels)


@pytest.fixture
def idx(tmp_path, monkeypatch):
    """A folder with a test split of five images that the loader takes for the published one."""
    contents, arrays = _contents()
    for name, content in contents.items():
        _write(tmp_path, name, content)
        monkeypatch.setitem(fashion_mnist.SHA256, name, hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(fashion_mnist.SIZES, "test", 5)
    monkeypatch.setenv("FASHION_MNIST_DIR", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path, contents, arrays


def test_digits_are_split_as_the_digits_network_was():
    train, test = datasets.load("digits", "train"), datasets.load("digits", "test")
    assert len(train) == 1437 and len(test) == 360 and test.classes == tuple("0123456789")
    images, labels = test.arrays()
    assert images.dtype == np.uint8 and images.shape == (360, 8, 8, 1) and labels.dtype == np.int32
    np.testing.assert_array_equal(np.rint(images * (16 / 255)), digits.arrays()[1] * 16)
    np.testing.assert_array_equal(labels, digits.arrays()[3])
    image, label = test[-1]
    np.testing.assert_array_equal(image, images[-1])
    assert type(label) is int and label == labels[-1]
    assert len(list(test)) == 360


def test_idx_files(idx):
    _, _, (pixels, labels) = idx
    data = datasets.load("fashion_mnist", "test")
    images, read = data.arrays()
    np.testing.assert_array_equal(images, pixels[..., None])
    np.testing.assert_array_equal(read, labels)
    assert images.dtype == np.uint8 and read.dtype == np.int32 and data.classes[9] == "Ankle boot"


def _damaged(kind, content):
    packed = gzip.compress(content)
    return {
        "cut": packed[:-20],
        "no gzip": content,
        "flipped": packed[:40] + bytes([packed[40] ^ 0xFF]) + packed[41:],
        "empty": b"",
        "magic": gzip.compress(content[:2] + b"\x0d" + content[3:]),
        "count": gzip.compress(content[:7] + b"\x06" + content[8:]),
        "short": gzip.compress(content[:-1]),
        "long": gzip.compress(content + b"0"),
        "header": gzip.compress(content[:6]),
        "pixel": gzip.compress(content[:-1] + bytes([content[-1] ^ 1])),
    }[kind]


@pytest.mark.parametrize(
    "kind, words",
    [
        ("cut", "Expected a whole gzip file"),
        ("no gzip", "Expected a whole gzip file"),
        ("flipped", "Expected a whole gzip file|Expected SHA-256"),
        ("empty", "to begin with 00000803, got ''"),
        ("magic", "to begin with 00000803, got '00000d03'"),
        ("count", r"array of shape \(5, 28, 28\), got \(6, 28, 28\)"),
        ("short", "Expected 3936 unpacked bytes .*, got 3935"),
        ("long", "Expected 3936 unpacked bytes .*, got more"),
        ("header", "array of shape"),
        ("pixel", "Expected SHA-256"),
    ],
)
def test_damaged_idx_files_say_which_and_what_to_do(idx, kind, words):
    folder, contents, _ = idx
    (folder / f"{IMAGES}.gz").write_bytes(_damaged(kind, contents[IMAGES]))
    with pytest.raises(ValueError, match=words) as caught:
        datasets.load("fashion_mnist", "test")
    assert str(folder / f"{IMAGES}.gz") in str(caught.value) and "get it again" in str(caught.value)
    assert sorted(path.name for path in folder.iterdir()) == [f"{IMAGES}.gz", f"{LABELS}.gz"]
    _write(folder, IMAGES, contents[IMAGES])
    assert len(datasets.load("fashion_mnist", "test")) == 5


def test_missing_idx_files_are_named(idx, monkeypatch):
    folder, _, _ = idx
    (folder / f"{LABELS}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=f"{LABELS}.gz is missing"):
        datasets.load("fashion_mnist", "test")
    monkeypatch.setenv("FASHION_MNIST_DIR", str(folder / "nowhere"))
    with pytest.raises(FileNotFoundError, match="Expected FASHION_MNIST_DIR to name a folder"):
        datasets.load("fashion_mnist", "test")


def test_fashion_mnist_from_nowhere_names_all_three_ways(tmp_path, monkeypatch):
    def no_network(name):
        raise OSError(f"no route to {name}")

    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(fashion_mnist, "PACKAGE", fashion_mnist.PACKAGE._replace(folder="none/such"))
    monkeypatch.setattr(datasets, "download", no_network)
    with pytest.raises(FileNotFoundError) as caught:
        datasets.load("fashion_mnist", "train")
    for word in ("prepared by TFDS", "apt-get install dataset-fashion-mnist", "FASHION_MNIST_DIR", "no route"):
        assert word in str(caught.value)


@pytest.mark.skipif(not fashion_mnist.PACKAGE.find(), reason="needs Debian's package dataset-fashion-mnist")
@pytest.mark.parametrize("split, count", [("train", 60_000), ("test", 10_000)])
def test_debians_files_are_the_published_ones(split, count):
    images, labels = fashion_mnist.read(fashion_mnist.PACKAGE.find(), split)
    assert images.shape == (count, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(labels), [count // 10] * 10)


@pytest.mark.parametrize(
    "name, split, classes", [("fashion_mnist", "test", 10), ("cifar10", "train", 10), ("cifar100", "test", 100)]
)
def test_tfds_by_random_access(name, split, classes):
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=4):
        data = datasets.load(name, split)
        images, labels = data.arrays()
        image, label = data[-1]
    assert images.shape == ((4, 28, 28, 1) if name == "fashion_mnist" else (4, 32, 32, 3))
    assert images.dtype == image.dtype == np.uint8 and labels.dtype == np.int32 and type(label) is int
    assert len(data) == 4 and len(data.classes) == classes and 0 <= label < classes
    assert image.shape == images.shape[1:]
    with pytest.raises(IndexError):
        data[4]


def test_graded_retinas_through_tfds():
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=4):
        data = datasets.load("diabetic_retinopathy_detection/btgraham-300", "validation")
        image, label = data[3]
    assert len(data.classes) == 5 and image.shape[2] == 3 and 0 <= label < 5


def test_imagenet_is_never_one_array(monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=4):
        data = datasets.load("imagenet2012", "validation")
        image, label = data[2]
        monkeypatch.setattr(dataset_types, "MEMORY", image.nbytes)
        with pytest.raises(ValueError, match="Read it with xai_jax.data.batches"):
            data.arrays()
    assert image.ndim == 3 and image.shape[2] == 3 and data.classes[285] == "Egyptian cat" and 0 <= label < 1000


@pytest.mark.parametrize("name", ["cifar10", "imagenet2012"])
def test_data_sets_that_are_not_prepared_are_not_downloaded_unasked(name, monkeypatch, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", lambda *_, **__: pytest.fail("a download"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"Expected {name} \(train\) prepared by TFDS"):
        datasets.load(name, "train")


def test_copies_without_random_access_are_refused_with_the_command_that_converts_them(monkeypatch, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    folder = tmp_path / "cifar10/3.0.2"
    folder.mkdir(parents=True)
    (folder / "cifar10-train.tfrecord-00000-of-00001").touch()
    usual = tfds.builder
    monkeypatch.setattr(tfds, "builder", lambda name: usual(name, data_dir=tmp_path))
    convert = rf"tfds convert_format --dataset_version_dir={folder} --out_file_format=array_record"
    with pytest.raises(FileNotFoundError, match=rf"got TFRecord files in {folder}.*{convert}"):
        datasets.load("cifar10", "train")


def test_labels_out_of_range_are_refused():
    data = datasets.OnDisk("broken", 3, lambda index: (np.zeros((2, 2, 1), np.uint8), index), ("a", "b"))
    assert data[1][1] == 1
    with pytest.raises(ValueError, match="Expected labels 0 to 1 in broken, got 2 at 2"):
        data[2]


LABELLED = np.array([2, 0, 1, 2, 0], np.int32)
PIXELS = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)


def _unread(index):
    pytest.fail("an image was decoded to find its label")


def test_only_some_classes():
    read = lambda index: (PIXELS[index], LABELLED[index])  # noqa: E731
    memory = datasets.InMemory(PIXELS, LABELLED, ("a", "b", "c"))
    disk = datasets.OnDisk("disk", 5, read, ("a", "b", "c"))
    for data in (memory, disk, datasets.OnDisk("labelled", 5, read, ("a", "b", "c"), LABELLED.__getitem__)):
        found = datasets.only(data, ["c", "a"])
        assert found.classes == ("c", "a") and [label for _, label in found] == [0, 1, 0, 1]
        assert [int(image[0, 0, 0]) for image, _ in found] == [0, 1, 3, 4]
        assert [label for _, label in datasets.only(found, ["a"])] == [0, 0]
    assert len(datasets.only(datasets.OnDisk("x", 5, _unread, ("a", "b", "c"), LABELLED.__getitem__), ["b"])) == 1


@pytest.mark.parametrize(
    "classes, words",
    [
        (["a", "d"], "Expected different classes out of a, b, c, e, got d"),
        (["a", "a"], "got a, a"),
        ([], "got none"),
        (["a", "e"], "got none of e"),
    ],
)
def test_only_classes_that_there_are(classes, words):
    with pytest.raises(ValueError, match=words):
        datasets.only(datasets.InMemory(PIXELS, LABELLED, ("a", "b", "c", "e")), classes)


def test_tfds_finds_labels_without_decoding():
    tfds = pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.proto import tf_example_pb2

    example = tf_example_pb2.Example()
    example.features.feature["image"].bytes_list.value.append(b"no image at all")
    example.features.feature["file_name"].bytes_list.value.append(b"a file")
    example.features.feature["label"].int64_list.value.append(340)
    features = tfds.builder("imagenet2012").info.features
    decoders = {"image": tfds.decode.SkipDecoding()}  # as in prepared.open_prepared
    assert features.deserialize_example_np(example.SerializeToString(), decoders=decoders)["label"] == 340


@pytest.mark.parametrize(
    "name, split, words",
    [
        ("mnist", "train", "Expected a data set out of digits"),
        ("folder:", "train", "or folder:PATH"),
        ("digits", "validation", "out of train, test"),
        ("imagenet2012", "test", "out of train, validation"),
    ],
)
def test_mistakes(name, split, words):
    with pytest.raises(ValueError, match=words):
        datasets.load(name, split)


@pytest.mark.parametrize("name", ["fashion_mnits", "folder:", ""])
def test_data_sets_without_known_splits_are_refused(name):
    with pytest.raises(ValueError, match=f"Expected a data set out of digits, .*, got '{name}'"):
        datasets.splits(name)
    assert datasets.splits("diabetic_retinopathy_detection/btgraham-300") == ("train", "test")
