"""Studies of what is stored and not said: planted differences are found with their sign, noise is
not, and controls are judged by the interval about guessing."""

from pathlib import Path

import numpy as np
import pytest

from capacity import run_table
from capacity.analysis import kinds
from capacity.analysis.inside import analysis
from capacity.declare.inside import SCORES
from capacity.report import markdown
from capacity.report import text as terminal
from capacity.study import load_study

K = dict.fromkeys(SCORES, 0.5) | {
    "biography": 1.0,
    "question": 0.6,
    "question_calibrated": 0.6,
    "probe": 0.75,
    "both": 0.6,
}
ARMS = ["single", "multi5 + permute", "new texts"]


@pytest.fixture(scope="module")
def study():
    return load_study("items/inside@pocket", [])


def measured(runs, planted=None, noise=0.01, draw=7):
    """What records say: K of each score with noise of each run, bits 4 K - 2."""
    out = {}
    for i, run in enumerate(runs):
        rng = np.random.default_rng([draw, i])
        k = {s: v + noise * rng.normal() for s, v in (K | (planted or {})).items()}
        out[run.run_id] = {
            "people": 100,
            "log2_values": 4.3,
            "probe_weights": 2838,
            "probe_layer": 1.5,
            "context": "text",
            "asked": "tuned",
            "scores": {s: {"k": v, "k_star": v / 2, "bits": 4 * v - 2} for s, v in k.items()},
            "answered": {"accuracy": 0.1, "accuracy_most_frequent": 0.07},
        }
    return out


def found(study, runs=None, gain=0.0, **planted):
    runs = runs or study.runs
    rows = run_table.table(Path("no such folder"), runs, study.names)
    rows = rows.assign(status="finished", gain_last_tenth=gain)
    return analysis.analysed(runs, rows, measured(runs, **planted), "study", study.names)


def verdicts(one, name):
    return [row["verdict"] for row in one.numbers["orders"] if row["name"] == name]


def said(one):
    return " ".join(terminal.render(kinds.document(one)).split())


def test_such_studies_are_of_this_kind(study):
    rows = run_table.table(Path("no such folder"), study.runs, study.names)
    assert kinds.kinds_of(study.runs, rows) == ["inside"] and analysis.SCHEMA == 2
    assert [row["published"] for row in analysis.expected(study)[0]] == ["inside/gain"]


def test_planted_differences_are_found_in_every_kind_of_texts(study):
    one = found(study)
    assert [cell["arm"] for cell in one.numbers["cells"]] == ARMS
    assert verdicts(one, "inside") == verdicts(one, "stored") == [analysis.ABOVE] * 3
    row = one.numbers["orders"][0]
    assert row["p"] == pytest.approx(2 / 2**6) and row["interval"][0] < 0.15 < row["interval"][1]
    assert "single: K of a probe of hidden states beside K of what is said: above, as publ" in said(
        one
    )
    (gain,) = {round(v["published"]["value"], 3) for v in one.numbers["verdicts"]}
    assert gain == 0.4
    for told in one.numbers["verdicts"]:
        assert told["measured"] == pytest.approx(0.25, abs=0.05) and told["scale"] == "another"


def test_the_other_sign_is_told_against_what_is_published(study):
    one = found(study, planted={"probe": 0.5, "question": 0.7})
    assert verdicts(one, "inside") == [analysis.BELOW] * 3
    assert "below, against what is published" in said(one)
    assert {v["verdict"] for v in one.numbers["verdicts"]} == {"differs"}


def test_equal_scores_and_few_replicates_tell_nothing(study):
    one = found(study, planted={"probe": 0.6}, noise=0.0)
    assert verdicts(one, "inside") == [analysis.UNKNOWN] * 3
    assert "both are equal in every replicate" in said(one)
    few = found(study, [run for run in study.runs if run.seed < 4])
    assert set(verdicts(few, "inside")) == {analysis.UNKNOWN}
    assert "4 replicates cannot reach 5%" in said(few)
    told = []
    for draw in range(4):  # 12 comparisons without any difference, at 5% each
        told += verdicts(found(study, planted={"probe": 0.6}, draw=draw), "inside")
    assert sum(verdict != analysis.UNKNOWN for verdict in told) <= 3


def test_controls_are_guessing_or_told(study):
    controls = {
        (row["arm"], row["score"]): row["verdict"] for row in found(study).numbers["controls"]
    }
    assert controls == {(arm, s): "agrees" for arm in ARMS for s in analysis.CONTROLS}
    one = found(study, planted={"shuffled": 0.56})
    assert "probe of shuffled values" in said(one) and "not guessing in some kind" in said(one)
    wide = found(study, noise=0.2).numbers["controls"]
    assert analysis.UNKNOWN in {row["verdict"] for row in wide}


def test_page_and_figure(study):
    one = found(study, gain=0.05)
    axes = kinds.figures(one)["scores"].axes[0]
    drawn = {line.get_gid(): len(line.get_xdata()) for line in axes.lines if line.get_gid()}
    assert drawn["in the biography"] == drawn["probe of states"] == 3
    assert "## What nobody can know" in markdown.render(kinds.document(one))
    assert len(one.numbers["rising"]) == 18 and verdicts(one, "inside") == [analysis.ABOVE] * 3
    assert kinds.residuals(one) == []
    assert all(len(line) <= 80 for line in terminal.render(kinds.document(one)).splitlines())


def test_different_numbers_of_people_are_no_study_and_runs_without_the_measure_neither(study):
    rows = run_table.table(Path("no such folder"), study.runs, study.names)
    done = rows.assign(status="finished", gain_last_tenth=0.0)
    with pytest.raises(ValueError, match="no finished run was asked for what is inside"):
        analysis.analysed(study.runs, done, {}, "study")
    with pytest.raises(ValueError, match="no finished run to judge: 0 failed, 18 missing"):
        analysis.analysed(study.runs, rows, {}, "study")
    other = measured(study.runs)
    other[study.runs[0].run_id]["people"] = 50
    with pytest.raises(ValueError, match=r"measure\.inside is 50 and 100"):
        analysis.analysed(study.runs, done, other, "study")
