"""The gallery in a browser: pictures, searching, keyboard, narrow screens, dark ones, and no JavaScript."""

import json
import re

import numpy as np
import pytest

from tests.helpers.small_gallery import HOSTILE, claim, metrics, save_picture, write_experiment
from xai_jax.gallery import build

PAGES = ("index.html", "claims.html", "springenberg2015/comparison/index.html")
LONG = "unbreakable" * 20


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """Pages of small, wide and large pictures, with words too long for any screen and a hostile caption."""
    results = tmp_path_factory.mktemp("results")
    numbers = [metrics()["numbers"][0] | {"name": LONG, "note": LONG, "unit": LONG, "paper_tag": "M"}]
    figures = [{"file": f"{name}.png", "caption": HOSTILE, "alt": name} for name in ("maps", "wide", "large")]
    claims = [claim(LONG, "not supported", LONG, LONG)]
    changes = {"summary": LONG, "title": LONG, "command": f"python -m {LONG}", "numbers": numbers, "figures": figures}
    folder = write_experiment(results, **changes, claims=claims)
    save_picture(folder / "wide.png", 20, 1600)
    save_picture(folder / "large.png", 400, 500)
    (folder / "config.json").write_text(json.dumps({LONG: LONG}))
    open_claims = [claim("Words.", "inconclusive", measured="Nothing.")]
    for name in ("captions", "dream"):
        write_experiment(results, "kim2018", name, paper=LONG, hardware=LONG, claims=open_claims)
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


def set_width(browser, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def find(browser, selector):
    from selenium.webdriver.common.by import By

    return browser.find_element(By.CSS_SELECTOR, selector)


def test_every_page_loads_without_errors_and_every_picture_is_there(chromium, gallery):
    pages = sorted(gallery.rglob("*.html"))
    assert len(pages) == 9
    for page in pages:
        chromium.get(page.as_uri())
        images = chromium.execute_script("return [...document.images].map(i => [i.complete, i.naturalWidth])")
        assert all(complete and width > 0 for complete, width in images), page
        assert bool(images) == (page.name != "claims.html")
        assert chromium.get_log("browser") == []


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_page_needs_horizontal_scrolling(shown, width):
    set_width(shown, width)
    shown.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    widths = "const e = document.documentElement; return [innerWidth, e.clientWidth, e.scrollWidth]"
    inner, client, scroll = shown.execute_script(widths)
    assert inner == width and scroll <= client


def test_formulas_are_drawn_and_fit_a_phone(front):
    set_width(front, 360)
    script = (
        "return [...document.querySelectorAll('.formula')].map(f => [f.scrollWidth, f.clientWidth, f.clientHeight])"
    )
    formulas = front.execute_script(script)
    assert len(formulas) == 6 and all(needed <= given and height > 40 for needed, given, height in formulas)
    fractions = "return [...document.querySelectorAll('mfrac')].map(m => m.getBoundingClientRect().height)"
    assert all(height > 30 for height in front.execute_script(fractions))


def test_pages_follow_the_colour_scheme(shown):
    colours = {}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        style = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        colours[scheme] = [np.mean([int(n) for n in re.findall(r"\d+", c)[:3]]) for c in shown.execute_script(style)]
    assert colours["light"][0] > 230 and colours["light"][1] < 60
    assert colours["dark"][0] < 40 and colours["dark"][1] > 200


def visible(browser):
    """What the filter leaves: the paper and verdicts of each item."""
    script = "return [...document.querySelectorAll('[data-verdicts]')].filter(i => i.offsetHeight)"
    return browser.execute_script(f"{script}.map(i => [i.dataset.paper, i.dataset.verdicts])")


def test_words_papers_and_verdicts_filter_the_figures(front):
    everything = visible(front)
    assert len(everything) == 7
    box = find(front, "[name=text]")
    box.send_keys("UNBREAKABLE ")
    assert visible(front) == [["springenberg2015", "refuted"]]
    box.send_keys("nothing-has-this")
    assert visible(front) == [] and find(front, "output").text == "0 of 7 shown"
    find(front, "[type=reset]").click()
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
    find(front, "tr:not([hidden]) a").click()
    assert front.current_url.endswith("/kim2018/dream/index.html")
    find(front, "a[rel=prev]").click()
    assert front.current_url.endswith("/kim2018/captions/index.html")
    find(front, "nav a").click()
    assert front.current_url.endswith("/index.html") and find(front, "h1").text.startswith("Seeing")


def test_without_javascript_everything_is_readable_and_no_dead_form_is_shown(chromium, gallery):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        for page in ("index.html", "claims.html"):
            chromium.get((gallery / page).as_uri())
            assert not find(chromium, "form.filter").is_displayed()
            assert find(chromium, "[data-paper=kim2018]").is_displayed()
        chromium.get((gallery / PAGES[2]).as_uri())
        assert find(chromium, "figure img").is_displayed()
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_picture_is_enlarged_and_closed_again_by_keyboard(chromium, gallery):
    from selenium.webdriver.common.keys import Keys

    chromium.get((gallery / PAGES[2]).as_uri())
    button = find(chromium, "button.picture")
    button.send_keys(Keys.ENTER)
    state = "const d = document.querySelector('dialog'); return [d.open, d.querySelectorAll('img').length]"
    assert chromium.execute_script(state) == [True, 1]
    chromium.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert chromium.execute_script(state) == [False, 1]
    assert chromium.switch_to.active_element == button


def test_all_that_can_be_used_is_reached_by_the_tab_key_and_shows_the_focus(shown):
    from selenium.webdriver.common.keys import Keys

    count = (
        "return [...document.querySelectorAll('a, button, input, select, summary')].filter(e => e.offsetHeight).length"
    )
    wanted, reached = shown.execute_script(count), set()
    find(shown, "body").send_keys(Keys.TAB)
    assert shown.switch_to.active_element.text == "Skip to the content"
    for _ in range(wanted + 30):
        element = shown.switch_to.active_element
        if element.tag_name in ("a", "button", "input", "select", "summary"):
            reached.add(element.id)
            assert element.value_of_css_property("outline-width") == "3px"
        element.send_keys(Keys.TAB)
    assert len(reached) == wanted
