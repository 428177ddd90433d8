"""What a study could tell of a ratio whose interval is Fieller's: true values at which the interval
lies beyond a limit in four of five repetitions.

The lower end of a / b lies above a limit R where a - R b stands t standard errors above 0, and b
does, too. A ratio y that is farther away has another noise: that of a grows with a, so that moving
the interval by a factor, as on a scale of logarithms, claims too much above the range and too
little below it. So repetitions are drawn: both means, and their variances with the degrees of
freedom that they were estimated with (Wishart's distribution of pairs, chi-square of means on their
own), and each is judged as the study would be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from capacity.fitting.statistics import LEVEL, POWER, student

DRAWS = 4000  # a share of 80% to 0.6 points
SEED = 20261129
FARTHEST = 1e4  # times a limit, that true ratios are looked for up to
TURNS = 40


@dataclass(frozen=True)
class Noise:
    """Of the means a and b: their values, covariance (aa, ab, bb), degrees of freedom of each
    (paired: one number, of pairs), and the two-sided level of the interval's lower and upper
    end."""

    a: float
    b: float
    covariance: tuple[float, float, float]
    dof: tuple[float, ...]
    levels: tuple[float, float] = (LEVEL, LEVEL)

    @property
    def paired(self) -> bool:
        return len(self.dof) == 1


def tellable(noise: Noise, limit: float, above: bool, power: float = POWER) -> float:
    """The true ratio nearest to the limit that is called above (below) it with this probability;
    NaN where none is."""
    if not (limit > 0 and noise.b > 0):
        return math.nan
    share = _share_called(noise, limit, above)
    near, far = limit, limit * (FARTHEST if above else 1 / FARTHEST)
    if share(far) < power:
        return math.nan
    for _ in range(TURNS):
        middle = math.sqrt(near * far)
        near, far = (near, middle) if share(middle) >= power else (middle, far)
        if abs(far / near - 1) < 1e-4:
            break
    return far


def _share_called(noise: Noise, limit: float, above: bool) -> Callable[[float], float]:
    """The share of repetitions that are called above (below) the limit, by the true ratio."""
    aa, ab, bb = noise.covariance
    z_a, z_b, v_a, v_b, c = _draws(noise.dof)
    # standard errors in units of b; that of a grows with it, unless a is hardly known to be there
    of_b = math.sqrt(bb) / noise.b
    of_a, grows = math.sqrt(aa) / noise.b, noise.a > 2 * math.sqrt(aa)
    r = float(np.clip(ab / math.sqrt(aa * bb), -1, 1)) if aa * bb > 0 else 0.0
    s = math.sqrt(1 - r * r)
    level = noise.levels[0 if above else 1]
    grid = np.geomspace(0.2, 400.0, 200)
    quantiles = student(grid, level)

    def share(y: float) -> float:
        here = of_a * (y * noise.b / noise.a if grows else 1.0)
        top, bottom = y + here * (r * z_b + s * z_a), 1 + of_b * z_b
        # estimates of variances: what a shares with b, and what it has for itself
        bb_ = of_b**2 * v_b
        aa_ = here**2 * (r * r * v_b + 2 * r * s * c + s * s * v_a)
        ab_ = here * of_b * (r * v_b + s * c)
        if noise.paired:
            t = float(student(noise.dof[0], level))
        else:
            part = (top / bottom) ** 2 * bb_
            dof = (aa_ + part) ** 2 / (aa_**2 / noise.dof[0] + part**2 / noise.dof[1])
            t = np.interp(np.log(dof), np.log(grid), quantiles)
        known = (bottom > 0) & (bottom**2 > t**2 * bb_)
        off = top - limit * bottom
        error = np.sqrt(np.maximum(aa_ - 2 * limit * ab_ + limit**2 * bb_, 0.0))
        return float((known & ((off if above else -off) > t * error)).mean())

    return share


@lru_cache(maxsize=256)
def _draws(dof: tuple[float, ...]) -> tuple[np.ndarray, ...]:
    """Standard normal draws of both means, estimates of both variances relative to the true ones,
    and of the covariance of what is independent (0 of means on their own)."""
    rng = np.random.default_rng(SEED)
    z_a, z_b = rng.standard_normal((2, DRAWS))
    if len(dof) == 1:  # Bartlett's decomposition of a Wishart matrix of two
        n = dof[0]
        first = np.sqrt(rng.chisquare(n, DRAWS))
        cross = rng.standard_normal(DRAWS)
        rest = rng.chisquare(n - 1, DRAWS) if n > 1 else np.zeros(DRAWS)
        return z_a, z_b, (cross**2 + rest) / n, first**2 / n, first * cross / n
    parts = [np.ones(DRAWS) if math.isinf(d) else rng.chisquare(d, DRAWS) / d for d in dof]
    return z_a, z_b, parts[0], parts[1], np.zeros(DRAWS)
