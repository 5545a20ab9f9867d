"""Every test runs with strict dtype promotion; warnings are errors (pyproject.toml)."""

import importlib.util
import os
import shutil

from xai_jax.io.files import cache_dir

# Set before JAX is imported; processes that tests start inherit them. Most of a test's time goes into compiling.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_dir("test_programs")))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")

# Words in reasons for which a test may be skipped where XAI_JAX_REQUIRE says what should be there: "PyTorch", which
# continuous integration has on one Python, or "all but PyTorch", which it has on another.
ALLOWED_SKIPS = ("no right to mount a small disk", "mounting a small disk takes root")
PYTORCH = ("'torch'", "captum", "efficientnet_lite_pytorch", "extra bench")

CHROMIUM_FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync""".split()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A browser that all its tests share; they are skipped where there is none."""
    found = shutil.which("chromium"), shutil.which("chromedriver")
    if not all(found) or importlib.util.find_spec("selenium") is None:
        pytest.skip("needs chromium and chromedriver on the PATH (Debian's chromium-driver) and the package selenium")
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


def pytest_collection_modifyitems(items):
    """Marks the tests that drive a browser."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Fails a run that skipped a test for want of something that continuous integration installs."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    required = os.environ.get("XAI_JAX_REQUIRE")
    if not required or reporter is None:
        return
    reasons = {str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
               for report in reporter.stats.get("skipped", ())}  # fmt: skip
    refused = sorted(
        reason
        for reason in reasons
        if not any(text in reason for text in ALLOWED_SKIPS)
        and any(word in reason for word in PYTORCH) == (required == "PyTorch")
    )
    if refused:
        reporter.write_line("\n".join(["skipped, but nothing should be missing here:", *refused]), red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
