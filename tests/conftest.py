"""Every test runs with strict dtype promotion; warnings are errors (pyproject.toml)."""

import importlib.util
import os
import shutil

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")

CHROMIUM_FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync""".split()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A browser that all its tests share; they are skipped where there is none, or fail if one is required."""
    found = shutil.which("chromium"), shutil.which("chromedriver")
    if not all(found) or importlib.util.find_spec("selenium") is None:
        stop = pytest.fail if os.environ.get("XAI_JAX_REQUIRE_BROWSER") == "1" else pytest.skip
        stop("needs chromium and chromedriver on the PATH (Debian's chromium-driver) and the package selenium")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    for flag in [*CHROMIUM_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(executable_path=found[1]))
    yield driver
    driver.quit()
