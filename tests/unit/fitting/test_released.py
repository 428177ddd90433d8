"""Intervals of other numbers where a parameter was stopped at its bound, and residuals of fits that
leave nothing."""

import warnings

import numpy as np
import pytest

from capacity.analysis.text import membership_law as law
from capacity.fitting import intervals
from capacity.fitting.fit import fit
from capacity.fitting.points import Points

SIZES = np.repeat([1.3, 1.8, 2.6, 3.6, 5.0, 7.0], 3)
TRUTH = (1.6, 2.0, 3.0)  # c1 within its bounds, so that only noise puts it on one


def studies(count):
    """Fits of F1 by runs, those of which c1 stopped at 2, with their own interval of the t at which
    F1 is 0.6, and the one that holds c1 there."""
    f = law.logarithmic(SIZES, *TRUTH)
    noise = 0.03 * np.sqrt(16 * np.maximum((1 - f) * (f - 0.5), 0))
    number = {"t": (lambda theta: law.crossing_logarithmic(0.6, *theta) or np.nan, "")}
    out = []
    for draw in range(count):
        y = np.minimum(1.0, f + np.random.default_rng([draw, 5]).normal(0, 1, len(f)) * noise)
        found = fit("membership_log", Points({"tokens_per_parameter": SIZES}, y), delta=np.inf)
        if "c" in found.search["at_bound"]:
            out.append(found)
    return [(intervals.of(one, derived=number)["t"], one) for one in out]


def held(one):
    """As before: c is taken for known."""
    number = {"t": (lambda theta: law.crossing_logarithmic(0.6, *theta) or np.nan, "")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "released", lambda _: None)
        return intervals.of(one, derived=number)["t"]


def test_a_released_interval_holds_what_one_with_the_parameter_held_misses():
    truth = law.crossing_logarithmic(0.6, *TRUTH)
    found = studies(64)
    assert len(found) >= 14
    now = np.mean([at["low"] <= truth <= at["high"] for at, _ in found])
    before = [held(one) for _, one in found]
    assert now >= 0.9
    assert np.mean([at["low"] <= truth <= at["high"] for at in before]) < 0.88
    assert all(at["released"] == ["c"] and not at["held"] for at, _ in found)
    assert all(at["held"] == ["c"] for at in before)


def test_a_parameter_that_points_do_not_tell_apart_stays_held():
    """At one t the height and the place move together: nothing can be released."""
    t = np.repeat([0.5, 0.6], 4)
    y = np.clip(0.99 + np.random.default_rng(3).normal(0, 0.004, t.size), 0.5, 1.0)
    found = fit(
        "membership", Points({"tokens_per_parameter": t}, y), delta=np.inf, fixed={"s": 0.5}
    )
    if found.search["at_bound"]:
        loose = intervals.released(found)
        assert loose is None or not loose.search["at_bound"]


@pytest.mark.parametrize("delta", [None, np.inf])
def test_points_on_which_the_form_is_cut_off_have_no_noise_and_no_warning(delta):
    """F1 of 1 everywhere: no parameter moves a fitted value, so that all weights were 0 / 0."""
    t = np.array([1.0, 2.0, 4.0, 8.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit("membership", Points({"tokens_per_parameter": t}, np.ones(4)), delta=delta)
    assert found.sigma == 0.0
