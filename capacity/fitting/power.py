"""What a study could tell: by how much the truth would have to lie outside of a range for the study
to say so in four of five repetitions.

The study says that a quantity lies above a range [low, high] where the lower end of its 95%
interval does. With a standard error s estimated with v degrees of freedom, the statistic
(x - high) / s then exceeds Student's t; for a true value y it has a noncentral t distribution with
noncentrality (y - high) / s (Johnson, Kotz & Balakrishnan 1995, Continuous Univariate
Distributions 2, ch. 31), so y follows from the noncentrality d at which 80% lie beyond. s is that
of the study at hand:
    absolute      the noise stays as it is: y = high + d s
    proportional  it grows with the quantity x, as that of a mean over models does:
                  y = high + d s y / x
    logarithmic   the same of numbers whose logarithm the interval is formed in: y = high exp(d s),
                  with s on the scale of logarithms
Each side has its own s, from the end of the interval on the other side of the value, because
intervals of peaks are not symmetric. Ratios by Fieller's interval have their own calculation
(`power_of_ratio`). Nothing depends on where the measured value lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from capacity.fitting import power_of_ratio
from capacity.fitting.statistics import LEVEL, POWER, student

ABSOLUTE, PROPORTIONAL, LOGARITHMIC = "absolute", "proportional", "logarithmic"
NORMAL = 200.0  # degrees of freedom from which Student's t is taken for normal


@lru_cache(maxsize=1024)
def noncentrality(dof: float | None, power: float = POWER, level: float = LEVEL) -> float:
    """True distance from a limit, in standard errors, at which an interval with so many degrees of
    freedom (None: a known standard error) lies beyond it with this probability."""
    from scipy.optimize import brentq
    from scipy.special import nctdtr, ndtri

    if dof is None or dof >= NORMAL:
        return float(ndtri(0.5 + level / 2) + ndtri(power))
    edge = float(student(dof, level))
    high = 1.0
    while (reached := 1 - nctdtr(dof, high, edge)) < power:  # far out it is NaN for some dof
        high *= 1.3
    if math.isnan(reached):
        return math.inf
    root: Any = brentq(lambda d: 1 - nctdtr(dof, d, edge) - power, 0.0, high)
    return float(root)


@dataclass(frozen=True)
class Sides:
    """possible: least and largest value that there can be; an interval that ends there has the
    noise of its other side. levels: two-sided ones of the lower and the upper end, where these
    differ, as those of a maximum do."""

    possible: Sequence[float] = (-math.inf, math.inf)
    levels: Sequence[float] = (LEVEL, LEVEL)


def tellable(
    value: float,
    interval: Sequence[float],
    ends: Sequence[float | None],
    *,
    dof: float | None = None,
    spread: str = ABSOLUTE,
    sides: Sides = Sides(),
) -> dict[str, Any]:
    """below, above: the largest value below and the smallest above the range that such a study
    calls different with probability `probability`; None where no possible value is.

    interval: 95%, of the value; ends: of the range, None where it is open; dof: degrees of freedom
    of the interval, None for normal noise; spread: how noise depends on the quantity, see above.
    """
    low, high = interval
    logs = spread == LOGARITHMIC and low > 0
    scale, back = (math.log, math.exp) if logs else (float, float)
    few, levels = NORMAL if dof is None else min(dof, NORMAL), sides.levels
    under = (scale(value) - scale(low)) / float(student(few, levels[0]))
    over = (scale(high) - scale(value)) / float(student(few, levels[1]))
    if low <= sides.possible[0]:
        under = over
    if high >= sides.possible[1]:
        over = under
    # above the range lies what has its lower end there, below it what has its upper end there
    up, down = (noncentrality(dof, level=level) for level in levels)
    up, down = up * under, down * over
    limits = {"below": math.nan, "above": math.nan}
    if not math.isfinite(up + down):
        pass
    elif spread == ABSOLUTE or (spread == LOGARITHMIC and not logs):
        limits = {"below": _less(ends[0], down), "above": _more(ends[1], up)}
    elif logs:
        limits = {
            "below": math.nan if not ends[0] else back(_less(scale(ends[0]), down)),
            "above": math.nan if not ends[1] else back(min(700.0, _more(scale(ends[1]), up))),
        }
    elif value > 0:
        part = 1 - up / value
        limits["below"] = _less(ends[0], 0.0) / (1 + down / value)
        limits["above"] = _more(ends[1], 0.0) / part if part > 0 else math.nan
    return _kept(limits, sides.possible)


def tellable_ratio(
    noise: power_of_ratio.Noise,
    ends: Sequence[float | None],
    possible: Sequence[float] = (-math.inf, math.inf),
) -> dict[str, Any]:
    """The same of a ratio by Fieller's interval, from the noise of both means."""
    low, high = (end or math.nan for end in ends)
    limits = {
        "below": power_of_ratio.tellable(noise, low, above=False),
        "above": power_of_ratio.tellable(noise, high, above=True),
    }
    return _kept(limits, possible)


def _kept(limits: dict[str, float], possible: Sequence[float]) -> dict[str, Any]:
    """None where no possible value is told."""
    kept = {side: x if possible[0] < x < possible[1] else None for side, x in limits.items()}
    return kept | {"probability": POWER}


def _less(end: float | None, distance: float) -> float:
    return math.nan if end is None else end - distance


def _more(end: float | None, distance: float) -> float:
    return math.nan if end is None else end + distance


def told(power: dict[str, Any]) -> str:
    """The same in words, such as "could tell a value below 0.48 or above 0.71 (80%)"."""
    sides = [f"{side} {power[side]:.3g}" for side in ("below", "above") if power[side] is not None]
    share = f"{power['probability']:.0%}"
    if not sides:
        return f"could tell no possible value from the range ({share})"
    return f"could tell a value {' or '.join(sides)} ({share})"
