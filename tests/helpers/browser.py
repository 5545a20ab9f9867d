"""Helpers of the tests that drive a browser."""


def set_width(browser, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def fits(browser, width):
    """Whether the page at this width needs no horizontal scrolling."""
    sizes = evaluate(
        browser, "[innerWidth, document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    )
    return sizes[0] == width and sizes[2] <= sizes[1]


def evaluate(browser, expression):
    """The value of a JavaScript expression."""
    return browser.execute_script(f"return {expression}")


def attributes(browser, selector, *names):
    """Attributes of all elements of a selector: a list, or a list of lists for more than one name."""
    read = f"[{', '.join(f'n.{name}' for name in names)}]" if len(names) > 1 else f"n.{names[0]}"
    return evaluate(browser, f"[...document.querySelectorAll({selector!r})].map(n => {read})")


def reload(browser):
    """Reloads the page, and waits until the new one is there: `refresh` alone may return before its scripts ran."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.execute_script("window.old = true")
    browser.refresh()
    WebDriverWait(browser, 30).until(lambda _: evaluate(browser, "!window.old && document.readyState === 'complete'"))


def find(browser, selector):
    return browser.find_element("css selector", selector)


def click(browser, selector):
    find(browser, selector).click()


def keys(browser, *pressed):
    """Presses keys, in the element that has the focus."""
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*pressed).perform()


def wait(browser, milliseconds=120):
    """Waits for timers of the page."""
    browser.execute_async_script("setTimeout(arguments[1], arguments[0])", milliseconds)
