"""Which single documents stand out of others that were not trained on, at a false positive rate
that is known.

A document's p is the part of the others, itself counted among them, that score as high: of a
document that is like the others it is at most a in at most a part a of cases, whatever the scores
are (a conformal p value: Vovk et al. 2005, Algorithmic Learning in a Random World, section 2.2; of
out-of-distribution tests Bates et al. 2023, Ann. Stat. 51, 149). So `p <= 1%` flags 1% of documents
that were not trained on. What false positive rate the threshold at this score has among all
such documents is known as well as the others are many: an exact interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from capacity.fitting import separation
from capacity.fitting.membership import copies_levels, fewest_copies
from capacity.fitting.statistics import LEVEL, holm, proportion

RATE = 0.01  # false positive rate at which documents are flagged
FLAGGED, UNKNOWN, LIKE = "flagged", "cannot tell", "like others"
THRESHOLDS = 40  # at which the others' dependence within units is looked at
FEWEST_UNITS = 10  # of others with whom a group is compared


@dataclass(frozen=True)
class Ranks:
    """Of n documents. p: false positive rate at which each is flagged; low, high: 95% interval of
    the rate of that threshold among all documents that were not trained on; NaN where a document
    has no score."""

    p: np.ndarray
    low: np.ndarray
    high: np.ndarray
    others: int

    @property
    def flagged(self) -> np.ndarray:
        return self.p <= RATE

    @property
    def words(self) -> list[str]:
        """flagged; cannot tell where the interval holds 1/2, the rate of a coin, or there is no
        score; like others: the rest, which does not say that a document was not trained on."""
        open_end = ~np.isfinite(self.p) | ((self.low <= 0.5) & (self.high >= 0.5))
        return [
            FLAGGED if f else UNKNOWN if o else LIKE
            for f, o in zip(self.flagged, open_end, strict=True)
        ]


def resolves(others: int) -> bool:
    """Whether so many others let a document be flagged at all: (1 + 0) / (n + 1) <= RATE."""
    return 1 / (others + 1) <= RATE


def ranks(scores: np.ndarray, others: np.ndarray, other_units: np.ndarray | None = None) -> Ranks:
    """Of documents [n] among others [m], all with finite scores (those of `scores` may be NaN).
    other_units: what others come from, equal where they are not independent; the interval then
    knows how many units there were."""
    scores, others = np.asarray(scores, float), np.asarray(others, float)
    if not np.isfinite(others).all() or not len(others):
        raise ValueError("others need finite scores, at least one")
    ordered = np.sort(others)
    above = len(ordered) - np.searchsorted(ordered, scores, "left")
    return _of_counts(scores, above, others, other_units)


def ranks_among_themselves(others: np.ndarray, units: np.ndarray | None = None) -> Ranks:
    """Of each of the others among the rest of them: what chance flags."""
    others = np.asarray(others, float)
    ordered = np.sort(others)
    above = len(ordered) - np.searchsorted(ordered, others, "left") - 1
    got = _of_counts(others, above, others, units)
    return Ranks((1 + above) / len(others), got.low, got.high, len(others) - 1)


def _of_counts(
    scores: np.ndarray, above: np.ndarray, others: np.ndarray, units: np.ndarray | None
) -> Ranks:
    m, missing = len(others), ~np.isfinite(scores)
    different, place = np.unique(above, return_inverse=True)
    tries = _tries(others, different, units)
    ends = np.array(
        [proportion(k / m, n) for k, n in zip(different.tolist(), tries.tolist(), strict=True)]
    ).reshape(-1, 2)[place.reshape(-1)]
    p = np.where(missing, np.nan, (1.0 + above) / (m + 1))
    low, high = (np.where(missing, np.nan, end) for end in ends.T)
    return Ranks(p, low, high, m)


def _tries(others: np.ndarray, above: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    """Independent others that say as much as these about the rate of each number above."""
    if units is None:
        return np.full(len(above), float(len(others)))
    falling = np.sort(others)[::-1]
    at = np.unique(np.linspace(0, len(others) - 1, min(THRESHOLDS, len(others))).astype(int))
    known = np.array([separation.trials(others >= falling[k], units) for k in at])
    return np.interp(above - 1, at, known)


@dataclass(frozen=True)
class Level:
    """Documents of one level of copies, those flagged, and the share with its 95% interval."""

    name: str
    documents: int
    flagged: int
    share: float
    interval: tuple[float, float]


def by_copies(
    flagged: np.ndarray, copies: np.ndarray, units: np.ndarray | None = None
) -> list[Level]:
    """Levels 1, 2, 3 to 4, 5 to 8, ... of documents [n], those that are there."""
    out = []
    for most, here in copies_levels(copies).items():
        fewest = fewest_copies(most)
        name = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        out.append(level(name, flagged[here], None if units is None else units[here]))
    return out


def level(name: str, flagged: np.ndarray, units: np.ndarray | None = None) -> Level:
    """Of documents, those of one unit not independent: the exact interval of the share."""
    flagged = np.asarray(flagged, bool)
    share = float(flagged.mean()) if len(flagged) else 0.0
    interval = proportion(share, separation.trials(flagged, units) if len(flagged) else 0.0)
    return Level(name, len(flagged), int(flagged.sum()), share, interval)


@dataclass(frozen=True)
class Group:
    """A group of documents. mean_rank: mean false positive rate of its documents, 0.5 by chance; p:
    one-sided, None where it cannot be told; corrected: for all groups (Holm)."""

    name: str
    documents: int
    flagged: int
    mean_rank: float
    p: float | None
    corrected: float | None

    @property
    def at_risk(self) -> bool:
        return self.corrected is not None and self.corrected < 1 - LEVEL


def by_group(
    ranked: Ranks, groups: Sequence[str], own: Ranks, other_units: np.ndarray | None
) -> list[Group]:
    """Whether the documents of a group together rank higher than those of groups of others do.

    groups: name of each of the n documents of `ranked`; own: of `ranks_among_themselves` of the
    others, other_units: their groups [m]. Documents of one group are alike, so that their p values
    cannot be combined as if they were independent: a group's mean normal score is compared with
    those of the others' groups, whose variance is that between groups plus that within over the
    number of documents (method of moments: Searle 1971, Linear Models, section 10.2), by Student's
    t of as many degrees of freedom as there are other groups, less one. None where there are fewer
    than FEWEST_UNITS of them: nothing then says how far groups differ by nature.
    """
    names, place = np.unique(np.asarray(groups, object).astype(str), return_inverse=True)
    place, known = place.reshape(-1), np.isfinite(ranked.p)
    units = np.arange(len(own.p)) if other_units is None else other_units
    nature = _nature(_normal(own), units)
    normal, found = np.where(known, _normal(ranked), 0.0), []
    for i, name in enumerate(names.tolist()):
        here = (place == i) & known
        k = int(here.sum())
        p = None if nature is None or not k else _group_p(float(normal[here].mean()), k, *nature)
        rank = float(ranked.p[here].mean()) if k else float("nan")
        found.append(
            Group(name, int((place == i).sum()), int(ranked.flagged[here].sum()), rank, p, None)
        )
    corrected = holm([group.p for group in found])
    return [replace(group, corrected=q) for group, q in zip(found, corrected, strict=True)]


def _normal(ranked: Ranks) -> np.ndarray:
    """Scores that are standard normal where documents are like the others, higher for members. The
    rank of a document among n others is the middle of its step."""
    from scipy.special import ndtri

    n = ranked.others + 1
    return -ndtri(np.clip(ranked.p - 0.5 / n, 0.5 / n, 1 - 0.5 / n))


def _nature(normal: np.ndarray, units: np.ndarray) -> tuple[float, float, float, int] | None:
    """Mean, variance between and within groups of others, and how many these are."""
    _, place, sizes = np.unique(units, return_inverse=True, return_counts=True)
    place, n, g = place.reshape(-1), len(normal), len(sizes)
    if g < FEWEST_UNITS:
        return None
    means = np.bincount(place, normal) / sizes
    mean = float(normal.mean())
    inside = float(((normal - means[place]) ** 2).sum())
    among = float((sizes * (means - mean) ** 2).sum()) / (g - 1)
    if n == g:  # every document alone: what is between cannot be told from what is within
        return mean, 0.0, among, g
    within = inside / (n - g)
    typical = (n - (sizes**2).sum() / n) / (g - 1)
    return mean, max(0.0, (among - within) / typical), within, g


def _group_p(mean: float, k: int, middle: float, between: float, within: float, g: int) -> float:
    from scipy.special import stdtr

    variance = (between + within / k) + (between + within) / g
    return float(stdtr(g - 1, -(mean - middle) / variance**0.5))
