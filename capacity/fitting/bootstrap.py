"""Cluster bootstrap of a fit: thousands of refits side by side, each on clusters drawn with
replacement.

    drawn = bootstrap.draw(fitted, 4000)
    bootstrap.intervals(fitted, drawn, "percentile")       # or "studentized", "bca"; drawn.theta
                                                           # has all of it

A resample counts every point as often as its cluster was drawn, so all of them share one design and
only weights differ. Each is searched from the optimum of all data and from a second start, a normal
draw of twice the standard error around it; the better end is kept. Percentile intervals are too
short with few clusters (results/studies/coverage has by how much): `intervals.of` is what to quote,
this is what shows the shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from capacity.fitting.covariance import spread_of
from capacity.fitting.fit import Fit
from capacity.fitting.solve import normal, solve
from capacity.fitting.statistics import LEVEL

RESAMPLE_TOL = 1e-9  # of the objective: 1e-4 standard errors
# Points that all resamples of a fit have together, of which many points have fewer, and the fewest
# resamples; and those that are weighted at once.
MOST_POINTS, FEWEST, AT_ONCE = 2_000_000, 200, 2**22


@dataclass(frozen=True)
class Draws:
    """u [B, k] (coordinates of the search), theta [B, k] (natural units), error [B, k] (standard
    error of u by the resample's own clusters), one row per resample; at_bound: share of resamples
    by parameter that end on a bound; second: share that the second start improved by more than the
    tolerance; unconverged, undetermined (fewer different clusters than parameters need): shares."""

    u: np.ndarray
    theta: np.ndarray
    error: np.ndarray
    at_bound: dict[str, float]
    second: float
    unconverged: float
    undetermined: float
    seed: int


def bounded(resamples: int, points: int) -> int:
    """How many of so many resamples of a fit to so many points are drawn."""
    return min(resamples, max(FEWEST, MOST_POINTS // points))


def draw(fitted: Fit, resamples: int = 4000, *, seed: int = 0, errors: bool = True) -> Draws:
    """Refits to `resamples` draws of as many clusters as there are."""
    problem, free = fitted.problem, fitted.free
    rng, count = np.random.default_rng(seed), len(fitted.clusters)
    times = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)
    # another basin, if there is one near, is found from elsewhere
    spread = np.sqrt(np.maximum(np.diag(spread_of(fitted).covariance), 0.0))
    begin = fitted.u + 2 * spread * rng.standard_normal((resamples, len(free)))
    begin = np.where(free, begin, fitted.u)
    step = max(1, AT_ONCE // len(fitted.codes))
    parts = [
        _drawn(fitted, times[i : i + step], begin[i : i + step], errors)
        for i in range(0, resamples, step)
    ]
    u, error, better, converged = (np.concatenate(part) for part in zip(*parts, strict=True))
    edge = {
        p.name: float(((u[:, j] <= problem.low[j]) | (u[:, j] >= problem.high[j])).mean())
        for j, p in enumerate(fitted.form.parameters)
        if free[j]
    }
    return Draws(
        u,
        problem.to_natural(u),
        error,
        edge,
        float(better.mean()),
        float((~converged).mean()),
        float(((times > 0).sum(1) < 2).mean()),
        seed,
    )


def _drawn(
    fitted: Fit, times: np.ndarray, begin: np.ndarray, errors: bool
) -> tuple[np.ndarray, ...]:
    """Of some resamples, in which each cluster is so many times [B, C]: u [B, k], its error, and
    whether the second start was better and the search converged."""
    problem, weight = fitted.problem, times[:, fitted.codes]
    first, other = (
        solve(problem, start, weight, fitted.free, tol=RESAMPLE_TOL, most=200)
        for start in (np.tile(fitted.u, (len(times), 1)), begin)
    )
    better = other.objective < first.objective * (1 - 10 * RESAMPLE_TOL)
    u = np.where(better[:, None], other.u, first.u)
    error = _errors(fitted, u, weight) if errors else np.full_like(u, np.nan)
    return u, error, better, np.where(better, other.converged, first.converged)


def _errors(fitted: Fit, u: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Standard errors [B, k] of resamples from their own clusters (Liang & Zeger 1986, Biometrika
    73, 13, with C / (C - 1))."""
    count, order = len(fitted.clusters), np.argsort(fitted.codes, kind="stable")
    begin = np.searchsorted(fitted.codes[order], np.arange(count))
    out, step = np.empty_like(u), max(1, int(4e5 / weight.shape[1] / u.shape[1]))
    for i in range(0, len(u), step):
        part, w = u[i : i + step], weight[i : i + step]
        e, jacobian = fitted.problem.residuals(part)
        _, psi, _, _ = fitted.problem.loss(e)
        _, _, hessian, upper = normal(fitted.problem, part, w)
        scale = np.sqrt(np.maximum(np.einsum("bii->bi", upper), 1e-300))
        h = hessian / (scale[:, :, None] * scale[:, None, :]) + 1e-10 * np.eye(u.shape[1])
        # a cluster that was drawn m times is m clusters
        scores = (
            np.add.reduceat((np.sqrt(w) * psi)[:, order, None] * jacobian[:, order], begin, axis=1)
            / scale[:, None, :]
        )
        inverse = np.linalg.inv(h)
        half = np.matmul(scores, inverse)
        out[i : i + step] = np.sqrt((half**2).sum(1) * count / (count - 1)) / scale
    return out


def intervals(
    fitted: Fit,
    drawn: Draws,
    method: str = "percentile",
    *,
    at: Mapping[str, ArrayLike] | None = None,
    level: float = LEVEL,
) -> dict[str, dict[str, Any]]:
    """Intervals from resamples: a dict of value, low, high, method, at_bound by parameter, and by
    prediction "at 0", "at 1", ...

    percentile: quantiles of the refits. bca: the same with bias and acceleration corrected, the
    latter from leaving out clusters (Efron 1987, J. Am. Stat. Assoc. 82, 171). studentized:
    quantiles of (refit - estimate) / (its own standard error), for parameters only (Efron &
    Tibshirani 1993, An Introduction to the Bootstrap, ch. 12)."""
    if method not in ("percentile", "studentized", "bca"):
        raise ValueError(f"unknown method {method!r}: use one of percentile, studentized, bca")
    tails = np.array([0.5 - level / 2, 0.5 + level / 2])
    numbers = _numbers(fitted, drawn.theta, None if method == "studentized" else at)
    values = _numbers(fitted, fitted.theta[None], at)
    left = _numbers(fitted, leave_out_clusters(fitted), at) if method == "bca" else {}
    spread = spread_of(fitted) if method == "studentized" else None
    out = {}
    for name, draws in numbers.items():
        value = float(values[name][0])
        if spread is not None:
            j = fitted.form.index(name)
            own = float(np.sqrt(max(spread.covariance[j, j], 0.0)))
            with np.errstate(all="ignore"):
                t = (drawn.u[:, j] - fitted.u[j]) / drawn.error[:, j]
                low, high = np.nanquantile(t, tails)  # infinite where a resample left no scatter
            ends = fitted.form.parameters[j].to_natural(
                np.array([fitted.u[j] - high * own, fitted.u[j] - low * own])
            )
        else:
            where = _bca(value, draws, left[name], tails) if method == "bca" else tails
            ends = np.quantile(draws, where)
        out[name] = {
            "value": value,
            "low": float(ends[0]),
            "high": float(ends[1]),
            "method": method,
            "at_bound": drawn.at_bound.get(name),
        }
    return out


def _numbers(
    fitted: Fit, theta: np.ndarray, at: Mapping[str, ArrayLike] | None
) -> dict[str, np.ndarray]:
    """Fitted parameters and predictions "at 0", ... of several parameter sets [B, k], each [B]."""
    out = {n: theta[:, j] for j, n in enumerate(fitted.form.names) if fitted.free[j]}
    if at is not None:
        every = fitted.form.slopes(fitted.form.inputs(at), theta)[0]
        out |= {f"at {i}": every[:, i] for i in range(every.shape[1])}
    return out


def leave_out_clusters(fitted: Fit) -> np.ndarray:
    """Parameters [C, k] (natural units) of the fits without one cluster each."""
    weight = (fitted.codes != np.arange(len(fitted.clusters))[:, None]).astype(float)
    return fitted.problem.to_natural(
        solve(fitted.problem, np.tile(fitted.u, (len(weight), 1)), weight, fitted.free).u
    )


def _bca(value: float, values: np.ndarray, left: np.ndarray, tails: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr, ndtri

    bias = ndtri(np.clip((values < value).mean(), 1 / len(values), 1 - 1 / len(values)))
    away = left.mean() - left
    power = (away**2).sum() ** 1.5
    acceleration = (away**3).sum() / (6 * power) if power > 0 else 0.0
    z = bias + ndtri(tails)
    return ndtr(bias + z / (1 - acceleration * z))
