"""The gallery in a browser: images, search, keyboard, narrow screens, dark mode, and no JavaScript."""

import json
import re

import numpy as np
import pytest

from tests.helpers.browser import attributes, evaluate, find, fits, set_width, wait
from tests.helpers.small_gallery import HOSTILE, claim, metrics, save_picture, write_experiment
from xai_jax.gallery import build

PAGES = ("index.html", "claims.html", "figures.html", "springenberg2015/comparison/index.html")
LONG = "unbreakable" * 20


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """Pages of small, wide and large images, with words too long for any screen and a hostile caption."""
    results = tmp_path_factory.mktemp("results")
    numbers = [metrics()["numbers"][0] | {"name": LONG, "note": LONG, "unit": LONG, "paper_tag": "M"}]
    figures = [{"file": f"{name}.png", "caption": HOSTILE, "alt": name} for name in ("maps", "wide", "large")]
    claims = [claim(LONG, "not supported", LONG, LONG)]
    changes = {"summary": LONG, "title": LONG, "command": f"python -m {LONG}", "numbers": numbers, "figures": figures}
    folder = write_experiment(results, **changes, claims=claims)
    save_picture(folder / "wide.png", 20, 1600)
    save_picture(folder / "large.png", 400, 500)
    (folder / "config.json").write_text(json.dumps({LONG: LONG}))
    inconclusive = [claim("Words.", "inconclusive", measured="Nothing.")]
    for name in ("captions", "dream"):
        write_experiment(results, "kim2018", name, paper=LONG, hardware=LONG, claims=inconclusive)
    for paper in ("zeiler2014", "mahendran2015", "nguyen2016", "nguyen2015"):
        write_experiment(results, paper)
    return build(results).parent


@pytest.fixture(params=PAGES)
def shown(chromium, gallery, request):
    chromium.get((gallery / request.param).as_uri())
    return chromium


@pytest.fixture
def front(chromium, gallery):
    chromium.get((gallery / "index.html").as_uri())
    return chromium


def test_every_page_loads_without_errors_and_every_image_is_there(chromium, gallery):
    pages = sorted(gallery.rglob("*.html"))
    assert len(pages) == 10
    for page in pages:
        chromium.get(page.as_uri())
        images = attributes(chromium, "img", "complete", "naturalWidth")
        assert all(complete and width > 0 for complete, width in images), page
        assert bool(images) == (page.name != "claims.html")
        assert chromium.get_log("browser") == []


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_page_needs_horizontal_scrolling(shown, width):
    set_width(shown, width)
    shown.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert fits(shown, width)


def test_formulas_are_drawn_and_fit_a_phone(front):
    set_width(front, 360)
    formulas = attributes(front, ".formula", "scrollWidth", "clientWidth", "clientHeight")
    assert len(formulas) == 6 and all(needed <= given and height > 40 for needed, given, height in formulas)
    assert all(height > 30 for height in attributes(front, "mfrac", "getBoundingClientRect().height"))


def test_pages_follow_the_colour_scheme(shown):
    colours = {}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        styles = [evaluate(shown, f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")]
        colours[scheme] = [np.mean([int(n) for n in re.findall(r"\d+", style)[:3]]) for style in styles]
    assert colours["light"][0] > 230 and colours["light"][1] < 60
    assert colours["dark"][0] < 40 and colours["dark"][1] > 200


def visible(browser):
    """The paper and verdicts of each item that passes the filter."""
    items = attributes(browser, "[data-verdicts]", "offsetHeight", "dataset.paper", "dataset.verdicts")
    return [item[1:] for item in items if item[0]]


def test_words_papers_and_verdicts_filter_the_figures(front):
    everything = visible(front)
    assert len(everything) == 7
    box = find(front, "[name=text]")
    box.send_keys("UNBREAKABLE ")
    assert visible(front) == [["springenberg2015", "refuted"]]
    box.send_keys("nothing-has-this")
    assert visible(front) == [] and find(front, "output").text == "0 of 7 shown"
    find(front, "[type=reset]").click()
    wait(front)  # the form filters after its fields are cleared
    assert visible(front) == everything
    find(front, "[name=paper] [value=kim2018]").click()
    assert visible(front) == [["kim2018", "inconclusive"]] * 2
    find(front, "[name=verdict] [value=refuted]").click()
    assert visible(front) == []
    find(front, "[name=paper] [value='']").click()
    assert visible(front) == [["springenberg2015", "refuted"]]


def test_the_counts_on_the_front_page_lead_to_these_claims(front):
    find(front, "a[href='claims.html?verdict=inconclusive']").click()
    assert visible(front) == [["kim2018", "inconclusive"]] * 2
    find(front, "[name=text]").send_keys("dream")
    assert len(visible(front)) == 1
    for selector, page in (
        ("tr:not([hidden]) a", "/kim2018/dream/index.html"),
        ("a[rel=prev]", "/kim2018/captions/index.html"),
        ("nav a", "/index.html"),
    ):
        find(front, selector).click()
        assert front.current_url.endswith(page)
    assert find(front, "h1").text.startswith("Seeing")


def test_without_javascript_everything_is_readable_and_no_dead_form_is_shown(chromium, gallery):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        for page in ("index.html", "claims.html"):
            chromium.get((gallery / page).as_uri())
            assert not find(chromium, "form.filter").is_displayed()
            assert find(chromium, "[data-paper=kim2018]").is_displayed()
        chromium.get((gallery / PAGES[-1]).as_uri())
        assert find(chromium, "figure img").is_displayed()
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_an_image_is_enlarged_and_closed_again_by_keyboard(chromium, gallery):
    from selenium.webdriver.common.keys import Keys

    chromium.get((gallery / PAGES[-1]).as_uri())
    button = find(chromium, "button.picture")
    button.send_keys(Keys.ENTER)
    assert attributes(chromium, "dialog", "open", "querySelectorAll('img').length") == [[True, 1]]
    chromium.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert attributes(chromium, "dialog", "open") == [False]
    assert chromium.switch_to.active_element == button


def test_every_control_is_reached_by_the_tab_key_and_shows_the_focus(shown):
    from selenium.webdriver.common.keys import Keys

    wanted, reached = sum(map(bool, attributes(shown, "a, button, input, select, summary", "offsetHeight"))), set()
    find(shown, "body").send_keys(Keys.TAB)
    assert shown.switch_to.active_element.text == "Skip to the content"
    for _ in range(wanted + 30):
        element = shown.switch_to.active_element
        if element.tag_name in ("a", "button", "input", "select", "summary"):
            reached.add(element.id)
            assert element.value_of_css_property("outline-width") == "3px"
        element.send_keys(Keys.TAB)
    assert len(reached) == wanted
