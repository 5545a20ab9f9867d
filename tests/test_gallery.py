"""The gallery page: what is on it, what is escaped, what is refused, and how it behaves in a browser."""

import base64
import io
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from xai_jax.gallery import ResultsError, __main__, build, words
from xai_jax.gallery.pictures import LIMIT
from xai_jax.gallery.sources import meaning, shown_tag

HOSTILE = "</p><script>alert(1)</script>\"' onload=x & <b>"
VOID = {"meta", "link", "img", "br"}


def save_picture(file, height=40, width=60, seed=0):
    """Noise is what compresses worst: 60 x 40 pixels stay small, 500 x 400 exceed the limit."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return pixels


def metrics(paper="springenberg2015", name="comparison", /, **changes):
    return {
        "experiment": f"{paper}/{name}",
        "title": f"Title of {name}",
        "figure": "Fig. 3",
        "paper": f"Authors of {paper}",
        "summary": "A summary.",
        "tier": "default",
        "command": f"python -m experiments.{paper}.{name} --workdir=results",
        "seconds": 200.4,
        "hardware": "cpu x2, jax 0.12.0",
        "seed": 7,
        "figures": [{"file": "maps.png", "caption": "The maps.", "alt": "A grid of maps"}],
        "numbers": [
            {
                "name": "share",
                "value": 0.61321,
                "spread": 0.0411,
                "unit": "",
                "paper": 0.5,
                "paper_tag": "V:ZF",
                "note": "over four photographs",
            }
        ],
        "claims": [{"claim": "Sharper maps.", "source": "section 3.4", "held": True, "measured": "0.61 against 0.38"}],
    } | changes


def write_experiment(results, paper="springenberg2015", name="comparison", /, **changes):
    folder = results / paper / name
    folder.mkdir(parents=True)
    save_picture(folder / "maps.png")
    (folder / "metrics.json").write_text(json.dumps(metrics(paper, name, **changes)))
    (folder / "config.json").write_text(json.dumps({"steps": 50, "optimizer": {"rate": 0.1}}))
    return folder


class Page(HTMLParser):
    """Tags with attributes in order, text by enclosing tag, and a check that every tag is closed."""

    def __init__(self, file):
        super().__init__()
        self.tags, self.open, self.texts = [], [], []
        self.feed(file.read_text(encoding="utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag=None):
        return "".join(text for name, text in self.texts if tag in (None, name) and name not in ("style", "script"))


def decoded(uri):
    head, _, content = uri.partition(",")
    return head, base64.b64decode(content)


def test_papers_come_in_the_order_of_the_lecture_and_unknown_ones_last(tmp_path):
    papers = ["aaai1999", "kim2018", "mahendran2015", "nguyen2015", "nguyen2016", "springenberg2015", "zeiler2014"]
    for paper in papers:
        write_experiment(tmp_path, paper)
    page = Page(build(tmp_path))
    known = ["zeiler2014", "mahendran2015", "springenberg2015", "nguyen2016", "nguyen2015", "kim2018"]
    assert [article["id"].split("/")[0] for article in page.all("article")] == [*known, "aaai1999"]


def test_a_paper_without_results_is_not_shown(tmp_path):
    write_experiment(tmp_path, "kim2018")
    text = Page(build(tmp_path)).text()
    assert "Concept vectors (TCAV)" in text and "Inversion" not in text


def test_headings_are_nested_and_links_within_the_page_arrive(tmp_path):
    write_experiment(tmp_path)
    write_experiment(tmp_path, "kim2018", "a name & more")
    page = Page(build(tmp_path))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    identities = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identities) == len(set(identities))
    targets = {link["href"][1:] for link in page.all("a") if link["href"].startswith("#")}
    assert targets and targets <= set(identities)


def test_a_figure_has_all_that_was_recorded(tmp_path):
    write_experiment(tmp_path)
    page = Page(build(tmp_path))
    text = page.text()
    for part in ("Title of comparison", "Fig. 3", "Authors of springenberg2015", "A summary.", "The maps.", "default"):
        assert part in text
    for part in ("3 min 20 s", "cpu x2, jax 0.12.0", "section 3.4", "0.61 against 0.38", "over four photographs"):
        assert part in text
    assert "0.6132 ± 0.041" in text and "0.5 V:ZF" in text
    assert "python -m experiments.springenberg2015.comparison --workdir=results" in text
    assert json.loads(text[text.index("{") : text.rindex("}") + 1]) == {"steps": 50, "optimizer": {"rate": 0.1}}
    assert page.all("img")[0]["alt"] == "A grid of maps"


def test_verdicts_are_worded_and_counted(tmp_path):
    claims = [
        {"claim": f"c{i}", "source": "", "held": held, "measured": ""} for i, held in enumerate((True, False, None))
    ]
    write_experiment(tmp_path, claims=claims)
    page = Page(build(tmp_path))
    assert "1 experiment from 1 paper, 3 claims: 1 held, 1 not held, 1 not testable here." in page.text()
    assert page.text("span").count("not testable here") == 2


def test_an_experiment_may_be_without_figures_numbers_and_claims(tmp_path):
    write_experiment(tmp_path, figures=[], numbers=[], claims=[], seconds=None, seed=None)
    text = Page(build(tmp_path)).text()
    assert "0 claims." in text and "not recorded" in text and "Quantity" not in text


@pytest.mark.parametrize(
    ("tag", "shown"),
    [
        ("V:ZF", "V:ZF"),
        ("[V:ZF §5.1]", "V:ZF §5.1"),
        ("D", "D"),
        ("M", "M, unverified"),
        (None, "unverified"),
        ("Verily", "Verily, unverified"),
    ],
)
def test_a_number_of_the_paper_without_a_source_is_marked_unverified(tmp_path, tag, shown):
    numbers = [metrics()["numbers"][0] | {"paper": 0.25, "paper_tag": tag}]
    write_experiment(tmp_path, numbers=numbers)
    assert f"0.25 {shown}" in Page(build(tmp_path)).text()


def test_tags_are_explained_by_their_source():
    assert "1311.2901" in meaning(shown_tag("V:ZF §5.1"))
    assert "hint" in meaning(shown_tag("M"))
    assert "XY" in meaning(shown_tag("S:XY"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (-0.5, "−0.5"),
        (0.0, "0"),
        (1234567, "1,234,567"),
        (1234567.8, "1,234,568"),
        (1.3e-5, "1.3 × 10⁻⁵"),
        (1e20, "1 × 10²⁰"),
        (10**400, f"{10**400:,}"),
        ("block-3", "block-3"),
        (None, "–"),
    ],
)
def test_numbers_are_short_and_exact_where_they_can_be(value, text):
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.7, "1 min 0 s"), (3599.6, "1 h 0 min"), (7530, "2 h 6 min")],
)
def test_durations_carry_over(seconds, text):
    assert words.duration(seconds) == text


def hostile(value):
    """The same structure with the hostile text appended to every string but the names of files."""
    if isinstance(value, dict):
        return {key: inner if key == "file" else hostile(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner) for inner in value]
    return value + HOSTILE if isinstance(value, str) else value


def test_everything_from_the_results_is_escaped(tmp_path):
    plain, attacked = tmp_path / "plain", tmp_path / "attacked"
    write_experiment(plain)
    folder = write_experiment(attacked)
    (folder / "metrics.json").write_text(json.dumps(hostile(metrics())))
    (folder / "config.json").write_text(json.dumps({HOSTILE: HOSTILE}))
    before, after = Page(build(plain)), Page(build(attacked))
    # The command's words are wrapped one by one, so only its number of words may change the tags.
    extra = [("span", {})] * (len((" " + HOSTILE).split()) - 1)
    names = sorted(tag for tag, _ in before.tags) + [tag for tag, _ in extra]
    assert sorted(tag for tag, _ in after.tags) == sorted(names)
    assert {key for _, attributes in after.tags for key in attributes} <= {
        key for _, attributes in before.tags for key in attributes
    }
    assert after.all("img")[0]["alt"] == "A grid of maps" + HOSTILE
    assert "The maps." + HOSTILE in after.text("figcaption")


def test_dollars_and_lone_surrogates_are_only_text(tmp_path):
    write_experiment(tmp_path, summary="costs $style and ${script}", title="half \ud800 pair")
    assert "costs $style and ${script}" in Page(build(tmp_path)).text()


def test_a_small_picture_is_embedded_as_it_is(tmp_path):
    file = write_experiment(tmp_path) / "maps.png"
    page = Page(build(tmp_path))
    (image,) = page.all("img")
    assert decoded(image["src"]) == ("data:image/png;base64", file.read_bytes())
    assert (image["width"], image["height"]) == ("60", "40")
    assert "Full picture" not in page.text()


def test_a_large_picture_is_reduced_and_linked(tmp_path):
    results = tmp_path / "results"
    folder = write_experiment(results, figures=[{"file": "big & #1.png", "caption": "", "alt": "noise"}])
    pixels = save_picture(folder / "big & #1.png", 300, 2200)
    build(results)
    moved = shutil.move(results, tmp_path / "elsewhere")
    page = Page(moved / "index.html")
    (image,) = page.all("img")
    head, content = decoded(image["src"])
    shown = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert head == "data:image/webp;base64" and len(content) <= LIMIT
    assert shown.shape[:2] == (int(image["height"]), int(image["width"]))
    np.testing.assert_allclose(shown.shape[1] / shown.shape[0], 2200 / 300, rtol=0.01)
    np.testing.assert_allclose(shown.mean((0, 1)), pixels.mean((0, 1)), atol=3)
    (target,) = [link["href"] for link in page.all("a") if not link["href"].startswith("#")]
    assert (moved / unquote(target)).samefile(moved / "springenberg2015" / "comparison" / "big & #1.png")


@pytest.mark.parametrize(("mode", "transparent"), [("RGBA", True), ("LA", True), ("L", False), ("P", False)])
def test_large_pictures_of_any_mode_keep_their_transparency(tmp_path, mode, transparent):
    file = write_experiment(tmp_path) / "maps.png"
    image = Image.linear_gradient("L").resize((700, 700))
    image = Image.merge("RGBA", [image] * 4) if transparent else image
    image.convert(mode).save(file, compress_level=0)
    (shown,) = Page(build(tmp_path)).all("img")
    head, content = decoded(shown["src"])
    assert head.startswith("data:image/webp")
    assert ("A" in Image.open(io.BytesIO(content)).getbands()) == transparent


def test_the_page_needs_nothing_but_itself(tmp_path):
    write_experiment(tmp_path)
    file = build(tmp_path)
    page = Page(file)
    addresses = [attributes[key] for _, attributes in page.tags for key in ("src", "href") if key in attributes]
    assert addresses and all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"@import|url\(|fetch\(", file.read_text())


def test_building_twice_gives_the_same_bytes(tmp_path):
    write_experiment(tmp_path)
    first = build(tmp_path).read_bytes()
    assert build(tmp_path).read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "springenberg2015"]


def drop(*keys):
    """Deletes the value at the end of a path of keys."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def put(value, *keys):
    """Sets the value at the end of a path of keys."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("title"), "title: key is missing"),
        (drop("numbers", 0, "paper_tag"), r"numbers\[0\].paper_tag: key is missing"),
        (put("", "title"), 'title: expected text that is not empty, got ""'),
        (put("x" * 99, "figures"), 'figures: expected a list, got "xxx'),
        (put(3, "claims", 0), r"claims\[0\]: expected an object, got 3"),
        (put("yes", "claims", 0, "held"), r'claims\[0\].held: expected true, false or null, got "yes"'),
        (put(True, "numbers", 0, "value"), r"numbers\[0\].value: expected a finite number, text or null, got true"),
        (put(float("nan"), "numbers", 0, "value"), r"numbers\[0\].value: expected a finite number.*NaN"),
        (put(-1, "seconds"), "seconds: expected a number of seconds or null, got -1"),
        (put("  ", "figures", 0, "alt"), r"figures\[0\].alt: expected text that is not empty"),
        (put("lost.png", "figures", 0, "file"), r"figures\[0\].file: expected a picture at .*lost.png"),
        (put("../../secret.png", "figures", 0, "file"), r"figures\[0\].file: expected the name of a file"),
        (put("..", "figures", 0, "file"), r"figures\[0\].file: expected a readable picture"),
        (put("config.json", "figures", 0, "file"), r"figures\[0\].file: expected a readable picture"),
    ],
)
def test_a_wrong_value_is_named_with_file_and_key(tmp_path, change, message):
    folder = write_experiment(tmp_path)
    content = metrics()
    change(content)
    (folder / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(ResultsError, match=f"springenberg2015/comparison/metrics.json: {message}"):
        build(tmp_path)
    assert not (tmp_path / "index.html").exists()


@pytest.mark.parametrize("name", ["metrics.json", "config.json"])
@pytest.mark.parametrize("content", [b"", b'{"title": "cut', b"\xff\xfe\xfa", b"[" * 100_000, b"[]"])
def test_broken_json_is_named(tmp_path, name, content):
    folder = write_experiment(tmp_path)
    (folder / name).write_bytes(content)
    with pytest.raises(ResultsError, match=f"comparison/{name}: (expected JSON|top level: expected an object)"):
        build(tmp_path)


def test_a_missing_config_is_named(tmp_path):
    (write_experiment(tmp_path) / "config.json").unlink()
    with pytest.raises(ResultsError, match="comparison/config.json: expected beside"):
        build(tmp_path)


def test_a_truncated_picture_is_named(tmp_path):
    file = write_experiment(tmp_path) / "maps.png"
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(
        ResultsError, match=r"metrics.json: figures\[0\].file: expected a readable picture at .*maps.png"
    ):
        build(tmp_path)


def test_all_problems_come_in_one_error_and_the_old_page_stays(tmp_path):
    first = write_experiment(tmp_path, "kim2018", "captions")
    second = write_experiment(tmp_path)
    before = build(tmp_path).read_bytes()
    (first / "metrics.json").write_text("{")
    (second / "metrics.json").write_text(json.dumps(metrics(seconds="long", tier=None)))
    (second / "maps.png").write_bytes(b"no picture")
    with pytest.raises(ResultsError, match="4 problem") as error:
        build(tmp_path)
    for part in ("captions/metrics.json", "seconds: ", "tier: ", "maps.png"):
        assert part in str(error.value)
    assert (tmp_path / "index.html").read_bytes() == before


def test_a_failed_write_leaves_the_old_page_and_nothing_else(tmp_path, monkeypatch):
    write_experiment(tmp_path)
    before = build(tmp_path).read_bytes()

    def refuse(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        build(tmp_path)
    assert (tmp_path / "index.html").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "springenberg2015"]


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


@pytest.fixture(scope="module")
def long_page(tmp_path_factory):
    """A page of small, wide and large pictures, with words too long for any screen and a hostile caption."""
    results, long = tmp_path_factory.mktemp("results"), "unbreakable" * 20
    numbers = [metrics()["numbers"][0] | {"name": long, "note": long, "unit": long, "paper_tag": "M"}]
    figures = [{"file": f"{name}.png", "caption": HOSTILE, "alt": name} for name in ("maps", "wide", "large")]
    changes = {"summary": long, "title": long, "command": f"python -m {long}", "numbers": numbers, "figures": figures}
    folder = write_experiment(results, **changes)
    save_picture(folder / "wide.png", 20, 1600)
    save_picture(folder / "large.png", 400, 500)
    (folder / "config.json").write_text(json.dumps({long: long}))
    write_experiment(results, "kim2018", "captions", paper=long, hardware=long)
    return build(results)


@pytest.fixture
def shown(chromium, long_page):
    chromium.get(long_page.as_uri())
    return chromium


def set_width(browser, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def test_browser_shows_every_picture_without_errors(shown):
    images = shown.execute_script("return [...document.images].map(i => [i.complete, i.naturalWidth, i.alt])")
    assert [alt for _, _, alt in images] == ["maps", "wide", "large", "A grid of maps"]
    assert all(complete and width > 0 for complete, width, _ in images)
    assert shown.get_log("browser") == []


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_browser_needs_no_horizontal_scrolling(shown, width):
    set_width(shown, width)
    shown.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    widths = "const e = document.documentElement; return [innerWidth, e.clientWidth, e.scrollWidth]"
    inner, client, scroll = shown.execute_script(widths)
    assert inner == width and scroll <= client


def test_browser_follows_the_colour_scheme(shown):
    colours = {}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        style = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        colours[scheme] = [np.mean([int(n) for n in re.findall(r"\d+", c)[:3]]) for c in shown.execute_script(style)]
    assert colours["light"][0] > 230 and colours["light"][1] < 60
    assert colours["dark"][0] < 40 and colours["dark"][1] > 200


def test_browser_enlarges_a_picture_and_closes_it_again(shown):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    button = shown.find_element(By.CSS_SELECTOR, "button.picture")
    button.send_keys(Keys.ENTER)
    state = "const d = document.querySelector('dialog'); return [d.open, d.querySelectorAll('img').length]"
    assert shown.execute_script(state) == [True, 1]
    shown.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert shown.execute_script(state) == [False, 1]
    assert shown.switch_to.active_element == button


def test_browser_shows_the_focus(shown):
    shown.execute_script("document.querySelector('ol a').focus({focusVisible: true})")
    assert shown.execute_script("return getComputedStyle(document.activeElement).outlineWidth") == "3px"
