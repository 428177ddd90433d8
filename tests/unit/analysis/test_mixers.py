"""Studies of mixers: planted ratios are found again, and what withholds one is said by name."""

import numpy as np
import pytest

import mixer_tables
from capacity.analysis import finding, kinds
from capacity.analysis.mixers import analysis, claims, compared, reading
from capacity.report import markdown
from capacity.report import text as terminal
from drawings import texts
from mixer_tables import called, plan, table

OVER = ["train.lr"]
RATIOS = {"GLA with convolutions": 1.1, "SSD": 0.9}


@pytest.fixture(scope="module")
def runs():
    return plan()


def found(runs, rows=None, over=OVER, **planted):
    rows = table(runs, **planted) if rows is None else rows
    return analysis.analysed(runs, rows, "study", called(), over)


def rows_of(one, which="first"):
    return {row["a"]: row for row in one.numbers["comparisons"][which]}


def claims_of(one):
    return {(row["a"], row["b"]): row for row in one.numbers["claims"]}


def shown(one):
    return " ".join(terminal.render(kinds.document(one)).split())


def test_planted_ratios_are_found_again(runs):
    one = found(runs, ratios=RATIOS)
    every = rows_of(one)
    assert one.numbers["first"] == "attention" and set(every) == set(mixer_tables.FORMS) - {
        "attention"
    }
    for name, row in every.items():
        truth = RATIOS.get(name, 1.0)
        assert row["ratio"] == pytest.approx(truth, rel=0.01)
        assert [part["size"] for part in row["by_size"]] == ["2x16", "2x8"]
        side = "more" if truth > 1 else "less"
        assert row["verdict"] == (side if truth != 1 else "none shown")
    # three runs a side in each of two sizes: 2 of (6 choose 3)^2 labellings, of five comparisons
    assert every["SSD"]["p"] == every["SSD"]["smallest_p"] == 2 / 400
    assert every["SSD"]["p_holm"] == pytest.approx(5 * 2 / 400)
    with_and_without = rows_of(one, "convolutions")
    assert {name: row["b"] for name, row in with_and_without.items()} == {
        "GLA with convolutions": "GLA",
        "SSD with convolutions": "SSD",
    }
    assert with_and_without["SSD with convolutions"]["ratio"] == pytest.approx(1 / 0.9, rel=0.01)
    said = shown(one)
    assert "Bits per parameter beside attention, less: SSD 0.9" in said


def test_intervals_hold_the_truth_and_nulls_are_seldom_told(runs):
    """95% in principle: of 20 planted studies at most 4 intervals may miss (p < 0.3% if exact), and
    of 20 studies without a difference at most 4 may show one of five (5% in principle)."""
    misses = told = 0
    for draw in range(20):
        every = rows_of(found(runs, noise=0.01, draw=draw))
        low, high = every["GLA"]["interval"]
        misses += not low <= 1.0 <= high
        told += any(row["verdict"] != compared.NONE for row in every.values())
    assert misses <= 4 and told <= 4


def test_comparisons_read_seeds_that_chose_nothing(runs):
    table_of_runs = found(runs).tables["runs.csv"]
    assert set(table_of_runs[table_of_runs.in_law].seed) == {1, 2, 3}
    assert set(table_of_runs[table_of_runs.chose].seed) == {0}
    (choice,) = [row for row in found(runs).numbers["choices"] if row["model"] == "SSD"]
    assert choice["recipe"] == {"train.lr": 0.02} and choice["amount"] == "size 2x16"
    assert choice["tried"] == {"train.lr": [0.01, 0.02, 0.04]} and not choice["reasons"]


def test_an_optimum_at_the_edge_withholds_every_comparison_of_the_form(runs):
    one = found(runs, ratios=RATIOS, best={"SSD": 0.01})
    row = rows_of(one)["SSD"]
    assert row["verdict"] == "cannot tell"
    assert row["why"] == "SSD: its best lr, 0.01, is the smallest of 3 tried"
    assert rows_of(one, "convolutions")["SSD with convolutions"]["verdict"] == "cannot tell"
    assert rows_of(one)["GLA with convolutions"]["verdict"] == "more"
    of_first = found(runs, ratios=RATIOS, best={"attention": 0.04})
    assert {row["verdict"] for row in rows_of(of_first).values()} == {"cannot tell"}
    assert "attention: its best lr, 0.04, is the largest of 3 tried" in shown(of_first)


def test_rates_that_were_not_tuned_tell_nothing():
    few = plan(rates=[0.01, 0.02])
    assert all("lr is not tuned: 2 values" in row["why"] for row in rows_of(found(few)).values())
    assert all("lr is not tuned: 0 values" in row["why"]
               for row in rows_of(found(plan(rates=[]), over=[])).values())  # fmt: skip


def test_a_rising_run_of_the_lower_form_withholds_a_difference(runs):
    rows = table(runs, ratios=RATIOS)
    known, _ = reading.described(runs, called(), OVER)
    form = rows.run_id.map(dict(zip(known.run_id, known.system, strict=True)))
    gain = np.where(form.isin(["SSD", "GLA with convolutions"]), 0.05, 0.0)
    one = found(runs, rows.assign(gain_last_tenth=gain))
    every = rows_of(one)
    assert every["SSD"]["verdict"] == "cannot tell"
    assert "6 runs of SSD still rising by over 2% (2x16, 2x8)" in every["SSD"]["why"]
    # more training of the higher form adds to what it has more
    assert every["GLA with convolutions"]["verdict"] == "more"
    # of equality either side counts
    equal = table(runs).assign(gain_last_tenth=gain)
    row = claims_of(found(runs, equal))["GLA with convolutions", "SSD with convolutions"]
    assert row["verdict"] == "cannot tell" and "6 runs of GLA with convolutions" in row["why"]
    row = claims_of(found(runs))["GLA with convolutions", "SSD with convolutions"]
    assert row["verdict"] == "agrees"


def test_published_signs(runs):
    every = claims_of(found(runs, ratios=RATIOS))
    assert every["two loops", "attention"]["verdict"] == "agrees"  # within 5% of it
    assert every["SSD", "SSD with convolutions"]["verdict"] == "agrees"
    assert every["SSD", "GLA"]["verdict"] == "differs"  # 10% apart, as many are published
    assert every["GLA with convolutions", "attention"]["verdict"] == "agrees"
    row = every["SSD with convolutions", "attention"]  # published more, nothing shown
    assert row["verdict"] == "cannot tell" and row["why"] == "no difference is shown"
    other = claims_of(found(runs, ratios={"GLA with convolutions": 0.9}))
    assert other["GLA with convolutions", "attention"]["verdict"] == "differs"


def test_as_many_is_neither_agreed_nor_refused_from_a_wide_interval(runs):
    row = claims_of(found(runs, ratios={"two loops": 1.06}, noise=0.02))["two loops", "attention"]
    low, high = row["interval"]
    assert low < 1 + claims.EQUAL < high
    assert row["verdict"] == "cannot tell" and "neither within 5% nor beyond" in row["why"]


def test_claims_name_forms_by_their_settings(runs):
    _, forms = reading.described(runs, {}, OVER)  # whatever a study calls them
    assert "attention" not in forms and len(forms) == len(mixer_tables.FORMS)
    assert reading.named(forms, claims.ATTENTION) is not None
    assert reading.named(forms, {"model.mixer": "gla"}) is None  # two have it
    nameless = analysis.analysed(runs, table(runs, ratios=RATIOS), "study", {}, OVER)
    assert len(nameless.numbers["claims"]) == len(claims_of(found(runs)))


def test_runs_that_do_not_measure_capacity_are_not_compared(runs):
    rows = table(runs)
    full = rows.assign(strict_bits=0.97 * rows.strict_ceiling_bits)
    with pytest.raises(ValueError, match="no run to compare: none of 54 measures capacity"):
        found(runs, full)
    known, _ = reading.described(runs, called(), OVER)
    form = rows.run_id.map(dict(zip(known.run_id, known.system, strict=True)))
    some = rows.assign(strict_bits=np.where(form == "SSD", -1.0, rows.strict_bits))
    row = rows_of(found(runs, some))["SSD"]
    assert row["verdict"] == "cannot tell" and "of one size measure capacity" in row["why"]


def test_which_studies_are_of_this_kind(runs):
    applies = kinds.load("mixers").applies
    assert applies(runs, None)
    assert not applies(plan(("attention",)), None)
    order = list(kinds.REGISTRY)
    assert order.index("idle") < order.index("mixers") < order.index("random")


def test_document_figure_and_files(runs, tmp_path):
    one = found(runs, ratios=RATIOS)
    figures = kinds.figures(one)
    assert list(figures) == ["ratios"] and kinds.residuals(one) == []
    drawn = {text.get_text() for text in texts(figures["ratios"])}
    assert {"two loops", "SSD", "2x8", "2x16"} <= drawn
    written = finding.write(one, figures, markdown.render(kinds.document(one), figures), tmp_path)
    assert {"fit.json", "runs.csv", "README.md"} <= {path.name for path in written}
    alone = found(plan(("attention", "two loops"), seeds=(1,)))
    row = rows_of(alone)["two loops"]
    assert row["interval"] is None and row["verdict"] == compared.NONE
    assert claims_of(alone)["two loops", "attention"]["why"] == "one run a side has no spread"
