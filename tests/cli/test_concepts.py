"""The command `concepts`, with folders of digits: bright ones as a concept."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xai_jax import __main__ as command_line
from xai_jax import models, significance, targets, tcav
from xai_jax.cli import common, concepts
from xai_jax.concepts import activation_cache, advice
from xai_jax.concepts.significance import Row
from xai_jax.data import digits, folder
from xai_jax.io import csv_file

COMMAND = "concepts --model digits --concept bright mirrored --random random --class 8=eights".split()


def save(path, images):
    path.mkdir()
    for number, image in enumerate(images):
        pixels = np.clip(255 * image[..., 0], 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path / f"{number:03d}.png")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of two concepts, of random images and of a class."""
    root, (images, _, labels, _) = tmp_path_factory.mktemp("folders"), digits.arrays()
    save(root / "bright", np.minimum(1.8 * images[:8] + 0.1, 1))
    save(root / "mirrored", images[10:18, :, ::-1])
    save(root / "dark", 0.6 * images[20:28])
    save(root / "copied", np.minimum(1.8 * images[:8] + 0.1, 1))
    save(root / "random", images[100:180])
    save(root / "eights", images[200:][labels[200:] == 8][:14])
    return root


@pytest.fixture
def inside(folders, monkeypatch, tmp_path):
    monkeypatch.chdir(folders)
    monkeypatch.setattr(concepts, "cache_dir", lambda name: tmp_path / name)
    monkeypatch.setattr(concepts, "RUNS", 3)
    return tmp_path


def test_table_chart_and_page(inside, capsys):
    out = inside / "found"
    assert command_line.main([*COMMAND, "--layers", "relu1", "relu2", "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out / "index.html")
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html",
        "relative_scores.png",
        "scores.csv",
        "scores.png",
    ]
    rows = csv_file.read(out / "scores.csv")
    assert [(row["statistic"], row["layer"], row["concept"], row["label"]) for row in rows] == [
        (statistic, layer, concept, "8")
        for concepts in (("bright", "mirrored"), ("bright vs mirrored",))
        for statistic in ("score", "mean")
        for layer in ("relu1", "relu2")
        for concept in concepts
    ]
    assert all(row["runs"] == "3" and row["tested"] == "mean" and "advice" in row for row in rows)
    assert all(0 <= float(row["value"]) <= 1 for row in rows if row["statistic"] == "score")
    for name in ("scores.png", "relative_scores.png"):
        with Image.open(out / name) as chart:
            assert chart.size[0] > 300
    html = (out / "index.html").read_text()
    assert all(f"<h3>{name}</h3>" in html for name in ("Scores", "Relative scores", "bright", "mirrored"))
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html) and "<td>relu2</td>" in html
    first, *_, last = map(float, re.findall(r"<b>(-?\d\.\d{3})</b>", html)[:12])
    assert first > last


def test_the_second_run_reads_the_activations(inside, capsys, monkeypatch):
    arguments = [*COMMAND, "--out", str(inside / "found")]
    assert command_line.main(arguments) == 0
    before = (inside / "found/scores.csv").read_bytes()
    monkeypatch.setattr(activation_cache, "_compute", None)  # which would be called for anything missing
    assert command_line.main(arguments) == 0
    assert (inside / "found/scores.csv").read_bytes() == before


def concepts_of(inside, *names):
    """Rows of relative scores of some concepts, and the page."""
    out = inside / "found"
    assert command_line.main([*COMMAND[:4], *names, *COMMAND[6:], "--layers", "relu2", "--out", str(out)]) == 0
    rows = [row for row in csv_file.read(out / "scores.csv") if " vs " in row["concept"]]
    assert (out / "relative_scores.png").exists() == bool(rows)
    return rows, (out / "index.html").read_text()


def test_relative_scores_are_those_of_the_library(inside):
    names, model = ("bright", "dark", "mirrored"), models.load("digits")
    read = {name: model.preprocess(common.read_images(folder.images(Path(name)))) for name in (*names, "eights")}
    random = model.preprocess(common.read_images(folder.images(Path("random"))))
    classes = {"8": (targets.logit(8), read.pop("eights"))}
    scores = tcav.measure(model.net, ["relu2"], read, random, classes, runs=3, controls=3, relative=True)
    expected = [*significance.table(scores, tested="mean"), *significance.table(scores, "mean")]
    found, html = concepts_of(inside, *names)
    assert [row["concept"] for row in found] == 2 * [f"{name} vs others" for name in names]
    for row, own in zip(found, expected, strict=True):
        assert [float(row[key]) for key in ("value", "null", "adjusted")] == pytest.approx(
            [own.value, own.null, own.adjusted]
        )
    assert "mean of 3 pairs" in html and "dark vs others" in html


@pytest.mark.parametrize(
    "names, reason",
    [
        (("bright", "mirrored", "eights"), "Expected at least 90 random images, 3 times as many as all concepts have"),
        (("bright", "copied"), "Expected no image of &#x27;bright&#x27; among the &#x27;copied&#x27;"),
        (("bright",), ""),
    ],
)
def test_relative_scores_are_left_out_for_a_reason(names, reason, inside):
    concepts_of(inside, "bright", "mirrored")  # whose chart has to go
    rows, html = concepts_of(inside, *names)
    assert rows == [] and reason in html and ("Relative scores" in html) == bool(reason)


def changed(**given):
    """The command with other values of some arguments."""
    words = {"--concept": ["bright"], "--random": ["random"], "--class": ["8=eights"], "--model": ["digits"]}
    words |= {f"--{name}": value for name, value in given.items()}
    return ["concepts", *(word for name, value in words.items() for word in (name, *value))]


MISTAKES = {
    "a folder that is missing": (changed(concept=["brigth"]), "not a folder. The current folder has"),
    "a folder without images": (changed(random=["."]), "directly in ., got none"),
    "a class without a folder": (changed(**{"class": ["eights"]}), "such as zebra=photos/zebra"),
    "a class without the name of a folder": (changed(**{"class": ["8="]}), "such as zebra=photos/zebra"),
    "a class of two folders": (changed(**{"class": ["8=eights", "8=dark"]}), "got several of '8'"),
    "a class that is missing": (changed(**{"class": ["eleven=eights"]}), "Expected a class of the network"),
    "a layer that is missing": (changed(layers=["relu9"]), "Did you mean 'relu"),
    "too few random images": (changed(random=["eights"]), "Expected at least 40 random images"),
    "the same folder twice": (changed(concept=["bright", "./bright"]), "two called 'bright'"),
    "a concept among the random images": (changed(concept=["random"], random=["random"]), "random images"),
    "a file in place of a folder": (changed(out=["random/000.png"]), "Expected a folder to write"),
    "a folder inside a file": (changed(out=["random/000.png/found"]), "Not a directory"),
    "a folder that cannot be written": (changed(out=["/proc/found"]), "Expected a folder that can be written"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line(name, inside, capsys):
    arguments, words = MISTAKES[name]
    before = sorted(path.name for path in inside.rglob("*.html"))
    assert command_line.main(arguments) == 2
    out, message = capsys.readouterr()
    assert out == "" and message.count("\n") == 1 and len(message) < 700 and words in message
    assert sorted(path.name for path in inside.rglob("*.html")) == before


def row(**changes):
    values = {"layer": "relu1", "label": "zebra", "concept": "stripes", "statistic": "score", "runs": 5, "value": 0.9}
    values |= {"std": 0.1, "low": 0.7, "high": 1.0, "null": 0.5, "tested": "mean", "p": 0.01, "adjusted": 0.01}
    values |= {"significant": True, "accuracy": 0.9, "accuracy_p": 0.01, "silent": 0.0}
    return Row(**values | changes)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({}, ""),
        ({"silent": 0.8}, "zero for 80 %"),
        ({"accuracy_p": 0.2, "accuracy": 0.55}, "accuracy 55 %"),
        ({"significant": False}, "No evidence"),
        ({"value": 1.0}, "at its limit"),
        ({"value": 1.0, "statistic": "mean"}, ""),
    ],
)
def test_advice_on_a_score(changes, words):
    found = advice.of_row(row(**changes))
    assert words in found and bool(words) == bool(found)


def test_advice_on_a_table():
    assert advice.of_table([row(), row(concept="dots", value=0.1)]) == []
    assert "No score is significant" in advice.of_table([row(significant=False)])[0]
    assert "share more than their names" in advice.of_table([row(), row(concept="dots")])[0]
