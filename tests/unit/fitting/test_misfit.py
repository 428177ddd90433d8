"""Lack of fit beside other implementations, and that it is carried where places scatter."""

import math

import numpy as np
import pytest
from scipy import stats

from capacity.fitting import fit as estimate
from capacity.fitting import intervals, misfit

X = np.repeat([1e3, 2e3, 4e3, 8e3, 16e3, 32e3], 3)


def line(off=0.0, noise=0.01, seed=1):
    """Bits of C = alpha P with noise of runs and of places, and the fit of it by least squares."""
    draw = np.random.default_rng(seed)
    places = np.repeat(draw.standard_normal(6), 3)
    y = 3 * X * np.exp(noise * draw.standard_normal(len(X)) + off * places)
    return y, estimate.fit("capacity_power", estimate.Points({"parameters": X}, y), delta=np.inf)


def test_the_ratio_is_that_of_nested_least_squares():
    """Pure error is the F test of a line in the logarithms against a mean of each place."""
    y, fitted = line(0.03)
    found = misfit.lack_of_fit(fitted, X)
    t, codes = np.log(y), np.unique(X, return_inverse=True)[1]
    design = np.column_stack([np.ones(len(X)), np.log(X)])
    rest = [t - design @ np.linalg.lstsq(design, t, rcond=None)[0]]
    rest.append(t - (np.bincount(codes, t) / 3)[codes])
    small, full = (float(r @ r) for r in rest)
    ratio = (small - full) / 4 / (full / 12)
    assert found["dof"] == [4, 12]
    assert found["ratio"] == pytest.approx(ratio, rel=1e-6)
    assert found["p"] == pytest.approx(stats.f.sf(ratio, 4, 12), rel=1e-6)


def test_each_place_has_its_own_noise_too():
    """A place that is off by 1% with a noise of 0.01% hides behind the 5% of the others from the
    ratio, and not from a test by its own noise."""
    draw = np.random.default_rng(2)
    noise = np.where(X == 8e3, 1e-4, 0.05) * draw.standard_normal(len(X))
    noise -= (np.bincount(np.arange(18) // 3, noise) / 3)[np.arange(18) // 3]  # means are exact
    y = 3 * X * np.exp(noise + np.where(X == 8e3, 0.01, 0.0))
    fitted = estimate.fit("capacity_linear", estimate.Points({"parameters": X}, y), delta=np.inf)
    found = misfit.lack_of_fit(fitted, X)
    assert found["p"] > 0.9 and found["p_each"] < 0.01


def test_levels_of_blocks_are_neither_noise_nor_misfit():
    """Three models of six places each: their levels go out of both sums (two-way analysis)."""
    draw = np.random.default_rng(3)
    block, place = np.tile(np.arange(3), 6), np.repeat(np.arange(6), 3)
    rest = 0.01 * draw.standard_normal(18)
    y = 3 * X * np.exp(rest + 0.2 * (block - 1.0))
    fitted = estimate.fit("capacity_linear", estimate.Points({"parameters": X}, y), delta=np.inf)
    found = misfit.lack_of_fit(fitted, place, block)
    t = np.log(y / X)
    grid = t.reshape(6, 3)
    both = grid - grid.mean(1, keepdims=True) - grid.mean(0) + grid.mean()
    ratio = 3 * grid.mean(1).var(ddof=1) / (float((both**2).sum()) / 10)
    assert found["dof"] == [5, 10] and found["ratio"] == pytest.approx(ratio, rel=1e-6)
    assert misfit.lack_of_fit(fitted, place)["ratio"] < ratio / 50  # levels taken for noise


def test_places_that_scatter_are_the_observations():
    """A mean over six places of three runs: its variance is that of place means over six, with five
    degrees of freedom, however many runs stand behind each (balanced, so that restricted
    likelihood is the analysis of variance)."""
    draw = np.random.default_rng(4)
    t = np.repeat(0.05 * draw.standard_normal(6), 3) + 0.01 * draw.standard_normal(18)
    y = X * np.exp(t)
    fitted = estimate.fit("capacity_linear", estimate.Points({"parameters": X}, y), delta=np.inf)
    found = misfit.carried(fitted, {"places": X})
    means = t.reshape(6, 3).mean(1)
    error = math.sqrt(means.var(ddof=1) / 6)
    assert found.error(np.ones(1)) == pytest.approx(error, rel=1e-4)
    assert found.dof(np.ones(1)) == pytest.approx(5, rel=1e-3)
    ends = intervals.of(fitted, method="wald", groups={"places": X})["alpha"]
    reach = stats.t.ppf(0.975, 5) * error
    assert math.log(ends["high"] / ends["value"]) == pytest.approx(reach, rel=2e-3)
    alone = intervals.of(fitted, method="wald")["alpha"]  # runs as replicates
    assert math.log(alone["high"] / alone["value"]) < 0.75 * reach


def test_places_that_lie_on_the_law_change_nothing():
    _, fitted = line(seed=5)
    assert misfit.carried(fitted, {"places": X}) is None and not misfit.scatter(
        fitted, {"places": X}
    )
    assert intervals.of(fitted, groups={"places": X}) == intervals.of(fitted)


def test_nothing_is_said_without_replicates():
    x = np.unique(X)
    y = 3 * x * np.exp(0.01 * np.random.default_rng(6).standard_normal(len(x)))
    fitted = estimate.fit("capacity_linear", estimate.Points({"parameters": x}, y), delta=np.inf)
    assert misfit.lack_of_fit(fitted, x) is None
    assert misfit.carried(fitted, {"places": x}) is None


def test_no_misfit_is_told_in_one_of_twenty():
    """p of 400 studies whose law holds, by the F ratio itself: uniform to the error of so many."""
    draw, codes = np.random.default_rng(7), np.arange(18) // 3
    design = np.column_stack([np.ones(18), np.log(X)])
    hat = design @ np.linalg.pinv(design)
    told = [misfit.pure_error(e - hat @ e, codes, 2) for e in draw.standard_normal((400, 18))]
    share = float(np.mean([one["p"] < 0.05 for one in told]))
    assert abs(share - 0.05) < 3 * math.sqrt(0.05 * 0.95 / 400)
