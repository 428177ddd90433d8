"""Whether an outcome is highest inside of an order of conditions, and where: permutation test of
conditions within replicates, and the top of a parabola."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from capacity.fitting.trends import ALL, DRAWN, TIE

FEWEST = 3  # conditions: one inside of two


@dataclass(frozen=True)
class Inner:
    """place: index of the highest mean over replicates; height: by how much the highest inner mean
    stands above the higher one of the two ends, in units of the outcome (negative where an end is
    higher); p: one-sided; smallest_p: what p could not go below; exact: whether all permutations
    were tried."""

    place: int
    height: float
    p: float
    smallest_p: float
    exact: bool


def heights(means: np.ndarray) -> np.ndarray:
    """By how much the highest inner condition stands above the higher end, [...]; means [...,
    conditions]."""
    return means[..., 1:-1].max(axis=-1) - np.maximum(means[..., 0], means[..., -1])


def inner(outcome: np.ndarray, seed: int = 0) -> Inner:
    """outcome [replicates, conditions], conditions in their order. ValueError for fewer than three
    conditions, or numbers that are not finite.

    Without an effect of the conditions the values of a replicate are exchangeable. The statistic is
    `heights` of the means over replicates, so that choosing the highest of several is in the
    distribution that it is held against. An outcome that only rises or only falls has a statistic
    of about 0 or below, while permutations of its values reach far above: then p is large, and the
    test errs to the side of no peak. All orders are tried up to `trends.ALL`; beyond, DRAWN are
    drawn and the data count as one of them (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9,
    39).
    """
    y = np.asarray(outcome, float)
    if y.ndim != 2 or y.shape[1] < FEWEST or not len(y) or not np.isfinite(y).all():
        raise ValueError("a peak needs finite numbers of replicates by three conditions or more")
    n, k = y.shape
    means = y.mean(axis=0)
    found = float(heights(means))
    orders = math.factorial(k)
    # inner conditions may change places in all replicates together, and so may the ends
    smallest = 2 * math.factorial(k - 2) / orders**n
    exact = k <= 6 and n * math.log(orders) <= math.log(ALL) + 1e-9
    if exact:
        sums = np.zeros((1, k))
        for row in y:
            mine = np.array(list(itertools.permutations(row.tolist())))
            sums = (sums[:, None] + mine).reshape(-1, k)
        told = heights(sums / n)
        p = float((told >= found - _tie(told)).mean())
    else:
        rng, sums = np.random.default_rng(seed), np.zeros((DRAWN, k))
        for row in y:
            sums += rng.permuted(np.tile(row, (DRAWN, 1)), axis=1)
        told = heights(sums / n)
        p = float((1 + (told >= found - _tie(told)).sum()) / (1 + DRAWN))
        smallest = max(smallest, 1 / (1 + DRAWN))
    return Inner(int(means.argmax()), found, p, min(1.0, smallest), exact)


def _tie(told: np.ndarray) -> float:
    return TIE * max(float(np.abs(told).max()), float(np.finfo(float).tiny))


def top(x: np.ndarray, y: np.ndarray) -> float:
    """x of the top of the parabola through the highest point and its neighbours. ValueError, in one
    line, where the highest point is an end."""
    i = int(np.argmax(y))
    if i in (0, len(x) - 1):
        raise ValueError("the highest is the first or the last tried")
    left, right = np.diff(y[i - 1 : i + 2]) / np.diff(x[i - 1 : i + 2])
    curvature = (right - left) / (x[i + 1] - x[i - 1])
    return float(np.clip((x[i - 1] + x[i]) / 2 - left / (2 * curvature), x[i - 1], x[i + 1]))
