"""Whether an outcome rises or falls along an order of conditions, each of which every replicate
has: permutation test of conditions within replicates."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

ALL = 20_000  # permutations up to which all are tried
DRAWN = 20_000  # that are drawn where there are more
TIE = 1e-9  # of the largest statistic, by which equal ones may differ in the last bits


@dataclass(frozen=True)
class Trend:
    """slope: least-squares slope of the mean over replicates against the places 0, 1, ... of the
    conditions, in units of the outcome per place; p: two-sided; smallest_p: what p could reach at
    best; exact: whether all permutations were tried."""

    slope: float
    p: float
    smallest_p: float
    exact: bool


def trend(outcome: np.ndarray, seed: int = 0) -> Trend:
    """outcome [replicates, conditions], conditions in their order. ValueError for fewer than two
    conditions, or numbers that are not finite.

    Without an effect of the conditions the values of a replicate are exchangeable, so that each of
    the k! orders in each of n replicates is as likely. The statistic is the sum over replicates of
    the products with centred places (the rank test of Page 1963, J. Am. Stat. Assoc. 58, 216, on
    values). All k!^n orders are tried up to ALL; beyond, DRAWN are drawn and the data count as one
    of them (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9, 39).
    """
    y = np.asarray(outcome, float)
    if y.ndim != 2 or y.shape[1] < 2 or not len(y) or not np.isfinite(y).all():
        raise ValueError("a trend needs finite numbers of replicates by two conditions or more")
    n, k = y.shape
    place = np.arange(k) - (k - 1) / 2
    found = float((y @ place).sum())
    slope = found / n / float(place @ place)
    orders = math.factorial(k)
    if k <= 6 and n * math.log(orders) <= math.log(ALL) + 1e-9:
        sums = np.zeros(1)
        for row in y:
            mine = np.array([row @ np.array(p) for p in itertools.permutations(place.tolist())])
            sums = (sums[:, None] + mine).ravel()
        low = abs(found) - TIE * max(np.abs(sums).max(), np.finfo(float).tiny)
        p, exact = float((np.abs(sums) >= low).mean()), True
    else:
        rng = np.random.default_rng(seed)
        sums = np.zeros(DRAWN)
        for row in y:
            sums += rng.permuted(np.tile(row, (DRAWN, 1)), axis=1) @ place
        p = float((1 + (np.abs(sums) >= abs(found) * (1 - TIE)).sum()) / (1 + DRAWN))
        exact = False
    smallest = 2.0 / orders**n if n * math.log(orders) < 700 else 0.0
    return Trend(slope, p, smallest if exact else max(smallest, 1 / (1 + DRAWN)), exact)
