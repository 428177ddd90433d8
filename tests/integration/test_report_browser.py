"""The page of a study in a real Chromium: it loads without a complaint, sorts, filters, prints,
and hands out its files as they went in."""

import base64
import json
import re
import subprocess

import pytest

from browser import chromium, drawn, js, needs_browser, pages, show  # noqa: F401
from pages import EVIL, KINDS, packed, planted  # noqa: F401
from waiting import patience, wait_until

pytestmark = needs_browser


def complaints(chromium, path):
    """What the console says, and what was asked for beside the page itself."""
    asked = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    blocked = {
        event["params"]["requestId"]
        for event in asked
        if event["method"] == "Network.loadingFailed"
        and event["params"].get("blockedReason") == "csp"
    }
    urls = [
        event["params"]["request"]["url"]
        for event in asked
        if event["method"] == "Network.requestWillBeSent"
        and event["params"]["requestId"] not in blocked
    ]
    return [entry["message"] for entry in chromium.get_log("browser")], [
        url for url in urls if url != path.as_uri() and not url.startswith("data:")
    ]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_page_loads_without_a_complaint_and_shows_its_answer_first(
    chromium, pages, name
):
    path, study, _ = pages(name)
    show(chromium, path)
    assert complaints(chromium, path) == ([], [])
    figures = js(
        chromium,
        "return [...document.querySelectorAll('figure[data-figure]')].map(f => [f.dataset.figure, "
        "f.querySelectorAll('svg.plot').length, "
        "f.querySelectorAll('svg.plot .tick').length, f.querySelectorAll('svg.plot .point, "
        "svg.plot path[stroke]').length])",
    )
    assert figures and all(
        panels >= 1 and ticks >= 4 * panels and marks >= panels
        for _, panels, ticks, marks in figures
    ), figures
    for width, below in ((1280, 450), (360, 640)):
        show(chromium, path, width, 800)
        box = js(
            chromium,
            "const b = document.querySelector('#answer p').getBoundingClientRect(); return [b.top, "
            "b.bottom]",
        )
        assert 0 < box[0] < box[1] < below, (width, box)
        assert (
            js(chromium, "return document.documentElement.scrollWidth") <= width
        )  # only tables and code scroll sideways
        small = js(
            chromium,
            "return [...document.querySelectorAll('svg.plot')].map(s => "
            "s.getBoundingClientRect().width / s.viewBox.baseVal.width * 11)",
        )
        assert min(small) > 9  # pixels of the smallest type in a figure
        assert (
            js(
                chromium,
                """
    const close = [];
    for (const axis of document.querySelectorAll('svg.plot .axes')) for (const kind of ['x', 'y']) {
      const boxes = [...axis.querySelectorAll('.tick.' + kind)]
        .map(t => t.getBoundingClientRect())
        .sort((a, b) => kind === 'x' ? a.left - b.left : a.top - b.top);
      boxes.forEach((b, i) => {
        if (!i) return;
        const last = boxes[i - 1];
        if (kind === 'x' ? b.left < last.right : b.top < last.bottom - 3)
          close.push(axis.textContent);
      });
    }
    return close""",
            )
            == []
        )  # no tick touches another


def cells(chromium, heading, shown=True):
    """Texts of a column of the table of runs, in the order of the page."""
    return js(
        chromium,
        """const heads = [...document.querySelectorAll('#runs th')];
        const i = heads.findIndex(h => h.dataset.name === arguments[0]);
        const rows = [...document.querySelectorAll('#runs tbody tr')];
        return rows.filter(r => !arguments[1] || !r.hidden).map(r => r.cells[i].textContent)""",
        heading,
        shown,
    )


def head(chromium, name):
    from selenium.webdriver.common.by import By

    return chromium.find_element(By.CSS_SELECTOR, f'#runs th[data-name="{name}"] button')


def numbers(texts):
    return [None if text == "–" else float(text.replace(",", "")) for text in texts]


def test_a_heading_sorts_numbers_as_numbers_and_keeps_what_is_missing_last(chromium, pages):
    from selenium.webdriver.common.keys import Keys

    path, study, table = pages("pocket")
    show(chromium, path)
    planned = [run.run_id for run in study.runs]
    assert cells(chromium, "run") == planned
    for key, direction in (
        (None, "ascending"),
        (None, "descending"),
        (Keys.ENTER, "ascending"),
        (Keys.SPACE, "descending"),
    ):
        head(chromium, "bits").click() if key is None else head(chromium, "bits").send_keys(key)
        found = numbers(cells(chromium, "bits"))
        known = [value for value in found if value is not None]
        assert found[len(known) :] == [None] * 3 and len(known) == 17
        assert known == sorted(known, reverse=direction == "descending")
        assert js(
            chromium,
            "return [...document.querySelectorAll('#runs th[aria-sort]')].map(h => "
            "[h.dataset.name, h.getAttribute('aria-sort')])",
        ) == [["bits", direction]]
    exact = sorted(
        table.strict_bits.dropna(), reverse=True
    )  # equal in print, apart by their last digits
    by_id = [table.strict_bits[run] for run in cells(chromium, "run")[:17]]
    assert by_id == exact
    head(chromium, "P").click()
    sizes = cells(chromium, "P")
    assert numbers(sizes) == sorted(numbers(sizes)) and sizes != sorted(
        sizes
    )  # numbers, not their letters
    head(chromium, "model").click()
    assert cells(chromium, "model") == sorted(
        (run.shape for run in study.runs), key=lambda text: [int(n) for n in text.split("x")]
    )


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("2x16", lambda row: row["model"] == "2x16"),
        ("seed=0 load>=5", lambda row: row["seed"] == "0" and float(row["load"]) >= 5),
        ("bits/P>2.9", lambda row: row["bits/P"] != "–" and float(row["bits/P"]) > 2.9),
        ("status!=finished", lambda row: row["status"] != "finished"),
        ("stat=FAILED", lambda row: row["status"] == "failed"),
        ("!2x8 load<2", lambda row: row["model"] != "2x8" and float(row["load"]) < 2),
        ("flags=data-limited", lambda row: "data-limited" in row["flags"].split(", ")),
        ("P<=7,260", lambda row: float(row["P"].replace(",", "")) <= 7260),
        ("zzz", lambda row: False),
    ],
)
def test_a_filter_keeps_the_rows_it_names(chromium, pages, text, wanted):
    from selenium.webdriver.common.by import By

    path, study, _ = pages("pocket")
    show(chromium, path)
    heads = js(
        chromium, "return [...document.querySelectorAll('#runs th')].map(h => h.dataset.name)"
    )
    rows = [
        dict(zip(heads, row, strict=True))
        for row in js(
            chromium,
            "return [...document.querySelectorAll('#runs tbody tr')].map(r => [...r.cells].map(c "
            "=> c.textContent))",
        )
    ]
    expected = [row["run"] for row in rows if wanted(row)]
    assert text == "zzz" or 0 < len(expected) < 20  # a filter that tests something
    chromium.find_element(By.ID, "filter").send_keys(text)
    assert cells(chromium, "run") == expected
    assert (
        js(chromium, "return document.getElementById('shown').textContent")
        == f"{len(expected)} of 20 runs shown"
    )
    chromium.find_element(By.ID, "clear").click()
    assert len(cells(chromium, "run")) == 20


@pytest.mark.parametrize(
    "text, words",
    [
        ("nosuch>1", ["no column nosuch", "columns: run, status"]),
        ("bits>many", ["needs a number"]),
        ("b=1", ["b is any of", "bits/P"]),
    ],
)
def test_a_filter_that_cannot_be_says_why_and_keeps_all(chromium, pages, text, words):
    from selenium.webdriver.common.by import By

    show(chromium, pages("pocket")[0])
    chromium.find_element(By.ID, "filter").send_keys(text)
    said = js(chromium, "return document.getElementById('filter-message').textContent")
    assert all(word in said for word in words), said
    assert (
        js(chromium, "return document.getElementById('filter').getAttribute('aria-invalid')")
        == "true"
        and len(cells(chromium, "run")) == 20
    )


def test_a_flag_shows_its_runs(chromium, pages):
    from selenium.webdriver.common.by import By

    show(chromium, pages("pocket")[0])
    chromium.find_element(By.CSS_SELECTOR, 'button[data-filter="flags=data-limited"]').click()
    kept = cells(chromium, "flags")
    assert kept and all("data-limited" in flags for flags in kept)


@pytest.mark.parametrize("name", ["pocket", "morris/forgetting@pocket"])
def test_paper_shows_everything(chromium, pages, tmp_path, name):
    path, study, table = pages(name)
    show(chromium, path)
    data = base64.b64decode(
        chromium.execute_cdp_cmd(
            "Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True}
        )["data"]
    )
    (tmp_path / "page.pdf").write_bytes(data)
    text = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "page.pdf", "-"],
        capture_output=True,
        text=True,
        check=True,
        timeout=patience(),
    ).stdout
    flat = "".join(text.split())
    assert all(run in flat for run in table.index)  # the whole table
    for words in (
        study.question[1:],
        js(chromium, "return document.querySelector('#answer').textContent"),
        "What the columns mean",
        study.path.read_text().splitlines()[0],
        "from the records alone",
        "a checkpoint is",
        "capacity sweep",
    ):
        assert "".join(words.split()) in flat, words
    assert (
        "".join(packed(path.read_bytes())["runs.csv"].decode().splitlines()[1].split(",")[0])
        in flat
    )
    for label in js(
        chromium, "return [...document.querySelectorAll('svg.plot .label')].map(l => l.textContent)"
    ):
        assert "".join(label.split()) in flat or len(label) > 30, label  # the figures, as text
    for hidden in ("CSV of these rows", "+−reset", "Hover over a point"):
        assert "".join(hidden.split()) not in flat
    sizes = subprocess.run(
        ["pdfinfo", "-f", "1", "-l", "99", tmp_path / "page.pdf"],
        capture_output=True,
        text=True,
        check=True,
        timeout=patience(),
    ).stdout
    pages_of = [
        tuple(map(float, found)) for found in re.findall(r"size:\s+([\d.]+) x ([\d.]+)", sizes)
    ]
    assert {width > height for width, height in pages_of} == {
        True,
        False,
    }  # the wide table lies on its side
    assert not js(
        chromium, "return document.querySelector('details').open"
    )  # and what was folded is folded again


def test_files_come_out_as_they_went_in(chromium, pages, tmp_path):
    from selenium.webdriver.common.by import By

    path, study, table = pages("pocket")
    show(chromium, path)
    chromium.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    for name, content in packed(path.read_bytes()).items():
        button = chromium.find_element(By.CSS_SELECTOR, f'button[data-file="{name}"]')
        js(chromium, "arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()
        file = tmp_path / name.replace("/", "_")  # as a browser names a file of a folder
        wait_until(lambda f=file, c=content: f.exists() and f.read_bytes() == c, name)
    chromium.find_element(By.ID, "filter").send_keys("2x16 status=finished")
    chromium.find_element(By.ID, "csv").click()
    wait_until(
        lambda: (tmp_path / "pocket.csv").exists() and (tmp_path / "pocket.csv").stat().st_size,
        "the rows",
    )
    import pandas as pd

    rows = pd.read_csv(tmp_path / "pocket.csv").set_index("run")
    kept = table[(table.model == "2x16") & (table.status == "finished")]
    assert list(rows.index) == list(kept.index) and (rows["model"] == "2x16").all()
    assert rows["bits"].to_list() == pytest.approx(kept.strict_bits.to_list(), rel=1e-6)
    assert complaints(chromium, path)[0] == []


def test_what_a_record_says_does_not_run(chromium, pages):
    path, *_ = pages("pocket")  # its error message is a script
    show(chromium, path)
    assert js(chromium, "return window.pwned") is None and complaints(chromium, path) == ([], [])
    assert EVIL in cells(chromium, "error-message")
    # and if markup came in by another way, the policy of the page would stop it
    js(
        chromium,
        "const s = document.createElement('div'); s.innerHTML = '<img src=\"data:,x\" "
        'onerror="window.pwned=1"><img src="http://127.0.0.1:9/x.png">\'; '
        "document.body.append(s); const c = document.createElement('script'); c.textContent = "
        "'window.pwned = 2'; document.body.append(c)",
    )
    said, asked = [], []

    def refused():  # each call tells what is new
        for all_of_them, new in zip((said, asked), complaints(chromium, path), strict=True):
            all_of_them += new
        return sum("Content Security Policy" in line for line in said) >= 3

    wait_until(refused, "the browser to refuse the image, its handler and the script")
    drawn(chromium)
    assert js(chromium, "return window.pwned") is None and asked == []


def test_without_scripts_the_page_still_has_pictures_and_the_table(chromium, pages):
    from selenium.common.exceptions import WebDriverException

    path, study, _ = pages("pocket")
    show(chromium, path)
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    seen = {}

    def look():
        """Ids of nodes are those of one reading of a page, and void while it is still loaded."""
        try:
            root = chromium.execute_cdp_cmd("DOM.getDocument", {"depth": -1})["root"]["nodeId"]

            def nodes(selector):
                asked = {"nodeId": root, "selector": selector}
                return chromium.execute_cdp_cmd("DOM.querySelectorAll", asked)["nodeIds"]

            seen["boxes"] = [
                chromium.execute_cdp_cmd("DOM.getBoxModel", {"nodeId": node})["model"]
                for node in nodes("noscript img.still")
            ]
            seen["rows"] = len(nodes("#runs tbody tr"))
        except WebDriverException:
            return False
        shown = [box["width"] > 300 and box["height"] > 150 for box in seen["boxes"]]
        return shown == [True] * 3 and seen["rows"] == len(study.runs)

    try:
        chromium.get(path.as_uri())
        wait_until(look, "three pictures to be decoded and shown, and a row per run")
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_two_browsers_draw_one_page_the_same(chromium, pages):
    """The drawing depends on the width alone: not on the clock, the language or the time zone."""
    path, *_ = pages("pocket")
    drawn = []
    for language, zone in (("en-US", "UTC"), ("de-DE", "Asia/Tokyo")):
        chromium.execute_cdp_cmd("Emulation.setLocaleOverride", {"locale": language})
        chromium.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": zone})
        show(chromium, path)
        drawn.append(js(chromium, "return document.body.innerHTML"))
    chromium.execute_cdp_cmd("Emulation.setLocaleOverride", {})
    chromium.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})
    assert drawn[0] == drawn[1]
