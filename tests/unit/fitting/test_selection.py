"""Held-out errors, AICc, ranked forms and records of a fit."""

import json

import numpy as np
import pytest

from capacity.fitting import selection
from capacity.fitting.fit import fit
from capacity.fitting.forms import FORMS, form
from capacity.fitting.points import Points
from fit_points import drawn


def test_a_held_out_scale_is_told_by_the_others():
    p = np.repeat([1e3, 1e4, 1e5], 2)
    found = fit("capacity_linear", Points({"parameters": p}, 3 * p**0.9), delta=np.inf)
    held = selection.held_out(found, "parameters")
    assert (
        held["largest"]["percent"] == pytest.approx(100 * (10**0.15 - 1), rel=1e-5)
        and held["extrapolation"] == 10
    )  # searched to 1e-10
    assert selection.held_out(
        fit("capacity_power", Points({"parameters": p}, 3 * p**0.9), delta=np.inf),
        "parameters",
    )["rms_percent"] == pytest.approx(0, abs=1e-6)
    assert (
        "2 group(s)"
        in selection.held_out(
            fit("capacity_linear", Points({"parameters": p[:4]}, 3 * p[:4])), "parameters"
        )["reason"]
    )
    study, points = drawn("chinchilla")
    found = fit("chinchilla", points)
    held = selection.held_out(found, "parameters")
    n = points.x["parameters"]
    rest = fit(
        "chinchilla",
        Points({k: a[n < n.max()] for k, a in points.x.items()}, points.y[n < n.max()]),
        delta=found.problem.delta,
    )
    top = {k: a[n == n.max()] for k, a in points.x.items()}
    assert (
        held["largest"]["error"]
        == pytest.approx((rest.predict(top) - points.y[n == n.max()]).mean(), abs=1e-5)
        and abs(held["rms_percent"]) < 2
    )


def test_the_form_that_was_planted_wins():
    for truth, other in (
        ("exposure_exponential", "exposure_log"),
        ("forgetting_exponential", "forgetting_log"),
        ("precision_noise", "precision_effective"),
    ):
        study, points = drawn(truth)
        rows = selection.compare_forms([other, truth], points, form(truth).variables[0].name)
        assert (
            rows[0]["form"] == truth
            and rows[0]["aicc_difference"] == 0
            and rows[0]["akaike_weight"] > 0.99
            and rows[1]["held_out"]["rms"] > rows[0]["held_out"]["rms"]
        )


def test_akaikes_criterion_by_hand():
    study, points = drawn("capacity_power")
    found = fit("capacity_power", points)
    x, y = np.log(points.x["parameters"]), np.log(points.y)
    residual = y - np.polyval(np.polyfit(x, y, 1), x)
    n, sd = len(y), np.sqrt(np.mean(residual**2))
    likelihood = (
        -n * np.log(sd * np.sqrt(2 * np.pi)) - n / 2 - y.sum()
    )  # of bits, not of their logarithm
    assert selection.aicc(found)["value"] == pytest.approx(
        -2 * likelihood + 6 + 24 / (n - 4), rel=1e-9
    )


@pytest.mark.parametrize("name", FORMS)
def test_the_record_of_a_fit_is_json_and_holds_the_numbers_in_full(name):
    study, points = drawn(name, kind="rough")
    found = fit(name, points)
    told = selection.record(found, form(name).variables[0].name, at=study.at, resamples=40)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert {n: p["value"] for n, p in told["parameters"].items()} == found.values and told["form"][
        "interval"
    ] == told["intervals"][form(name).names[0]]["method"]
    assert (
        told["intervals"]["at 0"]["low"]
        < told["intervals"]["at 0"]["value"]
        < told["intervals"]["at 0"]["high"]
    )
    assert len(told["covariance"]["matrix"]) == len(told["covariance"]["of"]) == len(found.values)
    assert (
        told["bootstrap"]["unconverged"] < 0.1
        and set(told["bootstrap"]["at_bound"]) == set(found.values)
        and told["held_out"]["reason"] is None
    )
    off = abs(
        told["other_losses"]["squared"][form(name).names[0]] / found.values[form(name).names[0]] - 1
    )
    assert off < 0.5 and told["loss"]["sum"] is True
