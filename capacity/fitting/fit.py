"""Fitting a form to points: a robust objective summed in the form's transform, many starts, and a
check that the search ended at a minimum.

    from capacity.fitting import intervals
    from capacity.fitting.fit import Points, fit
    points = Points({"parameters": p, "ceiling_bits": h}, bits, cluster=model, sd=noise)
    fitted = fit("smooth_corner", points)
    fitted.values["alpha"], fitted.predict({"parameters": 1e6, "ceiling_bits": 1e7})
    intervals.of(fitted)                                  # {"alpha": {"low":, "high":, "method":,
                                                          # ...}, ...}
    fitted.to_dict()                                      # all of it at full precision, JSON-able
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import capacity
from capacity.base.files import plain
from capacity.fitting.convergence import AGREE, check_convergence
from capacity.fitting.form import Form
from capacity.fitting.forms import form as form_by_name
from capacity.fitting.points import Points, inputs_hash, left_out, pose
from capacity.fitting.residual_scale import SETTLED, TUNING, residual_sd, rough_sd
from capacity.fitting.solve import Problem, Solution, normal, polish, projected, solve

KEPT = 16  # starts, the best of all, that are searched to the end
# units in the last place by which another CPU's value of a form, with its powers and logarithms,
# may differ
ROUNDED = 64
EQUAL = 1e-9  # part of an objective by which ends of one valley may differ


@dataclass(frozen=True)
class Fit:
    """A fitted form. theta [k] in natural units, u [k] in the coordinates of the search; problem:
    the points as fitted, sorted (left-out ones are gone); places [n]: which of `points` each is;
    codes [n]: cluster of each; free [k]: parameters that were fitted; sigma: standard deviation of
    residuals in the transform; search: starts, agreement, gradient, distance to the minimum;
    ends [m, k]: all ends of the search with the same objective, in the coordinates of the search;
    warnings: what a reader has to know, empty when all is well."""

    form: Form
    points: Points
    problem: Problem
    places: np.ndarray
    codes: np.ndarray
    clusters: tuple
    y: np.ndarray
    theta: np.ndarray
    u: np.ndarray
    free: np.ndarray
    objective: float
    sigma: float
    search: dict[str, Any]
    ends: np.ndarray
    warnings: tuple[str, ...]

    @property
    def values(self) -> dict[str, float]:
        """Parameters by name."""
        return dict(zip(self.form.names, map(float, self.theta), strict=True))

    def predict(self, x: Mapping[str, ArrayLike]) -> np.ndarray:
        """The target at other points."""
        return self.form.predict(x, self.theta)

    def residuals(self) -> np.ndarray:
        """T(y) - T(f) of the fitted points [n], unweighted; of bounds too."""
        return self.problem.residuals(self.u[None])[0][0] / self.problem.root

    def rounding(self) -> dict[str, float]:
        """By how much the arithmetic may move each parameter, in its unit: two orders of the same
        points, or two CPUs, agree to the sum of theirs.

        A residual is known to ROUNDED eps |s T(y)|, and n of them move the minimum by sqrt(n) of
        that times the root of the inverse curvature (Cauchy-Schwarz); sigma, and with it delta, is
        known to 10 SETTLED. 0 for parameters that were not fitted."""
        p, free = (
            self.problem,
            self.free & (self.u > self.problem.low) & (self.u < self.problem.high),
        )
        upper = normal(p, self.u[None], np.ones(p.root.size))[2][0][np.ix_(free, free)]
        scale = np.maximum(np.sqrt(np.diag(upper)), 1e-150)
        inverse = np.linalg.pinv(upper / np.outer(scale, scale), rcond=1e-14, hermitian=True)
        error = (
            ROUNDED * np.finfo(float).eps * (math.sqrt(p.root.size) * np.abs(p.root * p.t).max())
            + 10 * SETTLED * self.sigma
        )
        away = np.zeros(len(self.u))
        away[free] = error * np.sqrt(np.diag(inverse)) / scale
        slope = [
            abs(v) if q.scale == "log" else 1.0
            for q, v in zip(self.form.parameters, self.theta, strict=True)
        ]
        error = away * slope + 4 * np.finfo(float).eps * np.abs(self.theta)
        return dict(zip(self.form.names, map(float, error), strict=True))

    @cached_property
    def squared(self) -> Fit:
        """The least-squares fit of the same points, made once."""
        return fit(self.form, self.points, delta=np.inf, **self.again())

    def again(self) -> dict[str, Any]:
        """Settings with which `fit` repeats a fit, but for its loss."""
        values = zip(self.form.names, self.theta, self.free, strict=True)
        return {
            "transform": self.problem.transform,
            "fixed": {name: float(value) for name, value, free in values if not free},
        }

    def to_dict(self, **more: Any) -> dict[str, Any]:
        """Everything that a reader needs to check or repeat the fit, JSON-able, numbers at full
        precision. more: further entries, as intervals."""
        p, measured = self.problem, ~self.problem.censored
        return plain(
            {
                "form": self.form.describe(),
                "parameters": {
                    q.name: {"value": float(v), "unit": q.unit, "fitted": bool(f)}
                    for q, v, f in zip(self.form.parameters, self.theta, self.free, strict=True)
                },
                "convention": self.points.convention,
                "transform": p.transform,
                "loss": {
                    "name": "squared" if np.isinf(p.delta) else "Huber",
                    "delta": None if np.isinf(p.delta) else float(p.delta),
                    "unit": f"{p.transform} of the target",
                    "objective": float(self.objective),
                    "sum": True,
                },
                "sigma": float(self.sigma),
                "points": {
                    "fitted": len(self.y),
                    "lower_bounds": int(p.censored.sum()),
                    "clusters": len(self.clusters),
                    "left_out": left_out(self.points),
                    "weights": "seed noise" if self.points.sd is not None else "equal",
                },
                "valid": {name: [float(a.min()), float(a.max())] for name, a in p.x.items()},
                "target_range": [float(self.y[measured].min()), float(self.y[measured].max())],
                "search": self.search,
                "warnings": list(self.warnings),
                "inputs_sha256": inputs_hash(self.points),
                "versions": {
                    "capacity": capacity.__version__,
                    "python": platform.python_version(),
                    "numpy": np.__version__,
                    "scipy": importlib.metadata.version("scipy"),
                },
            }
            | more
        )


def fit(  # noqa: PLR0913 (independent options of one optimization, keywords only)
    form: Form | str,
    points: Points,
    *,
    delta: float | None = None,
    transform: str | None = None,
    fixed: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    starts: np.ndarray | None = None,
    kept: int = KEPT,
) -> Fit:
    """The parameters with the smallest sum of Huber losses, from many starts.

    delta: where the loss turns from squared to absolute, in units of the transform at a point of
    average precision; None takes 1.345 robust standard deviations (Huber's proposal 2, found
    together with the parameters; least squares where the form is not `robust`), np.inf least
    squares; 1e-3 is what loss laws use (Hoffmann et al.). fixed: parameters that are not fitted;
    bounds: others than the form's. starts [S, k] in natural units replace the form's own; each is
    searched as it is and with its linear parameters projected. ValueError, in one line, where the
    points cannot determine the form.

    Accuracy: points are sorted first, and the minimum is polished by its gradient, so two orders of
    the same points and two CPUs give the same minimum up to `Fit.rounding` of each: about 1e-11 to
    1e-9 of a parameter. Which of several minima is taken can depend on the CPU only where their
    objectives agree to 1e-13; of a flat valley from one bound to another a point between is
    taken."""
    form = form_by_name(form) if isinstance(form, str) else form
    problem, y, places, codes, clusters, free = pose(form, points, transform, fixed, bounds)
    delta = np.inf if delta is None and not form.robust else delta
    begin = (
        form.starts({n: a[~problem.censored] for n, a in problem.x.items()}, y[~problem.censored])
        if starts is None
        else np.atleast_2d(starts)
    )
    begin = begin.astype(float)
    for name, value in (fixed or {}).items():
        begin[:, form.index(name)] = value
    if free.all() and form.linear:
        begin = np.unique(np.concatenate([projected(problem, begin, y), begin]), axis=0)
    problem, ended, sigma = _fit(problem, problem.to_search(begin), free, delta, kept)
    best = int(np.argmin(ended.objective))
    ended.u[best] = polish(problem, _inside(problem, ended, best, free), free)
    search = check_convergence(problem, ended.u, free=free, sigma=sigma, best=best)
    warnings = search.pop("warnings")
    search = {"starts": len(begin)} | search
    same = ended.objective <= search["objective"] * (1 + AGREE)
    return Fit(
        form,
        points,
        problem,
        places,
        codes,
        clusters,
        y,
        problem.to_natural(ended.u[best]),
        ended.u[best],
        free,
        search["objective"],
        sigma,
        search,
        ended.u[same],
        tuple(warnings),
    )


def _fit(
    problem: Problem, begin: np.ndarray, free: np.ndarray, delta: float | None, kept: int
) -> tuple[Problem, Solution, float]:
    """The polished solutions of the best starts, the problem with its delta and sigma, and
    sigma."""
    robust, given = delta is None, np.inf if delta is None else delta
    ended = _search(
        replace(problem, delta=given, sigma=rough_sd(problem, begin)),
        begin,
        free,
        kept,
        1e-9,
    )
    best = ended.u[np.argmin(ended.objective)]
    sigma = rough_sd(problem, best[None])
    for _ in range(40 if robust or problem.censored.any() else 1):
        problem = replace(
            problem,
            delta=TUNING * sigma if robust and sigma > 0 else given,
            sigma=max(sigma, 1e-12),
        )
        best = polish(problem, solve(problem, best[None], free=free).u[0], free)
        last, sigma = sigma, residual_sd(problem, best, free)
        if abs(sigma - last) <= SETTLED * last:
            break
    problem = replace(
        problem,
        delta=TUNING * sigma if robust and sigma > 1e-12 else given,
        sigma=max(sigma, 1e-12),
    )
    return problem, _search(problem, np.concatenate([best[None], begin]), free, kept, 1e-13), sigma


def _inside(problem: Problem, ended: Solution, best: int, free: np.ndarray) -> np.ndarray:
    """The best end [k] of a search; a point of the same valley between where it lies on a bound and
    other ends, elsewhere, are as low. Rounding chooses among such ends, and what the points tell
    looks different from the bounds: a factor of 0 hides that its exponent is free."""
    u, low, high = ended.u[best], problem.low, problem.high
    margin = 1e-6 * np.where(np.isfinite(high - low), high - low, 1.0)
    equal = ended.u[ended.objective <= ended.objective[best] * (1 + EQUAL)]
    on = free & ((u <= low + margin) | (u >= high - margin))
    values = problem.to_natural(equal)
    middle = (values.min(0) + values.max(0)) / 2
    for j in np.flatnonzero(on & (np.ptp(equal, axis=0) > margin)):
        begin = problem.to_natural(equal)
        begin[:, j] = middle[j]
        fixed = free & (np.arange(len(u)) != j)
        tried = solve(problem, problem.to_search(begin), free=fixed)
        inner = ~((tried.u <= low + margin) | (tried.u >= high - margin))[:, free].any(1)
        same = inner & (tried.objective <= ended.objective[best] * (1 + EQUAL))
        if same.any():
            return tried.u[np.flatnonzero(same)[0]]
    return u


def _search(
    problem: Problem, begin: np.ndarray, free: np.ndarray, kept: int, tol: float
) -> Solution:
    cost = np.concatenate(
        [
            _objective(problem, part)
            for part in np.array_split(begin, max(1, begin.shape[0] * problem.root.size // 200_000))
        ]
    )
    return solve(problem, begin[np.argsort(cost, kind="stable")[:kept]], free=free, tol=tol)


def _objective(problem: Problem, u: np.ndarray) -> np.ndarray:
    return problem.loss(problem.errors(u))[0].sum(1)
