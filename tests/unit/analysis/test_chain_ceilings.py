"""Plateaus of the ends of a chain: planted ones are found, one ceiling is not called two, and where
data or runs do not reach it nothing is said."""

import numpy as np
import pandas as pd
import pytest

from capacity.analysis.chain import ceilings as module
from capacity.analysis.convert import current

BUDGETS = (200.0, 400.0, 800.0, 1600.0, 3200.0)
ENDS = {"first": "rows", "last": "new texts", "exposures": 800.0}


def frame(plateaus, clocks, *, noise=0.02, seeds=3, draw=0, most=(4.9, 0.9), budgets=BUDGETS):
    """Runs of both ends that rise to their plateaus as 1 - exp(-(E / clock)^0.7)."""
    rng = np.random.default_rng(draw)
    rows = [
        {
            "family": family,
            "size": "2x8",
            "parameters": 4400.0,
            "exposures_planned": e,
            "seed": seed,
            "per_parameter": (r := plateau * (1 - np.exp(-((e / clock) ** 0.7))))
            * (1 + noise * rng.standard_normal()),
            "most": 4400.0 * top,
            "full": r > 0.9 * top,
        }
        for family, plateau, clock, top in zip(
            ("rows", "new texts"), plateaus, clocks, most, strict=True
        )
        for e in budgets
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def row(*args, **kwargs):
    (one,) = module.ceilings(frame(*args, **kwargs), ENDS)
    return one


def test_two_planted_ceilings_are_found():
    one = row((2.8, 0.3), (200.0, 500.0), noise=0.005)
    low, high = one["interval"]
    assert one["why"] == [] and low < 0.3 / 2.8 < high < 0.5
    assert one["ratio"] == pytest.approx(0.3 / 2.8, rel=0.1)
    gap = (1 - np.exp(-((800 / 500) ** 0.7))) / (1 - np.exp(-((800 / 200) ** 0.7)))
    assert one["at_equal"] == pytest.approx(gap * 0.3 / 2.8, rel=0.02)
    clock = 1 - np.log(0.3 / 2.8) / np.log(gap * 0.3 / 2.8)
    assert one["clock_interval"][0] <= clock <= one["clock_interval"][1]


def test_one_ceiling_that_is_met_later_is_not_called_two():
    one = row((2.8, 2.8), (100.0, 400.0), most=(4.9, 4.9))
    assert one["why"] == [] and one["interval"][0] < 1 < one["interval"][1]
    assert one["at_equal"] < 0.9


def test_the_interval_of_the_ratio_covers_what_was_planted():
    """95% is asked for; of 12 draws fewer than 9 would be 1 in 400 by chance, and draws are set."""
    held = 0
    for draw in range(12):
        one = row((2.8, 0.4), (150.0, 300.0), draw=draw, noise=0.03, most=(20.0, 3.0))
        low, high = one["interval"]
        held += low <= 0.4 / 2.8 <= high
    assert held >= 9


@pytest.mark.parametrize(
    ("planted", "why"),
    [
        ({"budgets": BUDGETS[:3]}, "3 exposure values"),
        ({"most": (4.9, 0.3)}, "last end: a run is full"),
        (
            {"clocks": (200.0, 4000.0), "most": (4.9, 0.32)},
            "last end: data, not runs, bound its plateau",
        ),
    ],
)
def test_what_does_not_reach_a_ceiling_is_withheld(planted, why):
    one = row((2.8, 0.3), **{"clocks": (200.0, 800.0)} | planted)
    assert any(why in reason for reason in one["why"])


def test_one_budget_is_no_question():
    assert module.ceilings(frame((2.8, 0.3), (200.0, 500.0), budgets=(800.0,)), ENDS) == []
    assert module.ceilings(frame((2.8, 0.3), (200.0, 500.0)), None) == []


def test_a_file_of_before_has_no_ceilings():
    assert current({"kind": "chain", "schema": 2, "steps": []})["ceilings"] == []
