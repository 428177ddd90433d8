"""The page of an audit in a real Chromium: the table of documents filters and sorts, and nothing is
fetched or complained of."""

import numpy as np
import pytest

import audited
from browser import chromium, js, needs_browser, show  # noqa: F401

pytestmark = [needs_browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """(file of the page, its documents); names of some documents are markup."""
    all_numbers, frame, groups = audited.found("evidence")
    content, _ = audited.built(all_numbers, frame, groups)
    path = tmp_path_factory.mktemp("audit") / "report.html"
    path.write_bytes(content)
    return path, frame


def column(chromium, heading):
    return js(
        chromium,
        """const heads = [...document.querySelectorAll('#runs th')];
        const i = heads.findIndex(h => h.dataset.name === arguments[0]);
        const rows = [...document.querySelectorAll('#runs tbody tr')];
        return rows.filter(r => !r.hidden).map(r => r.cells[i].textContent)""",
        heading,
    )


def test_documents_are_filtered_and_sorted(chromium, audit):
    from selenium.webdriver.common.by import By

    path, frame = audit
    show(chromium, path)
    assert sorted(column(chromium, "id")) == sorted(frame["id"])
    chromium.find_element(By.ID, "filter").send_keys("word=flagged copies>1")
    wanted = frame[(frame["word"] == "flagged") & (frame["copies"] > 1)]
    assert 0 < len(wanted) < len(frame)
    assert sorted(column(chromium, "id")) == sorted(wanted["id"])
    shown = js(chromium, "return document.getElementById('shown').textContent")
    assert shown == f"{len(wanted)} of {len(frame)} documents shown"
    chromium.find_element(By.ID, "clear").click()
    head = chromium.find_element(By.CSS_SELECTOR, '#runs th[data-name="verbatim"]')
    js(chromium, "arguments[0].scrollIntoView()", head)
    for _ in range(2):
        js(chromium, "(arguments[0].querySelector('button') || arguments[0]).click()", head)
    lengths = np.array([float(cell.replace(",", "")) for cell in column(chromium, "verbatim")])
    assert (np.diff(lengths) <= 0).all() and lengths[0] == frame["verbatim"].max()


def test_nothing_is_fetched_or_complained_of(chromium, audit):
    path, _ = audit
    show(chromium, path)
    assert [entry["message"] for entry in chromium.get_log("browser")] == []
    assert js(chromium, "return performance.getEntriesByType('resource').map(e => e.name)") == []
