"""Planted truth, in short; scripts/coverage.py is the whole."""

import pytest

from capacity.fitting.coverage import coverage, once
from capacity.fitting.simulated import STUDIES


@pytest.mark.parametrize(
    "name,least",
    [
        ("capacity_power, few", 0.87),
        ("smooth_corner, even", 0.87),
        ("exposure_exponential, rough", 0.85),
        ("precision_noise, even", 0.87),
    ],
)
def test_intervals_cover_and_estimates_are_unbiased(name, least):
    """60 studies and two to four numbers each: 0.95 has a standard error of 0.028 for one
    number."""
    for row in coverage(STUDIES[name], range(2000, 2060)):
        assert row["coverage"] >= least and abs(row["bias_sd"]) < 0.6 and row["refused"] == 0, row


def test_every_form_is_found_again_in_every_kind_of_study():
    hits, asked = 0, 0
    for name in STUDIES:
        for row in once(STUDIES[name], 3001):
            if not row["refused"] and "outliers" not in name:
                hits, asked = hits + (row["low"] <= row["planted"] <= row["high"]), asked + 1
    assert asked > 190 and hits / asked > 0.87


def test_percentiles_of_a_bootstrap_of_four_shapes_cover_too_little():
    rows = coverage(STUDIES["capacity_linear, few"], range(80), resamples=200)
    told = {row["method"]: row["coverage"] for row in rows if row["number"] == "alpha"}
    assert told["percentile"] < 0.86 < told["default"]
