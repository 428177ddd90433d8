"""Whether a search ended at a minimum, and whether others agree: the optimizer's flags are not
asked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from capacity.fitting import bounds
from capacity.fitting.solve import Problem, damped_step, held_still, normal

AGREE = 1e-6  # relative difference of objectives that counts as the same minimum
NEAR = 1e-2  # distance to the minimum, in standard errors, above which a search has stopped early
SINGULAR = 1e10  # condition of the scaled curvature above which parameters are not identifiable


def check_convergence(
    problem: Problem,
    u: np.ndarray,
    *,
    free: np.ndarray | None = None,
    sigma: float | None = None,
    best: int | None = None,
) -> dict[str, Any]:
    """Whether end points u [S, k] of a search, by any optimizer, are minima and agree: objective,
    gradient norm, distance, agreement, warnings.

    gradient: largest derivative of the summed objective by a parameter, per standard error of it
    and in units of sigma (0 at a minimum). distance: how many standard errors away the local
    parabola has its minimum; above 0.01 the search stopped early. agreeing: end points whose
    objective is within 1e-6 of the best; spread: largest difference of their parameters, in
    standard errors. best: which of them is reported, the one with the smallest objective where
    None."""
    u = np.atleast_2d(u)
    free = np.ones(u.shape[1], bool) if free is None else free
    objective, gradient, hessian, upper = normal(problem, u, np.ones(problem.root.size))
    best = int(np.argmin(objective)) if best is None else best
    order = np.argsort(objective, kind="stable")
    held = held_still(problem, u, gradient, np.broadcast_to(free, u.shape))
    g = np.where(held, 0.0, gradient)
    if sigma is None:
        sigma = math.sqrt(2 * objective[best] / max(problem.root.size - free.sum(), 1))
    noise = max(sigma, 1e-150)
    promise = damped_step(g, hessian, upper, held, np.full(len(u), 1e-9))[1]
    curvature = np.sqrt(np.maximum(np.einsum("bii->bi", upper), 1e-300))
    floor = (
        1e-20 * problem.root.size * max(float(np.mean(problem.t**2)), 1e-30)
    )  # a noise-free objective is 0 up to rounding
    exact = objective[best] <= floor
    distance = 0.0 if exact else float(np.sqrt(2 * promise[best]) / noise)
    same = objective <= objective[best] * (1 + AGREE) + floor
    away = np.abs(u[same] - u[best]) * curvature[best] / noise
    at_bound = [
        p.name
        for j, p in enumerate(problem.form.parameters)
        if free[j] and (u[best, j] <= problem.low[j] or u[best, j] >= problem.high[j])
    ]
    out = {
        "kept": len(u),
        "objective": float(objective[best]),
        "gradient": 0.0 if exact else float((np.abs(g[best]) / curvature[best]).max() / noise),
        "distance": distance,
        "agreeing": int(same.sum()),
        "spread": 0.0 if exact else float(away[:, free].max()),
        "objectives": [float(o) for o in objective[order][:5]],
        "at_bound": at_bound,
    }
    warnings = []
    if distance > NEAR:
        warnings.append(
            f"the search stopped early: the minimum is about {distance:.2g} standard errors away"
        )
    if len(u) > 1 and same.sum() < 2:
        warnings.append(f"no other start ends at the best objective: 1 of {len(u)} agrees")
    warnings += [_sitting(problem, u[best], name) for name in at_bound]
    if _singular(upper[best], curvature[best], ~held[best]):
        warnings.append("parameters not identifiable from these points (singular Hessian)")
    return out | {"warnings": warnings}


def _sitting(problem: Problem, u: np.ndarray, name: str) -> str:
    j = problem.form.index(name)
    side = "low" if u[j] <= problem.low[j] else "high"
    return bounds.sitting(name, side, float(problem.to_natural(u[None])[0, j]))


def _singular(hessian: np.ndarray, scale: np.ndarray, inner: np.ndarray) -> bool:
    """Whether the curvature [k, k] of the parameters that move, per unit of each, is singular."""
    if not inner.any():
        return False
    block = hessian[np.ix_(inner, inner)] / np.outer(scale[inner], scale[inner])
    return bool(np.linalg.cond(block) > SINGULAR)
