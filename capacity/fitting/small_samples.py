"""Do intervals of shares, AUC, F1 and true positive rates hold, also of a handful of sequences?

Shares are counted out exactly. Of the others, samples are drawn from populations whose numbers are
known: scores of non-members are standard normal, those of members a mixture of normals, and both
may be rounded, so that many are equal.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from capacity.fitting import separation
from capacity.fitting.statistics import proportion

SHAPES = ("normal", "wide", "narrow", "part", "apart", "rounded")
FAR = 6.0  # above or below everything
AUCS = (0.5, 0.7, 0.9, 0.97)


@dataclass(frozen=True)
class Population:
    """Scores of members: weight, mean and standard deviation of each normal part; `rounded` to
    whole numbers or not."""

    parts: tuple[tuple[float, float, float], ...]
    rounded: bool = False

    @property
    def auc(self) -> float:
        """Chance that a member scores above a non-member, ties half."""
        from scipy.special import ndtr

        if not self.rounded:
            return sum(w * float(ndtr(mean / math.hypot(1, sd))) for w, mean, sd in self.parts)
        edges = np.arange(-40.5, 41.0)
        theirs = np.diff(ndtr(edges))
        mine = sum(w * np.diff(ndtr((edges - mean) / sd)) for w, mean, sd in self.parts)
        return float(mine @ (np.cumsum(theirs) - theirs / 2))

    def tpr(self, fpr: float) -> float:
        """True positive rate at a false positive rate; of scores that are not rounded."""
        from scipy.special import ndtr, ndtri

        threshold = -float(ndtri(fpr))
        return sum(w * float(ndtr((mean - threshold) / sd)) for w, mean, sd in self.parts)

    @property
    def f1(self) -> float:
        """Where the true positive rate is one minus the false positive rate."""
        from scipy.optimize import brentq

        return float(brentq(lambda f: self.tpr(1 - f) - f, 1e-12, 1 - 1e-12))  # type: ignore

    def draw(self, rng: np.random.Generator, m: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores of m members and of n others."""
        weights, means, sds = np.array(self.parts).T
        part = rng.choice(len(weights), m, p=weights)
        members, others = rng.normal(means[part], sds[part]), rng.standard_normal(n)
        return (members.round(), others.round()) if self.rounded else (members, others)


def population(shape: str, auc: float) -> Population:
    """Scores of members by the name of their shape, with about this AUC.

    normal, wide, narrow: as wide as those of non-members, three times, a third; part: some are far
    above everything, the others like non-members; apart: all are far above or far below, which
    gives an AUC the largest variance; rounded: normal, in whole numbers.
    """
    from scipy.special import ndtri

    if shape == "part":
        return Population(((2 * auc - 1, FAR, 1.0), (2 - 2 * auc, 0.0, 1.0)))
    if shape == "apart":
        return Population(((auc, 3 * FAR, 1.0), (1 - auc, -3 * FAR, 1.0)))
    sd = {"wide": 3.0, "narrow": 1 / 3}.get(shape, 1.0)
    mean = float(ndtri(auc)) * math.hypot(1, sd)
    return Population(((1.0, mean, sd),), rounded=shape == "rounded")


Interval = Callable[[np.ndarray, np.ndarray], tuple[float, float] | list[float]]


def of(number: str, shape: str, auc: float) -> tuple[float, Interval]:
    """The population's number and its interval from a sample. number: auc, f1, or tpr at a rate, as
    in `tpr 0.01`."""
    drawn = population(shape, auc)
    if number == "auc":
        return drawn.auc, separation.auc_interval
    if number == "f1":
        return drawn.f1, separation.f1_interval
    fpr = float(number.removeprefix("tpr "))
    return drawn.tpr(fpr), lambda members, others: separation.tpr_interval(members, others, fpr)


@dataclass(frozen=True)
class Cell:
    """One kind of sample: which number of which population, how many members and others."""

    number: str
    shape: str
    auc: float
    members: int
    others: int


def coverage(cell: Cell, samples: int) -> dict[str, float]:
    """Part of the samples whose interval holds the truth, parts where it lies below or above it,
    and the mean width. The seed is a hash of the cell."""
    truth, interval = of(cell.number, cell.shape, cell.auc)
    drawn = population(cell.shape, cell.auc)
    rng = np.random.default_rng(zlib.crc32(repr(cell).encode()))
    ends = np.array([interval(*drawn.draw(rng, cell.members, cell.others)) for _ in range(samples)])
    below, above = ends[:, 1] < truth - 1e-9, ends[:, 0] > truth + 1e-9
    return {
        "truth": truth,
        "samples": samples,
        "coverage": float(1 - (below | above).mean()),
        "below": float(below.mean()),
        "above": float(above.mean()),
        "width": float((ends[:, 1] - ends[:, 0]).mean()),
    }


def share_coverage(
    n: int, shares: np.ndarray, interval: Callable[[float, float], tuple[float, float]] = proportion
) -> dict[str, float]:
    """Of a share of n: least and mean coverage over the true `shares`, and mean width, summed over
    all counts with their binomial chances."""
    from scipy.special import bdtr

    k = np.arange(n + 1)
    ends = np.array([interval(float(i / n), float(n)) for i in k])
    chance = np.diff(np.concatenate([[0 * shares], bdtr(k[:, None], n, shares)]), axis=0)
    holds = (ends[:, :1] <= shares) & (shares <= ends[:, 1:])
    covered = (chance * holds).sum(0)
    width = (chance * (ends[:, 1:] - ends[:, :1])).sum(0)
    return {
        "least": float(covered.min()),
        "coverage": float(covered.mean()),
        "width": float(width.mean()),
    }


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's score interval (1927, J. Am. Stat. Assoc. 22, 209), for comparison."""
    from scipy.special import ndtri

    z2 = float(ndtri(0.975)) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return (middle - half if share > 0 else 0.0), (middle + half if share < 1 else 1.0)


def jeffreys(share: float, n: float) -> tuple[float, float]:
    """Jeffreys' interval as Brown, Cai & DasGupta (2001, Stat. Sci. 16, 101) have it, for
    comparison."""
    from scipy.special import betaincinv

    a, b = share * n + 0.5, (1 - share) * n + 0.5
    low, high = (float(betaincinv(a, b, q)) for q in (0.025, 0.975))
    return (low if share > 0 else 0.0), (high if share < 1 else 1.0)
