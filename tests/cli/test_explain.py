"""The page of `explain`, with a network for digits."""

import argparse
import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from tests.helpers.relu_free import smooth
from xai_jax import __main__ as command_line
from xai_jax import models, saliency
from xai_jax.cli import drawn_concepts, explain, layers, maps, page, preferred, preimages, subject, units
from xai_jax.cli.parts import Part, Picture, compute
from xai_jax.data import digits
from xai_jax.io.errors import UserError

METHODS = "maps,units,inversion,preferred,concepts"


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Two digits as files, and few steps of every method."""
    monkeypatch.setattr(preimages, "FORM", preimages.IJCV(steps=(3, 0)))
    monkeypatch.setattr(preferred, "PIXELS", preferred.Fourier(steps=3))
    for name, few in {"EXAMPLES": 4, "RUNS": 2, "CONTROLS": 3}.items():
        monkeypatch.setattr(drawn_concepts, name, few)
    monkeypatch.chdir(tmp_path)
    _, images, _, labels = digits.arrays()
    for number in range(2):
        pixels = (255 * images[number, :, :, 0]).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"digit-{labels[number]}.png")
    return sorted(path.name for path in tmp_path.iterdir())


def written(capsys, *arguments):
    """The text of the page that a command writes."""
    assert command_line.main(["explain", *arguments]) == 0
    path = capsys.readouterr().out.strip()
    with open(path, encoding="utf-8") as file:
        return file.read()


def pictures(html):
    """All images of a page."""
    return [
        Image.open(io.BytesIO(base64.b64decode(content)))
        for content in re.findall(r'src="data:image/webp;base64,([^"]+)"', html)
    ]


def test_all_methods_of_two_photographs(photographs, capsys):
    html = written(capsys, *photographs, "--model", "digits", "--out", "page.html")
    for section in explain.SECTIONS.values():
        assert html.count(f"<h3>{section.title}</h3>") == 2
    assert html.count("<article") == 2 and all(name in html for name in photographs)
    assert len(pictures(html)) == html.count("<img") > 40
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html) and "url(" not in html
    left_out = re.findall(r'class="left-out"><b>(.+?)</b> (.+?)</p>', html)
    assert [title for title, _ in left_out] == ["Left out: Colours."] * 2 and "colours" in left_out[0][1]


def test_sections_are_chosen_and_the_target_is_named(photographs, capsys):
    html = written(capsys, photographs[0], "--model", "digits", "--methods", "maps", "--target", "7")
    assert "<h3>Attribution maps</h3>" in html and html.count("<section>") == 1
    assert "Explained class: <b>7</b>" in html and "--target 7" in html


def test_a_network_without_relus_is_explained_by_the_other_methods(photographs, capsys, monkeypatch):
    found = smooth()
    monkeypatch.setattr(models, "load", lambda *arguments: found)
    html = written(capsys, photographs[0], "--model", "digits", "--methods", "maps,units")
    left_out = re.findall(r'class="left-out"><b>(.+?)</b> (.+?)</p>', html)
    assert [title for title, _ in left_out] == [
        "Left out: Guided backprop, Deconvnet.", "Left out: first, second."
    ]  # fmt: skip
    assert all("Expected a network with ReLUs" in reason for _, reason in left_out)
    assert "<b>Gradient</b>" in html and "<b>Guided backprop</b>" not in html


def of_digits(photographs, target=None):
    given = {"photographs": photographs, "model": "digits", "weights": "pretrained", "target": target}
    return subject.load(argparse.Namespace(**given))


def test_maps_are_those_of_the_library(photographs):
    own = of_digits(photographs)
    parts = {part.title: part for part in maps.parts(own)}
    expected = np.asarray(saliency.gradient(own.model.net, own.x, own.target))
    for (picture,), values, seen in zip(parts["Gradient"].compute(), expected, own.pixels, strict=True):
        np.testing.assert_array_equal(picture.image, maps.strength(values, seen))
        assert picture.image.std() > 0


def test_units_are_the_strongest_and_their_patches_show_the_photograph(photographs):
    own = of_digits(photographs)
    first = units.parts(own)[0].compute()[0]
    strengths = [float(picture.note.split()[-1]) for picture in first]
    assert strengths == sorted(strengths, reverse=True) and len(first) <= units.UNITS
    assert all(picture.image.shape == (units.SIDE, 2 * units.SIDE + units.GAP, 3) for picture in first)


def test_the_class_is_the_predicted_one_by_default(photographs):
    own = of_digits(photographs)
    np.testing.assert_array_equal(own.classes, own.probabilities.argmax(1))
    assert own.confidence(own.pixels, own.classes) == pytest.approx(own.probabilities.max(1), abs=0.02)
    assert of_digits(photographs, "7").classes.tolist() == [7, 7]


def test_large_networks_take_a_share_of_the_work(photographs, monkeypatch):
    own = of_digits(photographs)
    assert own.share == 1
    monkeypatch.setattr(preimages, "FEWEST_LAYERS", 1)
    whole = {name: len(module.parts(own)) for name, module in {"maps": maps, "layers": preimages}.items()}
    starts = len(preferred.parts(own)[0].compute()[0])
    monkeypatch.setattr(subject, "AFFORDABLE", 1.0)
    small = of_digits(photographs)
    assert 0 < small.share < 1e-3
    assert (len(maps.parts(small)), len(preimages.parts(small))) == (whole["maps"], 1) and whole["layers"] == 3
    assert (len(preferred.parts(small)[0].compute()[0]), starts) == (1, preferred.STARTS)
    assert [compute(part).reason for part in (*maps.parts(small), *preimages.parts(small))] == [""] * 8


def test_layers_are_the_last_of_each_size(photographs):
    own = of_digits(photographs)
    assert layers.stages(own.model.net, own.x, 9) == ["relu1", "relu2", "logits"]
    assert layers.maps(own.model.net, own.x) == ["relu1", "relu2"]


def test_a_part_that_fails_says_why():
    def refuse():
        raise ValueError("Expected something else.")

    found = compute(Part("name", refuse))
    assert found.reason == "Expected something else." and found.contents == []
    with pytest.raises(ZeroDivisionError):  # a fault of the program is none of the network
        compute(Part("name", lambda: [1 / 0]))


def test_pages_of_many_photographs_lose_quality_before_they_are_refused(photographs, monkeypatch):
    own = of_digits(photographs)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    part = compute(Part("noise", lambda: [[Picture(noise, "noise")]] * 2))
    done = [(maps.SECTION, [part])]
    whole = page.render(own, done, "command")
    monkeypatch.setattr(page, "LARGEST", len(whole) - 1)
    assert len(page.render(own, done, "command")) < len(whole)
    monkeypatch.setattr(page, "LARGEST", 10_000_000)
    monkeypatch.setattr(page, "QUALITIES", ())
    with pytest.raises(UserError, match="Expected fewer photographs for a page of 10 MB, got 2"):
        page.render(own, done, "command")
