"""Whether one of two groups has the larger outcome, over blocks of a few runs each: permutation
test of the labels within blocks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capacity.fitting.statistics import student
from capacity.fitting.trends import ALL, DRAWN, TIE


@dataclass(frozen=True)
class Difference:
    """value: mean over blocks of mean(first) - mean(second), in units of the outcome; interval: its
    95% by t, one variance for all groups, None without a group of two; p: two-sided; smallest_p:
    what p could reach at best; exact: whether all labellings were tried."""

    value: float
    interval: tuple[float, float] | None
    p: float
    smallest_p: float
    exact: bool


def difference(
    blocks: Sequence[tuple[np.ndarray, np.ndarray]], level: float = 0.95, seed: int = 0
) -> Difference:
    """blocks: outcomes of the first and of the second group, each with one or more. ValueError
    where there is no block, a group is empty, or a number is not finite.

    Without a difference the labels of a block are exchangeable, so that each of its
    (n + m choose n) labellings is as likely, and blocks are independent (Fisher's randomization
    test in blocks; Edgington and Onghena 2007, Randomization Tests, chapters 3 and 6). All are
    tried up to ALL; beyond, DRAWN are drawn and the data count as one of them (Phipson & Smyth
    2010, Stat. Appl. Genet. Mol. Biol. 9, 39).
    """
    pairs = [(np.asarray(a, float).ravel(), np.asarray(b, float).ravel()) for a, b in blocks]
    if not pairs or any(not len(x) or not np.isfinite(x).all() for pair in pairs for x in pair):
        raise ValueError("a difference needs blocks of two groups with finite numbers in each")
    k = len(pairs)
    value = sum(float(a.mean() - b.mean()) for a, b in pairs) / k
    ways = [math.comb(len(a) + len(b), len(a)) for a, b in pairs]
    every = math.prod(ways)
    if every <= ALL:
        sums = np.zeros(1)
        for a, b in pairs:
            both, n = np.concatenate([a, b]), len(a)
            chosen = itertools.combinations(range(len(both)), n)
            mine = np.array([_contrast(both, list(one)) for one in chosen])
            sums = (sums[:, None] + mine).ravel()
        extreme = np.abs(sums) >= k * abs(value) - TIE * max(
            float(np.abs(sums).max()), float(np.finfo(float).tiny)
        )
        p, smallest = float(extreme.mean()), _smallest(pairs, every)
    else:
        rng = np.random.default_rng(seed)
        sums = np.zeros(DRAWN)
        for a, b in pairs:
            both = rng.permuted(np.tile(np.concatenate([a, b]), (DRAWN, 1)), axis=1)
            sums += both[:, : len(a)].mean(1) - both[:, len(a) :].mean(1)
        p = float((1 + (np.abs(sums) >= k * abs(value) * (1 - TIE)).sum()) / (1 + DRAWN))
        smallest = max(_smallest(pairs, every), 1 / (1 + DRAWN))
    return Difference(value, _interval(pairs, value, level), p, smallest, every <= ALL)


def _contrast(both: np.ndarray, first: list[int]) -> float:
    """mean of those at `first` minus mean of the others."""
    n, total = len(first), float(both.sum())
    mine = float(both[first].sum())
    return mine / n - (total - mine) / (len(both) - n)


def _smallest(pairs: Sequence[tuple[np.ndarray, np.ndarray]], every: int) -> float:
    """Two labellings are as extreme as any where all groups are of equal size (that of the data and
    its mirror image), else one may be."""
    mirrored = all(len(a) == len(b) for a, b in pairs)
    return min(1.0, (2.0 if mirrored else 1.0) / every)


def _interval(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], value: float, level: float
) -> tuple[float, float] | None:
    groups = [x for pair in pairs for x in pair]
    dof = sum(len(x) - 1 for x in groups)
    if not dof:
        return None
    variance = sum(float(((x - x.mean()) ** 2).sum()) for x in groups) / dof
    error = math.sqrt(variance * sum(1 / len(x) for x in groups)) / len(pairs)
    half = float(student(dof, level)) * error
    return value - half, value + half
