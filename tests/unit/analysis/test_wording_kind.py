"""Studies of wording: planted bits of facts and of wording are told apart, and a control above 0
withholds the ratio."""

from pathlib import Path

import numpy as np
import pytest

from capacity import run_table
from capacity.analysis import kinds
from capacity.analysis.wording import analysis
from capacity.report import markdown
from capacity.report import text as terminal
from capacity.study import load_study

R, W = 0.5, 0.3  # bits per parameter


@pytest.fixture(scope="module")
def runs():
    return load_study("rulers/wording@pocket", []).runs


def table(runs, *, wording=W, control=-2.0, noise=0.01, draw=0):
    rng = np.random.default_rng(draw)
    rows = run_table.table(Path("no such folder"), runs)
    fixed = np.array([bool(run.data.biographies) for run in runs])
    p = np.array([run.parameters["paper"] for run in runs], float)
    people = np.array([run.items for run in runs], float)
    scatter = np.exp(noise * rng.standard_normal(len(runs)))
    held = np.where(fixed, wording * p * scatter, control * people)
    return rows.assign(
        status="finished",
        gain_last_tenth=0.0,
        bits=R * p * np.exp(noise * rng.standard_normal(len(runs))),
        wording_bits=held,
        wording_ceiling_bits=np.where(fixed, 40 * people, 0.0),
        wording_shown_bits_per_text=np.where(
            fixed, held / people, control + 0.1 * rng.standard_normal(len(runs))
        ),
    )


def found(runs, **planted):
    return analysis.analysed(runs, table(runs, **planted), "study")


def said(one):
    return " ".join(terminal.render(kinds.document(one)).split())


def test_such_studies_are_of_this_kind(runs):
    assert kinds.kinds_of(runs, table(runs)) == ["wording"] and analysis.SCHEMA == 2


def test_the_ratio_of_both_rulers_is_found_by_pairs(runs):
    one = found(runs)
    (row,) = one.numbers["ratios"]
    assert row["pairs"] == 9 and row["total"]["value"] == pytest.approx(1 + W / R, rel=0.02)
    low, high = row["total"]["interval"]
    assert low < 1 + W / R < high and row["total"]["p"] == pytest.approx(2 / 2**9)
    assert row["r"]["interval"][0] < 1 < row["r"]["interval"][1]
    assert "facts and wording of one fixed text over facts of new wording: 1.6" in said(one)
    arms = {(arm["size"], arm["arm"]): arm for arm in one.numbers["arms"]}
    assert len(arms) == 6
    for (_, arm), numbers in arms.items():
        assert numbers["w"] == pytest.approx(0.0 if arm == analysis.NEW else W, rel=0.03)


def test_new_wording_counts_for_nothing_whatever_its_measure_says(runs):
    """Its bits are below 0 and are the control, not part of the total."""
    one = found(runs, control=-5.0)
    new = [arm for arm in one.numbers["arms"] if arm["arm"] == analysis.NEW]
    assert all(arm["total"] == pytest.approx(arm["r"]) for arm in new)
    (control,) = one.numbers["controls"]
    assert control["value"] == pytest.approx(-5.0, abs=0.2) and control["interval"][1] < 0


def test_a_control_above_nothing_withholds_the_ratio(runs):
    one = found(runs, control=3.0)
    assert one.numbers["ratios"][0]["withheld"]
    assert "cannot tell: wording that nobody could know counts bits" in said(one)


def test_page_and_figure_show_both_rulers(runs):
    one = found(runs)
    axes = kinds.figures(one)["total"].axes[0]
    drawn = {line.get_gid(): len(line.get_xdata()) for line in axes.lines if line.get_gid()}
    assert drawn == {
        "total new wording": 9,
        "facts new wording": 9,
        "total one fixed text": 9,
        "facts one fixed text": 9,
    }
    assert "## What is held of facts and of wording" in markdown.render(kinds.document(one))
    assert kinds.residuals(one) == []


def test_before_the_first_run_there_is_nothing_to_judge(runs):
    rows = run_table.table(Path("no such folder"), runs)
    with pytest.raises(ValueError, match="no finished run to fit: 0 failed, 18 missing"):
        analysis.analysed(runs, rows, "study")
