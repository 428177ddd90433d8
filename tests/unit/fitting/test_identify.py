"""What points cannot tell has no interval, whatever the form, and what they can tell keeps its
own."""

import dataclasses

import numpy as np
import pytest

from capacity.fitting import intervals
from capacity.fitting.fit import fit
from capacity.fitting.forms import FORMS
from capacity.fitting.identify import NOT_IDENTIFIED, freedom
from capacity.fitting.points import Points
from capacity.fitting.simulated import STUDIES
from fit_points import EPOCH, drawn


def surface(n, d, noise=0.003):
    dice, x = np.random.default_rng(5), {"parameters": n, "tokens": d}
    y = FORMS["chinchilla"].predict(x, EPOCH)
    return Points(x, y * np.exp(noise * dice.standard_normal(len(y))))


def lost(ends):
    return {k for k, e in ends.items() if (e["reason"] or "").startswith(NOT_IDENTIFIED)}


def test_one_budget_of_tokens_tells_no_exponent_of_them_but_all_about_size():
    points = surface(np.geomspace(5e7, 5e9, 12), np.full(12, 4.4e9))
    found = fit("chinchilla", points, delta=np.inf)
    at = {"parameters": [1e9, 1e9], "tokens": [4.4e9, 4.5e9]}
    told = intervals.of(found, at=at, derived={"same": (lambda t: t[0] + t[2] / 4.4e9 ** t[4], "")})
    assert lost(told) == {"e", "b", "beta", "at 1"}
    assert all(told[k]["low"] is None and told[k]["high"] is None for k in lost(told))
    assert "because tokens is 4.4e+09 at every point" in told["beta"]["reason"]
    # what the points do tell is what a fit with the constant in one piece tells
    alone = intervals.of(
        fit("chinchilla", points, delta=np.inf, fixed={"b": 1e-20, "beta": 0.0}),
        at={"parameters": 1e9, "tokens": 4.4e9},
    )
    for name in ("a", "alpha", "at 0"):
        assert told[name]["value"] == pytest.approx(alone[name]["value"], rel=1e-4)
        assert told[name]["low"] < told[name]["value"] < told[name]["high"]
    assert told["same"]["reason"] is None and told["same"]["low"] < told["same"]["high"]
    held = intervals.of(fit("chinchilla", points, fixed={"b": 2085.4, "beta": 0.366}))
    assert not lost(held) and all(e["low"] is not None for e in held.values())


def test_one_size_tells_nothing_of_size():
    found = fit("chinchilla", surface(np.full(9, 1e9), np.geomspace(1e9, 1e12, 9)))
    assert lost(intervals.of(found)) == {"e", "a", "alpha"}


def test_two_budgets_of_tokens_tell_their_levels_but_no_law_of_them():
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(5e7, 5e9, 6), [1e9, 1e10]))
    told = intervals.of(fit("chinchilla", surface(n, d)))
    assert lost(told) == {"e", "b", "beta"}
    assert told["e"]["reason"].endswith("because tokens has only 2 different values")


def test_tokens_in_step_with_parameters_cannot_tell_the_two_powers_apart():
    n = np.geomspace(1e7, 1e10, 40)
    for noise in (0.003, 0.03):
        told = intervals.of(fit("chinchilla", surface(n, 20 * n, noise)))
        assert {"a", "b", "alpha", "beta"} & lost(told)
        assert all(e["low"] is None for e in told.values()), told
        assert any("tokens is 20.0 times parameters" in e["reason"] for e in told.values())


@pytest.mark.parametrize("name", FORMS)
def test_a_full_design_tells_every_parameter_of_every_form(name):
    _, points = drawn(name)
    found = fit(name, points)
    assert not freedom(found).lost


SINGULAR = {  # one place of a variable, by form: parameters that it cannot tell
    "capacity_affine": ("parameters", {"c0", "alpha"}),
    "capacity_power": ("parameters", {"a", "gamma"}),
    "exposure_exponential": ("exposures", {"r_inf", "e0", "b"}),
    "precision_effective": ("bits_per_weight", {"c", "b0"}),
    "membership": ("tokens_per_parameter", {"c", "s", "t0"}),
    "extraction_logistic": ("parameters", {"a", "c"}),
    "held_logistic": ("tokens", {"a", "d"}),
    "forgetting_power": ("lag", {"a", "t0", "b"}),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_points_at_one_place_tell_no_slope(name):
    variable, unknown = SINGULAR[name]
    study, points = drawn(name)
    x = dict(points.x) | {variable: np.full(len(points.y), np.median(points.x[variable]))}
    x[variable] = np.full(len(points.y), float(np.median(points.x[variable])))
    dice = np.random.default_rng(2)
    value = FORMS[name].predict(x, STUDIES[f"{name}, even"].truth)
    y = value * np.exp(0.01 * dice.standard_normal(len(value)))
    found = fit(name, Points(x, np.clip(y, None, FORMS[name].target.high)))
    at_bound = set(found.search["at_bound"])
    told = intervals.of(found)
    assert unknown - at_bound <= lost(told) <= unknown, told
    for key in lost(told):
        assert told[key]["low"] is None and told[key]["high"] is None


def test_a_plateau_does_not_tell_how_it_is_approached():
    dice = np.random.default_rng(1)
    x = {"exposures": np.repeat([1e4, 1e5, 1e6], 4)}
    y = 2.0 * np.exp(0.02 * dice.standard_normal(12))
    told = intervals.of(fit("exposure_exponential", Points(x, y)))
    assert told["r_inf"]["low"] < 2.02 < told["r_inf"]["high"] and lost(told) == {"e0", "b"}


def test_an_interval_as_wide_as_the_search_is_none():
    """Four noisy points: no exponent between the bounds of the search is ruled out, though the
    design has full rank."""
    dice = np.random.default_rng(5)
    x = {"exposures": np.array([50.0, 100.0, 200.0, 400.0, 800.0])}
    y = FORMS["exposure_power"].predict(x, {"r_inf": 2.0, "e0": 200.0, "b": 1.0})
    found = fit("exposure_power", Points(x, y * np.exp(0.2 * dice.standard_normal(5))))
    assert not freedom(found).lost
    told = intervals.of(found)
    assert lost(told) == {"b"} and "no value between the bounds" in told["b"]["reason"]


def test_what_no_point_depends_on_is_named():
    study, points = drawn("smooth_corner")
    x = dict(points.x) | {"ceiling_bits": np.full(len(points.y), 1e300)}
    told = freedom(fit("smooth_corner", Points(x, 3.6 * np.asarray(points.x["parameters"])))).lost
    assert told.get("k") == f"{NOT_IDENTIFIED}: k changes no fitted value"


def test_a_large_table_needs_no_square_matrix_of_its_points():
    """20,000 points squared would be 3.2 GB."""
    import tracemalloc

    dice = np.random.default_rng(0)
    n, d = np.exp(dice.uniform(18, 23, 20_000)), np.exp(dice.uniform(21, 26, 20_000))
    found = fit("chinchilla", surface(n, d), starts=np.array([list(EPOCH.values())]), delta=np.inf)
    tracemalloc.start()
    assert not freedom(found).lost
    assert tracemalloc.get_traced_memory()[1] < 100 * 8 * 20_000
    tracemalloc.stop()


@pytest.mark.parametrize("seed", range(6))
def test_of_a_flat_valley_a_point_between_its_bounds_is_taken(seed):
    """At one budget of tokens E and B / D^beta are one constant, so that either may be 0. Noise of
    a unit in the last place chooses among such ends, as another CPU does, and must not change what
    is told."""
    points = surface(np.geomspace(5e7, 5e9, 12), np.full(12, 4.4e9))
    noise = 1 + np.random.default_rng(seed).choice([-1, 0, 1], 12) * np.finfo(float).eps
    found = fit("chinchilla", dataclasses.replace(points, y=points.y * noise), delta=np.inf)
    assert found.search["at_bound"] == []
    assert lost(intervals.of(found)) == {"e", "b", "beta"}
