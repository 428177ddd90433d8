"""Studies of counts of facts: planted predictors are told apart by sign, interval and p, what is
left out is judged by the law of the others, and what carries no number says why."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot

import smi_runs
from capacity import run_table
from capacity.analysis import kinds
from capacity.analysis.smi import analysis, plots, reading
from capacity.report import markdown
from capacity.report import text as terminal


@pytest.fixture(scope="module")
def runs():
    return smi_runs.plan()


@pytest.fixture(scope="module")
def by_information(runs):
    return smi_runs.found(runs, mi=0.05, mixed=30)


@pytest.fixture(scope="module")
def by_views(runs):
    return smi_runs.found(runs, common=0.05)


def difference(one, way, first="MI", outcome="hit"):
    (row,) = [
        row
        for row in one.numbers["between"]
        if (row["way"], row["first"], row["outcome"]) == (way, first, outcome)
    ]
    return row


def explained(one, way, predictor, outcome="hit"):
    (row,) = [
        row
        for row in one.numbers["explained"]
        if (row["way"], row["predictor"], row["outcome"]) == (way, predictor, outcome)
    ]
    return row


def test_such_studies_are_of_this_kind(runs):
    table = run_table.table(Path("no such folder"), runs)
    assert kinds.kinds_of(runs, table) == ["smi"] and analysis.SCHEMA == 2


def test_what_is_planted_is_told(by_information, by_views):
    for way in analysis.WAYS:
        one = difference(by_information, way)
        assert one["told"] and 0 < one["interval"][0] < one["value"] < one["interval"][1]
        one = difference(by_views, way)
        assert one["told"] and one["interval"][0] < one["value"] < one["interval"][1] < 0
        assert one["p"] == one["smallest_p"] == 2 * 2.0**-6
    assert by_information.numbers["verdicts"][0]["verdict"] == "agrees"
    assert by_views.numbers["verdicts"][0]["verdict"] == "differs"
    assert explained(by_views, "left out", "co-occurrence")["value"] > 0.6
    c = [row["c"]["value"] for row in by_views.numbers["laws"] if row["predictor"] != "SMI"]
    assert c == pytest.approx([0.1] * len(c), abs=0.02)


def test_the_scale_of_smi_is_that_of_its_exponent(by_information):
    """It moves x by at most 1 / (e log2 P) of 1."""
    row = difference(by_information, "per fact", "SMI")
    assert abs(row["value"]) < 0.02


def test_two_slopes_explain_at_least_what_one_does(by_information):
    both = explained(by_information, "per fact", analysis.TWO)["value"]
    for name in ("co-occurrence", "PMI"):
        assert both >= explained(by_information, "per fact", name)["value"] - 1e-9


def test_left_out_is_the_law_of_the_other_sizes_on_this_one(runs):
    """Against a regression over single facts, written out for one size and seed."""
    records = smi_runs.measured(runs, common=0.03, mi=0.02)
    one = smi_runs.found(runs, records)
    mine = [run for run in runs if run.seed == 1]
    table = run_table.table(Path("no such folder"), runs)
    known = reading.described(runs).merge(table[["run_id", "seed"]], on="run_id")
    cells = reading.cells(known, records)
    here = cells[cells.run_id == mine[0].run_id]
    there = cells[cells.run_id.isin([run.run_id for run in mine[1:]])]

    def written_out(some):
        n = some.facts.astype(int)
        columns = np.ones(len(n)), some.MI, np.log2(some.parameters)
        return np.repeat(np.column_stack(columns), n, axis=0), np.repeat(some.hits / n, n)

    x, y = written_out(there)
    theta = np.linalg.lstsq(x, y, rcond=None)[0]
    x, y = written_out(here)
    spread = float((here.hits_squared - here.hits**2 / here.facts).sum())
    left = ((y - x @ theta) ** 2).sum() + spread
    about = ((y - y.mean()) ** 2).sum() + spread
    parts = one.tables["explained.csv"]
    row = parts[(parts["size"] == mine[0].shape) & (parts.seed == 1) & (parts.outcome == "hit")]
    row = row[(row.way == "left out") & (row.predictor == "MI")]
    assert row.r2.item() == pytest.approx(1 - left / about, abs=1e-6)


def test_few_seeds_and_sizes_say_what_they_cannot(runs):
    few = smi_runs.plan(widths=(8,), seeds=(1, 2))
    one = smi_runs.found(few, common=0.05)
    row = difference(one, "per fact")
    assert not row["told"] and row["reason"] == "2 seeds cannot reach a p of 5%"
    row = difference(one, "left out")
    assert row["value"] is None and row["reason"] == "no seed has a number for every size"
    assert one.numbers["laws"] == []
    text = terminal.render(kinds.document(one))
    assert "**" not in text and "cannot tell of a size left out (no seed" in " ".join(text.split())


def test_what_cannot_be_judged_is_refused_in_a_line(runs):
    few = smi_runs.plan(widths=(8,), seeds=(1,))
    with pytest.raises(ValueError, match="no finished run has cells of facts"):
        smi_runs.found(few, {})
    records = smi_runs.measured(few)
    records[few[0].run_id]["texts"] = 100
    with pytest.raises(ValueError, match="a value is in all 100 texts; log2 I of it is not"):
        smi_runs.found(few, records)
    records = smi_runs.measured(few)
    cells = records[few[0].run_id]["cells"]
    cells["log2_texts"] = [8.0 * n for n in cells["facts"]]
    with pytest.raises(ValueError, match="all runs: co-occurrence: all facts have one value"):
        smi_runs.found(few, records)


def test_models_that_write_nothing_have_no_part_explained(runs):
    records = smi_runs.measured(runs, common=0.05)
    for one in records.values():
        one["cells"]["hits"] = [0.0 for _ in one["cells"]["hits"]]
        one["cells"]["hits_squared"] = one["cells"]["hits"]
    one = smi_runs.found(runs, records)
    assert explained(one, "per fact", "MI")["value"] is None
    assert explained(one, "per fact", "MI", "bits")["value"] > 0.5
    assert one.numbers["verdicts"][0]["verdict"] == "cannot tell"
    assert set(plots.draw(one.numbers)) == set(kinds.document(one).figures) == {"bits", "own_bits"}


def test_words_and_figures(by_information, by_views):
    for one, word in ((by_information, "**more**"), (by_views, "**less**")):
        document = kinds.document(one)
        assert word in document.answers[0]
        text = terminal.render(document)
        assert max(map(len, text.splitlines())) <= 80
        assert "MI explains, beside co-occurrence" in " ".join(text.split())
        assert "| co-occurrence |" in markdown.render(document)
    figures = plots.draw(by_information.numbers)
    assert set(figures) == set(kinds.document(by_information).figures)
    (ax,) = figures["hit"].axes
    drawn = {line.get_gid() for line in ax.lines}
    assert set(analysis.WAYS) <= drawn
    pyplot.close("all")
