"""The effective size of a model: the size whose undamaged loss is the loss of a damaged model
(Hernandez et al., arXiv 2205.10487, section 2).

Between neighbouring sizes the logarithm of the clean loss is a line in the logarithm of P, so that
a power law is read exactly; beyond the smallest and the largest size nothing is read. Clean and
damaged runs of one replicate share their seeds, so that a replicate is left out on both sides, and
the interval is that of the jackknife with Student's t (Tukey 1958, Ann. Math. Stat. 29, 614).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from capacity.fitting.statistics import t_interval

FEWEST = 2  # replicates, and sizes
ONE = "one replicate has no spread"


def size_at(sizes: Sequence[float], clean: np.ndarray, loss: float) -> float:
    """ln P at which the clean loss is `loss`; sizes: P, rising; clean: loss at each [sizes].
    ValueError, in one line, where the clean loss does not fall from each size to the next, or
    `loss` lies beyond those of the smallest and the largest size."""
    p, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(clean, float))
    if len(p) < FEWEST:
        raise ValueError("one size has no curve")
    if (flat := np.flatnonzero(np.diff(y) >= 0)).size:
        low, high = (f"{sizes[flat[0] + i]:,.0f}" for i in (0, 1))
        raise ValueError(f"the clean loss does not fall from {low} to {high} parameters")
    if not y[-1] <= math.log(loss) <= y[0]:
        which = (
            "above that of the smallest" if math.log(loss) > y[0] else "below that of the largest"
        )
        raise ValueError(f"a loss {which} size")
    return float(np.interp(-math.log(loss), -y, p))


def jackknifed(
    of: Callable[[np.ndarray], float], replicates: int
) -> tuple[float, list[float] | None, str | None]:
    """A number of all replicates, its 95% interval, or why there is none. of(rows): the number from
    these replicates. ValueError where all of them together give none."""
    every = np.arange(replicates)
    value = of(every)
    if replicates < FEWEST:
        return value, None, ONE
    try:
        without = np.array([of(every[every != i]) for i in every])
    except ValueError as error:
        return value, None, f"without one replicate {error}"
    pseudo = replicates * value - (replicates - 1) * without
    low, high = t_interval(pseudo)
    return value, [value - (high - low) / 2, value + (high - low) / 2], None


def effective(
    sizes: Sequence[float], clean: np.ndarray, damaged: np.ndarray, own: float
) -> dict[str, Any]:
    """P_eff / P of models of `own` parameters: ratio, interval (95%), reason (of no ratio, or of no
    interval), bound (of P_eff / P, where it lies beyond the sizes: "below" or "above" the given
    end). clean: loss [replicates, sizes]; damaged: loss [replicates], of the same replicates."""
    clean, damaged = np.asarray(clean, float), np.asarray(damaged, float)
    if clean.shape != (len(damaged), len(sizes)) or not len(damaged):
        raise ValueError(f"clean losses {clean.shape} of {len(damaged)} replicates by {len(sizes)}")

    def of(rows: np.ndarray) -> float:
        return size_at(sizes, clean[rows].mean(axis=0), float(damaged[rows].mean()))

    out: dict[str, Any] = {"ratio": None, "interval": None, "reason": None, "bound": None}
    try:
        value, interval, reason = jackknifed(of, len(damaged))
    except ValueError as error:
        mean, curve = damaged.mean(), clean.mean(axis=0)
        if (np.diff(curve) < 0).all():
            below = bool(mean > curve[0])
            end = (sizes[0] if below else sizes[-1]) / own
            out["bound"] = {"side": "below" if below else "above", "end": float(end)}
        return out | {"reason": str(error)}
    ends = None if interval is None else [math.exp(x) / own for x in interval]
    return out | {"ratio": math.exp(value) / own, "interval": ends, "reason": reason}
