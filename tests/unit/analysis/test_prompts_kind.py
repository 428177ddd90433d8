"""Studies of shortest prompts: planted shares are judged by their orders, noise and runs that still
rise are not, held-out sequences that are brought out are counted once."""

import math
from pathlib import Path

import numpy as np
import pytest

from capacity import run_table
from capacity.analysis import kinds
from capacity.analysis.prompts import analysis, reading
from capacity.measure import prompt_search, prompts
from capacity.report import markdown
from capacity.report import text as terminal
from capacity.study import load_study

S, V, M = 32, 256, 2
CAPACITY = 2.4  # bits per parameter


@pytest.fixture(scope="module")
def runs():
    return load_study("items/prompts@pocket", []).runs


def table(runs, gain=0.0):
    rows = run_table.table(Path("no such folder"), runs)
    return rows.assign(status="finished", gain_last_tenth=gain)


def side(shortest, code):
    """Of a side as the measure forms it, own beginnings of no use."""
    shortest = np.array(shortest)
    n = len(shortest)
    own, tied = np.where(shortest > 0, shortest, S), np.zeros(n, bool)
    return prompts._side(shortest, own, tied, np.full(n, code), (S, V, M))


def measured(runs, share, *, positives=(), code=1.0):
    """What records say: share(run, rng) of the members has a prompt of two tokens; positives:
    replicates in which every model writes the first held-out sequence; code: bits of the model's
    own code over those of whole sequences."""
    out = {}
    for run in runs:
        rng = np.random.default_rng([run.seed, run.items, run.parameters["total"]])
        n = run.items
        part = share(run, rng)
        found = rng.random(n) < part
        others = np.zeros(n, int)
        others[0] = 2 * (run.seed in positives)
        out[run.run_id] = {
            "longest": M,
            "sequences": n,
            "shared": 0,
            "members": side(np.where(found, 2, 0), code * S * math.log2(V)),
            "held_out": side(others, 0.0),
        }
    return out


def bounded(run, rng):
    """All below capacity, few above."""
    load = run.items * S * 8 / run.parameters["total"]
    return float(np.clip(CAPACITY / load - 0.2, 0.02, 0.98))


def found(runs, share=bounded, gain=0.0, searched=None, **planted):
    told = measured(runs, share, **planted)
    return analysis.analysed(runs, table(runs, gain), told, "study", searched)


def searched_of(measures, added, hits=0):
    """What a search says behind these: added(run_id, rng) of members without a prompt get one of
    ten tokens; hits: of as many replicates' first held-out sequence one of 15."""
    out = {}
    for number, (run_id, m) in enumerate(measures.items()):
        rng = np.random.default_rng(number)
        one = {"steps": 40, "swaps": 64, "top_k": 128, "sequences": m["sequences"]}
        for name in ("members", "held_out"):
            shortest, own = (np.array(m[name][key]) for key in ("shortest", "own"))
            bound = np.where(shortest > 0, shortest, own)
            if name == "members":
                bound[(shortest == 0) & (rng.random(len(own)) < added(run_id, rng))] = 10
            elif number < hits:
                bound[0] = 15
            one[name] = prompt_search._side(bound, shortest, own, (S, V, M))
        one["recall"] = {
            "2": {"sequences": 4, "found": 0.75, "interval": [0.1, 0.9], "by_chance": 0.05},
            "15": {"sequences": 8, "found": 0.0, "interval": [0.0, 0.5], "by_chance": 0.0},
        }
        out[run_id] = one
    return out


def verdicts(one):
    return {(row["axis"], row["outcome"]): row["verdict"] for row in one.numbers["orders"]}


def said(one):
    return " ".join(terminal.render(kinds.document(one)).split())


def test_such_studies_are_of_this_kind(runs):
    assert kinds.kinds_of(runs, table(runs)) == ["prompts"] and analysis.SCHEMA == 2
    text = load_study("items/prompts_text@pocket", []).runs
    assert kinds.kinds_of(text, table(text)) == ["prompts"]


def test_planted_orders_are_found(runs):
    one = found(runs)
    assert verdicts(one) == {
        (axis, outcome): analysis.AGREES
        for axis in ("amount of data", "size of the model")
        for outcome in ("memorized", "within")
    }
    assert all(row["replicates"] == 6 for row in one.numbers["orders"])
    size = next(row for row in one.numbers["orders"] if row["axis"] == "size of the model")
    assert size["p"] == pytest.approx(2 / 2**6) and size["slope"] > 0
    assert "by amount of data: falls, as expected" in said(one)


def test_the_other_way_round_differs(runs):
    one = found(runs, lambda run, rng: 1 - bounded(run, rng))
    assert set(verdicts(one).values()) == {analysis.DIFFERS}


def test_noise_is_an_order_as_seldom_as_p_says(runs):
    """Twelve studies of two axes without any order: at 5% no more than 4 of 24 by chance."""
    told = 0
    for draw in range(12):
        none = found(runs, lambda run, rng, d=draw: 0.5 + 0 * rng.random(500 * d + 1)[-1])
        told += sum(v != analysis.UNKNOWN for (_, o), v in verdicts(none).items() if o == "within")
    assert told <= 4


def test_runs_that_still_rise_withhold_orders_and_too_few_replicates_do(runs):
    one = found(runs, gain=0.05)
    assert set(verdicts(one).values()) == {analysis.UNKNOWN}
    assert "36 runs still rising by over 2%" in said(one)
    few = [run for run in runs if run.seed < 3]
    told = verdicts(found(few))
    assert told["size of the model", "memorized"] == analysis.UNKNOWN
    assert told["amount of data", "memorized"] == analysis.AGREES


def test_false_positives_are_counted_by_different_sequences(runs):
    (none,) = found(runs).numbers["false_positives"]
    # six seeds of all amounts, whatever the number of models that were asked
    assert (none["hits"], none["trials"]) == (0, 6 * (32 + 64 + 128))
    assert none["interval"][1] == pytest.approx(1 - 0.025 ** (1 / none["trials"]), rel=1e-6)
    assert none["verdict"] == analysis.AGREES
    (some,) = found(runs, positives=(1, 4)).numbers["false_positives"]
    assert some["hits"] == 2 * 3 and some["verdict"] == analysis.DIFFERS
    assert "against what is published" in said(found(runs, positives=(1, 4)))
    few = [run for run in runs if run.seed == 0 and run.items == 32]
    (one,) = found(few).numbers["false_positives"]
    assert one["trials"] == 32 and one["verdict"] == analysis.UNKNOWN


def test_bits_saved_by_prompts_stand_beside_the_models_own_code(runs):
    (row,) = found(runs).numbers["codes"]
    assert row["verdict"] == "less" and row["p"] == pytest.approx(2 / 2**6)
    assert "more in 0 runs" in said(found(runs))
    (row,) = found(runs, lambda run, rng: 1.0, code=0.5).numbers["codes"]
    assert row["verdict"] == "more" and row["more_somewhere"] == 36
    cell = found(runs, lambda run, rng: 1.0).numbers["cells"][0]
    # of 32 tokens of 8 bits four are spent, and one of three symbols says so
    assert cell["ratio"]["value"] == pytest.approx((28 * 8 - math.log2(3)) / 256)


def test_own_beginnings_count_below_half():
    one = {"shortest": [0, 0, 0, 2], "own": [15, 16, 32, 32]}
    assert reading.is_memorized(one, S) == [True, False, False, True]


def test_page_and_figure(runs):
    one = found(runs)
    axes = kinds.figures(one)["memorized"].axes[0]
    drawn = {line.get_gid(): len(line.get_xdata()) for line in axes.lines if line.get_gid()}
    assert drawn["4.07K parameters"] == 3 and drawn["held out, 11.2K parameters"] == 3
    assert "## Members that a short prompt brings out" in markdown.render(kinds.document(one))
    assert kinds.residuals(one) == []
    assert all(len(line) <= 80 for line in terminal.render(kinds.document(one)).splitlines())


def test_different_lengths_are_no_study_and_runs_without_prompts_neither(runs):
    rows = table(runs)
    with pytest.raises(ValueError, match="no finished run was asked for prompts"):
        analysis.analysed(runs, rows, {}, "study")
    with pytest.raises(ValueError, match="no finished run to judge: 0 failed, 36 missing"):
        analysis.analysed(runs, run_table.table(Path("no such folder"), runs), {}, "study")
    other = load_study("items/prompts@pocket", ["measure.prompts=1"]).runs
    with pytest.raises(ValueError, match=r"measure\.prompts is 1 and 2"):
        reading.described([*runs, *other])


def test_what_a_search_adds_is_judged_by_replicates(runs):
    tried = measured(runs, bounded)
    some = found(runs, searched=searched_of(tried, lambda *_: 0.1))
    (row,) = some.numbers["search"]["adds"]
    missing = np.mean(
        [np.mean(np.array(tried[r.run_id]["members"]["shortest"]) == 0) for r in runs]
    )
    assert row["verdict"] == "adds" and row["p"] == pytest.approx(2 / 2**6)
    assert row["share"] == pytest.approx(0.1 * missing, rel=0.3)
    assert row["interval"][0] > 0
    cells = some.numbers["search"]["cells"]
    for cell, before in zip(cells, some.numbers["cells"], strict=True):
        assert cell["memorized"] == pytest.approx(before["memorized"]["mean"] + cell["added"])
        assert cell["unknown"] == pytest.approx(before["unknown"] - cell["added"])
        assert cell["searched"] == 6 * cell["items"] - round(
            6 * cell["items"] * before["within"]["mean"]
        )
    one_only = {tried_id: 0.5 * (i == 0) for i, tried_id in enumerate(tried)}
    few = found(runs, searched=searched_of(tried, lambda run_id, _: one_only[run_id]))
    assert few.numbers["search"]["adds"][0]["verdict"] == analysis.UNKNOWN
    (none,) = found(runs, searched=searched_of(tried, lambda *_: 0.0)).numbers["search"]["adds"]
    assert none["verdict"] == analysis.UNKNOWN and none["p"] is none["interval"] is None
    assert "search" not in found(runs).numbers
    nothing = found(runs, searched=searched_of(tried, lambda *_: 0.0))
    assert "nothing was found, which says nothing" in said(nothing)


def test_recall_and_false_positives_of_a_search_are_counted_over_all_runs(runs):
    one = found(runs, searched=searched_of(measured(runs, bounded), lambda *_: 0.1))
    two, border = one.numbers["search"]["recall"]
    assert (two["sequences"], two["found"]) == (4 * 36, 3 * 36)
    assert two["interval"][0] < 0.75 < two["interval"][1]
    assert (border["sequences"], border["found"], border["interval"][0]) == (8 * 36, 0, 0.0)
    (false,) = one.numbers["search"]["false_positives"]
    assert (false["hits"], false["verdict"]) == (0, analysis.AGREES)
    bad = found(runs, searched=searched_of(measured(runs, bounded), lambda *_: 0.0, hits=1))
    (false,) = bad.numbers["search"]["false_positives"]
    assert (false["hits"], false["verdict"]) == (1, analysis.DIFFERS)
    assert "recall: of 144 members that have a prompt of 2 tokens" in said(one)
    assert "## What a search for longer prompts adds" in markdown.render(kinds.document(one))
    assert all(len(line) <= 80 for line in terminal.render(kinds.document(one)).splitlines())


def test_searches_of_different_budgets_are_not_one(runs):
    searched = searched_of(measured(runs, bounded), lambda *_: 0.1)
    next(iter(searched.values()))["steps"] = 41
    with pytest.raises(ValueError, match="40/64/128 and 41/64/128"):
        found(runs, searched=searched)
