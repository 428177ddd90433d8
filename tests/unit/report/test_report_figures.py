"""Residuals on the page, and figures as data."""

import base64
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from capacity.analysis import kinds
from capacity.analysis.residuals import Residuals
from capacity.figures import fits
from capacity.report import figure_data as figures
from capacity.report import page, parts, runs
from pages import KINDS, asked, planted  # noqa: F401
from waiting import patience

# Residuals


def test_errors_of_fits_have_the_size_that_the_fits_state(planted):
    def rms(name, key, series=None):
        found = planted(name)[2]
        (part,) = [part for part in kinds.residuals(found) if part.key == key]
        points = part.points if series is None else part.points[part.points.series == series]
        return float(np.sqrt((points.error**2).mean())), found.numbers, points

    size, fit, points = rms("morris/membership@pocket", "F1", "sigmoid in t")
    assert (
        size == pytest.approx(fit["laws"]["f1_median"]["rmse"], rel=1e-9)
        and len(points) == 24
        and points.run_id.is_unique
    )
    assert rms("morris/membership@pocket", "F1", "sigmoid in log t")[0] == pytest.approx(
        fit["logarithmic"]["rmse"], rel=1e-9
    )
    assert rms("morris/membership@pocket", "predicted")[0] == pytest.approx(
        fit["predictions"]["f1_median"][0]["rmse"], rel=1e-9
    )
    size, fit, points = rms("physics33/04_peak_100@pocket", "R")
    laws = [law for law in fit["exposure_laws"] if not law["reason"]]
    assert size == pytest.approx(
        np.sqrt(
            np.average([law["rms"] ** 2 for law in laws], weights=[law["runs"] for law in laws])
        ),
        rel=1e-6,
    )
    size, fit, points = rms("pocket", "corner")
    (smooth,) = [
        row["record"]
        for row in fit["strict"]["forms"]["runs"]["forms"]
        if row["form"] == "smooth_corner"
    ]
    error, delta = np.abs(np.log1p(points.error / 100)), smooth["loss"]["delta"]
    assert len(points) == 20 and np.where(
        error < delta, error**2 / 2, delta * (error - delta / 2)
    ).sum() == pytest.approx(smooth["loss"]["objective"], rel=1e-6)
    size, fit, points = rms("pocket", "capacity", "C = alpha P")
    assert np.exp(np.log1p(points.error / 100).mean()) == pytest.approx(
        1.0, abs=1e-9
    )  # a geometric mean leaves no mean log error
    size, fit, points = rms("morris/vocabulary@pocket", "alpha", "min(alpha P, ceiling)")
    cells = fit["strict"]["hard"]["error_percent"]
    by_cell = points.groupby("x").error.mean()
    assert by_cell.tolist() == pytest.approx(
        cells, abs=0.1
    )  # of runs, not of their mean: the same but for the curvature of 1 / x
    size, fit, points = rms("morris/canaries@pocket", "exposure")
    exposure = fit["canaries"]["exposure"]
    assert len(points) == exposure["censored"]["between"]
    # of single canaries, and of models far above the limits only the tails that lie between them
    assert exposure["sigma"] / 2 < size < 2 * exposure["sigma"]
    forms = [
        cell["errors"]["power"]["rmse"] / cell["first_bits"]["value"]
        for cell in planted("morris/forgetting@pocket")[2].numbers["forgetting"]["cells"]
        if cell["errors"]
    ]
    size, fit, points = rms("morris/forgetting@pocket", "forgetting", "power")
    assert size == pytest.approx(100 * np.sqrt(np.mean(np.square(forms))), rel=1e-6)


def test_the_sign_of_an_error_is_that_of_the_law():
    points = pd.DataFrame(
        {"series": "a", "x": [1.0, 2.0], "error": [5.0, -5.0], "run_id": ["r0", "r1"], "name": ""}
    )
    figure = fits.residual_figure([Residuals("law", "key", "%", "P", points)])
    drawn = figures.data(figure)["panels"][0]
    assert drawn["y"]["label"] == "fitted / measured - 1 (%)" and [
        mark for mark in drawn["marks"] if mark.get("runs")
    ][0]["y"] == [5.0, -5.0]
    assert runs.errors([Residuals("law", "key", "%", "P", points)]) == [
        ("error:key", "fitted minus measured (%): law", {"r0": 5.0, "r1": -5.0})
    ]
    twice = pd.concat([points, points])
    assert (
        runs.errors([Residuals("law", "key", "%", "P", twice)]) == []
    )  # a run is several points: no column
    named = pd.concat([points, points.assign(series="b c")])
    assert [
        heading for heading, _, _ in runs.errors([Residuals("law", "key", "%", "P", named)])
    ] == ["error:key:a", "error:key:b-c"]


# Figures as data


@pytest.mark.parametrize("name", KINDS)
def test_figures_keep_every_point_and_say_whose_it_is(planted, name):
    study, _, found, content = planted(name)
    runs_csv = found.tables["runs.csv"].set_index("run_id")
    for _title, figure in kinds.figures(found).items():
        data = figures.data(figure)
        assert json.loads(json.dumps(data, allow_nan=False)) == data and len(data["panels"]) == len(
            figure.axes
        )
        for panel, ax in zip(data["panels"], figure.axes, strict=True):
            lines = [mark for mark in panel["marks"] if mark["kind"] == "line"]
            assert sum(len(mark["x"]) for mark in lines) == sum(
                np.isfinite(np.array(line.get_data(), float)).all(0).sum() for line in ax.lines
            )
            assert (panel["x"]["scale"], panel["y"]["scale"]) == (ax.get_xscale(), ax.get_yscale())
            assert panel["x"]["ends"] == pytest.approx(ax.get_xlim()) and panel["y"][
                "ends"
            ] == pytest.approx(ax.get_ylim())
            for mark in lines:
                assert set(mark.get("runs", [])) <= set(runs_csv.index) and len(
                    mark.get("runs", mark["x"])
                ) == len(mark["x"])
    if name == "pocket":
        left = figures.data(kinds.figures(found)["memorized"])["panels"][0]
        told = {
            run: (x, y)
            for mark in left["marks"]
            if "runs" in mark
            for run, x, y in zip(mark["runs"], mark["x"], mark["y"], strict=True)
        }
        assert set(told) == set(runs_csv.index)
        for run, (x, y) in told.items():
            assert (x, y) == pytest.approx(
                (runs_csv.entropy_bits[run], runs_csv.strict_bits[run]), rel=1e-6
            )
    assert set(re.findall(r'data-figure="(\w+)"', content.decode())) == {
        *kinds.figures(found),
        *(["residuals"] if kinds.residuals(found) else []),
    }


def test_everything_that_is_drawn_is_read_off():
    figure = Figure(figsize=(4, 3))
    ax = figure.subplots()
    ax.plot(
        [1, 10, np.nan], [1, 2, 3], "s--", color="#0072B2", lw=2, label="a line", fillstyle="none"
    )
    ax.axhline(1.5, gid="level")
    ax.fill_between([1, 2], [0, 0], [1, 1], color="#D55E00", alpha=0.25)
    ax.scatter([2, 3], [1, 1], s=16, color="#009E73")
    ax.vlines([4], 0, 2)
    ax.annotate("note", (3, 1), (5, 7), textcoords="offset points")
    ax.annotate("", (3, 2), (3, 1), arrowprops={"arrowstyle": "->", "color": "#000000"})
    ax.text(0.1, 0.9, "two\nlines", transform=ax.transAxes)
    ax.plot([1, 2], [1, 1], visible=False)
    ax.set(xscale="log", xlabel="$R^\\mathrm{max}$ and $\\alpha$ P", title="T")
    ax.legend()
    panel = figures.data(figure)["panels"][0]
    by = {}
    for mark in panel["marks"]:
        by.setdefault(mark["kind"], []).append(mark)
    line = next(mark for mark in by["line"] if mark["name"] == "a line")
    assert line["x"] == [1, 10] and (
        line["dash"],
        line["width"],
        line["marker"],
        line["face"],
        line["color"],
    ) == ("5 3", 2, "s", "#ffffff", "#0072b2")
    level = next(mark for mark in by["line"] if mark["name"] == "level")
    assert (level["xIn"], level["yIn"]) == ("axes", "data") and level["y"] == [1.5, 1.5]
    assert (
        any(mark["x"] == [2, 3] and mark["marker"] == "o" for mark in by["line"])
        and len(by["line"]) == 3
    )
    assert (
        by["area"][0]["opacity"] == 0.25
        and by["area"][0]["color"] == "#d55e00"
        and [1.0, 1.0] in by["area"][0]["parts"][0]
    )
    assert by["segments"][0]["parts"] == [[[4, 0], [4, 2]]]
    assert by["arrow"][0]["x"] == [3, 3] and by["arrow"][0]["y"] == [
        1,
        2,
    ]  # from the tail to the head
    assert [(mark["text"], mark["xIn"], mark["dx"]) for mark in by["text"]] == [
        (["note"], "data", 5),
        (["two", "lines"], "axes", 0),
    ]
    assert (
        panel["x"]["label"] == "Rᵐᵃˣ and α P"
        and panel["x"]["base"] == 10
        and panel["legend"][0]["name"] == "a line"
    )


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: ax.imshow([[1, 2], [3, 4]]),
        lambda ax: ax.bar([1], [2]),
        lambda ax: ax.set_xscale("symlog"),
        lambda ax: ax.annotate("x", (0.5, 0.5), xycoords="figure fraction"),
    ],
    ids=["image", "bars", "symlog", "note"],
)
def test_a_figure_with_something_else_is_shown_as_a_picture(planted, draw, monkeypatch):
    figure = Figure()
    draw(figure.subplots())
    with pytest.raises(figures.Undrawable):
        figures.data(figure)
    shown = parts.figure("other_figure", figure, {})
    assert shown["drawn"] is None and shown["caption"] == "Other figure"
    picture = base64.b64decode(shown["still"].removeprefix("data:image/svg+xml;base64,"))
    assert (
        b"<svg" in picture and figures.still(figure) == shown["still"]
    )  # the same bytes twice: no date, no random names
    study, results, found, _ = planted("pocket")
    monkeypatch.setattr(kinds, "figures", lambda finding, look=None: {"other_figure": figure})
    content = page.build(asked(study, results), found).decode()
    assert re.search(
        r'<figure id="figure-other_figure">\s*<figcaption>Other figure</figcaption>\s*<img '
        r'class="still"',
        content,
    )


def test_a_page_about_numbers_needs_no_torch():
    code = (
        "import sys, capacity.report.page, capacity.figures.fits; print([m for m in ('torch', "
        "'datasets', 'wandb') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=patience(),
        ).stdout.strip()
        == "[]"
    )
