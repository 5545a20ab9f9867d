"""Results that the gallery refuses: wrong values, files of others, damage."""

import functools
import json
import operator
import os
import shutil

import pytest

from tests.helpers.small_gallery import Page, metrics, save_picture, write_experiment
from xai_jax.gallery import ResultsError, build, explorer, results
from xai_jax.gallery.article import refusal
from xai_jax.io import checksums


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["title"], None, "title: expected text that is not empty, got null"),
        (["title"], "", 'title: expected text that is not empty, got ""'),
        (["figures"], "x" * 99, 'figures: expected a list, got "xxx'),
        (["claims", 0], 3, r"claims\[0\]: expected an object, got 3"),
        (["claims", 0], {}, r"claims\[0\].claim: key is missing"),
        (["claims", 0, "verdict"], "yes", r'claims\[0\].verdict: expected supported, not supported, .*got "yes"'),
        (["claims", 0, "p"], 1.5, r"claims\[0\].p: expected a number from 0 to 1 or null, got 1.5"),
        (["numbers", 0, "value"], True, r"numbers\[0\].value: expected a finite number, text or null, got true"),
        (["numbers", 0, "value"], float("nan"), r"numbers\[0\].value: expected a finite number.*NaN"),
        (["seconds"], -1, "seconds: expected a number of seconds or null, got -1"),
        (["figures", 0, "alt"], "  ", r"figures\[0\].alt: expected text that is not empty"),
        (["figures", 0, "file"], "lost.png", r"figures\[0\].file: expected a picture at .*lost.png"),
        (["figures", 0, "file"], "../../secret.png", r"figures\[0\].file: expected the name of a file"),
        (["figures", 0, "file"], "..", r"figures\[0\].file: expected the name of a file"),
        (["figures", 0, "file"], "/dev/zero", r"figures\[0\].file: expected the name of a file"),
        (["figures", 0, "file"], "a\0.png", r"figures\[0\].file: expected the name of a file"),
        (["figures", 0, "file"], "\ud800.png", r"figures\[0\].file: expected the name of a file"),
        (["hardware"], "cpu \ud800", r'hardware: expected text, got "cpu .ud800"'),
        (["seconds"], 10**400, r"seconds: expected a number of seconds or null, got 1000.*\.\.\."),
        (["figures", 0, "file"], "config.json", r"figures\[0\].file: expected a readable picture"),
    ],
)
def test_a_wrong_value_is_named_with_file_and_key(tmp_path, keys, value, message):
    folder, content = write_experiment(tmp_path), metrics()
    functools.reduce(operator.getitem, keys[:-1], content)[keys[-1]] = value
    (folder / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(ResultsError, match=f"springenberg2015/comparison/metrics.json: {message}"):
        build(tmp_path)
    assert not (tmp_path / "index.html").exists()


WRONG_FILES = [None, [], {"../a": "x"}, {"/dev/zero": "x"}, {"a\0": "x"}, {"\ud800": "x"}, {"": "x"}, {"a": None}]


@pytest.mark.parametrize("files", WRONG_FILES)
def test_files_outside_of_their_folder_are_never_opened(tmp_path, files):
    folder = write_experiment(tmp_path)
    content = checksums.with_checksum(metrics() | {"files": files})
    (folder / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(ResultsError, match="files: expected an object of paths in the same folder"):
        build(tmp_path)


@pytest.mark.parametrize("pipe", ["maps.png", "config.json", "metrics.json", "stages/a.npz"])
def test_a_pipe_is_never_waited_for(tmp_path, pipe):
    folder = write_experiment(tmp_path)
    content = checksums.with_checksum(metrics() | {"files": {"stages/a.npz": "x"}})
    (folder / "metrics.json").write_text(json.dumps(content))
    (folder / pipe).parent.mkdir(exist_ok=True)
    (folder / pipe).unlink(missing_ok=True)
    os.mkfifo(folder / pipe)
    with pytest.raises(ResultsError, match="expected a file, got a device, a pipe"):
        build(tmp_path)


def test_json_that_is_too_long_or_too_deep_is_refused_before_it_takes_memory(tmp_path, monkeypatch):
    folder = write_experiment(tmp_path)
    for content, message in (("[" * 200_000, "cannot read it"), ("[" + "1" * 5000 + "]", "cannot read it")):
        (folder / "config.json").write_text(content)
        with pytest.raises(ResultsError, match=message) as error:
            build(tmp_path)
        assert len(str(error.value)) < 600
    monkeypatch.setattr(results, "LARGEST", 10)
    with pytest.raises(ResultsError, match="more than 10 bytes"):
        build(tmp_path)


def test_a_folder_with_a_name_that_is_not_utf_8_stops_nothing(tmp_path):
    folder = write_experiment(tmp_path)
    try:
        shutil.copytree(os.fsencode(folder), os.fsencode(folder.parent) + b"/not-utf-8-\xff")
    except OSError:
        pytest.skip("the file system has names in UTF-8 only")
    assert "Title of comparison" in Page(build(tmp_path)).text()


def test_all_problems_come_in_one_error_and_the_old_page_stays(tmp_path):
    first = write_experiment(tmp_path, "kim2018", "captions")
    second = write_experiment(tmp_path)
    before, image = build(tmp_path).read_bytes(), second / "maps.png"
    (first / "metrics.json").write_text("{")
    (first / "config.json").unlink()
    (second / "config.json").write_text("[]")
    content = metrics(seconds="long")
    del content["tier"]
    (second / "metrics.json").write_text(json.dumps(content))
    image.write_bytes(image.read_bytes()[:-2000])
    with pytest.raises(ResultsError, match="6 problem") as error:
        build(tmp_path)
    parts = ["captions/metrics.json: expected JSON", "captions/config.json: there is no such file", "seconds: "]
    parts += ["tier: key is missing", f"expected a readable picture at {image}", "top level: expected an object"]
    assert [part for part in parts if part not in str(error.value)] == []
    assert (tmp_path / "index.html").read_bytes() == before


def test_a_page_beside_a_replaced_figure_no_longer_shows_it(tmp_path):
    folders = [write_experiment(tmp_path, "kim2018", name) for name in ("captions", "saliency", "tcav")]
    for folder in folders:
        files = {"maps.png": checksums.sha256((folder / "maps.png").read_bytes())}
        content = checksums.with_checksum(json.loads((folder / "metrics.json").read_text()) | {"files": files})
        (folder / "metrics.json").write_text(json.dumps(content))
    pages = {path: path.read_bytes() for path in [build(tmp_path), *tmp_path.rglob("*.html")]}
    replaced, _, foreign = (folder / "index.html" for folder in folders)
    foreign.write_text("mine")
    for folder in folders[::2]:
        save_picture(folder / "maps.png", seed=1)
    with pytest.raises(ResultsError, match="captions/maps.png: expected what the experiment wrote, its checksum diff"):
        build(tmp_path)
    note = Page(replaced)
    assert note.all("img") == [] and "These results are damaged" in note.text("p") and note.text("h1") == "captions"
    assert all((replaced.parent / link["href"]).is_file() for link in note.all("a") if link["href"][0] != "#")
    assert foreign.read_text() == "mine"
    beside = tmp_path / "figures.html"
    assert Page(beside).all("img") == [] and "These results are damaged" in Page(beside).text("p")
    assert {path for path in pages if path.read_bytes() != pages[path]} == {replaced, foreign, beside}
    for folder in folders:
        save_picture(folder / "maps.png")
    build(tmp_path)
    assert {path: path.read_bytes() for path in pages} == pages


def test_the_page_of_all_units_does_not_show_damaged_sheets(tmp_path):
    folder = write_experiment(tmp_path, *explorer.FOLDER.split("/"))
    (tmp_path / "units.html").write_text(refusal("units", "", units=True).replace("damaged", "earlier"))
    (folder / "maps.png").unlink()
    with pytest.raises(ResultsError, match="maps.png"):
        build(tmp_path)
    assert "These results are damaged" in (tmp_path / "units.html").read_text()
    save_picture(folder / "maps.png")
    (tmp_path / "units.html").write_text(refusal("units", "", units=True).replace("damaged", "earlier"))
    with pytest.raises(ResultsError, match=r"units.json: there is no such file"):
        build(tmp_path)
    assert "These results are damaged" in (tmp_path / "units.html").read_text()


def test_a_page_that_is_a_pipe_is_never_waited_for(tmp_path):
    folder = write_experiment(tmp_path)
    os.mkfifo(folder / "index.html")
    (folder / "maps.png").unlink()
    with pytest.raises(ResultsError, match="maps.png"):
        build(tmp_path)
