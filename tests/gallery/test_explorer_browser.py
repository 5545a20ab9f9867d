"""The page of the explorer of units in a browser: images, keyboard, addresses, search, speed, and names as text."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.helpers.browser import attributes, evaluate, find, fits, set_width, wait
from tests.helpers.small_gallery import HOSTILE
from tests.helpers.small_units import LOADED, write_units
from xai_jax.gallery import explorer


@pytest.fixture
def shown(chromium):
    """Opens the page of some results at some address in it; expects no errors by the end of the test."""

    def show(results, address=""):
        chromium.get("about:blank")
        chromium.get_log("browser")
        chromium.get(explorer.build(results).as_uri() + address)
        return chromium

    yield show
    assert chromium.get_log("browser") == []


def press(browser, key, times=1):
    script = "for (let n = 0; n < arguments[1]; n++) document.body.dispatchEvent(new KeyboardEvent('keydown', {key: "
    browser.execute_script(script + "arguments[0], bubbles: true, cancelable: true}));", key, times)


def text(browser, selector="#name"):
    return attributes(browser, selector, "textContent")[0]


def address(browser):
    wait(browser)  # addresses are written ten times a second
    return evaluate(browser, "location.hash")


def search(browser, words):
    script = "const f = document.querySelector('#find'); f.value = arguments[0]; f.dispatchEvent(new Event('input'))"
    browser.execute_script(script, words)
    return text(browser, "#status")


def test_browser_shows_the_cell_of_the_unit(shown, tmp_path):
    folder = write_units(tmp_path, [70])
    sheet = folder / "sheets" / "net0-conv0-1-preimage.webp"
    pixels = np.zeros((6 * 12, 12), np.uint8)
    pixels[24:36] = 255  # the picture of unit 66 alone is white
    Image.fromarray(pixels).save(sheet, "WEBP", lossless=True)
    bright = {}
    for channel in (66, 67, 68):
        browser = shown(tmp_path, f"#net0/conv0/{channel}")
        browser.execute_async_script(LOADED)
        node = find(browser, "[data-kind=preimage] .sprite")
        bright[channel] = np.asarray(Image.open(io.BytesIO(node.screenshot_as_png)).convert("L"))
    assert bright[67].min() == 255 and bright[66].max() == 0 and bright[68].max() == 0


def test_browser_follows_keys_and_addresses(shown, tmp_path):
    write_units(tmp_path, [200, 20, 6])
    browser = shown(tmp_path)
    assert (text(browser), address(browser)) == ("net0 › conv0 › unit 0", "#net0/conv0/0")
    for key, times, expected in (
        ("ArrowRight", 3, "conv0/4"),  # 3 is silent
        ("ArrowLeft", 1, "conv0/2"),
        ("ArrowRight", 500, "conv0/200"),
        ("ArrowDown", 1, "conv1/20"),  # the nearest unit of that layer
        ("ArrowDown", 1, "conv1/20"),  # the next layer is another network's
        ("ArrowUp", 1, "conv0/200"),  # the unit that was chosen
    ):
        press(browser, key, times)
        assert address(browser) == f"#net0/{expected}"
    browser.execute_script("location.hash = '#net1/conv0/5'")
    assert (address(browser), text(browser)) == ("#net1/conv0/5", "net1 › conv0 › unit 5")
    assert attributes(browser, "#network", "value") == ["net1"]
    browser.execute_script("location.hash = '#net9/conv0/5'")
    assert address(browser) == "#net0/conv0/5" and "names no unit" in text(browser, "#status")


def test_browser_keeps_an_address_that_is_typed_while_its_own_waits(shown, tmp_path):
    write_units(tmp_path, [20, 8, 6])
    browser = shown(tmp_path)
    browser.execute_script("""
        const right = {key: "ArrowRight", bubbles: true};
        const press = () => document.body.dispatchEvent(new KeyboardEvent("keydown", right));
        press();
        press();  // its address is written a moment later
        history.replaceState(null, "", "#net1/conv0/5");  // as if typed, before the page is notified
    """)
    assert address(browser) == "#net1/conv0/5"
    browser.execute_script("dispatchEvent(new HashChangeEvent('hashchange'))")
    assert (text(browser), address(browser)) == ("net1 › conv0 › unit 5", "#net1/conv0/5")


def test_browser_finds_units_by_number_and_concept(shown, tmp_path):
    write_units(tmp_path, [200])
    browser = shown(tmp_path)
    search(browser, "57")
    assert address(browser) == "#net0/conv0/57"
    assert "No image excites unit 3" in search(browser, "3") and address(browser) == "#net0/conv0/57"
    assert "units 0 to 200" in search(browser, "999")
    assert "67 of 200 units are near" in search(browser, "STRI")
    assert address(browser) == "#net0/conv0/200"  # the nearest, unit 199 of those that are not silent
    press(browser, "ArrowRight")
    assert address(browser) == "#net0/conv0/197"
    browser.execute_script("document.querySelectorAll('#near button')[1].click()")
    assert "133 of 200 units are near “coat”" in text(browser, "#status")
    search(browser, "nothing")
    assert attributes(browser, ".option", "id") == []


def test_browser_copies_the_link(shown, tmp_path):
    write_units(tmp_path, [4])
    browser = shown(tmp_path, "#net0/conv0/2")
    find(browser, "#copy").click()
    wait(browser)
    assert text(browser, "#copied") == "Copied." or text(browser, "#copied").endswith("units.html#net0/conv0/2")


def test_browser_is_fast_with_5000_units(shown, tmp_path):
    write_units(tmp_path, [5000, 8])
    browser = shown(tmp_path)
    timed = """
        const times = [], nodes = [];
        const act = (action) => {
          const before = performance.now();
          action();
          document.body.offsetHeight;
          times.push(performance.now() - before);
          nodes.push(document.querySelectorAll("*").length);
        };
        const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        const find = document.querySelector("#find");
        for (let n = 0; n < 30; n++) act(() => press("ArrowRight"));
        for (const text of ["4999", "stripes", ""]) {
          act(() => { find.value = text; find.dispatchEvent(new Event("input")); });
        }
        act(() => press("ArrowDown"));
        act(() => press("ArrowUp"));
        return [times, nodes];
    """
    times, nodes = browser.execute_script(timed)
    assert np.median(times) < 100 and max(nodes) < 600
    browser.execute_script("document.querySelector('#units').scrollTop = 1e9")
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert attributes(browser, "#option-4999", "id")


@pytest.mark.parametrize("width", [360, 1280])
def test_browser_needs_no_horizontal_scrolling(shown, tmp_path, width):
    write_units(tmp_path, [70], ("coat", "unbreakable" * 20))
    set_width(browser := shown(tmp_path), width)
    assert fits(browser, width)


def test_browser_shows_names_as_text(shown, tmp_path):
    write_units(tmp_path, [4], (HOSTILE, HOSTILE * 9))
    browser = shown(tmp_path, "#net0/conv0/1")
    assert attributes(browser, "#near button", "firstChild.data")[0] == HOSTILE * 9
    assert attributes(browser, "b", "tagName") == []
