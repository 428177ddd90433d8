"""Figures of the page in a real Chromium: zoom, tips, legends and the keyboard."""

import re

import pytest

from browser import chromium, drawn, js, needs_browser, pages, show  # noqa: F401
from pages import planted  # noqa: F401
from waiting import wait_until

pytestmark = needs_browser


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


TICKS = (
    "return [...document.querySelectorAll('#figure-memorized .panel:first-child svg.plot .tick.' + "
    "arguments[0])].map(t => t.textContent)"
)


def places(chromium):
    """Run -> centre of its point in the first panel, in pixels of the window, and that panel's
    box."""
    return js(
        chromium,
        """const svg = document.querySelector('#figure-memorized .panel:first-child svg.plot');
        const box = svg.getBoundingClientRect();
        const points = [...svg.querySelectorAll('[data-run]')].map(n => {
            const b = n.getBoundingClientRect();
            return [n.dataset.run, [(b.left + b.right) / 2, (b.top + b.bottom) / 2]]; });
        return [Object.fromEntries(points), [box.left, box.top, box.width, box.height]]""",
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
        """const plot = document.querySelector('#figure-membership svg.plot');
        const path = plot.querySelector('path[stroke="#222222"]');
        const at = path.getPointAtLength(path.getTotalLength() * 0.61), m = path.getScreenCTM();
        return [at.x * m.a + m.e, at.y * m.d + m.f]""",
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
