"""Every published value is met by planted runs that agree with it, that differ, and that cannot
tell: a verdict that cannot come out otherwise is none."""

import pytest

import planted_values
from capacity.published import values as published

PLANTED = [id for id in published.values() if id not in planted_values.FORMULAS]
HEAVY = {
    "morris/mean_fp32",
    "morris/mean_bf16",
    "morris/slope_bf16",
}  # plateaus of a whole table, up to a minute each


def test_every_value_is_planted():
    """All 62: two are formulas, which test_planted_formulas.py plants."""
    assert all(published.get(id).constants for id in planted_values.FORMULAS)
    assert len(PLANTED) + len(planted_values.FORMULAS) == len(published.values()) == 62


@pytest.mark.parametrize(
    "id",
    [
        pytest.param(id, marks=[pytest.mark.slow, pytest.mark.long] if id in HEAVY else [])
        for id in PLANTED
    ],
)
def test_a_planted_truth_gives_its_verdict(id):
    found = {case: planted_values.verdict(id, case) for case in planted_values.CASES}
    assert {case: row["verdict"] for case, row in found.items()} == {
        case: case for case in planted_values.CASES
    }, {case: (row["measured"], row["interval"], row["reason"]) for case, row in found.items()}
    low, high = published.get(id).range
    for case, inside in (("agrees", True), ("differs", False)):
        assert (low <= planted_values.truth(published.get(id), case) <= high) is inside
    assert found["cannot tell"]["interval"] is None or (
        found["cannot tell"]["interval"][0] < high and found["cannot tell"]["interval"][1] > low
    )


OF_PEOPLE = [id for id in PLANTED if published.get(id).quantity]


@pytest.mark.parametrize("id", OF_PEOPLE)
def test_runs_that_learned_nothing_never_agree(id):
    """R of 0 and answers by frequency alone: no value may call that a replication."""
    found = planted_values.verdict(id, "nothing")
    assert found["verdict"] != "agrees", (found["measured"], found["interval"], found["reason"])
