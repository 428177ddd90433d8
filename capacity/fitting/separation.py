"""How well scores tell members from non-members, with intervals that know how many sequences there
were, and how many documents these are of: two members that score above two others give an AUC of 1
[0.34, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from capacity.fitting.membership import FPRS, Units, advantage, auc, f1_median, tpr_at
from capacity.fitting.statistics import proportion

# of the largest variance an AUC can have over k, added to what a handful of sequences shows; with
# 1, 2 members against 10 others cover 49% where scores fall apart, with 2, 3 against 3 cover 75%
PRIOR = 3


def statistics(members: np.ndarray, others: np.ndarray, units: Units | None = None) -> dict:
    """All statistics, and 95% intervals of `auc`, `f1_median` and the rates (None where the rate
    is) over sequences: members and non-members are independent draws.

    units: of members and of others, what they come from, equal where sequences are not independent,
    such as the document. Intervals then know how many units there were, and are joined to those
    over sequences."""
    if not (np.isfinite(members).all() and np.isfinite(others).all()):
        raise ValueError("membership scores must be finite")
    out: dict = {
        name: f(members, others)
        for name, f in {"auc": auc, "advantage": advantage, "f1_median": f1_median}.items()
    }
    out |= {f"tpr_at_{fpr:g}": tpr_at(members, others, fpr) for fpr in FPRS}
    out |= {
        "auc_interval": auc_interval(members, others, units),
        "f1_median_interval": f1_interval(members, others, units),
    }
    return out | {
        f"tpr_at_{fpr:g}_interval": None
        if out[f"tpr_at_{fpr:g}"] is None
        else tpr_interval(members, others, fpr, units)
        for fpr in FPRS
    }


def auc_interval(
    members: np.ndarray, others: np.ndarray, units: Units | None = None
) -> list[float]:
    """95% interval of `auc` by a score interval, |A - theta| = z sqrt(V(theta)), which stays within
    [0, 1] and has a width at 0 and 1 (as Newcombe 2006, Stat. Med. 25, 559, method 5).

    V lies between two forms: that of Hanley & McNeil (1982, Radiology 143, 29) with Newcombe's
    means of both numbers, the least, and theta (1 - theta) / k, k the smaller number, the most that
    any scores can have (Birnbaum & Klose 1957, Ann. Math. Stat. 28, 933). Where between them says
    the variance of DeLong et al. (1988, Biometrics 44, 837), with PRIOR / k^2 of the most added: of
    a handful of sequences the variance itself is hardly known.
    """
    value = auc(members, others)
    ends = [_auc_ends(value, *known) for known in _auc_numbers(members, others, units)]
    return [min(low for low, _ in ends), max(high for _, high in ends)]


def auc_p(members: np.ndarray, others: np.ndarray, units: Units | None = None) -> float:
    """Two-sided p of an AUC of 0.5, below 5% exactly where `auc_interval` excludes 0.5."""
    from scipy.special import ndtr

    value = auc(members, others)
    known = _auc_numbers(members, others, units)
    squared = max(_auc_variance(value, *numbers)(0.5) for numbers in known)
    return float(2 * ndtr(-abs(value - 0.5) / math.sqrt(squared)))


def _auc_numbers(
    members: np.ndarray, others: np.ndarray, units: Units | None
) -> list[tuple[float, float, float, float | None]]:
    """Numbers, variance and few of `_auc_ends`: of sequences, and of units where there are some."""
    out: list[tuple[float, float, float, float | None]] = [
        (len(members), len(others), _delong(members, others), None)
    ]
    if units is not None:
        placed, few = _placed(members, others), min(map(independent, units))
        mine, theirs = (_fewer(x, of) for x, of in zip(placed, units, strict=True))
        out.append((mine, theirs, _delong(members, others, units), few))
    return out


def separated_interval(value: float, m: int, n: int) -> list[float]:
    """`auc_interval` where all of m members score above (value 1) or below (0) all of n others:
    then numbers say it alone."""
    if value not in (0.0, 1.0):
        raise ValueError(f"an AUC of 0 or 1, not {value:g}")
    return list(_auc_ends(value, m, n, 0.0))


def _auc_ends(
    value: float, m: float, n: float, variance: float, few: float | None = None
) -> tuple[float, float]:
    """`auc_interval`, given the variance of DeLong; few: how many values this was estimated from,
    where these are fewer than the sequences."""
    from scipy.special import ndtri

    z, variance_at = float(ndtri(0.975)), _auc_variance(value, m, n, variance, few)

    def within(theta: float) -> bool:
        return abs(theta - value) <= z * math.sqrt(variance_at(theta))

    return _end(within, value, 0.0), _end(within, value, 1.0)


def _auc_variance(
    value: float, m: float, n: float, variance: float, few: float | None = None
) -> Callable[[float], float]:
    """V(theta) of `auc_interval`, arguments as for `_auc_ends`."""
    k = min(m, n)
    smoothed = (value * k + 1) / (k + 2)
    least, most = _exponential_variance(smoothed, m, n), smoothed * (1 - smoothed) / k
    seen = variance + PRIOR * most / (few or k)
    part = min(1.0, max(0.0, (seen - least) / (most - least))) if most > least else 0.0

    def at(theta: float) -> float:
        most = theta * (1 - theta) / k
        return part * most + (1 - part) * min(most, _exponential_variance(theta, m, n))

    return at


def tpr_interval(
    members: np.ndarray, others: np.ndarray, fpr: float, units: Units | None = None
) -> list[float]:
    """95% interval of the true positive rate at a false positive rate of `fpr` in the population.

    Members are few, and so are the non-members that set the threshold: how many of them the
    population's threshold would let pass is binomial, which gives a range of thresholds, and the
    rates there a range. This range and the exact interval of the members join by the method of
    variance estimates recovery (Donner & Zou 2012, Stat. Methods Med. Res. 21, 347). At
    1% of 1,000 non-members the interval of 1,000 members alone covers 47% where both are normal and
    the AUC is 0.95.
    """
    ordered = np.sort(others)[::-1]  # the k-th may not pass where k others may
    passed = len(members) - np.searchsorted(np.sort(members), ordered, "right").astype(float)
    passed = np.append(passed, len(members))
    allowed = math.floor(len(others) * fpr)
    count = _trials(members, others, float(ordered[min(allowed, len(others) - 1)]), units)
    return list(_rate_interval(passed, allowed, fpr, count))


def f1_interval(members: np.ndarray, others: np.ndarray, units: Units | None = None) -> list[float]:
    """95% interval of `f1_median`. Flagging half of all is the threshold where true positive rate
    and true negative rate are one number F, so F belongs to the interval where it lies within that
    of the true positive rate at a false positive rate of 1 - F."""
    passed, n = _passed(members, others), len(others)
    value = f1_median(members, others)
    threshold = float(np.quantile(others, min(1.0, value)))
    count = _trials(members, others, threshold, units)

    def within(f1: float) -> bool:
        low, high = _rate_interval(passed, (1 - f1) * n, 1 - f1, count)
        return low <= f1 if f1 < value else f1 <= high

    return [_end(within, value, 0.0), _end(within, value, 1.0)]


def _end(within: Callable[[float], bool], inside: float, end: float) -> float:
    """How far from `inside` towards 0 or 1 a number is within, to 1e-9."""
    if within(end):
        return end
    while abs(end - inside) > 1e-9:
        middle = (inside + end) / 2
        inside, end = (middle, end) if within(middle) else (inside, middle)
    return inside


def independent(units: np.ndarray) -> float:
    """How many units of equal size say as much as these at the least, where sequences of one are
    all alike (Kish 1965, Survey Sampling, section 11.2)."""
    sizes = np.unique(units, return_counts=True)[1].astype(float)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def _variance_of_mean(values: np.ndarray, units: np.ndarray | None) -> float:
    """Of values that are independent, or of units that are; 0 for a single one."""
    if units is not None:
        _, place = np.unique(units, return_inverse=True)
        sums = np.bincount(place.reshape(-1), values - values.mean())
        count = len(sums)
        return float((sums**2).sum()) / len(values) ** 2 * count / (count - 1) if count > 1 else 0.0
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0


def trials(hits: np.ndarray, units: np.ndarray | None) -> float:
    """How many independent sequences would say as much about the share of hits (Korn & Graubard
    1998, Survey Methodology 24, 193): between `independent(units)` and all of them."""
    if units is None:
        return float(len(hits))
    return _fewer(hits.astype(float), units)


def _trials(
    members: np.ndarray, others: np.ndarray, threshold: float, units: Units | None
) -> tuple[float, float]:
    """`trials` of both kinds above a threshold."""
    mine, theirs = (None, None) if units is None else units
    return trials(members > threshold, mine), trials(others > threshold, theirs)


def _exponential_variance(theta: float, m: float, n: float) -> float:
    """Of an AUC theta where the scores of both kinds are exponential (Hanley & McNeil), both
    numbers replaced by their mean in the terms that tell them apart (Newcombe)."""
    pairs = (m + n) / 2 - 1
    spread = 1 + pairs * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    return theta * (1 - theta) * spread / (m * n)


def _placed(members: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each sequence the part of the other kind that it scores above, ties half."""

    def below(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        b = np.sort(b)
        return (np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")) / (2 * len(b))

    return below(members, others), below(others, members)


def _delong(members: np.ndarray, others: np.ndarray, units: Units | None = None) -> float:
    """Variance of `auc` from how single sequences, or units of them (Obuchowski 1997, Biometrics
    53, 567, without the covariance of the two kinds, which share no unit), are placed."""
    placed = zip(_placed(members, others), units or (None, None), strict=True)
    return sum(_variance_of_mean(x, of) for x, of in placed)


def _fewer(values: np.ndarray, units: np.ndarray) -> float:
    """How many independent values would give a mean of the variance that it has over units:
    between `independent(units)` and all of them."""
    variance, least = _variance_of_mean(values, units), independent(units)
    effective = float(values.var()) / variance if variance > 0 else least
    return float(min(len(values), max(least, effective)))


def _passed(members: np.ndarray, others: np.ndarray) -> np.ndarray:
    """By number of others that pass, 0 to n, the most members that do, fp64 [n + 1]; equal scores
    pass in equal parts, as in `f1_median`."""
    values = np.unique(np.concatenate([members, others]))[::-1]
    counts = []
    for scores in (others, members):
        above = len(scores) - np.searchsorted(np.sort(scores), values, "left")
        counts.append(np.concatenate([[0], above]))
    theirs, first = np.unique(counts[0], return_index=True)
    least = counts[1][first]
    most = counts[1][np.append(first[1:], len(counts[0])) - 1]
    k = np.arange(len(others) + 1)
    at = np.searchsorted(theirs, k, "right") - 1
    then = np.minimum(at + 1, len(theirs) - 1)
    part = (k - theirs[at]) / np.maximum(1, theirs[then] - theirs[at])
    return most[at] + part * (least[then] - most[at])


def _rate_interval(
    passed: np.ndarray, allowed: float, fpr: float, count: tuple[float, float]
) -> tuple[float, float]:
    """95% interval of the part of the members above the population's threshold for `fpr`. passed:
    members by number of others that pass [n + 1]; allowed: how many of these the estimate lets;
    count: of `_trials`."""
    n, m = len(passed) - 1, float(passed[-1])
    value = float(np.interp(allowed, np.arange(n + 1), passed)) / m
    tries = max(1, round(count[1]))
    fewest, most = (
        math.floor(_binomial_quantile(q, tries, fpr) * n / tries) for q in (0.025, 0.975)
    )
    strict = passed[fewest - 1] / m if fewest else 0.0
    low, high = proportion(value, count[0])
    return (
        max(0.0, value - math.hypot(value - low, max(0.0, value - strict))),
        min(1.0, value + math.hypot(high - value, max(0.0, passed[most] / m - value))),
    )


def _binomial_quantile(q: float, n: int, p: float) -> int:
    """The smallest k with P(K <= k) >= q."""
    from scipy.special import bdtr, ndtri

    guess = n * p + float(ndtri(q)) * math.sqrt(n * p * (1 - p))
    k = min(n, max(0, round(guess)))
    while k < n and bdtr(k, n, p) < q:
        k += 1
    while k > 0 and bdtr(k - 1, n, p) >= q:
        k -= 1
    return k
