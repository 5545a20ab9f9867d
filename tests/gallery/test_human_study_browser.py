"""The page of the human-subject study in a browser: the tasks of a worker, keyboard, accessibility, and storage."""

import json
import re

import numpy as np
import pytest

from tests.helpers.browser import attributes, click, evaluate, find, fits, keys, reload, set_width
from tests.helpers.small_study import build, content, tasks
from xai_jax.gallery import human_study, human_study_answers


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    build(folder)
    return folder


@pytest.fixture
def page(chromium, study):
    set_width(chromium, 360)
    open_first(chromium, study / "human_study.html")
    return chromium


def open_first(browser, file):
    """Opens a page as on a first visit."""
    browser.get(file.as_uri())
    browser.execute_script("localStorage.clear()")
    reload(browser)
    browser.get_log("browser")


def rate(browser, image, caption, confidence):
    for name, value in (("image", image), ("caption", caption), ("confidence", confidence)):
        click(browser, f"input[name={name}][value='{value}']")


def heading(browser):
    """The visible heading."""
    (text,) = [text for seen, text in attributes(browser, "h1", "checkVisibility()", "textContent") if seen]
    return text


def stored(browser):
    return json.loads(evaluate(browser, "localStorage.getItem(localStorage.key(0))"))


def saved(browser):
    """The answers in the text to copy."""
    return json.loads(attributes(browser, "#text", "value")[0])


def ratings(answers):
    return [tuple(answer[name] for name in ("image", "caption", "confidence")) for answer in answers]


def fill_in(browser, tasks=6):
    """Answers the tasks from the first on; returns the ratings."""
    given = [(1 + task, 10 - task, 1 + task % 5) for task in range(tasks)]
    click(browser, "#start")
    for values in given:
        rate(browser, *values)
        click(browser, "#task button")
    return given


def test_browser_takes_a_person_through_all_six_tasks_to_a_file_that_counts(page, study, tmp_path):
    assert heading(page) == "What does the program rely on?"
    given = fill_in(page)
    assert heading(page) == "Thank you"
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    click(page, "#save")
    worker = saved(page)["worker"]
    file = wait_for(tmp_path / f"answers-{worker}.json")
    answers = json.loads(file.read_text())
    assert answers == saved(page) and re.fullmatch("[0-9a-f]{16}", worker)
    assert ratings(answers["answers"]) == given
    assert [(answer["task"], answer["images"]) for answer in answers["answers"]] == plan(page, answers["seed"])
    target = study / "answers" / file.name
    target.write_bytes(file.read_bytes())
    read = human_study_answers.read(study)
    target.unlink()
    assert [sheet.worker for sheet in read.sheets] == [worker] and read.excluded == []
    assert page.get_log("browser") == []


def plan(browser, seed):
    """(task, four images) in order, for a worker with this seed."""
    return [(step["task"], step["images"]) for step in evaluate(browser, f"plan({seed})")]


def test_browser_assigns_models_orders_and_images_evenly(page):
    assert plan(page, 1)[:2] == [(7, [4, 0, 2, 1]), (11, [3, 5, 4, 1])]  # Mulberry32
    plans = evaluate(page, "range(3000).map(plan)")
    assert all({step["task"] for step in steps} in ({*range(6)}, {*range(6, 12)}) for steps in plans)
    first = np.bincount([steps[0]["task"] for steps in plans], minlength=12)
    images = np.bincount([image for steps in plans for step in steps for image in step["images"]], minlength=6)
    for counts in (first, images):
        np.testing.assert_allclose(counts, counts.mean(), rtol=0.25)


def wait_for(file):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(None, 10).until(lambda _: file.exists(), f"no download at {file}")
    return file


def test_browser_shows_the_pictures_of_the_plan_with_their_maps(page, study):
    click(page, "#start")
    task, images = plan(page, stored(page)["seed"])[0]
    shown = content(study / "human_study.html")
    entry, found = shown["tasks"][task], attributes(page, "img", "src", "alt", "naturalWidth")
    assert [src for src, _, _ in found[0::2]] == [shown["pictures"][entry["images"][image]] for image in images]
    assert [src for src, _, _ in found[1::2]] == [shown["pictures"][entry["maps"][image]] for image in images]
    assert [alt for _, alt, _ in found[:3]] == ["Picture 1 of 4", "Map of picture 1", "Picture 2 of 4"]
    assert all(width == 224 for _, _, width in found)
    assert find(page, "#label").text == entry["label"]


def test_browser_can_be_used_by_keyboard_alone(page):
    from selenium.webdriver.common.keys import Keys

    keys(page, Keys.TAB, Keys.ENTER)
    for task in range(6):
        assert heading(page) == f"Task {task + 1} of 6" == page.switch_to.active_element.text
        # Tab goes to a question; space takes its first point, each arrow the next.
        keys(page, Keys.TAB, Keys.SPACE, *[Keys.ARROW_RIGHT] * 6)
        keys(page, Keys.TAB, Keys.SPACE, Keys.ARROW_RIGHT)
        assert evaluate(page, "getComputedStyle(document.activeElement.nextElementSibling).outlineWidth") == "3px"
        keys(page, Keys.TAB, Keys.SPACE, Keys.ARROW_LEFT, Keys.TAB, Keys.ENTER)
    assert heading(page) == "Thank you" == page.switch_to.active_element.text
    assert ratings(saved(page)["answers"]) == [(7, 2, 5)] * 6
    keys(page, Keys.TAB)
    assert page.switch_to.active_element.text == "Save my answers"
    assert page.get_log("browser") == []


def test_browser_keeps_progress_and_half_a_task_over_a_reload(page):
    fill_in(page, 2)
    click(page, "input[name=caption][value='9']")
    before, order = stored(page), attributes(page, "img", "src")
    reload(page)
    assert heading(page) == "Task 3 of 6" and stored(page) == before and len(before["answers"]) == 2
    assert attributes(page, "img", "src") == order
    assert attributes(page, "input:checked", "name", "value") == [["caption", "9"]]
    rate(page, 1, 2, 3)
    click(page, "#task button")
    assert heading(page) == "Task 4 of 6" and attributes(page, "input:checked", "name") == []


def test_browser_continues_only_when_all_questions_are_answered(page):
    click(page, "#start")
    for name, value in (("image", 4), ("confidence", 5), ("caption", 4)):
        click(page, "#task button")
        assert heading(page) == "Task 1 of 6" and stored(page)["answers"] == []
        click(page, f"input[name={name}][value='{value}']")
    click(page, "#task button")
    assert heading(page) == "Task 2 of 6"


def test_browser_names_every_control_for_screen_readers(page):
    click(page, "#start")
    page.execute_cdp_cmd("Accessibility.enable", {})
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    radios = [name for role, name in named if role == "radio"]
    assert radios == [str(point) for points in (10, 10, 5) for point in range(1, points + 1)]
    questions = [question.text for question in human_study.QUESTIONS]
    assert [name for role, name in named if role in ("group", "radiogroup")] == questions
    described = [node["description"]["value"] for node in nodes if node.get("description", {}).get("value")]
    assert "1 = not at all 10 = extremely" in described
    assert ("button", "Next") in named and all(name for role, name in named if role in ("button", "link", "image"))


@pytest.mark.parametrize("width", [360, 1280])
def test_browser_needs_no_horizontal_scrolling(chromium, tmp_path, width):
    named = [task._replace(label="unbreakable" * 20 if task.label == "cab" else task.label) for task in tasks()]
    set_width(chromium, width)
    open_first(chromium, human_study.build(tmp_path, named))
    assert fits(chromium, width)
    click(chromium, "#start")
    for _ in range(6):
        assert fits(chromium, width)
        assert min(attributes(chromium, ".scale label", "clientWidth")) >= 24
        rate(chromium, 1, 1, 1)
        click(chromium, "#task button")
    click(chromium, "summary")
    assert heading(chromium) == "Thank you" and fits(chromium, width)


def test_browser_cannot_send_anything(page):
    fill_in(page)
    loaded = evaluate(page, "performance.getEntriesByType('resource').map(e => e.name)")
    assert all(name.startswith("data:") for name in loaded)
    refused = "fetch('http://127.0.0.1:9/').then(() => arguments[0]('sent'), e => arguments[0]('refused'))"
    assert page.execute_async_script(refused) == "refused"
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_browser_without_storage_says_so_and_still_works(page):
    spoil = {"source": "Storage.prototype.setItem = Storage.prototype.getItem = () => { throw new Error('denied') }"}
    script = page.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", spoil)
    reload(page)
    page.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    assert "does not keep your answers" in find(page, "#forgetful").text
    fill_in(page)
    assert len(saved(page)["answers"]) == 6 and page.get_log("browser") == []


def test_browser_restarts_from_storage_it_cannot_use(page):
    for unusable in ("{", "null", "[]", '{"study": "other"}'):
        page.execute_script("localStorage.setItem(localStorage.key(0), arguments[0])", unusable)
        reload(page)
        assert heading(page) == "What does the program rely on?" and stored(page)["answers"] == []
        assert page.get_log("browser") == []


def test_browser_lets_another_person_start_only_when_the_first_agrees(page):
    fill_in(page)
    first = stored(page)
    click(page, "#again")
    page.switch_to.alert.dismiss()
    assert heading(page) == "Thank you" and stored(page) == first
    click(page, "#again")
    page.switch_to.alert.accept()
    assert heading(page) == "What does the program rely on?"
    assert stored(page)["answers"] == [] and stored(page)["worker"] != first["worker"]
    click(page, "#start")
    assert attributes(page, "input:checked", "name") == []
