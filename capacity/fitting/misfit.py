"""How far a law lies off its points beyond the noise of their replicates, and what that adds to its
intervals.

Points of one place (such as a number of exposures, a bit width, or a model and a size of the data)
are replicates of each other: how they differ is noise, however well the law fits. `lack_of_fit`
asks whether the means of places lie off the law by more than that (the F ratio of pure error:
Draper & Smith 1998, Applied Regression Analysis, section 2.1).

`carried` brings what is found into intervals, whatever p is: that no misfit was shown is no proof
of none. The residuals of a fit are divided among points and the groups that they have in common
(places first, and models where they share something) by restricted likelihood (`random_effects`),
and the error of a number is what each of them adds to it, with Satterthwaite's degrees of freedom:
where places scatter, five places are five observations, however many runs stand behind them. Where
nothing is seen of places the intervals stay those of the clusters: the doubt about a variance of 0
alone would double those of laws that do fit (simulated, `results/studies/coverage/misfit.md`). What
lies off at a place is taken for a draw of chance: a law that is bent is not healed by it, and its
numbers stay those of another form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

from capacity.fitting import random_effects
from capacity.fitting.fit import Fit

POINTS = "points"  # the source that every point has for itself
NOISELESS = 1e-9  # residuals of a law that goes through its points, in the transform
EXACT = 1e-6  # of the scatter of all points, below which replicates are equal
FEWEST = 3  # replicates of a place that has a noise of its own


class LackOfFit(TypedDict):
    """Misfit of a law over the noise of replicates: ratio of mean squares, its degrees of freedom
    (places, replicates), and the chance p of a larger ratio if there is none; off: root mean square
    by which places lie off beyond the noise of their means, in the transform of the fit; p_each:
    the same chance where every place has its own noise, None with fewer than FEWEST replicates of
    each. The ratio takes noise as equal, so that where it is small misfit can hide behind it."""

    ratio: float
    dof: list[int]
    p: float
    off: float
    p_each: float | None


@dataclass(frozen=True)
class Mixed:
    """Covariance of the coordinates of the search from several sources, as `covariance.Spread` has
    it from clusters: covariance and inverse curvature [k, k], pull of a residual on each coordinate
    [n, k], and by source its variance and kernel [n, n]."""

    covariance: np.ndarray
    inverse: np.ndarray
    pull: np.ndarray
    variances: dict[str, float]
    kernels: np.ndarray
    uncertainty: np.ndarray

    def error(self, gradient: np.ndarray) -> float:
        """Standard error of a number with this gradient by u."""
        return float(np.sqrt(max(gradient @ self.covariance @ gradient, 0.0)))

    def dof(self, gradient: np.ndarray) -> float:
        """Satterthwaite's degrees of freedom of that standard error."""
        variance = float(gradient @ self.covariance @ gradient)
        if variance <= 0:
            return 0.0
        pull = self.pull @ gradient
        return random_effects.satterthwaite(pull, variance, self.kernels, self.uncertainty)

    def scatter(self) -> dict[str, float]:
        """Standard deviation by source, in the fit's transform."""
        return {name: float(np.sqrt(v)) for name, v in self.variances.items()}


def pure_error(
    rest: ArrayLike, places: ArrayLike, parameters: int, levels: int = 0
) -> LackOfFit | None:
    """Of residuals [n] of a fit with so many parameters, weighted so that their noise is equal, and
    of the place of each; levels: other numbers that were fitted to the noise. None without
    replicates, or with no place more than parameters."""
    from scipy.special import fdtrc

    r, codes = np.asarray(rest, float), _codes(places)
    size = np.bincount(codes)
    mean = np.bincount(codes, r) / size
    inside = float(((r - mean[codes]) ** 2).sum())
    outside = float((size * mean**2).sum())
    between, within = len(size) - parameters, len(r) - len(size) - levels
    if within < 1 or between < 1 or inside <= 0:
        return None
    noise = inside / within
    ratio = outside / between / noise
    off = math.sqrt(max(outside / between - noise, 0.0) * len(size) / len(r))
    p = float(fdtrc(between, within, ratio))
    each = _place_by_place(r, codes)
    return {"ratio": ratio, "dof": [between, within], "p": p, "off": off, "p_each": each}


def _place_by_place(r: np.ndarray, codes: np.ndarray) -> float | None:
    """Chance that some place lies as far off by its own noise (Student's t), times the number of
    places (Bonferroni)."""
    from scipy.special import stdtr

    chances, least = [], EXACT * float(r.std())
    order = np.argsort(codes, kind="stable")
    for mine in np.split(r[order], np.cumsum(np.bincount(codes))[:-1]):
        if len(mine) < FEWEST:
            return None
        error = float(mine.std(ddof=1)) / math.sqrt(len(mine))
        if error > least:  # others are set, not measured, such as what fp32 retains of fp32
            chances.append(2 * float(stdtr(len(mine) - 1, -abs(mine.mean()) / error)))
    return min(1.0, len(chances) * min(chances)) if chances else None


def lack_of_fit(
    fitted: Fit, places: ArrayLike, blocks: ArrayLike | None = None
) -> LackOfFit | None:
    """`pure_error` of a least-squares fit; places: of each of `Fit.points` its place. blocks: what
    points of all places have in common beside, such as a model, whose own level is no noise and no
    misfit; every block has every place. Bounds say nothing."""
    x, r, _, used = _linear(fitted)
    codes = _codes(_codes(places)[fitted.places][used])
    if blocks is None:
        return pure_error(r, codes, x.shape[1])
    block = _codes(_codes(blocks)[fitted.places][used])
    size = np.bincount(block)
    level = np.bincount(block, r)[block] / size[block] - r.mean()
    misfit = pure_error(r - level, codes, x.shape[1], levels=len(size) - 1)
    # by its own noise a place is judged as it is: levels are those of all places
    if misfit is not None:
        misfit["p_each"] = _place_by_place(r, codes)
    return misfit


def carried(fitted: Fit, groups: Mapping[str, ArrayLike]) -> Mixed | None:
    """The covariance of a least-squares fit from the scatter of points, of places (the first of
    groups) and of other groups; None where places are not seen to scatter, or where nothing is left
    to learn that from.

    groups: by source the group of each of `Fit.points`. Others than places count where the points
    can tell them apart and something is seen of them."""
    x, r, moving, used = _linear(fitted)
    codes = {name: _codes(labels)[fitted.places][used] for name, labels in groups.items()}
    kernels = {POINTS: np.eye(len(r))}
    kernels |= {name: random_effects.shared(mine) for name, mine in codes.items()}
    design, place = _spanning(x), next(iter(groups))
    if float(np.sqrt(np.mean(r**2))) <= NOISELESS:
        return None
    try:
        with np.errstate(all="ignore"):  # a search may pass variances that have no likelihood
            effects = random_effects.effects(r, design, kernels)
            seen = [name for name, v in effects.variances.items() if v > 0 or name == POINTS]
            if place not in seen:
                return None
            if len(seen) < len(effects.variances):
                effects = random_effects.effects(r, design, {name: kernels[name] for name in seen})
    except (ValueError, np.linalg.LinAlgError):
        return None
    names = list(effects.variances)
    size = np.maximum(np.sqrt((x**2).sum(0)), 1e-150)
    inverse = np.linalg.pinv((x / size).T @ (x / size), rcond=1e-14) / np.outer(size, size)
    pull = x @ inverse  # [n, moving]
    parts = np.array([kernels[name] for name in names])
    v = np.tensordot([effects.variances[name] for name in names], parts, 1)
    k = len(moving)
    wide, whole, pulls = np.zeros((k, k)), np.zeros((k, k)), np.zeros((len(r), k))
    wide[np.ix_(moving, moving)] = pull.T @ v @ pull
    whole[np.ix_(moving, moving)] = inverse
    pulls[:, moving] = pull
    return Mixed(wide, whole, pulls, effects.variances, parts, effects.uncertainty)


def scatter(fitted: Fit, groups: Mapping[str, ArrayLike]) -> dict[str, float]:
    """Standard deviation about the law by source, as `carried` has it; empty where it has none."""
    mixed = carried(fitted, groups)
    return {} if mixed is None else mixed.scatter()


def _codes(labels: ArrayLike) -> np.ndarray:
    return np.unique(np.asarray(labels), return_inverse=True)[1]


def _linear(fitted: Fit) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the measured points: derivatives [n, moving] of the weighted residuals by the fitted
    parameters off their bounds, residuals [n], which parameters these are [k], and which points
    [all]."""
    p = fitted.problem
    e, jacobian = p.residuals(fitted.u[None])
    held = np.isin(np.array(fitted.form.names), list(fitted.search["at_bound"]))
    moving, used = fitted.free & ~held, ~p.censored
    return jacobian[0][used][:, moving], e[0][used], moving, used


def _spanning(x: np.ndarray) -> np.ndarray:
    """Columns that span those of x, of full rank."""
    left, size, _ = np.linalg.svd(x / np.maximum(np.linalg.norm(x, axis=0), 1e-150), False)
    return left[:, size > 1e-9 * max(size.max(initial=0.0), 1e-150)]
