"""How far runs of one arm scatter over seeds, where few of them were trained.

An arm of three replicates or more is judged by its own: their variance, with n - 1 degrees of
freedom. One of fewer is judged by a line through the other arms that have replicates,

    log sd = log sd_0 + b log(level / level_0),        level: the size of an arm's mean

(maximum likelihood, s^2 being distributed as sd^2 chi^2_d / d), and by what its own two replicates
add to that (Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3, article 3, equation 4.1: the variances are
averaged by their degrees of freedom). The line is worth as many degrees of freedom as its own
uncertainty and the scatter of arms about it leave: a variance whose logarithm has the variance
trigamma(d / 2) has d of them.

One relative noise for all arms, which this replaces, lets the arm that has learned least widen the
intervals of all others; `scripts/coverage_arms.py` compares both on planted studies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

OWN = 3  # replicates from which an arm is judged by them alone
# b before the data: between noise that does not depend on the level (0) and noise that is
# proportional to it (1), as a normal prior. Over the 63 arms of the committed studies of people
# b = 0.1 [-0.2, 0.4].
SLOPE, SLOPE_SD = 0.5, 0.5
# Degrees of freedom that the scatter of arms about their line leaves, known exactly or not. In
# those 63 arms none is seen beyond that of the variances; a likelihood ratio of 95% excludes
# fewer than 3.3.
SCATTER_DOF = 4.0
FLOOR = 0.05  # of what all data hold, or of the largest level: the least level, as it may be <= 0
STEPS, STILL = 100, 1e-10


@dataclass(frozen=True)
class Spread:
    """Variance of one run of an arm, its degrees of freedom, and whether own replicates say so or
    the line of all arms."""

    variance: float
    dof: float
    own: bool


@dataclass(frozen=True)
class Line:
    """log variance = log_variance + slope log(level / center); cov [2, 2] of both; arms: with
    replicates, dof: of all of them."""

    center: float
    log_variance: float
    slope: float
    cov: np.ndarray
    arms: int
    dof: int

    def at(self, level: float) -> Spread:
        """What one run of an arm at this level scatters by."""
        if math.isinf(self.log_variance):  # replicates that are equal to the last digit
            return Spread(0.0, float(self.dof), False)
        z = np.array([1.0, math.log(level / self.center)])
        return Spread(
            math.exp(self.log_variance + self.slope * z[1]), _dof(float(z @ self.cov @ z)), False
        )


def line(levels: ArrayLike, variances: ArrayLike, dof: ArrayLike) -> Line | None:
    """The line through arms with replicates: their levels (above 0), the variances of one run and
    their degrees of freedom (n - 1, at least 1), [n] each; None for no arm."""
    x, s2, d = (np.asarray(v, float) for v in (levels, variances, dof))
    if not len(x):
        return None
    center = math.exp(float((d * np.log(x)).sum() / d.sum()))
    about = (center, len(x), int(d.sum()))
    pooled = float((d * s2).sum() / d.sum())
    if pooled == 0:
        return Line(about[0], -math.inf, 0.0, np.zeros((2, 2)), *about[1:])
    z = np.column_stack([np.ones(len(x)), np.log(x / center)])
    prior = np.diag([0.0, 1 / (2 * SLOPE_SD) ** 2])  # of the variance: twice the slope of the sd
    expected = np.array([0.0, 2 * SLOPE])
    information = (z * (d / 2)[:, None]).T @ z + prior
    theta = np.array([math.log(pooled), 2 * SLOPE])
    for _ in range(STEPS):  # Fisher's scoring; the information does not depend on theta
        ratio = s2 / np.exp(z @ theta)
        slope = z.T @ (d / 2 * (ratio - 1)) - prior @ (theta - expected)
        step = np.linalg.solve(information, slope)
        theta = theta + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < STILL:
            break
    return Line(about[0], float(theta[0]), float(theta[1]), np.linalg.inv(information), *about[1:])


def spread(values: Sequence[float], level: float, others: Line | None) -> Spread | None:
    """What one run of an arm scatters by: values: its replicates; level: the size of their mean;
    others: the line of the other arms of its class (not of this one, whose replicates would count
    twice). None where nothing has replicates."""
    n = len(values)
    own = float(np.var(values, ddof=1)) if n > 1 else 0.0
    if n >= OWN or (others is None and n > 1):
        return Spread(own, n - 1.0, True)
    if others is None:
        return None
    known, mine = others.at(level), float(max(n - 1, 0))
    variance = (known.dof * known.variance + mine * own) / (known.dof + mine)
    return Spread(variance, known.dof + mine, False)


def spreads(values: Sequence[Sequence[float]], levels: Sequence[float]) -> list[Spread | None]:
    """`spread` of every arm of a class: values: its replicates, levels: the size of its mean."""
    several = [i for i, mine in enumerate(values) if len(mine) > 1]
    by_arm = []
    for i, (mine, level) in enumerate(zip(values, levels, strict=True)):
        others = None
        if len(mine) < OWN:
            others = _line_of([j for j in several if j != i], values, levels)
        by_arm.append(spread(mine, level, others))
    return by_arm


def of_class(values: Sequence[Sequence[float]], levels: Sequence[float]) -> Line | None:
    """The line of all arms that have replicates."""
    several = [i for i, mine in enumerate(values) if len(mine) > 1]
    return _line_of(several, values, levels)


def _line_of(
    arms: Sequence[int], values: Sequence[Sequence[float]], levels: Sequence[float]
) -> Line | None:
    return line(
        [levels[i] for i in arms],
        [float(np.var(values[i], ddof=1)) for i in arms],
        [len(values[i]) - 1 for i in arms],
    )


def _dof(variance: float) -> float:
    """Degrees of freedom of a variance whose logarithm is known with this variance, beside the
    scatter of arms."""
    from scipy.optimize import brentq
    from scipy.special import polygamma

    whole = variance + float(polygamma(1, SCATTER_DOF / 2))
    if whole > float(polygamma(1, 0.05)):
        return 0.1  # 400 times the variance of a pair: the line says nothing there
    half = cast(float, brentq(lambda x: float(polygamma(1, x)) - whole, 0.05, SCATTER_DOF))
    return 2 * half
