"""Covariance by clusters, profiles, pooled intervals and bootstraps."""

import math
from dataclasses import replace

import numpy as np
import pytest

from capacity.fitting import bootstrap, intervals
from capacity.fitting.covariance import spread_of
from capacity.fitting.fit import fit
from capacity.fitting.points import Points
from capacity.fitting.solve import Problem
from fit_points import drawn


def test_equal_clusters_and_squared_loss_give_students_interval_exactly():
    from scipy.stats import linregress, t

    dice, p = np.random.default_rng(1), np.geomspace(4e3, 1e6, 6)
    y = (2.5 * p**1.03 * np.exp(0.05 * dice.standard_normal(6)))[:, None] * np.exp(
        0.01 * dice.standard_normal((6, 4))
    )
    found = fit(
        "capacity_power",
        Points({"parameters": np.repeat(p, 4)}, y.ravel(), np.repeat(np.arange(6), 4)),
        delta=np.inf,
    )
    line = linregress(
        np.log(p), np.log(y).mean(1)
    )  # shape means are what the noise of shapes leaves
    told = intervals.of(found)["gamma"]
    assert (
        told["method"] == "pooled"
        and told["dof"] == pytest.approx(4)
        and told["error"] == pytest.approx(line.stderr, rel=1e-9)
    )
    assert told["high"] == pytest.approx(line.slope + t.ppf(0.975, 4) * line.stderr, rel=1e-9)
    ratio = fit(
        "capacity_linear",
        Points({"parameters": np.repeat(p, 4)}, y.ravel(), np.repeat(np.arange(6), 4)),
        delta=np.inf,
    )
    means, robust = (
        np.log(y.mean(1) * 0 + np.exp(np.log(y).mean(1)) / p),
        intervals.of(ratio, method="wald")["alpha"],
    )
    assert robust["dof"] == pytest.approx(5) and robust["error"] == pytest.approx(
        means.std(ddof=1) / math.sqrt(6), rel=1e-9
    )


@pytest.mark.parametrize("method", ["wald", "profile", "pooled"])
def test_copies_inside_of_a_cluster_tell_nothing_new(method):
    study, points = drawn("smooth_corner")
    one, many = (
        fit(
            "smooth_corner",
            replace(
                points,
                x={k: np.tile(a, m) for k, a in points.x.items()},
                y=np.tile(points.y, m),
                cluster=np.tile(points.cluster, m),
            ),
            delta=np.inf,
        )
        for m in (1, 3)
    )
    ends = [intervals.of(found, method=method)["alpha"] for found in (one, many)]
    assert ends[1]["high"] - ends[1]["low"] == pytest.approx(
        ends[0]["high"] - ends[0]["low"], rel=0.12 if method == "pooled" else 1e-2
    )
    row = intervals.of(
        fit("smooth_corner", replace(many.points, cluster=None), delta=np.inf),
        method=method,
    )["alpha"]
    assert row["high"] - row["low"] < 0.7 * (
        ends[0]["high"] - ends[0]["low"]
    )  # by row it would have shrunk
    drawn_ = [bootstrap.draw(found, 300).theta[:, 0].std() for found in (one, many)]
    assert drawn_[1] == pytest.approx(drawn_[0], rel=1e-3)


def test_profile_and_wald_agree_where_the_form_is_nearly_straight_and_no_interval_has_a_reason():
    study, points = drawn("chinchilla")
    found = fit("chinchilla", points, delta=np.inf)
    wald, profile = (intervals.of(found, method=m, at=study.at) for m in ("wald", "profile"))
    for name in ("e", "beta"):
        assert profile[name]["low"] == pytest.approx(wald[name]["low"], rel=0.02) and profile[name][
            "high"
        ] == pytest.approx(wald[name]["high"], rel=0.02)
    two = fit("chinchilla", replace(points, cluster=np.arange(len(points.y)) % 2), delta=np.inf)
    assert all(
        entry["low"] is None and "2 cluster(s)" in entry["reason"]
        for entry in intervals.of(two).values()
    )
    with pytest.raises(ValueError, match="use one of wald, profile, pooled"):
        intervals.of(found, method="bayes")


def test_a_profile_ends_where_the_best_fit_is_worse_by_what_it_says():
    study, points = drawn("exposure_power")
    found = fit("exposure_power", replace(points, sd=None), delta=np.inf)
    told, spread = intervals.of(found, method="profile")["b"], spread_of(found)
    j = found.form.index("b")
    from scipy.special import stdtrit

    rise = stdtrit(told["dof"], 0.975) ** 2 * spread.covariance[j, j] / spread.inverse[j, j] / 2
    for end in (told["low"], told["high"]):
        held = fit("exposure_power", replace(points, sd=None), delta=np.inf, fixed={"b": end})
        assert held.objective - found.objective == pytest.approx(rise, rel=0.01)


def test_resamples_are_the_fits_of_least_squares_to_the_drawn_clusters():
    study, points = drawn("smooth_corner")
    found = fit("smooth_corner", points)
    resampled = bootstrap.draw(found, 50, seed=4)
    times = np.random.default_rng(4).multinomial(8, np.full(8, 1 / 8), size=50)
    from scipy.optimize import least_squares

    for b in (0, 7, 23):
        rows = np.concatenate(
            [np.flatnonzero(found.codes == c) for c in range(8) for _ in range(times[b, c])]
        )
        p = found.problem
        part = Problem(
            p.form,
            p.transform,
            {k: a[rows] for k, a in p.x.items()},
            p.t[rows],
            p.root[rows],
            p.censored[rows],
            p.low,
            p.high,
        )
        other = least_squares(
            lambda u: part.errors(u[None])[0],
            found.u,
            loss="huber",
            f_scale=p.delta,
            xtol=1e-14,
            ftol=1e-14,
            gtol=1e-14,
        )
        np.testing.assert_allclose(resampled.u[b], other.x, atol=2e-5)
    ends = {
        m: bootstrap.intervals(found, resampled, m)["alpha"]
        for m in ("percentile", "studentized", "bca")
    }
    assert (
        all(entry["low"] < found.values["alpha"] < entry["high"] for entry in ends.values())
        and ends["percentile"]["at_bound"] == 0.0
    )
    assert ends["percentile"]["low"] == np.quantile(resampled.theta[:, 0], 0.025)
