"""How two levels compare where every size of the model has several seeds, so that ratios along a
chain of levels multiply to the ratio of its ends exactly.

A step goes from level a to level b. Of size i with seeds s = 1 .. n_i

    log r_i = log(mean_s b_is) - log(mean_s a_is),    log r = mean over sizes of log r_i

Means come before logarithms, so that a seed that learned nothing does no harm, and sizes count
alike. Then r(a, c) = r(a, b) r(b, c) for any levels of the same sizes and seeds. The variance of
log r_i is that of the mean of b_is / mean b - a_is / mean a over seeds, which are paired (delta
method, first order); degrees of freedom by Satterthwaite (1946, Biometrics Bull. 2, 110).

A mean whose standard error is over a third of it has no logarithm to be trusted (the next order of
the delta method, half the square of that part, is then above 5%): the step has no value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from capacity.fitting.ratios import satterthwaite
from capacity.fitting.statistics import LEVEL, sign_flips, student

FEWEST = 2  # seeds of a size: one has no spread
LEAST = 1 / 3  # standard error of a mean over the mean


def step(a: Sequence[ArrayLike], b: Sequence[ArrayLike], level: float = LEVEL) -> dict[str, Any]:
    """The ratio b / a of a step, from values by size and seed (the same seeds on either side).

    Returns value, interval, log (its natural logarithm), p (two-sided, by flipping the signs of
    differences of values over the mean of their size, exact to 2^16), pairs, why (there is no
    value or no interval, or None).
    """
    sides = [(np.asarray(x, float), np.asarray(y, float)) for x, y in zip(a, b, strict=True)]
    none = {"value": None, "interval": None, "log": None, "p": None}
    out: dict[str, Any] = {"pairs": sum(len(x) for x, _ in sides), "why": None}
    if not sides:
        return none | out | {"why": "no pair of runs"}
    for x, y in sides:
        if x.shape != y.shape or x.ndim != 1 or not len(x):
            raise ValueError(
                f"a size needs as many values of either side, not {x.shape}, {y.shape}"
            )
        for values in (x, y):
            if why := _no_logarithm(values):
                return none | out | {"why": why}
    logs = [math.log(y.mean() / x.mean()) for x, y in sides]
    flips = sign_flips(np.concatenate([(y - x) / (x.mean() + y.mean()) for x, y in sides]))
    log = float(np.mean(logs))
    out |= {"value": math.exp(log), "log": log, "p": flips["p"], "interval": None}
    if any(len(x) < FEWEST for x, _ in sides):
        return out | {"p": None, "why": "one seed of a size has no spread"}
    spread = [float(np.var(y / y.mean() - x / x.mean(), ddof=1)) / len(x) for x, y in sides]
    shares = [v / len(sides) ** 2 for v in spread]
    dof = satterthwaite(shares, [len(x) - 1.0 for x, _ in sides])
    half = 0.0 if math.isinf(dof) else float(student(dof, level)) * math.sqrt(sum(shares))
    return out | {"interval": [math.exp(log - half), math.exp(log + half)]}


def _no_logarithm(values: np.ndarray) -> str | None:
    """Why the mean of a size has no logarithm to be trusted."""
    mean = float(values.mean())
    if mean <= 0:
        return "one side holds nothing"
    if len(values) >= FEWEST:
        error = float(values.std(ddof=1)) / math.sqrt(len(values))
        if error > LEAST * mean:
            return "one side is known to worse than a third of what it holds"
    return None
