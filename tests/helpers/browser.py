"""A page of a study in a real Chromium: to open it, ask it, and hear its complaints."""

import os
import shutil

import pytest

from capacity import run_table
from pages import EVIL, built, planted  # noqa: F401
from planted import plant
from waiting import wait_until

NEEDED = ("chromium", "chromedriver", "pdftotext")
needs_browser = pytest.mark.skipif(
    not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}"
)


@pytest.fixture(scope="module")
def chromium():
    """A headless browser whose driver listens on the loopback interface only."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in (
        "--headless=new",
        "--disable-gpu",
        "--window-size=1280,900",
        "--no-first-run",
        "--disable-background-networking",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
        "--disable-dev-shm-usage",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(
        options=options,
        service=webdriver.ChromeService(executable_path=shutil.which("chromedriver")),
    )
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def pages(planted, tmp_path_factory):
    """Name of a study -> (file of its page, study, its runs by id); `pocket` with a failed, a
    missing and an interrupted run."""
    known = {}

    def get(name):
        if name not in known:
            folder = tmp_path_factory.mktemp("pages")
            if name == "pocket":
                study, results = (
                    plant(folder, name, without=[19], failed=[0], interrupted=[6], error=EVIL),
                    folder,
                )
                content = built(study, results)
            else:
                study, results, _, content = planted(name)
            (folder / "report.html").write_bytes(content)
            known[name] = (
                folder / "report.html",
                study,
                run_table.table(results, study.runs).set_index("run_id", drop=False),
            )
        return known[name]

    return get


def show(chromium, path, width=1280, height=900):
    """Open a file afresh at a width, and wait until its figures are drawn."""
    chromium.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
    chromium.get("about:blank")
    for kind in ("browser", "performance"):
        chromium.get_log(kind)
    chromium.get(path.as_uri())
    wait_until(
        lambda: chromium.execute_script(
            "return [...document.querySelectorAll('figure[data-figure]')].every(f => "
            "f.querySelector('svg.plot > *'))"
        ),
        "figures",
    )
    drawn(chromium)


def js(chromium, code, *args):
    return chromium.execute_script(code, *args)


def drawn(chromium):
    """A drawing waits for the next frame: return when two have passed."""
    chromium.execute_async_script(
        "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
    )
