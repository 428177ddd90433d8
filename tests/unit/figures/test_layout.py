"""Every type of figure, of committed studies: words can be read, bars stay inside, axes have plain
numbers, heights are equal, and the CSV beside a figure is what it draws."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from capacity.figures import files
from capacity.figures.marks import PART
from capacity.figures.style import COLUMN, SMALL, height
from committed_figures import NAMES, figures, finding
from drawings import texts
from layout import faults


@pytest.mark.parametrize("name", NAMES)
def test_words_can_be_read_and_stay_on_the_canvas(name):
    wrong = {key: found for key, one in figures(name).items() if (found := faults(one))}
    assert not wrong
    for one in figures(name).values():
        assert min(text.get_fontsize() for text in texts(one)) >= SMALL


def test_planted_faults_are_found():
    figure = Figure(figsize=(3.4, 2.7))
    ax = figure.add_axes((0.2, 0.2, 0.75, 0.75))
    assert faults(figure) == []
    ax.text(0.5, 0.5, "one", transform=ax.transAxes)
    ax.text(0.52, 0.5, "two", transform=ax.transAxes)
    assert faults(figure) == ["'two' is on 'one'"]
    ax.set_ylabel("a label that is much too long for a figure of this height, so it is cut")
    assert [fault for fault in faults(figure) if "leaves the canvas" in fault]


@pytest.mark.parametrize("name", NAMES)
def test_figures_of_a_study_are_equally_high_and_name_numbers_plainly(name):
    for key, one in figures(name).items():
        width, high = one.get_size_inches()
        many = len(one.legends[0].get_texts()) > 5 if one.legends else False
        assert width == COLUMN and (high == pytest.approx(height(COLUMN), abs=0.01) or many), key
        words = " ".join(text.get_text() for text in texts(one))
        assert not re.search(r"10\^|\\times|e[+-]0", words), (key, words)


@pytest.mark.parametrize("name", NAMES)
def test_no_line_or_bar_of_data_leaves_the_axes(name):
    for key, one in figures(name).items():
        for ax in one.axes:
            for line in ax.lines:
                ends = getattr(line, "ends", None)
                if line.get_gid() == PART or ends:
                    x, y = line.get_data()
                    for values, limits in ((x, ax.get_xlim()), (y, ax.get_ylim())):
                        low, high = sorted(limits)
                        room = 1e-9 * max(abs(low), abs(high))
                        inside = (np.min(values) >= low - room, np.max(values) <= high + room)
                        assert all(inside), (key, line)
            # an interval that is cut short says so by an arrow
            cut = sum(
                (e[0] < min(limits) and not hasattr(line, "values")) + (e[1] > max(limits))
                for line in ax.lines  # of precision what is below zero is drawn at zero
                for e in getattr(line, "ends", None) or ()
                if e is not None
                for limits in [ax.get_xlim() if getattr(line, "along", "") else ax.get_ylim()]
            )
            arrows = [m for m in ax.lines if m.get_gid() == PART and m.get_marker() in "<>^v"]
            assert len(arrows) == cut, key


def read(figure):
    content = files.table("a figure", figure).decode()
    head = [line for line in content.splitlines() if line.startswith("#")]
    return head, pd.read_csv(io.StringIO(content), comment="#")


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_a_figure_is_what_it_draws(name):
    for key, one in figures(name).items():
        head, table = read(one)
        (ax,) = one.axes
        for axis in (ax.get_xlabel(), ax.get_ylabel()):
            assert axis.replace("\n", " ") in head[1], key
        drawn = []
        for line in ax.lines:
            gid = line.get_gid() or ""
            if gid == PART or gid.split(" ")[0] in ("guide", "row", "zero"):
                continue
            transform = line.get_transform().contains_branch_seperately(ax.transData)
            x, y = (np.asarray(v, float) for v in line.get_data())
            x = np.asarray(getattr(line, "at", x), float)
            y = np.asarray(getattr(line, "values", y), float)
            for i in np.flatnonzero(np.isfinite(x) & np.isfinite(y)):
                drawn.append((x[i] if transform[0] else np.nan, y[i] if transform[1] else np.nan))
        points = table[table.drawn != "band"]
        missing = {"x": np.nan, "y": np.nan}
        told = points.assign(**{k: v for k, v in missing.items() if k not in points})[["x", "y"]]
        np.testing.assert_array_equal(np.array(drawn, float), told.to_numpy(float), key)
        # what is drawn at its place and in full has that very place in the panel
        ends = [e for line in ax.lines for e in getattr(line, "ends", None) or () if e is not None]
        means = table[table.drawn == "mean"]
        if ends:
            np.testing.assert_array_equal(ends, means[["low", "high"]].dropna().to_numpy(), key)
        areas = [a for a in ax.collections if isinstance(a, PolyCollection)]
        bands = table[table.drawn == "band"]
        assert bands.series.nunique() == len([a for a in areas if a.get_gid()]), key
        for area in areas:
            if area.get_gid() and not area.get_gid().startswith("guide"):
                box = area.get_datalim(ax.transData)
                mine = bands[bands.series == area.get_gid()]
                assert (mine.low.min(), mine.high.max()) == pytest.approx((box.y0, box.y1)), key


def test_intervals_of_arms_are_those_that_fit_laws_quotes():
    """Where a curve has one model, the interval of its peak is that of its arm."""
    checked = 0
    for name in ("physics33/12_tagged@pocket", "physics33/07_gated_mlp@pocket", "optimizers"):
        found = finding(name)
        quoted = {
            peak["name"]: tuple(peak["interval"])
            for peak in found.numbers["peaks"]
            if peak["models"] == 1 and peak["interval"]
        }
        for key, one in figures(name).items():
            _, table = read(one)
            if key == "ratio":
                table[["low", "high"]] = table[["low", "high"]].div(table.x, axis=0)
            means = table[table.drawn == "mean"]
            drawn = [tuple(row) for row in means[["low", "high"]].dropna().to_numpy()]
            if key == "exposures":  # arms of curves over exposures alone
                assert all(any(np.allclose(a, b) for b in quoted.values()) for a in drawn)
            else:
                np.testing.assert_allclose(sorted(drawn), sorted(quoted.values()), rtol=1e-9)
            checked += len(drawn)
    assert checked > 12
