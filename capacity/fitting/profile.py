"""Ends of profile intervals: how far a parameter can move before the best fit beside it is worse by
a given amount."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from capacity.fitting.covariance import Spread
from capacity.fitting.fit import Fit
from capacity.fitting.misfit import Mixed
from capacity.fitting.solve import solve
from capacity.fitting.statistics import student

LEAST_DOF = 1e-3  # below, the t quantile overflows
MOST_TURNS = 60
CLOSE = 2e-3  # relative, of the distance to an end
FARTHEST = 1e6  # first guesses; an end beyond is none


def profile_ends(
    fitted: Fit,
    spread: Spread | Mixed,
    names: Sequence[str],
    wald: Mapping[str, Mapping[str, Any]],
    level: float,
) -> np.ndarray:
    """Ends [m, 2] of profile intervals, all searched side by side, two rows per parameter, each
    held at values at a growing distance s, in the coordinates of the search. wald: dof and error of
    each."""
    p, m, n = fitted.problem, len(names), fitted.problem.root.size
    places = np.array([fitted.form.index(name) for name in names])
    worth = np.maximum(np.diag(spread.inverse)[places], 1e-300)
    error2 = np.array([wald[name]["error"] ** 2 for name in names])
    # what one squared standard error is worth in the objective; of a parameter on its bound the
    # clusters do not say it, but of the others
    moving = np.diag(spread.covariance) > 0
    typical = (
        float((np.diag(spread.covariance)[moving] / np.diag(spread.inverse)[moving]).mean())
        if moving.any()
        else fitted.sigma**2
    )
    unit = np.where(error2 > 0, error2 / worth, typical)
    quantile = np.array([student(max(wald[name]["dof"], LEAST_DOF), level) for name in names])
    place, side = np.repeat(places, 2), np.tile([-1.0, 1.0], m)
    target = np.repeat(
        quantile * np.sqrt(unit / 2), 2
    )  # root of the rise of the objective at an end
    first = np.repeat(quantile * np.sqrt(unit * worth), 2)
    first = np.minimum(first, 1e3)
    far = np.abs(np.where(side < 0, p.low[place], p.high[place]) - fitted.u[place])
    free = np.tile(fitted.free, (2 * m, 1))
    free[np.arange(2 * m), place] = False
    # the other parameters follow along this direction, to first order; later starts follow what was
    # found
    path = np.repeat(spread.inverse[places] / worth[:, None], 2, axis=0) * side[:, None]
    inner, inner_rise, outer, outer_rise = (
        np.zeros(2 * m),
        np.zeros(2 * m),
        np.full(2 * m, np.inf),
        np.full(2 * m, np.inf),
    )
    ends, step, rows = far.copy(), first.copy(), np.arange(2 * m)
    for turn in range(MOST_TURNS):
        bracketed, width = np.isfinite(outer[rows]), outer[rows] - inner[rows]
        with np.errstate(all="ignore"):
            share = (target[rows] - inner_rise[rows]) / (outer_rise[rows] - inner_rise[rows])
            share = np.clip(np.nan_to_num(share, nan=0.5), 0.02, 0.98) if turn % 4 != 3 else 0.5
            s = np.minimum(
                np.where(bracketed, inner[rows] + share * width, inner[rows] + step[rows]),
                far[rows],
            )
        u = fitted.u + path[rows] * s[:, None]
        u[np.arange(len(rows)), place[rows]] = fitted.u[place[rows]] + side[rows] * s
        ended = solve(p, u, np.ones(n), free[rows], tol=1e-9, most=200)
        height = np.sqrt(np.maximum(ended.objective - fitted.objective, 0.0))
        above = height >= target[rows]
        done = (np.abs(height - target[rows]) <= CLOSE * target[rows]) | (
            bracketed & (width <= CLOSE * s)
        )
        # the bound, or so far that there is no end
        endless = ~above & ((s >= far[rows]) | (~bracketed & (s > FARTHEST * first[rows])))
        ends[rows] = np.where(endless, far[rows], s)
        up, down = rows[above], rows[~above]
        outer[up], outer_rise[up] = s[above], height[above]
        inner[down], inner_rise[down] = s[~above], height[~above]
        gone = ~above & (s > 0)
        path[rows[gone]] = (ended.u - fitted.u)[gone] / s[gone, None]
        step[down] *= np.where(height[~above] > 0.3 * target[down], 0.6, 2.0)
        rows = rows[~(done | endless)]
        if not len(rows):
            break
    return (fitted.u[place] + side * ends).reshape(m, 2)
