"""Fits, covariances and criteria beside statsmodels and scipy's optimizer."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import least_squares
from statsmodels.tools.eval_measures import aicc as statsmodels_aicc

from capacity.fitting import intervals, selection
from capacity.fitting.covariance import spread_of
from capacity.fitting.fit import fit
from capacity.fitting.forms import FORMS
from capacity.fitting.points import Points

SEEDS = st.integers(0, 2**32 - 1)


def line(seed, n=14, noise=0.05):
    """Points of an affine law of capacity, noise growing with size, and the same as a design."""
    rng = np.random.default_rng(seed)
    p = np.sort(rng.uniform(1.0, 20.0, n))
    y = 2.0 + 3.6 * p + noise * p * rng.standard_normal(n)
    return p, y, sm.add_constant(p)


@given(SEEDS)
def test_least_squares_is_that_of_statsmodels_with_hc2_errors_where_points_are_clusters(seed):
    p, y, design = line(seed)
    fitted = fit(
        "capacity_affine",
        Points({"parameters": p}, y),
        delta=np.inf,
        transform="identity",
    )
    ols = sm.OLS(y, design).fit()
    # the minimum is polished by its gradient, so it is known to the rounding that the fit states
    room = [10 * fitted.rounding()[name] + 1e-12 for name in ("c0", "alpha")]
    assert (np.abs(fitted.theta - ols.params) <= room).all()
    robust = ols.get_robustcov_results("HC2").cov_params()
    np.testing.assert_allclose(spread_of(fitted).covariance, robust, rtol=1e-7)
    named = intervals.of(fitted, method="wald")
    assert named["alpha"]["error"] == pytest.approx(math.sqrt(robust[1, 1]), rel=1e-7)


@given(SEEDS)
def test_equal_noise_gives_the_intervals_of_ordinary_least_squares(seed):
    p, y, design = line(seed, noise=0.02)
    fitted = fit(
        "capacity_affine",
        Points({"parameters": p}, y),
        delta=np.inf,
        transform="identity",
    )
    ours = intervals.of(fitted, method="pooled", at={"parameters": [5.0]})
    ols = sm.OLS(y, design).fit()
    ends = ols.conf_int(0.05)
    for j, name in enumerate(("c0", "alpha")):
        assert (ours[name]["low"], ours[name]["high"]) == pytest.approx(ends[j], rel=1e-7)
        assert ours[name]["dof"] == pytest.approx(ols.df_resid, rel=1e-9)
    mean = ols.get_prediction([[1.0, 5.0]]).conf_int(alpha=0.05)[0]
    assert (ours["at 0"]["low"], ours["at 0"]["high"]) == pytest.approx(mean, rel=1e-7)


@given(SEEDS)
def test_likelihood_and_criterion_are_those_of_statsmodels(seed):
    p, y, design = line(seed)
    fitted = fit("capacity_affine", Points({"parameters": p}, y), transform="identity")
    ours = selection.aicc(fitted)
    ols = sm.OLS(y, design).fit()
    assert ours["log_likelihood"] == pytest.approx(ols.llf, rel=1e-9)
    assert ours["value"] == pytest.approx(statsmodels_aicc(ols.llf, len(y), 3), rel=1e-9)


@given(SEEDS)
def test_errors_of_left_out_points_are_those_of_the_hat_matrix(seed):
    p, y, design = line(seed)
    fitted = fit(
        "capacity_affine",
        Points({"parameters": p}, y),
        delta=np.inf,
        transform="identity",
    )
    ours = selection.held_out(fitted)
    influence = sm.OLS(y, design).fit().get_influence()
    left = influence.resid / (1 - influence.hat_matrix_diag)
    # refits end where one more step would gain less than 1e-10 of the objective: 1e-5 of a residual
    np.testing.assert_allclose(
        [-g["error"] for g in ours["groups"]], left, rtol=1e-4, atol=1e-5 * np.abs(left).max()
    )


@pytest.mark.parametrize("delta", [0.01, 0.05, np.inf])
@pytest.mark.parametrize("name", ["smooth_corner", "exposure_exponential", "membership"])
def test_the_minimum_of_hubers_loss_is_none_that_scipy_can_lower(name, delta):
    form, rng = FORMS[name], np.random.default_rng(4)
    truth = {
        "smooth_corner": [3.6, 5.0],
        "exposure_exponential": [2.0, 150.0, 0.8],
        "membership": [0.9, 0.9, 2.6],
    }[name]
    x = {
        "smooth_corner": {
            "parameters": np.repeat([1e4, 5e4, 2e5], 6),
            "ceiling_bits": np.tile(np.geomspace(1e4, 3e6, 6), 3),
        },
        "exposure_exponential": {"exposures": np.geomspace(20, 4000, 18)},
        "membership": {"tokens_per_parameter": np.geomspace(0.4, 12, 18)},
    }[name]
    y = form.predict(x, truth) * np.exp(0.02 * rng.standard_normal(18))
    fitted = fit(name, Points(x, y), delta=delta)
    log = form.transform == "log"

    def residuals(theta):
        f = form.predict(x, theta)
        return np.log(y) - np.log(f) if log else y - f

    loss = {"loss": "linear"} if np.isinf(delta) else {"loss": "huber", "f_scale": delta}
    best = least_squares(
        residuals, truth, x_scale=np.abs(truth), ftol=1e-15, xtol=1e-15, gtol=1e-15, **loss
    )
    ours = fitted.objective
    assert ours <= best.cost * (1 + 1e-9)
    # an objective that is known to 1e-9 of itself knows the minimum to 3e-5 of its own width
    error = np.sqrt(2e-9 * ours * np.linalg.inv(best.jac.T @ best.jac).diagonal())
    assert (np.abs(fitted.theta - best.x) <= 5 * error + 1e-6 * np.abs(best.x)).all()
