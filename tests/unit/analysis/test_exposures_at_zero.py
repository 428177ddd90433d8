"""Runs that have learned nothing yet belong to the law over exposures."""

import numpy as np
import pytest

from capacity.analysis.facts import exposures

SEEN = np.repeat([25.0, 50.0, 100.0, 200.0, 400.0, 800.0], 4)


def test_runs_at_zero_are_fitted_and_not_left_out_by_how_they_came_out():
    """Planted: nearly nothing at 25 exposures, with noise. Over 4 studies of which many runs come
    out below 0, the law is nearer to what it was planted with there than the same law without
    them."""
    rng = np.random.default_rng(0)
    truth = exposures.curve("exponential", SEEN, 0.5, 150.0, 1.6)
    with_all, without = [], []
    for _ in range(4):
        r = truth + 0.04 * rng.standard_normal(len(SEEN))
        for keep, out in ((np.ones(len(r), bool), with_all), (r > 0, without)):
            found = exposures.fit_exposures(SEEN[keep], r[keep], 2.0)
            values = (found[name]["value"] for name in ("r_inf", "e0", "b"))
            out.append(exposures.curve(found["form"], 25.0, *values) - truth[0])
            assert found["unlearned"] == (r[keep] <= 0).sum()
    assert np.mean(without) > 0 and abs(np.mean(with_all)) < 0.75 * abs(np.mean(without))


def test_a_run_far_below_zero_counts_with_zero():
    r = exposures.curve("exponential", SEEN, 0.5, 150.0, 1.6)
    low = np.where(SEEN == 25.0, -0.3, r)
    found = exposures.fit_exposures(SEEN, low, 2.0)
    assert found["unlearned"] == 4 and found["runs"] == len(SEEN)
    assert found["r_inf"]["value"] == pytest.approx(0.5, abs=0.05)
    few = exposures.fit_exposures(SEEN, np.where(SEEN < 200, -0.1, r), 2.0)
    assert few["reason"] == "3 exposure values with R > 0, the law needs 4"


def test_fewer_than_six_runs_give_a_law_without_intervals():
    """One form goes through them by luck, and nothing can show that it is the wrong one."""
    e = np.array([100.0, 200, 400, 800, 1600, 3200])
    r = 1.2 * (1 - (1 + e / 80) ** -0.7) * (1 + 1e-3 * np.array([1, -1, 2, -2, 1, -1]))
    for n in (4, 5):
        law = exposures.fit_exposures(e[:n], r[:n], 5.0)
        assert law["reason"] is None and law["r_inf"]["value"] > r[n - 1]
        assert all(law[name]["interval"] is None for name in ("r_inf", "e0", "b", "e95"))
        assert law["e95_error"] is None
    assert exposures.fit_exposures(e, r, 5.0)["r_inf"]["interval"] is not None
