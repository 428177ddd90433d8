"""Points that decide a parameter alone: which few would have to go for it to leave the interval
that the others give it.

    influence = influential(fitted)
    influence.places, influence.name, influence.without.values     None where no few points do

Points are taken one by one, for every parameter and either direction, each time the one whose
removal moves the parameter most: to first order (Cook & Weisberg 1982, Residuals and Influence in
Regression, section 3.4; several at once as in Broderick, Giordano & Meager 2020, arXiv 2011.14999),
and then by a refit without it, so that points that hide behind each other are found; those that the
fit to the others expects after all are put back. What is reported is a fit of its own, from its own
starts, without them. Points that a whole other minimum fits, so that no single one moves it, are
not found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from capacity.fitting.covariance import spread_of
from capacity.fitting.fit import Fit, fit
from capacity.fitting.identify import freedom
from capacity.fitting.profile import LEAST_DOF
from capacity.fitting.residual_scale import residual_sd
from capacity.fitting.solve import Problem, normal, solve
from capacity.fitting.statistics import LEVEL, student

MOST, SHARE = 5, 0.05  # points that are taken out at most, and as a part of all
EXPECTED = 3.0  # standard deviations of residuals, of a point that the others expect
TRIED = 3  # sets of points that are verified by a fit
SPARE = 3  # points beyond the parameters that have to remain


@dataclass(frozen=True)
class Influence:
    """places: of the points in `Points`; name: the parameter that leaves its interval; without: the
    fit to the other points."""

    places: tuple[int, ...]
    name: str
    without: Fit


def influential(fitted: Fit, delta: float | None = None) -> Influence | None:
    """The few points without which a parameter is elsewhere than with them: outside of the interval
    of the others at the level 1 - (1 - LEVEL) / n, as any of the n points might have been it.
    delta: as `fit` was given it."""
    p = fitted.problem
    measured, lost = np.flatnonzero(~p.censored), freedom(fitted).lost
    names = [
        name
        for name, free in zip(fitted.form.names, fitted.free, strict=True)
        if free and name not in lost and name not in fitted.search["at_bound"]
    ]
    most = min(max(1, int(SHARE * len(measured))), MOST)
    most = min(most, len(measured) - int(fitted.free.sum()) - SPARE)
    if most < 1 or not names or fitted.sigma <= 0:
        return None
    level = 1 - (1 - LEVEL) / len(measured)
    wanted = [fitted.form.index(name) for name in names]
    for j, out in _candidates(fitted, wanted, most, level)[:TRIED]:
        left = np.zeros(len(np.asarray(fitted.points.y)), bool)
        left[fitted.places[out]] = True
        points = replace(fitted.points, left_out={**fitted.points.left_out, "influential": left})
        without = fit(fitted.form, points, delta=delta, **_settings(fitted))
        if without.search["at_bound"]:
            continue
        spread, gradient = spread_of(without), np.eye(len(fitted.u))[j]
        reach = float(student(max(spread.dof(gradient), LEAST_DOF), level)) * spread.error(gradient)
        if abs(fitted.u[j] - without.u[j]) > reach:
            return Influence(tuple(np.flatnonzero(left).tolist()), fitted.form.names[j], without)
    return None


def _settings(fitted: Fit) -> dict[str, Any]:
    """With which `fit` repeats a fit, but for its loss."""
    p = fitted.problem
    values = zip(fitted.form.names, fitted.theta, fitted.free, strict=True)
    return {
        "transform": p.transform,
        "fixed": {name: float(value) for name, value, free in values if not free},
    }


def _candidates(
    fitted: Fit, wanted: list[int], most: int, level: float
) -> list[tuple[int, np.ndarray]]:
    """Parameters and the points [n] whose removal moves them out of the reach of the others, the
    removal that lowers the objective most first, each set of points once; points that the fit to
    the others expects are put back."""
    p, free = fitted.problem, fitted.free
    index, sign = np.repeat(wanted, 2), np.tile([-1.0, 1.0], len(wanted))
    rows = np.arange(len(index))
    weight, u = np.ones((len(index), p.root.size)), np.tile(fitted.u, (len(index), 1))
    for _ in range(most):
        moves = _first_order(p, u, weight, free)[rows, :, index] * sign[:, None]
        moves[(weight == 0) | p.censored] = -np.inf
        weight[rows, np.argmax(moves, axis=1)] = 0.0
        u = solve(p, u, weight, free, tol=1e-9, most=100).u
    scale = _scales(p, u, weight, free)
    weight[np.abs(p.errors(u)) <= EXPECTED * scale[:, None]] = 1.0
    ended = solve(p, u, weight, free, tol=1e-9, most=100)
    error = _errors(p, ended.u, weight, free)[rows, index]
    away = np.nan_to_num(np.abs(ended.u - fitted.u)[rows, index] / error)
    kept = (weight > 0).sum(1)
    enough = away > [float(student(count - int(free.sum()), level)) for count in kept]
    candidates: dict[bytes, tuple[int, np.ndarray]] = {}
    for row in np.lexsort([-away, ended.objective]):
        if enough[row] and not (weight[row] > 0).all():
            candidates.setdefault(weight[row].tobytes(), (int(index[row]), weight[row] == 0))
    return list(candidates.values())


def _scales(p: Problem, u: np.ndarray, weight: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Standard deviations [B] of the residuals of the points with weight."""
    pairs = zip(u, weight > 0, strict=True)
    return np.array([residual_sd(_part(p, kept), one, free) for one, kept in pairs])


def _part(p: Problem, kept: np.ndarray) -> Problem:
    return replace(
        p,
        x={name: a[kept] for name, a in p.x.items()},
        t=p.t[kept],
        root=p.root[kept],
        censored=p.censored[kept],
    )


def _first_order(p: Problem, u: np.ndarray, weight: np.ndarray, free: np.ndarray) -> np.ndarray:
    """By how much u moves without each point [B, n, k], to first order."""
    e, jacobian = p.residuals(u)
    psi = p.loss(e)[1]
    upper = normal(p, u, weight)[3][:, free][:, :, free]
    scale = np.sqrt(np.maximum(np.einsum("bii->bi", upper), 1e-300))
    inverse = np.linalg.pinv(upper / (scale[:, :, None] * scale[:, None, :]), rcond=1e-12)
    inverse /= scale[:, :, None] * scale[:, None, :]
    out = np.zeros(jacobian.shape)
    out[..., free] = -np.matmul(psi[..., None] * jacobian[..., free], inverse)
    return out


def _errors(p: Problem, u: np.ndarray, weight: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Standard errors [B, k] of u that the points with weight give, as of independent ones."""
    out, scale = np.full(u.shape, np.inf), _scales(p, u, weight, free)
    for b, (slopes, kept) in enumerate(zip(p.residuals(u)[1], weight > 0, strict=True)):
        x = slopes[kept][:, free]
        size = np.sqrt((x**2).sum(0)) + 1e-300
        inverse = np.linalg.pinv((x / size).T @ (x / size), rcond=1e-12, hermitian=True)
        out[b, free] = scale[b] * np.sqrt(np.diag(inverse)) / size
    return out
