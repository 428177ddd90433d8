"""How a fact is acquired and lost over a training that shows it at known steps: local acquisition
maxima, effectivity, retainability and its decay (Chang et al., arXiv 2406.11813, section 3.2).

l(q, t) is the log-probability of the value's tokens of probe q after t updates, in nats; views come
with updates t_1 < ... < t_N + 1, so that l(q, t_i) is what holds just before view i.

    t_LAM(q, i)  argmax of l(q, t) over t_i < t <= t_i + W       local acquisition maximum
    E(q, i)      l(q, t_LAM(q, i)) - l(q, t_i)                   effectivity
    R(q, t)      [l(q, t_LAM(q, N) + t) - l(q, t_1)] / [l(q, t_LAM(q, N)) - l(q, t_1)]
                                                                 retainability; t_1: before any view
    R(t)         mean over q of those within 1.5 interquartile ranges of the quartiles
    R(t)         = c - a log10 t                                 a: lost per decade of steps
    t_0          10^(c / a), where R reaches 0                   learnability threshold

W ends with the next view where that is earlier. R has no size where the denominator is near 0, so
`retained` leaves probes out that gained nothing and says how many it kept; bits beside it have no
such trouble.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

FENCE = 1.5  # interquartile ranges (Tukey 1977, Exploratory Data Analysis, section 2C)


@dataclass(frozen=True)
class Views:
    """Of one probe, by view: log-probability just before it, the largest in the window after it,
    and the update after which that is reached."""

    before: np.ndarray
    best: np.ndarray
    lam: np.ndarray

    @property
    def effectivity(self) -> np.ndarray:
        """E, nats [views]."""
        return self.best - self.before


def views(step: np.ndarray, log_p: np.ndarray, seen: np.ndarray, window: int) -> Views:
    """The local acquisition maxima of one probe. step: updates after which it was asked, rising
    [K]; log_p: nats [K]; seen: updates before each view, rising [N]. ValueError where nothing was
    asked before a view or within its window."""
    before = np.searchsorted(step, seen, side="right") - 1
    ends = np.minimum(seen + window, np.append(seen[1:], np.iinfo(np.int64).max))
    last = np.searchsorted(step, ends, side="right")
    if (before < 0).any() or (last <= before + 1).any():
        raise ValueError("every view needs a probe before it and one within its window")
    best = np.array(
        [b + 1 + int(np.argmax(log_p[b + 1 : e])) for b, e in zip(before, last, strict=True)]
    )
    return Views(log_p[before], log_p[best], step[best])


def after(step: np.ndarray, log_p: np.ndarray, lam: int, lags: np.ndarray) -> np.ndarray:
    """l at `lam` + lags, straight between probes, nats [L]; nan behind the last probe."""
    at = lam + np.asarray(lags, float)
    return np.where(at <= step[-1], np.interp(at, step, log_p), np.nan)


def retainability(before: np.ndarray, best: np.ndarray, later: np.ndarray) -> np.ndarray:
    """R [Q, L] of probes: l before any view [Q], at the last local maximum [Q], at lags behind it
    [Q, L]; nan for a probe whose l did not rise."""
    gain = np.where(best > before, best - before, np.nan)
    return (later - before[:, None]) / gain[:, None]


def held(
    before: np.ndarray,
    best: np.ndarray,
    later: np.ndarray,
    others_before: np.ndarray,
    others_later: np.ndarray,
) -> np.ndarray:
    """Nats by which each fact is cheaper than before its first view, less what facts that are never
    shown became cheaper by, at its last local maximum and at each lag, [n, 1 + L].

    Code lengths in nats: before its first view [n], at the maximum [n], at lags [n, L]; of the
    others, mean, at the same steps: [n] and [n, 1 + L].
    """
    now = np.concatenate([best[:, None], later], axis=1)
    return before[:, None] - now - (others_before[:, None] - others_later)


def mean_within_fences(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over rows of [Q, L] of what lies within FENCE interquartile ranges of the quartiles of
    its column, and how many do; nan is left out, and a column without numbers is nan."""
    known = np.isfinite(values)
    filled = np.where(known, values, np.nan)
    means, kept = np.full(values.shape[1], np.nan), np.zeros(values.shape[1], int)
    for j in range(values.shape[1]):
        column = filled[known[:, j], j]
        if not len(column):
            continue
        low, high = np.quantile(column, [0.25, 0.75])
        reach = FENCE * (high - low)
        inside = column[(column >= low - reach) & (column <= high + reach)]
        means[j], kept[j] = inside.mean(), len(inside)
    return means, kept


@dataclass(frozen=True)
class Decay:
    """R = c - a log10 t. threshold: steps at which R is 0, None where R does not fall; r2: of the
    line, None where R is constant."""

    a: float
    c: float
    threshold: float | None
    r2: float | None


MOST_DECADES = 12  # a line so flat that it meets 0 beyond has no threshold that means anything


def decay(lags: np.ndarray, mean: np.ndarray) -> Decay:
    """Least squares of R over log10 of the lag. ValueError for fewer than three lags with a
    number."""
    known = np.isfinite(mean)
    x, y = np.log10(np.asarray(lags, float)[known]), np.asarray(mean, float)[known]
    if len(x) < 3:
        raise ValueError(f"{len(x)} lags; a line with an error needs three")
    slope, c = np.polyfit(x, y, 1)
    spread = float(((y - y.mean()) ** 2).sum())
    error = float(((y - c - slope * x) ** 2).sum())
    falls = slope < 0 and 0 < -c / slope < MOST_DECADES
    threshold = float(10 ** (-c / slope)) if falls else None
    r2 = 1 - error / spread if spread > 1e-18 else None
    return Decay(float(-slope), float(c), threshold, r2)


def lags_up_to(most: float, first: float = 10.0) -> np.ndarray:
    """Lags of half octaves from `first` to `most` steps, int64. The first ones are those in which
    the momentum of the last view still acts: 1 / (1 - beta1) = 10 steps at Adam's 0.9."""
    if most < first:
        return np.empty(0, np.int64)
    count = math.floor(2 * math.log2(most / first)) + 1
    return np.unique(np.round(first * 2 ** (np.arange(count) / 2)).astype(np.int64))
