"""Forecasts of who will be written out: by a smaller model, and by the model itself earlier. What
is planted is found, guessing is told as guessing, and a predictor that foresees nothing counts."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capacity import run_table
from capacity.analysis import convert, kinds
from capacity.analysis.items import analysis, forecasts, orders, plots
from capacity.compose import load_many
from capacity.data import canaries
from capacity.fitting.forecast import within
from capacity.origins import Given
from capacity.report import text as terminal

N, STEPS = 24, (2, 10, 50, 100, 200)
PINS = ["data=text_pocket", "data.documents=400", "data.tokens_per_parameter=null"]
PINS += ["data.n_sequences=200", "data.n_held_out=100", "model=gpt", "model.n_layers=1"]
PINS += ["data.canaries=4", "train.steps=200", "train.batch_size=16", "train.warmup_steps=5"]
PINS += ["data.canary_text=pool"]
WINDOW = "data.view_windows=[0-1]"
LEVELS = "data.repeats=[0,4,16,64]"


def plan(*more, widths=(8, 16, 32)):
    """Runs of six replicates and every width."""
    rows = [
        (*PINS, *more, f"model.d_model={w}", f"seed={s}", f"data.split_seed={s}")
        for w in widths
        for s in range(6)
    ]
    return load_many([[[Given(text, "test") for text in row]] for row in rows])


def records_of(runs, written, bits, steps=STEPS):
    """What records would say. written, bits: of (level, canary [n], run, part of the training)."""
    out = {}
    for run in runs:
        listed = []
        (arm,) = canaries.arms(run.data, run.steps)
        for level in run.data.repeats:
            who = np.arange(N)
            tails = [np.where(written(level, who, run, s / run.steps), 16, 0) for s in steps]
            lengths = [bits(level, who, run, s / run.steps).astype(float) for s in steps]
            listed.append(
                {
                    "group": len(listed) + 1,
                    "kind": 1,
                    "length": arm.length,
                    "noise": 0,
                    "replaced": 0,
                    "window_first": arm.window.first,
                    "window_end": arm.window.end,
                    "spacing": None,
                    "repeats": level,
                    "canaries": N,
                    "exposure": 2.0,
                    "held_bits": 0.0,
                    "auc": None,
                    "extractable": 0.0,
                    "bits": lengths[-1].tolist(),
                    "tails": tails[-1].tolist(),
                    "bits_at": [one.tolist() for one in lengths],
                    "tails_at": [one.tolist() for one in tails],
                    "first_update": [1 + i // 8 if level else None for i in who],
                }
            )
        out[run.run_id] = listed
    return out


def found(runs, written, bits):
    rows = run_table.table(Path("no such folder"), runs)
    rows = rows.assign(status="finished", gain_last_tenth=0.0)
    steps = {run.run_id: list(STEPS) for run in runs}
    return analysis.analysed(runs, rows, records_of(runs, written, bits), "study", steps)


def hard(level, who, run):
    """How hard each canary is, the same in every model of a replicate, 0 to 1."""
    return np.random.default_rng([level, run.seed]).permutation(N)[who] / N


def size(run):
    return {8: 0.1, 16: 0.3, 32: 0.6}[run.model.d_model]


def planted(level, who, run, part):
    """Written out: the easiest, more of them in larger models, after more copies and later."""
    if not level:
        return np.zeros(len(who), bool)
    return hard(level, who, run) < size(run) * part * np.log2(level) / 4


def lengths(level, who, run, part):
    """Code lengths that follow how hard a canary is."""
    base = 256 * np.ones(len(who)) if not level else 200 + 40 * hard(level, who, run)
    return base - 10 * np.log2(1 + level) * part


def sizes(*more):
    return plan(LEVELS, WINDOW, *more)


def test_smaller_models_and_earlier_steps_foresee_what_is_planted():
    """Sets are nested, so that precision is 1, and recall the ratio of the sets' sizes."""
    one = found(sizes(), planted, lengths)
    rows = {(r["small"], r["large"]): r for r in one.numbers["forecasts"]}
    assert len(rows) == 3
    low, middle, high = sorted({p for pair in rows for p in pair})
    for pair, ratio in {(low, high): 1 / 6, (middle, high): 1 / 2, (low, middle): 1 / 3}.items():
        row = rows[pair]
        assert row["precision"]["value"] == 1.0 and row["replicates"] == 6
        assert row["recall"]["value"] == pytest.approx(ratio, abs=0.06)
        assert row["within"]["value"] == 1.0 and row["within_above_guessing"]["p"] == 2 / 64
        assert row["precision_above_recall"]["p"] == 2 / 64
    mine = [r for r in one.numbers["earlier"] if r["parameters"] == high]
    assert [r["step"] for r in mine] == list(STEPS[:-1])
    for row in mine[1:]:
        assert row["recall"]["value"] == pytest.approx(row["cost"], abs=0.06)
        assert row["asked"] == 3 * N
    assert mine[0]["asked"] == 3 * 16  # seen by the second update
    told = {r["axis"]: r for r in one.numbers["orders"] if r["outcome"] == "recall"}
    assert set(told) == {"size of the predictor", "step of the predictor", orders.PRECISION}
    assert all(r["verdict"] == "agrees" for r in told.values())
    text = " ".join(terminal.render(kinds.document(one)).split())
    assert "at 50.0% of their training for its end: precision 1.00" in text
    assert "a forecast's precision beside its recall is higher, as published (recall: 0.356" in text
    assert "Of equal copies its code length tells who will be" in text
    assert set(plots.draw(one)) == set(kinds.document(one).figures) == {"held", "forecasts"}
    assert max(map(len, terminal.render(kinds.document(one)).splitlines())) <= 80


def test_at_equal_cost_recalls_are_paired_by_replicate():
    """A model of cost c recalls 1/6 or 1/2, the target at this part of its training c: straight
    between snapshots over the logarithm, so within 0.06 of c."""
    one = found(sizes(), planted, lengths)
    for row in one.numbers["equal_cost"]:
        assert row["cost"] == row["small"] / row["large"] and row["replicates"] == 6
        known = [r for r in one.numbers["earlier"] if r["parameters"] == row["large"]]
        costs = np.log([r["cost"] for r in known])
        values = [r["recall"]["value"] for r in known]
        expected = np.interp(np.log(row["cost"]), costs, values)
        assert row["earlier"]["value"] == pytest.approx(expected)
        difference = row["smaller"]["value"] - row["earlier"]["value"]
        assert row["difference"]["value"] == pytest.approx(difference)
    outside = found(sizes(), planted, lengths).numbers
    early = [r for r in outside["earlier"] if r["cost"] < 0.1]
    assert forecasts.at_equal_cost(outside["forecasts"], early) == []


def test_a_predictor_that_foresees_nothing_has_a_recall_of_nothing():
    """And no precision; replicates whose target writes nothing say nothing."""

    def written(level, who, run, part):
        wide = run.model.d_model == 16 and run.seed != 5
        return (part == 1.0) & wide & (level == 64) & (who < 6) | (
            (run.model.d_model == 8) & (run.seed == 0) & (level == 64) & (who < 3) & (part == 1.0)
        )

    one = found(plan(LEVELS, WINDOW, widths=(8, 16)), written, lengths)
    (row,) = one.numbers["forecasts"]
    assert row["replicates"] == 5 and row["of"] == 6
    assert row["recall"]["value"] == pytest.approx(0.5 / 5) and row["recall"]["replicates"] == 5
    assert row["precision"]["value"] == 1.0 and row["precision"]["replicates"] == 1
    assert row["by_replicate"]["5/5/0"] is None
    text = " ".join(terminal.render(kinds.document(one)).split())
    assert "cannot tell a difference to a ranking by copies" in text


def test_lengths_that_know_nothing_are_told_as_guessing():
    """Code lengths follow the copies exactly, and among equal copies nothing."""

    def blind(level, who, run, part):
        noise = np.random.default_rng([level, run.seed, 1, round(100 * part)]).random(len(who))
        return 256 - 20 * np.log2(1 + level) + noise

    one = found(sizes(), planted, blind)
    for row in one.numbers["forecasts"]:
        low, high = row["within"]["interval"]
        assert low < 0.5 < high
    assert "cannot tell whether its code length knows more" in " ".join(
        terminal.render(kinds.document(one)).split()
    )


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 2)), max_size=12))
def test_within_is_the_part_of_pairs_of_equal_copies_that_are_in_order(drawn):
    bits, target, copies = (np.array(x) for x in zip(*drawn, strict=True)) if drawn else [[]] * 3
    pairs = [
        (bits[i] < bits[j]) + (bits[i] == bits[j]) / 2
        for i in range(len(drawn))
        for j in range(len(drawn))
        if target[i] and not target[j] and copies[i] == copies[j]
    ]
    ours = within(np.array(bits, float), np.array(target, bool), np.array(copies))
    assert ours == (pytest.approx(sum(pairs) / len(pairs)) if pairs else None)


def test_runs_without_snapshots_have_no_earlier_forecasts():
    runs = sizes()
    rows = run_table.table(Path("no such folder"), runs)
    rows = rows.assign(status="finished", gain_last_tenth=0.0)
    one = analysis.analysed(runs, rows, records_of(runs, planted, lengths), "study")
    assert one.numbers["earlier"] == one.numbers["equal_cost"] == []
    assert "forecasts" not in plots.draw(one)


def test_an_old_file_is_read_with_its_numbers():
    one = {"system": "all runs", "tokens": 10, "small": 5, "large": 20, "replicates": 1, "of": 6}
    one |= {"foreseen": 2.0, "written": 4.0, "precision": {"value": 1.0, "interval": None}}
    one |= {"recall": {"value": 0.5, "interval": None}, "precision_above_copies": None}
    one |= {"recall_above_copies": {"value": 0.1, "interval": None, "p": 1.0}}
    new = convert.current({"kind": "items", "schema": 2, "forecasts": [one]})
    assert new["schema"] == analysis.SCHEMA and new["earlier"] == new["equal_cost"] == []
    (row,) = new["forecasts"]
    assert row["recall"] == one["recall"] and row["cost"] == 0.25 and row["within"] is None
