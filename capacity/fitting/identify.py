"""What points cannot tell: parameters that can move without changing any fitted value.

    identify.freedom(fitted).lost          {"beta": "not identified by these points: ..."}

Two tests, of the design and of the search, for every form alike:

    rank      the derivatives of the fitted values by the parameters [n, k], each column scaled to
              length 1, have a singular value that is 0 up to the rounding of the derivatives. The
              parameters of its direction can move together and leave every fitted value as it is
              (Rothenberg 1971, Econometrica 39, 577: local identification is full rank).
    minima    another start ends at the same objective half a standard error or more away, where
              the curvature asks for a higher one: the objective is flat, or has equal minima.

What is identified, but hardly, is left to the intervals: a profile that does not rise before the
bounds of the search is an interval without ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capacity.base.words import digits, joined
from capacity.fitting.fit import ROUNDED, Fit
from capacity.fitting.form import Arrays

NOT_IDENTIFIED = "not identified by these points"
ALIGNED = 1e-6  # part of a unit vector that rounding can turn into a direction it is not part of
APART = 0.5  # standard errors; the objective has to rise by 1/8 sigma^2 then, AGREE asks for less


@dataclass(frozen=True)
class Freedom:
    """lost: why a parameter is not identified, by name. null [k, r]: directions that change no
    fitted value, in units of length [k] of each parameter's column of derivatives (0: none at all).
    ends [m, k]: other u with the same objective."""

    lost: dict[str, str]
    null: np.ndarray
    length: np.ndarray
    ends: np.ndarray

    def changes(self, gradient: np.ndarray) -> bool:
        """Whether a number with this gradient by u [k] changes along what the points cannot
        tell."""
        idle = self.length == 0
        if (gradient[idle] != 0).any():
            return True
        scaled = gradient[~idle] / self.length[~idle]
        along = np.abs(self.null[~idle].T @ scaled)
        return bool((along > ALIGNED * np.linalg.norm(scaled)).any())


def freedom(fitted: Fit) -> Freedom:
    """What the points of a fit leave open."""
    p, names = fitted.problem, fitted.form.names
    moving = np.flatnonzero(fitted.free & ~np.isin(names, fitted.search["at_bound"]))
    e, jacobian = p.residuals(fitted.u[None])
    # every measured point tells, also one that Huber's loss clips; a bound as far as it curves
    weight = np.where(p.censored, np.sqrt(p.loss(e)[2][0]), 1.0)
    x = jacobian[0] * weight[:, None]
    length, null, lost = np.ones(len(names)), np.zeros((len(names), 0)), {}
    rounding = ROUNDED * np.finfo(float).eps
    size = np.sqrt((x**2).sum(0))
    width = np.where(np.isfinite(p.high - p.low), p.high - p.low, np.maximum(np.abs(fitted.u), 1.0))
    idle = moving[size[moving] * width[moving] <= rounding * np.linalg.norm(p.root * p.t)]
    length[moving] = size[moving]
    length[idle] = 0.0
    for j in idle:
        lost[names[j]] = f"{NOT_IDENTIFIED}: {names[j]} changes no fitted value"
    kept = np.setdiff1d(moving, idle)
    if len(kept):
        # all rows of V, also those that fewer points than parameters leave without a value
        few = len(x) < len(kept)
        _, values, rows = np.linalg.svd(x[:, kept] / size[kept], full_matrices=few)
        values = np.concatenate([values, np.zeros(len(kept) - len(values))])
        flat = rows[values <= rounding * np.sqrt(len(kept))]
        null = np.zeros((len(names), len(flat)))
        null[kept] = flat.T
        together = [j for j in kept if (np.abs(null[j]) > ALIGNED).any()]
        why = _because(p.x, len(moving), len(together))
        for j in together:
            lost[names[j]] = (
                f"{NOT_IDENTIFIED}: {joined(names[i] for i in together)} can move together and "
                f"leave every fitted value as it is{why}"
            )
    others = _elsewhere(fitted, moving, lost)
    return Freedom(lost, null, length, others)


def _elsewhere(fitted: Fit, moving: np.ndarray, lost: dict[str, str]) -> np.ndarray:
    """Other ends [m, k] of the search with the same objective, and why their parameters are lost.

    Their distance is judged by the standard errors of the curvature; those of parameters on a bound
    are 0. Where there are such ends, an interval around one of them is too short for any
    parameter."""
    p, names = fitted.problem, fitted.form.names
    if len(fitted.ends) < 2 or fitted.sigma <= 0:
        return fitted.ends[:0]
    slopes = p.residuals(fitted.u[None])[1][0][:, moving]
    size = np.sqrt((slopes**2).sum(0)) + 1e-300
    inverse = np.linalg.pinv((slopes / size).T @ (slopes / size), rcond=1e-14)
    error = np.full(len(names), 0.0)
    error[moving] = fitted.sigma * np.sqrt(np.diag(inverse)) / size
    known = fitted.free & ~np.isin(names, list(lost))
    away = np.abs(fitted.ends - fitted.u) > APART * error + ALIGNED * np.abs(fitted.u)
    away &= known
    for j in np.flatnonzero(known):
        if away[:, j].any():
            values = p.to_natural(np.concatenate([fitted.u[None], fitted.ends[away[:, j]]]))[:, j]
            other = values[1:][np.argmax(np.abs(values[1:] - values[0]))]
            lost[names[j]] = (
                f"{NOT_IDENTIFIED}: {digits(float(values[0]))} and {digits(float(other))} fit "
                f"them equally well{_because(p.x, int(fitted.free.sum()))}"
            )
        elif away.any():
            lost[names[j]] = (
                "other minima are as low as this one, so an interval around it would be too short"
            )
    return fitted.ends[away.any(1)]


def _because(x: Arrays, parameters: int, together: int = 0) -> str:
    """What of the design may be the cause, in words that follow a sentence. parameters: all that
    move; together: those that move with each other."""
    same = [name for name, a in x.items() if np.ptp(a) <= 4 * np.finfo(float).eps * np.abs(a).max()]
    if same:
        values = joined(f"{name} is {digits(float(x[name][0]))}" for name in same)
        return f", because {values} at every point"
    names = list(x)
    for i, name in enumerate(names):
        for other in names[:i]:
            if (x[other] == 0).any():
                continue
            ratio = x[name] / x[other]
            if np.ptp(ratio) <= 16 * np.finfo(float).eps * np.abs(ratio).max():
                return f", because {name} is {digits(float(ratio[0]))} times {other} at every point"
    for name, a in x.items():
        if (values := len(np.unique(a))) < together:
            return f", because {name} has only {values} different values"
    count = len(np.unique(np.stack(list(x.values()), axis=-1), axis=0))
    if count < parameters:
        return f", because the points lie at {count} different places, fewer than parameters"
    return ""
