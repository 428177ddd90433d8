"""Sums that take the place of matrices over points give what the matrices give."""

from dataclasses import replace

import numpy as np
import pytest

from capacity.analysis.random import wording
from capacity.cli import fit_report
from capacity.fitting import bootstrap, covariance, linear, nested, random_effects, selection
from capacity.fitting.fit import Points, fit

SIZES = np.array([12, 9, 20, 7, 15])


def nested_points(seed, sd=0.02):
    draw = np.random.default_rng(seed)
    block = np.repeat(np.arange(5), SIZES)
    place = 10 * block + draw.integers(0, 4, len(block))
    y = 0.3 * block + draw.normal(0, sd, 60)[place] + draw.normal(0, 0.02, len(block))
    return y, block, place, draw


@pytest.mark.parametrize("seed", range(3))
def test_nested_sources_are_those_of_whole_matrices(seed):
    y, block, place, draw = nested_points(seed)
    x = (block[:, None] == np.arange(5)).astype(float)
    kernels = {"points": np.eye(len(y)), "places": random_effects.shared(place)}
    whole = random_effects.effects(y, x, kernels)
    found = nested.fit(y, block, place)
    # two searches of one likelihood stop within 1e-6 or so of its maximum
    assert [found.points, found.places] == pytest.approx([*whole.variances.values()], rel=1e-5)
    assert found.uncertainty == pytest.approx(whole.uncertainty, rel=1e-4)
    pull = draw.normal(size=len(y))
    v = sum(a * k for a, k in zip(whole.variances.values(), kernels.values(), strict=True))
    variance, dof = found.of(pull)
    assert variance == pytest.approx(float(pull @ v @ pull), rel=1e-5)
    arguments = pull, variance, whole.kernels, whole.uncertainty
    assert dof == pytest.approx(random_effects.satterthwaite(*arguments), rel=1e-4)


def test_places_that_do_not_scatter_have_no_variance():
    y, block, place, _ = nested_points(1, sd=0.0)
    assert nested.fit(y - 0.9 * (y - 0.3 * block), block, place).places < 1e-5


@pytest.mark.parametrize(
    "y,block,place",
    [
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1], [0, 1, 2, 3]),  # a point in each place
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1], [0, 0, 1, 1]),  # a place in each block
        ([1.0, 1.0, 1.0, 1.0], [0, 0, 0, 0], [0, 0, 1, 1]),  # no noise
        ([1.0, 2.0, 3.0, 4.5], [0, 1, 0, 1], [0, 0, 1, 1]),  # places across blocks
    ],
)
def test_points_that_tell_no_variance_are_refused(y, block, place):
    with pytest.raises(ValueError):
        nested.fit(y, block, place)


def study(form="smooth_corner", per=9, bounded=0):
    draw = np.random.default_rng(3)
    model = np.repeat(np.arange(6), per)
    p, h = 1000.0 * 2**model, np.tile(np.linspace(0.5, 8, per), 6) * 1000 * 2.0**model * 3
    y = h / (1 + (h / (3 * p)) ** 6) ** (1 / 6)
    y *= np.exp(0.02 * draw.normal(size=6)[model] + 0.01 * draw.normal(size=len(p)))
    bound = np.arange(len(p)) < bounded
    x = {"parameters": p, "ceiling_bits": h}
    return fit(form, Points(x, y, cluster=model, lower_bound=bound))


def test_large_clusters_are_inflated_as_small_ones(monkeypatch):
    fitted = study()
    whole = covariance.spread_of(fitted)
    monkeypatch.setattr(covariance, "LARGE", 0)
    found = covariance.spread_of(fitted)
    assert found.covariance == pytest.approx(whole.covariance, rel=1e-9)
    gradient = np.array([1.0, 0.3])
    assert found.dof(gradient) == pytest.approx(whole.dof(gradient), rel=1e-9)


def by_matrices(fitted, gradient):
    """Error and degrees of freedom with all matrices [n, n] formed (Henderson's third method)."""
    p, free = fitted.problem, fitted.free
    e, jacobian = p.residuals(fitted.u[None])
    _, psi, curve, _ = (a[0] for a in p.loss(e))
    kept = float(curve[~p.censored].mean())
    curve = np.where(p.censored, curve, kept)
    use = curve > covariance.IDLE
    x = (jacobian[0] * np.sqrt(curve)[:, None])[use][:, free]
    r = (psi / np.sqrt(np.maximum(curve, covariance.IDLE)))[use]
    r = r * (1 + free.sum() / len(fitted.clusters) * (1 - kept) / max(kept, covariance.IDLE))
    z = (fitted.codes[use][:, None] == np.unique(fitted.codes[use])).astype(float)
    pull = x @ np.linalg.inv(x.T @ x)
    rest = np.eye(len(r)) - pull @ x.T
    between = rest @ z / z.sum(0) @ z.T @ rest
    squares = [rest @ rest - between, between]
    expected = [[np.trace(m), np.trace(z.T @ m @ z)] for m in squares]
    variances = np.linalg.solve(expected, [r @ m @ r for m in squares])
    assert variances[1] > 0 and variances[0] > 1e-6 * variances[1]
    shares = [float(((pull @ gradient) ** 2).sum()), float(((z.T @ pull @ gradient) ** 2).sum())]
    parts = np.linalg.solve(np.transpose(expected), shares)
    form = parts[0] * squares[0] + parts[1] * squares[1]
    turned = form @ (variances[0] * np.eye(len(r)) + variances[1] * z @ z.T)
    return np.sqrt(shares @ variances), np.trace(turned) ** 2 / np.trace(turned @ turned)


@pytest.mark.parametrize("form", ["capacity_linear", "capacity_affine", "capacity_power"])
@pytest.mark.parametrize("bounded", [0, 5])
def test_pooled_variances_are_those_of_whole_matrices(form, bounded):
    fitted = study(form, bounded=bounded)
    pooled = covariance.pooled_of(fitted)
    gradient = np.arange(1.0, 1 + len(fitted.u))
    error, dof = by_matrices(fitted, gradient)
    assert pooled.error(gradient) == pytest.approx(error, rel=1e-8)
    assert pooled.dof(gradient) == pytest.approx(dof, rel=1e-8)
    assert pooled.residual.shape[0] <= 6 + len(fitted.u) < len(pooled.codes)


def test_resamples_in_pieces_are_those_of_one_piece(monkeypatch):
    fitted = study()
    whole = bootstrap.draw(fitted, 30, seed=1)
    model, y = np.repeat(np.arange(5), 4), np.random.default_rng(4).normal(size=20)
    design = np.column_stack([np.ones(5), np.arange(5.0)])
    law = linear.linear_law(y, model, design, draws=50, seed=2)
    monkeypatch.setattr(bootstrap, "AT_ONCE", 7 * len(fitted.codes))
    monkeypatch.setattr(linear, "AT_ONCE", 7 * 20)
    pieces = bootstrap.draw(fitted, 30, seed=1)
    assert pieces.theta == pytest.approx(whole.theta, rel=1e-9)
    assert replace(pieces, u=0, theta=0, error=0) == replace(whole, u=0, theta=0, error=0)
    for one, other in zip(linear.linear_law(y, model, design, draws=50, seed=2), law, strict=True):
        if isinstance(one, dict):
            assert one["low"] == pytest.approx(other["low"], rel=1e-12)
            assert one["high"] == pytest.approx(other["high"], rel=1e-12)


def test_many_points_have_fewer_resamples_and_no_study_of_a_few_hundred():
    assert bootstrap.bounded(4000, 500) == 4000 and bootstrap.bounded(100, 10**6) == 100
    assert bootstrap.bounded(4000, 2000) == 1000 and bootstrap.bounded(4000, 10**6) == 200


@pytest.mark.parametrize("most,said", [(10**9, ""), (1, "(of 300 asked for: 54 points)")])
def test_fewer_resamples_than_asked_for_are_said(monkeypatch, most, said):
    monkeypatch.setattr(bootstrap, "MOST_POINTS", most)
    kept = selection.record(study(), "parameters", resamples=300)
    assert kept["bootstrap"]["resamples"] == (200 if said else 300)
    told = fit_report._bootstrap(kept)
    assert told.startswith("200 bootstraps (of" if said else "300 bootstraps over") and said in told
    remarks = wording._resampled({"record": kept})
    assert len(remarks) == bool(said) and all("200 resamples of 300" in one for one in remarks)
