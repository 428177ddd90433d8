"""Orders by permutation within replicates, and what a plan adds to a table of runs."""

import numpy as np
import pandas as pd
import pytest

from capacity.analysis import planned_runs
from capacity.analysis.order_verdicts import judged


def grid(slope, replicates=6, conditions=3, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    rows = slope * np.arange(conditions) + noise * rng.normal(size=(replicates, conditions))
    return pd.DataFrame(rows, columns=[2**i for i in range(conditions)])


@pytest.mark.parametrize(
    "slope, sign, verdict",
    [
        (1.0, 1, "agrees"),
        (1.0, -1, "differs"),
        (-1.0, -1, "agrees"),
        (-1.0, 1, "differs"),
        (1.0, 0, "shown"),
        (-1.0, 0, "shown"),
        (0.0, 1, "cannot tell"),
        (0.0, 0, "cannot tell"),
    ],
)
def test_a_planted_order_gives_its_verdict(slope, sign, verdict):
    found = judged(grid(slope), sign)
    assert found["verdict"] == verdict
    assert found["means"] == pytest.approx(grid(slope).mean().tolist())
    assert found["reason"] == (None if verdict != "cannot tell" else "p is above 5%")


def test_two_conditions_of_five_replicates_cannot_reach_the_level():
    found = judged(grid(1.0, replicates=5, conditions=2), 1)
    assert found["smallest_p"] == found["p"] == 2 / 32
    assert found["verdict"] == "cannot tell"
    assert found["reason"] == "5 replicates cannot reach a p of 5%"


def test_a_replicate_with_a_gap_is_left_out_and_none_is_told():
    gap = grid(1.0)
    gap.iloc[0, 1] = np.nan
    assert judged(gap, 1)["replicates"] == 5
    none = judged(gap.iloc[:1], 1, empty="nobody")
    assert (none["means"], none["replicates"], none["p"]) == ([], 0, None)
    assert (none["verdict"], none["reason"]) == ("cannot tell", "nobody")


def test_a_reason_against_any_verdict_keeps_the_numbers():
    found = judged(grid(1.0), 1, but="2 runs still rise")
    assert found["verdict"] == "cannot tell" and found["reason"] == "2 runs still rise"
    assert found["p"] < 0.05 and found["slope"] > 0


def test_a_plan_goes_over_the_columns_of_a_table():
    table = pd.DataFrame(
        {"run_id": ["a", "b", "c"], "size": [1, 2, 3], "status": ["finished", "missing", "failed"]}
    )
    known = pd.DataFrame({"run_id": ["c", "b"], "size": ["30", "20"]})
    runs = planned_runs.beside(table, known)
    assert dict(zip(runs.run_id, runs["size"], strict=True)) == {"b": "20", "c": "30"}
    assert planned_runs.unfinished(runs) == {"missing": ["b"], "failed": ["c"]}
    with pytest.raises(pd.errors.MergeError):
        planned_runs.beside(table, pd.concat([known, known]))


def test_measures_are_those_of_finished_runs_that_have_them(tmp_path, monkeypatch):
    kept = {"a": {"measures": {"it": 1}}, "b": {"measures": {}}, "c": {"measures": {"it": 3}}}
    monkeypatch.setattr(planned_runs.records, "read", lambda results, run_id: kept.get(run_id))
    table = pd.DataFrame(
        {"run_id": [*"abcd"], "status": ["finished", "finished", "failed", "finished"]}
    )
    assert planned_runs.measured(table, tmp_path, "it") == {"a": 1}
