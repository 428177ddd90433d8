"""The two published formulas of F1, planted: what a study of text finds of runs that follow one."""

import pytest

import planted_values
from capacity.analysis.text import membership_law as law
from capacity.published import values as published

CROSSING = "morris/f1_at_75"


def found(curve):
    numbers = planted_values.of_texts(CROSSING, "agrees", curve)
    (verdict,) = [row for row in numbers["verdicts"] if row["published"]["id"] == CROSSING]
    return numbers["laws"]["f1_median"], verdict


def test_runs_that_follow_the_repaired_formula_have_its_constants_and_agree():
    fitted, verdict = found(lambda t: law.repaired(t, **law.PUBLISHED))
    for name, value in law.PUBLISHED.items():
        low, high = fitted["intervals"][name]
        assert low < value < high and high - low < 0.5 * value, name
    assert verdict["verdict"] == "agrees"
    assert verdict["measured"] == pytest.approx(published.get(CROSSING).value, rel=0.02)


@pytest.mark.parametrize(("stretch", "said"), [(4.0, "differs"), (0.25, "differs")])
def test_runs_that_follow_it_elsewhere_differ(stretch, said):
    """The same curve at four times and at a quarter of the tokens per parameter."""
    _, verdict = found(lambda t: law.repaired(t / stretch, **law.PUBLISHED))
    assert verdict["verdict"] == said


def test_runs_that_follow_the_formula_as_printed_replicate_nothing():
    """It rises with the data, from 0.5 to 1.006: F1 never falls to 0.75, no verdict is formed."""
    seq_len, p = 32, 1000

    def printed(t):
        sequences = p * t / seq_len
        return min(0.999, float(law.printed(law.ALPHA * p / sequences, **law.PRINTED)))

    assert printed(0.125) < 0.55 < 0.95 < printed(16.0)
    _, verdict = found(printed)
    assert verdict["verdict"] == "cannot tell"
