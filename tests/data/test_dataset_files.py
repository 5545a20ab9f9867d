"""Data sets of files that are not decoded yet: from TFDS, and selections of others."""

import functools
import io
import types

import numpy as np
from PIL import Image

from xai_jax.data import batches, crops, dataset_types, datasets


def test_files_of_tfds_are_decoded_by_worker_processes(monkeypatch):
    contents, pixels = [], np.random.default_rng(0).integers(0, 256, (6, 20, 30, 3), np.uint8)
    for image in pixels:
        Image.fromarray(image).save(file := io.BytesIO(), "JPEG")
        contents.append(file.getvalue())

    def opened(*_, **__):
        examples = [{"image": content, "label": number} for number, content in enumerate(contents)]
        features = {"image": types.SimpleNamespace(shape=(None, None, 3))}
        return type("Fake", (list,), {"features": features})(examples)

    monkeypatch.setattr(datasets, "open_prepared", opened)
    data = datasets.load("imagenet2012", "validation")
    crop = functools.partial(crops.random_crop, side=8, short=10)
    found = []
    for count in ("0", "2"):
        monkeypatch.setenv("XAI_JAX_WORKERS", count)
        found.append(next(batches.batches(data, 6, 0, 0, transform=crop)))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    for index in range(6):
        image, label = data[index]
        np.testing.assert_array_equal(image, np.asarray(Image.open(io.BytesIO(contents[index]))))
        assert label == dataset_types.labeller(data)(index) == index


def test_a_selection_has_files_and_labels_of_its_own(tmp_path):
    for number in range(4):
        path = tmp_path / "ab"[number // 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (9, 9), (number,) * 3).save(path)
    whole = datasets.load(f"folder:{tmp_path}", "all")
    one = datasets.only(whole, ["b"])
    views = {
        (2, 0, 2): (datasets.select(whole, [2, 0, 2]), [1, 0, 1]),
        (3, 1): (datasets.select(whole, np.array([3, 1]), [0, 1]), [0, 1]),
        (2, 3): (one, [0, 0]),
        (0, 1, 2, 3): (datasets.numbered(whole, ["b", "c", "a"]), [2, 2, 0, 0]),
    }
    for numbers, (view, labels) in views.items():
        assert len(view) == len(numbers)
        for index, (number, label) in enumerate(zip(numbers, labels, strict=True)):
            (image, own), (file, same) = view[index], view.encoded(index)
            assert own == same == dataset_types.labeller(view)(index) == label
            assert image[0, 0, 0] == number and file.content.stem == str(number)
