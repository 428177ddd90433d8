"""The page of a study in a real Chromium: it loads without a complaint, sorts, filters, zooms,
answers the pointer and the keyboard, prints, and reads on a telephone. Chromium and its driver come
with the system (`apt install chromium chromium-driver poppler-utils`); nothing is fetched."""

import base64
import json
import os
import re
import shutil
import subprocess

import pytest

from capacity import run_table
from pages import EVIL, KINDS, built, packed, planted  # noqa: F401, a fixture
from planted import plant
from waiting import patience, wait_until

NEEDED = ("chromium", "chromedriver", "pdftotext")
pytestmark = pytest.mark.skipif(
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


def standing(chromium):
    """The page takes the wheel for 400 ms after it was scrolled: wait until its clock says that it
    has stood still for longer."""
    drawn(chromium)  # scrolling is told in a frame
    last = [None, 0.0]

    def still():
        top, now = js(chromium, "return [scrollY, performance.now()]")
        if top != last[0]:
            last[:] = top, now
        return now - last[1] > 500

    wait_until(still, "the page to stand still")


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
                """const close = []; for (const axis of document.querySelectorAll('svg.plot .axes')) for (const kind of ['x', 'y']) {
            const boxes = [...axis.querySelectorAll('.tick.' + kind)].map(t => t.getBoundingClientRect()).sort((a, b) => kind === 'x' ? a.left - b.left : a.top - b.top);
            boxes.forEach((b, i) => { if (i && (kind === 'x' ? b.left < boxes[i - 1].right : b.top < boxes[i - 1].bottom - 3)) close.push(axis.textContent); }); }
            return close""",  # noqa: E501
            )
            == []
        )  # no tick touches another


def cells(chromium, heading, shown=True):
    """Texts of a column of the table of runs, in the order of the page."""
    return js(
        chromium,
        """const heads = [...document.querySelectorAll('#runs th')], i = heads.findIndex(h => h.dataset.name === arguments[0]);
        return [...document.querySelectorAll('#runs tbody tr')].filter(r => !arguments[1] || !r.hidden).map(r => r.cells[i].textContent)""",  # noqa: E501
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
    head(chromium, "shape").click()
    assert cells(chromium, "shape") == sorted(
        (run.shape for run in study.runs), key=lambda text: [int(n) for n in text.split("x")]
    )


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("2x16", lambda row: row["shape"] == "2x16"),
        ("seed=0 load>=5", lambda row: row["seed"] == "0" and float(row["load"]) >= 5),
        ("bits/P>2.9", lambda row: row["bits/P"] != "–" and float(row["bits/P"]) > 2.9),
        ("status!=finished", lambda row: row["status"] != "finished"),
        ("stat=FAILED", lambda row: row["status"] == "failed"),
        ("!2x8 load<2", lambda row: row["shape"] != "2x8" and float(row["load"]) < 2),
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


TICKS = (
    "return [...document.querySelectorAll('#figure-memorized .panel:first-child svg.plot .tick.' + "
    "arguments[0])].map(t => t.textContent)"
)


def places(chromium):
    """Run -> centre of its point in the first panel, in pixels of the window, and that panel's
    box."""
    return js(
        chromium,
        """const svg = document.querySelector('#figure-memorized .panel:first-child svg.plot'), box = svg.getBoundingClientRect();
        return [Object.fromEntries([...svg.querySelectorAll('[data-run]')].map(n => { const b = n.getBoundingClientRect();
            return [n.dataset.run, [(b.left + b.right) / 2, (b.top + b.bottom) / 2]]; })), [box.left, box.top, box.width, box.height]]""",  # noqa: E501
    )


def to_figure(chromium):
    js(chromium, "document.querySelector('#figure-memorized').scrollIntoView()")
    standing(chromium)


def pointer(chromium):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    mouse = PointerInput("mouse", "mouse")

    def act(*steps):
        builder = ActionBuilder(chromium, mouse=mouse, duration=0)
        for name, *where in steps:
            getattr(builder.pointer_action, name)(*[round(value) for value in where])
        builder.perform()

    def wheel(x, y, amount):
        from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

        origin = ScrollOrigin.from_viewport(round(x), round(y))
        ActionChains(chromium, duration=0).scroll_from_origin(origin, 0, amount).perform()

    return act, wheel


def zoomed(chromium):
    drawn(chromium)
    return js(
        chromium,
        "return document.querySelector('#figure-memorized .panel').classList.contains('zoomed')",
    )


def test_the_wheel_zooms_about_the_pointer_and_a_double_click_shows_all(chromium, pages):
    path, study, table = pages("pocket")
    show(chromium, path)
    to_figure(chromium)
    act, wheel = pointer(chromium)
    before, ticks = places(chromium)[0], js(chromium, TICKS, "x")
    assert set(before) == {run for run in table.index if table.status[run] == "finished"}
    run = sorted(before)[3]
    x, y = before[run]
    top = js(chromium, "return scrollY")
    wheel(x, y, -300)
    assert zoomed(chromium) and js(chromium, "return scrollY") == top
    after = places(chromium)[0]
    assert after[run] == pytest.approx([x, y], abs=2)  # what is under the pointer stays there
    other = max((r for r in after if r in before), key=lambda r: abs(before[r][0] - x))
    spread = (after[other][0] - x) / (before[other][0] - x)
    assert spread == pytest.approx(1.35**3, rel=0.02) and (after[other][1] - y) / (
        before[other][1] - y
    ) == pytest.approx(spread, rel=0.02)  # both axes, in logarithms
    assert js(chromium, TICKS, "x") != ticks
    act(("move_to_location", x, y), ("click",), ("click",))
    assert (
        not zoomed(chromium) and js(chromium, TICKS, "x") == ticks and places(chromium)[0] == before
    )
    wheel(x, y, 300)  # nothing to zoom out of: the page scrolls
    wait_until(lambda: js(chromium, "return scrollY") > top, "the page to scroll")
    assert not zoomed(chromium)


def test_a_box_a_shift_and_the_buttons_zoom_too(chromium, pages):
    from selenium.webdriver.common.by import By

    show(chromium, pages("pocket")[0])
    to_figure(chromium)
    act, _ = pointer(chromium)
    before, (left, top, width, height) = places(chromium)
    inside = {
        run: at for run, at in before.items() if left + 0.3 * width < at[0] < left + 0.6 * width
    }
    assert 0 < len(inside) < len(before)
    act(
        ("move_to_location", left + 0.3 * width, top + 0.1 * height),
        ("pointer_down",),
        ("move_to_location", left + 0.45 * width, top + 0.5 * height),
        ("move_to_location", left + 0.6 * width, top + 0.8 * height),
        ("pointer_up",),
    )
    assert zoomed(chromium) and set(places(chromium)[0]) <= set(inside)
    first, second, reset = chromium.find_elements(
        By.CSS_SELECTOR, "#figure-memorized .panel:first-child .tools button"
    )
    reset.click()
    assert not zoomed(chromium) and places(chromium)[0] == before
    first.click()
    assert zoomed(chromium)
    second.click()
    assert not zoomed(chromium) and places(chromium)[0].keys() == before.keys()
    act(
        ("move_to_location", left + 0.3 * width, top + 0.5 * height),
        ("pointer_down",),
        ("move_to_location", left + 0.5 * width, top + 0.5 * height),
        ("move_to_location", left + 0.7 * width, top + 0.5 * height),
        ("pointer_up",),
    )  # along x only
    assert zoomed(chromium)
    ys = [round(float(t.rstrip("k")), 3) for t in js(chromium, TICKS, "y")]
    reset.click()
    drawn(chromium)
    assert ys == [round(float(t.rstrip("k")), 3) for t in js(chromium, TICKS, "y")]


def tip(chromium):
    return js(
        chromium,
        "const t = document.querySelector('#figure-memorized .panel:first-child .tip'); return "
        "t.hidden ? null : [...t.children].map(c => c.textContent)",
    )


def test_a_point_tells_its_run_and_its_numbers_and_a_click_finds_the_row(chromium, pages):
    path, study, table = pages("pocket")
    show(chromium, path)
    to_figure(chromium)
    act, _ = pointer(chromium)
    at = places(chromium)[
        0
    ]  # seeds may lie on each other; the run that is farthest from all others
    run = max(
        at,
        key=lambda one: min(
            abs(at[one][0] - x) + abs(at[one][1] - y)
            for other, (x, y) in at.items()
            if other != one
        ),
    )
    x, y = at[run]
    act(("move_to_location", x, y))
    lines = tip(chromium)
    row = table.loc[run]
    config = next(config for config in study.runs if config.run_id == run)
    assert lines[0].startswith(f"{config.shape}, seed {config.seed}, run {run}")
    told = {
        name.split(" (")[0]: float(value.replace(",", ""))
        for name, value in (line.rsplit(": ", 1) for line in lines[-2:])
    }
    assert told == {
        "data H": pytest.approx(row.entropy_bits, abs=0.5),
        "memorized": pytest.approx(row.strict_bits, abs=0.5),
    }
    act(("move_to_location", x, y), ("click",))
    picked = wait_until(
        lambda: js(
            chromium,
            "const r = document.querySelector('tr.picked'); return r && [r.id, "
            "r.getBoundingClientRect().top]",
        ),
        "the row",
    )
    assert picked[0] == f"run-{run}" and 0 <= picked[1] < 900
    to_figure(chromium)
    box = places(chromium)[1]
    act(("move_to_location", box[0] + box[2] * 0.95, box[1] + box[3] * 0.75))  # nothing is there
    assert tip(chromium) is None


def test_a_line_tells_its_name_where_the_pointer_is(chromium, pages):
    show(chromium, pages("morris/membership@pocket")[0])
    js(chromium, "document.querySelector('#figure-membership').scrollIntoView()")
    standing(chromium)
    act, _ = pointer(chromium)
    x, y = js(
        chromium,
        """const path = document.querySelector('#figure-membership svg.plot path[stroke="#222222"]'), at = path.getPointAtLength(path.getTotalLength() * 0.61),
        m = path.getScreenCTM(); return [at.x * m.a + m.e, at.y * m.d + m.f]""",  # noqa: E501
    )
    act(("move_to_location", x, y))
    lines = js(
        chromium,
        "return [...document.querySelectorAll('#figure-membership .panel:first-child .tip > "
        "*')].map(c => c.textContent)",
    )
    assert lines[0] in ("sigmoid in t", "sigmoid in log t") or lines[0].startswith("2x")
    assert lines[-1].startswith("membership F1, loss attack: 0.") or lines[-1].endswith(": 1")


def test_the_keyboard_walks_through_points_and_zooms(chromium, pages):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    path, study, table = pages("pocket")
    show(chromium, path)
    to_figure(chromium)
    plot = chromium.find_element(By.CSS_SELECTOR, "#figure-memorized svg.plot")
    assert plot.get_attribute("tabindex") == "0" and "data H (bits)" in plot.get_attribute(
        "aria-label"
    )
    js(chromium, "arguments[0].focus()", plot)
    order = [run for run, _ in sorted(places(chromium)[0].items(), key=lambda entry: entry[1][0])]
    seen = []
    for _ in range(4):
        plot.send_keys(Keys.ARROW_RIGHT)
        seen.append(re.search(r"run (\w{12})", tip(chromium)[0])[1])
    xs = [table.entropy_bits[run] for run in seen]
    assert xs == sorted(xs) and len(set(seen)) == 4 and set(seen) <= set(order[:6])
    plot.send_keys(Keys.ARROW_LEFT)
    assert seen[2] in tip(chromium)[0]
    assert (
        js(chromium, "return document.querySelector('#figure-memorized .tip').getAttribute('role')")
        == "status"
    )  # a screen reader says it
    plot.send_keys(Keys.ENTER)
    assert (
        wait_until(
            lambda: js(chromium, "return document.querySelector('tr.picked')?.id"), "the row"
        )
        == f"run-{seen[2]}"
    )
    js(chromium, "arguments[0].focus()", plot)
    plot.send_keys("+")
    assert zoomed(chromium)
    ticks = js(chromium, TICKS, "x")
    plot.send_keys(Keys.SHIFT, Keys.ARROW_RIGHT)
    drawn(chromium)
    assert js(chromium, TICKS, "x") != ticks or zoomed(chromium)
    plot.send_keys("0")
    assert not zoomed(chromium)


def test_a_legend_entry_hides_and_shows_its_marks(chromium, pages):
    from selenium.webdriver.common.by import By

    show(chromium, pages("physics33/04_peak_100@pocket")[0])
    count = "return document.querySelectorAll('#figure-ratio svg.plot [data-run]').length"
    before = js(chromium, count)
    entry = chromium.find_element(By.CSS_SELECTOR, "#figure-ratio .legend button")
    js(chromium, "arguments[0].scrollIntoView({block: 'center'})", entry)
    entry.click()
    assert 0 < js(chromium, count) < before and entry.get_attribute("aria-pressed") == "false"
    entry.click()
    assert js(chromium, count) == before


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
        wait_until(
            lambda: (tmp_path / name).exists() and (tmp_path / name).read_bytes() == content, name
        )
    chromium.find_element(By.ID, "filter").send_keys("2x16 status=finished")
    chromium.find_element(By.ID, "csv").click()
    wait_until(
        lambda: (tmp_path / "pocket.csv").exists() and (tmp_path / "pocket.csv").stat().st_size,
        "the rows",
    )
    import pandas as pd

    rows = pd.read_csv(tmp_path / "pocket.csv").set_index("run")
    kept = table[(table.label == "2x16") & (table.status == "finished")]
    assert list(rows.index) == list(kept.index) and (rows["shape"] == "2x16").all()
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
    path, study, _ = pages("pocket")
    show(chromium, path)
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chromium.get(path.as_uri())
        tree = chromium.execute_cdp_cmd("DOM.getDocument", {"depth": -1})
        found = chromium.execute_cdp_cmd(
            "DOM.querySelectorAll",
            {"nodeId": tree["root"]["nodeId"], "selector": "noscript img.still"},
        )["nodeIds"]
        assert len(found) == 3
        for node in found:
            box = chromium.execute_cdp_cmd("DOM.getBoxModel", {"nodeId": node})["model"]
            assert box["width"] > 300 and box["height"] > 150  # the picture is decoded and shown
        assert len(
            chromium.execute_cdp_cmd(
                "DOM.querySelectorAll",
                {"nodeId": tree["root"]["nodeId"], "selector": "#runs tbody tr"},
            )["nodeIds"]
        ) == len(study.runs)
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
