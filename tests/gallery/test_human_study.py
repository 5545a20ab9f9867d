"""The page of the human-subject study: validation, and what it contains and hides."""

import json

import numpy as np
import pytest

from tests.helpers.small_gallery import decoded
from tests.helpers.small_study import LABELS, METHODS, TRUTH, build, content, noise, tasks
from xai_jax.gallery import human_study


def test_every_picture_is_on_the_page_as_it_was_given(tmp_path):
    shown = content(human_study.build(tmp_path, tasks()))
    assert [entry["label"] for entry in shown["tasks"]] == [task.label for task in tasks()]
    assert [entry["model"] for entry in shown["tasks"]] == [0] * 6 + [1] * 6
    for entry, task in zip(shown["tasks"], tasks(), strict=True):
        for given, numbers in ((task.images, entry["images"]), (task.maps, entry["maps"])):
            pictures = np.stack([np.asarray(decoded(shown["pictures"][number])) for number in numbers])
            assert pictures.shape[1:3] == (224, 224)
            small = pictures[:, 7::14, 7::14]
            expected = given if given.dtype == np.uint8 else np.round(255 * given)[..., None]
            np.testing.assert_array_equal(small, np.broadcast_to(expected, small.shape))


def test_the_page_hides_names_and_concepts_and_the_key_has_them(tmp_path):
    key = build(tmp_path)
    text = (tmp_path / "human_study.html").read_text()
    assert not any(name in text for name in (*TRUTH, *METHODS, "concept"))
    truth = [(model, label, method, TRUTH[model], 6) for model in TRUTH for label in LABELS for method in METHODS]
    names = ("model", "label", "method", "concept", "images")
    assert [tuple(entry[name] for name in names) for entry in key["tasks"]] == truth
    shown = content(tmp_path / "human_study.html")
    assert shown["id"] == key["study"]
    # Six images of two models and three classes, and twice as many maps; each is stored once.
    assert len(shown["pictures"]) == key["images"] + key["maps"] == 36 + 72
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers", "human_study.html", "key.json"]


def test_another_study_has_another_name_and_the_same_has_the_same_bytes(tmp_path):
    first = build(tmp_path)
    page = (tmp_path / "human_study.html").read_bytes()
    assert build(tmp_path) == first and (tmp_path / "human_study.html").read_bytes() == page
    other = [task._replace(maps=task.maps[::-1]) for task in tasks()]
    assert json.loads((human_study.build(tmp_path, other).parent / "key.json").read_text())["study"] != first["study"]


def test_a_name_cannot_end_the_script(tmp_path):
    hostile = "</script><script>alert(1)</script><!-- $style \ud800"
    named = [task._replace(label=hostile if task.label == "cab" else task.label) for task in tasks()]
    file = human_study.build(tmp_path, named)
    assert file.read_text().count("<script") == 2 and content(file)["tasks"][2]["label"] == hostile


@pytest.mark.parametrize("shape", [(4, 30, 20), (4, 30, 20, 1), (4, 30, 20, 3), (4, 250, 200, 3)])
def test_pictures_of_any_shape_are_shown(tmp_path, shape):
    some = [task._replace(images=noise(shape, i), maps=noise(shape[:3], i + 9)) for i, task in enumerate(tasks())]
    shown = content(human_study.build(tmp_path, some))
    picture = np.asarray(decoded(shown["pictures"][shown["tasks"][0]["images"][0]]))
    factor = picture.shape[0] // shape[1]
    assert picture.shape[:2] == (factor * shape[1], factor * shape[2]) and factor == max(1, 224 // shape[1])


def changed(number, **fields):
    """The small study with one task changed."""
    made = tasks()
    made[number] = made[number]._replace(**fields)
    return made


PICTURES = tasks()[0].images


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "Expected tasks, got none"),
        (tasks()[:-1], r"model 'noise 100 %' one task for each of 3 classes and 2 methods, got 5 tasks"),
        (tasks() + tasks()[:1], r"model 'noise 0 %' one task for each of 3 classes and 2 methods, got 7 tasks"),
        (changed(0, method="SmoothGrad"), "3 classes and 2 methods, got 6 tasks"),
        (changed(0, label="cab"), "3 classes and 2 methods, got 6 tasks"),
        (changed(0, label=" "), "Expected names of model, method and class that are not empty"),
        (changed(0, concept="both"), "Expected the concept 'image' or 'caption' in task .*, got 'both'"),
        (changed(0, concept="image"), "Expected one concept for the class 'zebra' of the model 'noise 0 %', got both"),
        (changed(0, images=PICTURES[:3]), r"with at least 4 pictures, got \(3, 16, 16, 3\)"),
        (changed(0, images=PICTURES[:, :0]), r"with at least 4 pictures, got \(6, 0, 16, 3\)"),
        (changed(0, images=PICTURES[0, :, :, 0]), r"got \(16, 16\)"),
        (changed(0, images=noise((6, 16, 16, 4), 0)), r"got \(6, 16, 16, 4\)"),
        (changed(0, maps=PICTURES[:5]), r"one map of the same size for each image .* \(5, 16, 16, 3\)"),
        (changed(0, maps=PICTURES[:, :8]), r"one map of the same size for each image .* \(6, 8, 16, 3\)"),
        (changed(0, maps=PICTURES.astype(int)), "as uint8 or floats, got int64"),
        (changed(0, maps=PICTURES.astype(np.float32)), r"in \[0, 1\], got 0.0 to 255.0"),
        (changed(0, maps=np.full((6, 16, 16), np.nan)), r"in \[0, 1\], got nan to nan"),
    ],
)
def test_what_makes_no_study_is_refused_before_anything_is_written(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        human_study.build(tmp_path / "new", wrong)
    assert not (tmp_path / "new").exists()
