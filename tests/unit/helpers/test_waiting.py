"""The helper that other tests wait with."""

import pytest

from waiting import patience, wait_until


def test_it_returns_what_it_waited_for_and_says_what_did_not_come(monkeypatch):
    values = iter([0, "", None, 7])
    assert wait_until(lambda: next(values), "a seven", every=0.0) == 7
    monkeypatch.setenv("CAPACITY_TEST_PATIENCE", "0.5")
    assert patience(60) == 30
    with pytest.raises(TimeoutError, match="waited 0 s for a thing that is never there"):
        wait_until(lambda: False, lambda: "a thing that is never there", deadline=0.02, every=0.001)


@pytest.mark.parametrize("factor", ["", "0", "-1", "much", "nan"])
def test_patience_is_a_positive_number(monkeypatch, factor):
    monkeypatch.setenv("CAPACITY_TEST_PATIENCE", factor)
    with pytest.raises(ValueError, match=f"CAPACITY_TEST_PATIENCE={factor}: allowed"):
        patience()
