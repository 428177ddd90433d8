"""The ratio of two means with its interval, from replicates: one estimand, whatever is known.

The ratio is that of the means over replicates, so it is the quotient of the two numbers that stand
in a table, and may be of an arm whose mean is near 0 or below. Its interval is Fieller's (1954, J.
R. Stat. Soc. B 16, 175; `statistics.fieller`):

    of_pairs     from pairs that share a seed: whatever a seed does to both sides cancels
    of_means     from two means that are known by themselves
    of_largest   of the largest of several means on either side: which one it is is not known
    paired       from pairs, with the exact test that goes with it, over pairs and over groups

No logarithm is taken. Of positive values the mean of log ratios is another estimand, close to this
one where the noise is small, and undefined where a model has learned nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from capacity.fitting.power_of_ratio import Noise
from capacity.fitting.statistics import LEVEL, fieller, sign_flips, student

NO_ENDS = "the denominator is not distinguishable from 0"


@dataclass(frozen=True)
class Mean:
    """A mean, the variance of that mean, and its degrees of freedom."""

    value: float
    variance: float
    dof: float


def weighted(parts: Sequence[Mean], weights: Sequence[float]) -> Mean:
    """The sum of independent means times weights; degrees of freedom by Satterthwaite (1946,
    Biometrics Bull. 2, 110)."""
    shares = [w * w * part.variance for w, part in zip(weights, parts, strict=True)]
    value = sum(w * part.value for w, part in zip(weights, parts, strict=True))
    return Mean(value, sum(shares), satterthwaite(shares, [part.dof for part in parts]))


def satterthwaite(variances: Sequence[float], dof: Sequence[float]) -> float:
    """Degrees of freedom of a sum of variances with degrees of freedom of their own; infinite where
    there is no variance."""
    below = sum(v * v / d for v, d in zip(variances, dof, strict=True) if v > 0)
    return sum(variances) ** 2 / below if below > 0 else math.inf


def of_means(a: Mean, b: Mean, level: float = LEVEL) -> dict[str, Any]:
    """a / b of independent means: value, interval, dof, why (there is no interval), noise (for what
    it could tell)."""
    value = a.value / b.value if b.value else math.nan
    share = value * value * b.variance if math.isfinite(value) else b.variance
    dof = satterthwaite([a.variance, share], [a.dof, b.dof])
    t = _quantile(dof, level)
    cov = [[a.variance, 0.0], [0.0, b.variance]]
    noise = Noise(a.value, b.value, (a.variance, 0.0, b.variance), (a.dof, b.dof))
    return _fieller_entry(a.value, b.value, cov, t) | {"dof": dof, "noise": noise}


def of_logs(a: Mean, b: Mean, level: float = LEVEL) -> dict[str, Any]:
    """exp(a - b) of two independent estimates of logarithms, such as numbers of exposures that are
    extrapolated: value, interval, dof, why."""
    out = difference(a, b, level)
    return out | {
        "value": math.exp(out["value"]),
        "interval": [math.exp(min(end, 700.0)) for end in out["interval"]],
    }


def difference(a: Mean, b: Mean, level: float = LEVEL) -> dict[str, Any]:
    """a - b of independent means, by Student's t: value, interval, dof, why."""
    dof = satterthwaite([a.variance, b.variance], [a.dof, b.dof])
    half = _quantile(dof, level) * math.sqrt(a.variance + b.variance)
    value = a.value - b.value
    return {"value": value, "interval": [value - half, value + half], "why": None, "dof": dof}


def of_pairs(
    a: ArrayLike, b: ArrayLike, by: ArrayLike | None = None, level: float = LEVEL
) -> dict[str, Any]:
    """Mean of a / mean of b over pairs [n], two at least: value, interval, dof, why, noise (for
    what it could tell).

    by [n]: groups, such as sizes of the model: values are divided by the mean of their group over
    both sides, so that every pair counts alike however large its numbers are.
    """
    a, b = alike(a, b, by)
    n = len(a)
    cov = np.cov(a, b) / n
    t = float(student(n - 1, level))
    above, below = float(a.mean()), float(b.mean())
    ends = (float(cov[0, 0]), float(cov[0, 1]), float(cov[1, 1]))
    noise = Noise(above, below, ends, (float(n - 1),))
    return _fieller_entry(above, below, cov, t) | {"dof": float(n - 1), "noise": noise}


def alike(a: ArrayLike, b: ArrayLike, by: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Values of pairs over `divisors`."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    divided = divisors(a, b, by)
    return a / divided, b / divided


def divisors(a: np.ndarray, b: np.ndarray, by: ArrayLike | None = None) -> np.ndarray:
    """What makes pairs [n] of every group count alike: the mean of the group over both sides; 1
    where there is one group, or where the mean of one is not above 0."""
    if by is None:
        return np.ones(len(a))
    _, codes = np.unique(np.asarray(by), return_inverse=True)
    size = np.bincount(codes, a + b) / np.bincount(codes) / 2
    if len(size) < 2 or not (size > 0).all():
        return np.ones(len(a))
    return size[codes]


def paired(
    a: ArrayLike,
    b: ArrayLike,
    *,
    by: ArrayLike | None = None,
    ratio: bool = True,
    level: float = LEVEL,
) -> dict[str, Any]:
    """Whether A holds more than B, from pairs that differ in nothing else.

    ratio: effect and interval are those of `of_pairs`; else means of differences, with Student's
    interval. p_more and p: `sign_flips` of the differences (of values that `alike` divides, for a
    ratio); p_t: Student's test of them, which rejects where the interval excludes equality. Over
    pairs they hold for the groups at hand; `sizes`, over the means of the groups `by`, also for
    other groups. ValueError for lists of two lengths, for values that are not finite, and for a
    ratio to a mean that is not above 0.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"pairs need two lists of one length, not {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()) or (ratio and len(b) and b.mean() <= 0):
        raise ValueError("pairs need finite values" + (", above 0 for a ratio" if ratio else ""))
    if ratio:
        a, b = alike(a, b, by)
    out = _one_sample(a, b, ratio, level) | {"what": "A / B" if ratio else "A - B"}
    if by is not None:
        _, codes = np.unique(np.asarray(by), return_inverse=True)
        mine, theirs = (np.bincount(codes, x) / np.bincount(codes) for x in (a, b))
        out["sizes"] = _one_sample(mine, theirs, ratio, level)
    return out


def _one_sample(a: np.ndarray, b: np.ndarray, ratio: bool, level: float) -> dict[str, Any]:
    """Effect, interval and tests of pairs. sd: of a difference, for a ratio as a part of b and
    about the ratio."""
    from scipy.special import stdtr

    n, d = len(a), a - b
    effect = None
    if n:
        effect = float(a.mean() / b.mean()) if ratio else float(d.mean())
    if n < 2:
        return {
            "units": n,
            "effect": effect,
            "interval": None,
            "p": None,
            "p_more": None,
            "smallest_p": None,
            "reason": "one pair has no spread",
        }
    if ratio:
        estimate = of_pairs(a, b, level=level)
        interval, why = estimate["interval"], estimate["why"]
        sd = float(np.std(a - effect * b, ddof=1) / b.mean())
    else:
        sd = float(d.std(ddof=1))
        half = student(n - 1, level) * sd / math.sqrt(n)
        interval, why = [float(d.mean() - half), float(d.mean() + half)], None
    flips, error = sign_flips(d), float(d.std(ddof=1)) / math.sqrt(n)
    return {
        "units": n,
        "effect": effect,
        "interval": interval,
        "sd": sd,
        "p_more": flips["p_more"],
        "p": flips["p"],
        "p_t": float(2 * stdtr(n - 1, -abs(float(d.mean())) / error)) if error > 0 else None,
        "smallest_p": flips["smallest_p"],
        "exact": flips["exact"],
        "reason": why,
    }


def of_largest(
    value: float,
    above: int,
    below: int,
    of: Callable[[int, int, float], Sequence[float] | None],
    level: float = LEVEL,
) -> list[float] | None:
    """Interval of the largest of `above` true means over the largest of `below` others.

    of(i, j, level): the interval of the ratio of mean i above to mean j below, None where it has
    no ends. Which means are the largest is not known, and the largest of noisy ones lies too high.
    The true ratio is r = max_i min_j r_ij, and at most r_ij of the best i and of every j. So its
    upper end is max_i min_j of upper limits that hold for all j together, its lower end min_j max_i
    of lower limits that hold for all i together (Sidak 1967, J. Am. Stat. Assoc. 62, 626). One mean
    on either side leaves the interval of their ratio.
    """
    lows = np.full((above, below), -math.inf)
    highs = np.full((above, below), math.inf)
    for i in range(above):
        for j in range(below):
            if (ends := of(i, j, together(level, above))) is not None:
                lows[i, j] = ends[0]
            if (ends := of(i, j, together(level, below))) is not None:
                highs[i, j] = ends[1]
    low, high = float(lows.max(0).min()), float(highs.min(1).max())
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    return [min(low, value), max(high, value)]


def together(level: float, n: int) -> float:
    """Two-sided level of each of n intervals of which one side holds together as often as one side
    of a single interval does."""
    return 2 * (0.5 + level / 2) ** (1 / n) - 1


def _quantile(dof: float, level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2)) if math.isinf(dof) else float(student(dof, level))


def _fieller_entry(a: float, b: float, cov: Any, t: float) -> dict[str, Any]:
    value, interval = fieller(a, b, cov, t)
    return {
        "value": float(value),
        "interval": None if interval is None else [float(x) for x in interval],
        "why": None if interval else NO_ENDS,
    }
