"""Photographs and cut-outs of Debian's packages: tables, readers, composites, and what is said without the packages."""

import hashlib
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from xai_jax.data import class_names, composites, cutouts, datasets, photographs, qt_resources

installed = pytest.mark.skipif(
    photographs.PACKAGE.find() is None or cutouts.PACKAGE.find() is None,
    reason="Debian's packages of images are not installed",
)


def resource_file(files, version=3, packed=True):
    """A Qt resource file with one folder, written from the documentation of the format."""
    names, data, nodes = bytearray(), bytearray(), []

    def name(text):
        at = len(names)
        names.extend(struct.pack(">HI", len(text), 0) + text.encode("utf-16-be"))
        return at

    end = struct.pack(">Q", 0) if version > 1 else b""
    nodes.append(struct.pack(">IHII", 0, 2, 1, 1) + end)
    nodes.append(struct.pack(">IHII", name("folder"), 2, len(files), 2) + end)
    for file, content in files.items():
        stored = struct.pack(">I", len(content)) + zlib.compress(content) if packed else content
        nodes.append(struct.pack(">IHHHI", name(file), int(packed), 0, 0, len(data)) + end)
        data.extend(struct.pack(">I", len(stored)) + stored)
    tree = b"".join(nodes)
    header = struct.pack(">4s4I", b"qres", version, 20, 20 + len(tree), 20 + len(tree) + len(data))
    return header + tree + data + names


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("packed", [True, False])
def test_files_of_a_qt_resource_file(tmp_path, version, packed):
    files = {"a.webp": b"first", "ü.webp": bytes(1000), "empty": b""}
    path = tmp_path / "x.rcc"
    path.write_bytes(resource_file(files, version, packed))
    assert qt_resources.read(path) == {f"folder/{name}": content for name, content in files.items()}


def damaged(content):
    yield b""
    yield b"PK\3\4" + content[4:]
    yield content[:4] + struct.pack(">I", 9) + content[8:]
    for length in (10, 30, 60, len(content) - 30):
        yield content[:length]
    yield content[:20] + struct.pack(">IHII", 0, 2, 1 << 31, 1) + content[34:]
    yield content[:20] + struct.pack(">IHII", 0, 2, 1, 0) + content[34:]  # the root is its own child


@pytest.mark.parametrize("case", range(9))
def test_damaged_resource_files_are_refused_by_name(tmp_path, case):
    path = tmp_path / "x.rcc"
    path.write_bytes(list(damaged(resource_file({"a": b"first", "b": b"second"})))[case])
    with pytest.raises(ValueError, match=r"Expected a Qt resource file.*x\.rcc"):
        qt_resources.read(path)


@pytest.mark.parametrize("table", [photographs.table(), cutouts.table()])
def test_tables_name_real_classes_and_nothing_twice(table):
    assert {row.imagenet for row in table} - {""} <= set(class_names.imagenet())
    assert len({row.path for row in table}) == len(table)
    digests = [row.digest for row in table if row.digest]
    assert len(set(digests)) == len(digests) and {len(digest) for digest in digests} == {16}


def test_kinds_and_classes_of_the_tables():
    assert Counter(row.kind for row in photographs.table()).keys() == set(photographs.KINDS)
    count = Counter((row.label, row.split) for row in cutouts.table())
    assert count.keys() == {(label, split) for label in cutouts.CLASSES for split in cutouts.SPLITS}
    held_out = sum(number for (_, split), number in count.items() if split == "test")
    assert 0.15 < held_out / len(cutouts.table()) < 0.25


@pytest.mark.parametrize("call", [photographs.of_kind, photographs.named, cutouts.of_class])
def test_unknown_names_are_refused(call):
    with pytest.raises(ValueError, match="Expected (kinds|names).*'unicorn'"):
        call("unicorn")


@pytest.mark.parametrize(
    "variable, name, package",
    [
        ("PHOTOGRAPHS_DIR", "photographs", "gcompris-qt-data"),
        ("CUTOUTS_DIR", "cutouts", "tuxpaint-stamps-default"),
    ],
)
def test_missing_packages_and_other_versions_are_named(tmp_path, monkeypatch, variable, name, package):
    module = getattr(datasets, name)
    monkeypatch.setattr(module, "PACKAGE", module.PACKAGE._replace(folder="none/such"))
    with pytest.raises(FileNotFoundError, match=rf"apt-get install {package}.*{variable}"):
        datasets.load(name, "all")
    monkeypatch.setenv(variable, str(tmp_path / "nowhere"))
    with pytest.raises(
        FileNotFoundError, match=f"Expected {variable} to name a folder, .* of Debian's package {package}"
    ):
        datasets.load(name, "all")
    (tmp_path / "erase.rcc").write_bytes(resource_file({"other": b"1"}))
    monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(ValueError, match=rf"Expected the SHA-256 of .* of another version than {package}"):
        datasets.load(name, "all")


@installed
def test_every_photograph_and_cut_out_is_readable():
    for row in photographs.table():
        image = photographs.read(row)
        assert image.dtype == np.uint8 and image.shape[2] == 3 and min(image.shape[:2]) >= 200, row
    for row in cutouts.table():
        opacity = np.asarray(cutouts.read(row).getchannel("A"))
        assert 0.05 < (opacity > 127).mean() < 1, row
        assert opacity[0].any() and opacity[:, 0].any() and opacity[-1].any() and opacity[:, -1].any(), row


@installed
def test_both_are_data_sets():
    data = datasets.load("photographs", "all")
    assert data.classes == photographs.KINDS and data[27][0].shape == (1080, 1920, 3)
    sides = [datasets.load("cutouts", split) for split in ("train", "test", "all")]
    assert len(sides[0]) + len(sides[1]) == len(sides[2]) == len(cutouts.table())
    image, label = sides[1][0]
    assert image.shape == (224, 224, 3) and (image[0, 0] == 128).all() and cutouts.CLASSES[label] == "ball"
    drawn = datasets.load("composites", "test")
    assert len(drawn) == 5 * len(sides[1]) and drawn[7][0].shape == (256, 256, 3) and drawn.classes == cutouts.CLASSES


@pytest.fixture
def objects(tmp_path, monkeypatch):
    """Two opaque squares instead of the stamps, and grey photographs."""
    rows = []
    for name, colour in {"red": (255, 0, 0, 255), "blue": (0, 0, 255, 255)}.items():
        Image.new("RGBA", (40, 40), colour).save(tmp_path / f"{name}.png")
        digest = hashlib.sha256((tmp_path / f"{name}.png").read_bytes()).hexdigest()[:16]
        rows.append(cutouts.Cutout(f"{name}.png", {"red": "bird", "blue": "fish"}[name], "train", "", digest))
    monkeypatch.setenv("CUTOUTS_DIR", str(tmp_path))
    monkeypatch.setattr(photographs, "read", lambda row: np.full((300, 400, 3), 90, np.uint8))
    photographs._reduced.cache_clear()
    yield rows
    photographs._reduced.cache_clear()
    composites.item.cache_clear()


def test_an_object_on_grey_with_its_outline(objects):
    image, opacity = cutouts.on_grey(objects[0], side=20, share=0.5, level=128)
    expected = np.zeros((20, 20))
    expected[5:15, 5:15] = 1
    np.testing.assert_array_equal(opacity, expected)
    np.testing.assert_array_equal(image[opacity == 1], [[255, 0, 0]] * 100)
    np.testing.assert_array_equal(image[opacity == 0], [[128, 128, 128]] * 300)


def test_composites_depend_on_seed_and_index_alone(objects):
    few, many = (composites.composites(objects, count, side=32, seed=5) for count in (6, 60))
    other = composites.composites(objects, 6, side=32, seed=6)
    backwards = [few[i][0] for i in reversed(range(6))][::-1]
    for i in range(6):
        np.testing.assert_array_equal(many[i][0], backwards[i])
        assert (few[i][0] != other[i][0]).any() and few[i][0].shape == (32, 32, 3)
    assert len({few[i][0].tobytes() for i in range(6)}) == 6


@pytest.mark.parametrize("by_object", [True, False])
def test_labels_of_composites(objects, by_object):
    data = composites.composites(objects, 4, side=16, seed=0, by_object=by_object)
    names = ["red", "blue"] if by_object else ["bird", "fish"]
    assert [data.classes[data[i][1]] for i in range(4)] == names * 2
    assert [data.label(i) for i in range(4)] == [data[i][1] for i in range(4)]


def test_the_object_is_seen_in_each_composite(objects):
    data = composites.composites(objects, 60, side=48, seed=1)
    for i in range(60):
        red, _, blue = (data[i][0][..., channel].astype(int) for channel in range(3))
        own = red - blue if data[i][1] == cutouts.CLASSES.index("bird") else blue - red
        share = (own > 100).mean()
        assert share > 0.8 * 0.55**2 / 2, (i, share)  # a square turned by 20 degrees fills 0.6 of its box


def test_backgrounds_are_of_three_kinds(objects):
    rng, kinds = np.random.default_rng(0), Counter()
    for _ in range(200):
        scene = composites.background(24, rng)
        assert scene.shape == (24, 24, 3) and 0 <= scene.min() and scene.max() <= 255
        steps = np.abs(np.diff(scene, axis=0)).max()
        kinds["photograph" if np.ptp(scene) == 0 else "noise" if steps > 15 else "gradient"] += 1
    expected = {"photograph": 0.5, "noise": 0.25, "gradient": 0.25}
    for kind, chance in expected.items():
        assert abs(kinds[kind] / 200 - chance) < 4 * np.sqrt(chance * (1 - chance) / 200), kinds


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"objects": []}, "at least one object, got none"),
        ({"objects": ["zebra"]}, "objects, such as cutouts.of_class.*, got 'zebra'"),
        ({"objects": "zebra"}, "objects, such as"),
        ({"count": 0}, "1 or more images, an integer, got 0"),
        ({"count": "2"}, "1 or more images"),
        ({"side": 7}, "8 or more pixels as side, an integer, got 7"),
        ({"side": 64.0}, "8 or more pixels as side"),
        ({"seed": "a"}, "0 or more as seed, an integer, got 'a'"),
        ({"seed": None}, "0 or more as seed"),
    ],
)
def test_impossible_composites_are_refused(objects, wrong, words):
    arguments = {"objects": objects, "count": 2, "side": 16, "seed": 0} | wrong
    with pytest.raises((ValueError, TypeError), match=f"^Expected {words}"):
        composites.composites(**arguments)


@pytest.mark.parametrize("side", [0, -1, "224", 8.5, None])
def test_cut_outs_need_a_side(objects, side):
    with pytest.raises(ValueError, match="Expected 1 or more pixels as side, an integer, got "):
        cutouts.on_grey(objects[0], side)


def test_unknown_names_are_refused_with_the_nearest():
    for call, near in [
        (lambda: photographs.named("redpanda"), "red_panda"),
        (lambda: cutouts.of_class("mammals"), "mammal"),
        (lambda: cutouts.of_class(split="training"), "train"),
    ]:
        with pytest.raises(ValueError, match=f"Expected names .* Did you mean '{near}'"):
            call()


def test_photographs_of_scikit_image_need_no_package(monkeypatch, tmp_path):
    monkeypatch.setattr(photographs, "PACKAGE", None)
    shared = [row for row in photographs.table() if row.path.startswith("skimage/")]
    assert sorted(row.path.removeprefix("skimage/") for row in shared) == [
        "camera.png",
        "chelsea.png",
        "coffee.png",
        "motorcycle_left.png",
        "rocket.jpg",
    ]
    assert all(photographs.read(row).shape[2] == 3 for row in shared)
