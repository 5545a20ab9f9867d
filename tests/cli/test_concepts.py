"""The command `concepts`, with folders of digits: bright ones as a concept."""

import re

import numpy as np
import pytest
from PIL import Image

from xai_jax import __main__ as command_line
from xai_jax.cli import concepts
from xai_jax.concepts import activation_cache, advice
from xai_jax.concepts.significance import Row
from xai_jax.data import digits
from xai_jax.io import csv_file

COMMAND = "concepts --model digits --concept bright mirrored --random random --class 8=eights".split()


def save(folder, images):
    folder.mkdir()
    for number, image in enumerate(images):
        pixels = np.clip(255 * image[..., 0], 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of two concepts, of random images and of a class."""
    root, (images, _, labels, _) = tmp_path_factory.mktemp("folders"), digits.arrays()
    save(root / "bright", np.minimum(1.8 * images[:8] + 0.1, 1))
    save(root / "mirrored", images[10:18, :, ::-1])
    save(root / "random", images[100:160])
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
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "scores.csv", "scores.png"]
    rows = csv_file.read(out / "scores.csv")
    assert [(row["layer"], row["concept"], row["label"]) for row in rows] == [
        (layer, concept, "8") for layer in ("relu1", "relu2") for concept in ("bright", "mirrored")
    ]
    assert all(0 <= float(row["value"]) <= 1 and row["runs"] == "3" and "advice" in row for row in rows)
    with Image.open(out / "scores.png") as chart:
        assert chart.size[0] > 300
    html = (out / "index.html").read_text()
    assert all(f"<h3>{name}</h3>" in html for name in ("Scores", "bright", "mirrored"))
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


def changed(**given):
    """The command with other values of some arguments."""
    words = {"--concept": ["bright"], "--random": ["random"], "--class": ["8=eights"], "--model": ["digits"]}
    words |= {f"--{name}": value for name, value in given.items()}
    return ["concepts", *(word for name, value in words.items() for word in (name, *value))]


MISTAKES = {
    "a folder that is missing": (changed(concept=["brigth"]), "which is not a folder"),
    "a folder without images": (changed(random=["."]), "directly in ., got none"),
    "a class without a folder": (changed(**{"class": ["eights"]}), "such as zebra=photos/zebra"),
    "a class that is missing": (changed(**{"class": ["eleven=eights"]}), "Expected a class of the network"),
    "a layer that is missing": (changed(layers=["relu9"]), "Did you mean 'relu"),
    "too few random images": (changed(random=["eights"]), "Expected at least 40 random images"),
    "the same folder twice": (changed(concept=["bright", "./bright"]), "two called 'bright'"),
    "a concept among the random images": (changed(concept=["random"], random=["random"]), "random images"),
    "a file in place of a folder": (changed(out=["random/000.png"]), "Expected a folder to write"),
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
