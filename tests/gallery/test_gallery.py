"""The gallery: contents of its pages, escaping, and validation of results."""

import json
import os
import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from tests.helpers.small_gallery import HOSTILE, Page, claim, decoded, metrics, save_picture, write_experiment
from xai_jax.gallery import ResultsError, __main__, build, formatting
from xai_jax.gallery.figures import COMPARISONS


def article(results, paper="springenberg2015", name="comparison"):
    """The page of one experiment, after building all."""
    build(results)
    return Page(results / paper / name / "index.html")


def all_pages(results):
    """Every page of the gallery, by its path."""
    front = build(results)
    return {path: Page(path) for path in [front, *results.glob("*.html"), *results.glob("*/*/index.html")]}


def test_papers_come_in_their_order_and_unknown_ones_last(tmp_path):
    papers = ["aaai1999", "kim2018", "mahendran2015", "nguyen2015", "nguyen2016", "springenberg2015", "zeiler2014"]
    for paper in papers:
        write_experiment(tmp_path, paper)
    page = Page(build(tmp_path))
    known = ["zeiler2014", "mahendran2015", "springenberg2015", "nguyen2016", "nguyen2015", "kim2018"]
    assert [section["aria-labelledby"] for section in page.all("section")] == [*known, "aaai1999", "figures"]
    assert [card["data-paper"] for card in page.all("li") if "data-paper" in card] == [*known, "aaai1999"]
    assert page.all("math") and len(page.all("math")) == 7  # one each, and two of TCAV


def test_headings_are_nested_and_all_links_stay_in_the_folder(tmp_path):
    write_experiment(tmp_path)
    write_experiment(tmp_path, "kim2018", "a name & more #1?")
    pages = all_pages(tmp_path)
    identities = {
        path: [attributes["id"] for _, attributes in page.tags if "id" in attributes] for path, page in pages.items()
    }
    for path, page in pages.items():
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels.count(1) == 1 and levels[0] == 1
        assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
        assert len(identities[path]) == len(set(identities[path]))
        papers = {entry.url for entry in COMPARISONS} if path.name == "figures.html" else set()
        for link in page.all("a"):
            if link["href"] in papers:
                continue
            target = urlsplit(link["href"])
            linked = (path.parent / unquote(target.path)).resolve() if target.path else path
            assert linked.is_file() and (not target.fragment or target.fragment in identities[linked])
        addresses = [attributes[key] for _, attributes in page.tags for key in ("src", "href") if key in attributes]
        addresses = [address for address in addresses if address not in papers]
        assert addresses and all(urlsplit(address).scheme in ("", "data") for address in addresses)
        assert not re.search(r"@import|url\(|fetch\(", path.read_text())


def test_experiments_lead_to_the_ones_before_and_after_them(tmp_path):
    for paper in ("kim2018", "mahendran2015", "zeiler2014"):
        write_experiment(tmp_path, paper)
    text = Page(build(tmp_path)).text()
    assert "Concept vectors (TCAV)" in text and "Generator networks" not in text  # no results, no section
    assert [link for link in article(tmp_path, "mahendran2015").all("a") if "rel" in link] == [
        {"rel": "prev", "href": "../../zeiler2014/comparison/index.html"},
        {"rel": "next", "href": "../../kim2018/comparison/index.html"},
    ]
    assert [link["rel"] for link in article(tmp_path, "kim2018").all("a") if "rel" in link] == ["prev"]


def test_the_chosen_figure_shows_a_method_and_else_the_first(tmp_path):
    write_experiment(tmp_path, "mahendran2015", "diversity")
    assert [image["alt"] for image in Page(build(tmp_path)).all("img")] == ["A grid of maps", ""]
    figures = [{"file": name, "caption": "", "alt": name} for name in ("maps.png", "layers.png")]
    save_picture(write_experiment(tmp_path, "mahendran2015", "layers", figures=figures) / "layers.png")
    assert [image["alt"] for image in Page(build(tmp_path)).all("img")] == ["layers.png", "", ""]


def test_units_are_linked_where_the_explorer_has_them(tmp_path, monkeypatch):
    write_experiment(tmp_path)
    assert "units.html" not in build(tmp_path).read_text()
    monkeypatch.setattr("xai_jax.gallery.explorer.build", lambda results: results / "units.html")
    assert "units.html" in [link["href"] for link in Page(build(tmp_path)).all("a")]
    assert "../../units.html" in [link["href"] for link in article(tmp_path).all("a")]


def test_a_page_that_an_experiment_made_is_linked(tmp_path):
    folder = write_experiment(tmp_path, "kim2018", "human_study")
    (folder / "study").mkdir()
    (folder / "study/a page.html").touch()
    assert "study/a%20page.html" in [link["href"] for link in article(tmp_path, "kim2018", "human_study").all("a")]


def test_pages_of_experiments_without_results_are_removed_and_no_others(tmp_path):
    write_experiment(tmp_path)
    gone = write_experiment(tmp_path, "kim2018", "captions")
    foreign = tmp_path / "mine" / "notes" / "index.html"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    build(tmp_path)
    (gone / "metrics.json").unlink()
    build(tmp_path)
    assert not (gone / "index.html").exists() and foreign.exists()
    assert (tmp_path / "springenberg2015/comparison/index.html").exists()


def test_a_figure_has_all_that_was_recorded(tmp_path):
    write_experiment(tmp_path)
    page = article(tmp_path)
    text = page.text()
    parts = """Title of comparison|Fig. 3|Authors of springenberg2015|A summary.|The maps.|default|3 min 20 s
        |cpu x2, jax 0.12.0|section 3.4|0.61 against 0.38|over four photographs|0.6132 ± 0.041|0.5 V:ZF
        |python -m experiments.springenberg2015.comparison --workdir=results"""
    assert [part for part in parts.split("|") if part.strip() not in text] == []
    config = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert config == {"steps": 50, "optimizer": {"learning_rate": 0.1}}
    assert page.all("img")[0]["alt"] == "A grid of maps"


def test_verdicts_link_to_their_claims_and_untested_ones_are_marked(tmp_path):
    claims = [claim(f"c{i}", verdict, tested=i > 0) for i, verdict in enumerate(formatting.VERDICTS)]
    write_experiment(tmp_path, claims=claims)
    links = {link["href"] for link in Page(build(tmp_path)).all("a")}
    assert links >= {f"claims.html?verdict={style}" for style in formatting.VERDICTS.values()}
    for page in (article(tmp_path), Page(tmp_path / "claims.html")):
        assert page.text("span").count("inconclusive") == 1 and page.text("span").count(formatting.UNTESTED) == 1


def test_an_experiment_may_be_without_figures_numbers_and_claims(tmp_path):
    write_experiment(tmp_path, figures=[], numbers=[], claims=[], seconds=None, seed=None)
    assert "0 claims." in Page(build(tmp_path)).text()
    assert "No experiment here checks a claim." in Page(tmp_path / "claims.html").text()
    text = article(tmp_path).text()
    assert "not recorded" in text and "Quantity" not in text and "Claims" not in text


def test_a_number_of_the_paper_has_its_source_or_is_marked_unverified(tmp_path):
    tags = {"V:ZF": "V:ZF", "[V:ZF §5.1]": "V:ZF §5.1", "D": "D", "S:XY": "S:XY", "M": "M, unverified"}
    tags |= {None: "unverified", "Verily": "Verily, unverified"}
    number = metrics()["numbers"][0]
    write_experiment(tmp_path, numbers=[number | {"paper": i, "paper_tag": tag} for i, tag in enumerate(tags)])
    page = article(tmp_path)
    assert [text for i, shown in enumerate(tags.values()) if (text := f"{i} {shown}") not in page.text()] == []
    assert page.text("dd").count("1311.2901") == 2 and page.text("dd").count("hint") == 3
    assert "lecture" in page.text("dd") and "XY" in page.text("dd")


def test_numbers_and_durations_are_rounded():
    numbers = {0.123456: "0.1235", -0.5: "−0.5", 0.0: "0", 1234567.8: "1,234,568", 1e20: "1 × 10²⁰", None: "–"}
    numbers |= {10**400: f"{10**400:,}", "block-3": "block-3"}
    assert {value: formatting.number(value) for value in numbers} == numbers
    durations = {9.96: "10 s", 59.7: "1 min 0 s", 3599.6: "1 h 0 min"}
    assert {seconds: formatting.duration(seconds) for seconds in durations} == durations


def hostile(value):
    """The same structure with the hostile text appended to every string but names of files and verdicts."""
    if isinstance(value, dict):
        return {key: inner if key in ("file", "verdict") else hostile(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner) for inner in value]
    return value + HOSTILE if isinstance(value, str) else value


def names_and_keys(page):
    """Names of all elements but plain spans, and of their attributes."""
    names = [name for name, attributes in page.tags if (name, attributes) != ("span", {})]
    return sorted(names), {key for _, attributes in page.tags for key in attributes}


def test_everything_from_the_results_is_escaped(tmp_path):
    plain, attacked = tmp_path / "plain", tmp_path / "attacked"
    write_experiment(plain)
    folder = write_experiment(attacked)
    content = hostile(metrics())
    (folder / "metrics.json").write_text(json.dumps(content))
    (folder / "config.json").write_text(json.dumps({HOSTILE: HOSTILE}))
    befores, afters = (sorted(all_pages(results).items()) for results in (plain, attacked))
    for (_, before), (_, after) in zip(befores, afters, strict=True):
        # The command's words are wrapped one by one, so their number changes the number of plain spans.
        names, keys = zip(*(names_and_keys(page) for page in (before, after)), strict=True)
        assert names[0] == names[1] and keys[0] == keys[1]
    page = article(attacked)
    assert page.all("img")[0]["alt"] == "A grid of maps" + HOSTILE
    assert "The maps." + HOSTILE in page.text("figcaption")


def test_an_experiment_s_page_shows_the_pictures_beside_it_wherever_the_folder_goes(tmp_path):
    results = tmp_path / "results"
    folder = write_experiment(results, figures=[{"file": "big & #1.png", "caption": "", "alt": "noise"}])
    save_picture(folder / "big & #1.png", 300, 2200)
    build(results)
    moved = shutil.move(results, tmp_path / "elsewhere") / "springenberg2015" / "comparison"
    (image,) = Page(moved / "index.html").all("img")
    assert (moved / unquote(image["src"])).samefile(moved / "big & #1.png")
    assert (image["width"], image["height"]) == ("2200", "300")


def test_the_front_page_holds_small_versions_of_pictures(tmp_path):
    folder = write_experiment(tmp_path, figures=[{"file": "big.png", "caption": "", "alt": "noise"}])
    pixels = save_picture(folder / "big.png", 300, 2200)
    large, small = Page(build(tmp_path)).all("img")
    shown = np.asarray(decoded(large["src"]).convert("RGB"))
    assert shown.shape[:2] == (int(large["height"]), int(large["width"])) == (136, 1000)
    np.testing.assert_allclose(shown.mean((0, 1)), pixels.mean((0, 1)), atol=3)
    assert decoded(small["src"]).size == (320, 200) and small["alt"] == ""


@pytest.mark.parametrize(("mode", "transparent"), [("RGBA", True), ("LA", True), ("L", False), ("P", False)])
def test_small_versions_keep_their_transparency(tmp_path, mode, transparent):
    image = Image.linear_gradient("L").resize((70, 70))
    image = Image.merge("RGBA", [image] * 4) if transparent else image
    image.convert(mode).save(write_experiment(tmp_path) / "maps.png")
    large, _ = Page(build(tmp_path)).all("img")
    assert ("A" in decoded(large["src"]).getbands()) == transparent


def test_the_front_page_stays_light_with_as_many_experiments_as_there_are(tmp_path):
    for number in range(50):
        write_experiment(tmp_path, "kim2018", f"figure{number}")
    save_picture(tmp_path / "kim2018/figure0/maps.png", 300, 400)
    assert build(tmp_path).stat().st_size < 3_000_000


def test_building_twice_gives_the_same_bytes_and_a_failed_write_leaves_them(tmp_path, monkeypatch):
    write_experiment(tmp_path)
    before = build(tmp_path).read_bytes()
    assert build(tmp_path).read_bytes() == before
    monkeypatch.setattr(os, "replace", lambda *arguments: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        build(tmp_path)
    assert (tmp_path / "index.html").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "claims.html",
        "figures.html",
        "index.html",
        "springenberg2015",
    ]


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="found none: no experiment has finished"):
        build(tmp_path)
    with pytest.raises(ResultsError, match="nowhere is not a folder"):
        build(tmp_path / "nowhere")


def test_the_command_prints_the_page_or_the_error(tmp_path, capsys):
    assert __main__.main([str(tmp_path)]) == 1
    assert "gallery: expected results" in capsys.readouterr().err
    write_experiment(tmp_path)
    assert __main__.main([str(tmp_path)]) == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "index.html"
