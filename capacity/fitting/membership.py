"""Membership inference: how well scores tell members from non-members, and scores that need more
than one model.

A score is one number per sequence, higher for what looks more like a member. All statistics are
formed from two arrays: scores of members and of non-members.

    auc          chance that a member scores above a non-member, ties half (Mann and Whitney)
    tpr_at       true positive rate at a false positive rate, for the most generous threshold that
                 keeps it
    advantage    largest TPR - FPR over all thresholds (Yeom et al., arXiv 1709.01604)
    f1_median    F1 of "above the median of all scores is a member" where both are equally many:
                 chance is 0.5

Intervals are about other sequences of the same kinds, and know how many there were: two members
that score above two others give an AUC of 1 [0.34, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from capacity.fitting.statistics import proportion

RESOLVABLE = 10  # false positives that a rate must allow for: at 0.1% these are 10,000 non-members
FPRS = (0.01, 0.001)
# of the largest variance an AUC can have over k, added to what a handful of sequences shows; with
# 1, 2 members against 10 others cover 49% where scores fall apart, with 2, 3 against 3 cover 75%
PRIOR = 3
NULL_TOKENS = 2**18  # of a random split, to see what chance does to a bag of words


def auc(members: np.ndarray, others: np.ndarray) -> float:
    """Area under the ROC curve."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, members, "left") + np.searchsorted(ordered, members, "right")
    return float(below.mean() / (2 * len(others)))


def tpr_at(members: np.ndarray, others: np.ndarray, fpr: float) -> float | None:
    """True positive rate at a false positive rate of at most `fpr`; None where the non-members are
    too few to resolve it."""
    if len(others) * fpr < RESOLVABLE:
        return None
    allowed = math.floor(len(others) * fpr)
    threshold = np.sort(others)[::-1][allowed]  # the first non-member that may not pass
    return float((members > threshold).mean())


def advantage(members: np.ndarray, others: np.ndarray) -> float:
    """max(TPR - FPR), at least 0 (a threshold above everything)."""
    fpr, tpr = roc(members, others)
    return float((tpr - fpr).max())


def roc(members: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1)."""
    thresholds = np.unique(np.concatenate([members, others]))[::-1]
    fpr = 1 - np.searchsorted(np.sort(others), thresholds, "left") / len(others)
    tpr = 1 - np.searchsorted(np.sort(members), thresholds, "left") / len(members)
    return np.concatenate([[0.0], fpr]), np.concatenate([[0.0], tpr])


def f1_median(members: np.ndarray, others: np.ndarray) -> float:
    """F1 of the rule "a score above the median is a member's", both kinds weighted as if they were
    equally many.

    The threshold is the weighted median: as much weight above as below, so half is flagged and
    precision, recall and F1 are one number, 0.5 by chance (Morris et al., arXiv 2505.24832, state
    no rule; with this one chance is their 0.5).
    """
    both = np.concatenate([members, others])
    weight = np.concatenate(
        [np.full(len(members), 0.5 / len(members)), np.full(len(others), 0.5 / len(others))]
    )
    order = np.argsort(-both, kind="stable")
    values, cumulated = both[order], np.cumsum(weight[order])
    threshold = values[min(len(values) - 1, int(np.searchsorted(cumulated, 0.5 - 1e-12)))]
    # sequences at the threshold count in the part that fills the flagged half
    above, at = (weight * (both > threshold)).sum(), (weight * (both == threshold)).sum()
    part = (0.5 - above) / at if at else 0.0
    return float(
        2
        * (
            (weight * (both > threshold))[: len(members)].sum()
            + part * (weight * (both == threshold))[: len(members)].sum()
        )
    )


def statistics(members: np.ndarray, others: np.ndarray) -> dict:
    """All statistics, and 95% intervals of `auc`, `f1_median` and the rates (None where the rate
    is) over sequences: members and non-members are independent draws."""
    if not (np.isfinite(members).all() and np.isfinite(others).all()):
        raise ValueError("membership scores must be finite")
    out: dict = {
        name: f(members, others)
        for name, f in {"auc": auc, "advantage": advantage, "f1_median": f1_median}.items()
    }
    out |= {f"tpr_at_{fpr:g}": tpr_at(members, others, fpr) for fpr in FPRS}
    out |= {
        "auc_interval": auc_interval(members, others),
        "f1_median_interval": f1_interval(members, others),
    }
    return out | {
        f"tpr_at_{fpr:g}_interval": None
        if out[f"tpr_at_{fpr:g}"] is None
        else tpr_interval(members, others, fpr)
        for fpr in FPRS
    }


def auc_interval(members: np.ndarray, others: np.ndarray) -> list[float]:
    """95% interval of `auc` by a score interval, |A - theta| = z sqrt(V(theta)), which stays within
    [0, 1] and has a width at 0 and 1 (as Newcombe 2006, Stat. Med. 25, 559, method 5).

    V lies between two forms: that of Hanley & McNeil (1982, Radiology 143, 29) with Newcombe's
    means of both numbers, the least, and theta (1 - theta) / k, k the smaller number, the most that
    any scores can have (Birnbaum & Klose 1957, Ann. Math. Stat. 28, 933). Where between them says
    the variance of DeLong et al. (1988, Biometrics 44, 837), with PRIOR / k^2 of the most added: of
    a handful of sequences the variance itself is hardly known.
    """
    return _auc_ends(auc(members, others), len(members), len(others), _delong(members, others))


def separated_interval(value: float, m: int, n: int) -> list[float]:
    """`auc_interval` where all of m members score above (value 1) or below (0) all of n others:
    then numbers say it alone."""
    if value not in (0.0, 1.0):
        raise ValueError(f"an AUC of 0 or 1, not {value:g}")
    return _auc_ends(value, m, n, 0.0)


def _auc_ends(value: float, m: int, n: int, variance: float) -> list[float]:
    """`auc_interval`, given the variance of DeLong."""
    from scipy.special import ndtri

    k = min(m, n)
    smoothed = (value * k + 1) / (k + 2)
    least, most = _exponential_variance(smoothed, m, n), smoothed * (1 - smoothed) / k
    seen = variance + PRIOR * most / k
    part = min(1.0, max(0.0, (seen - least) / (most - least))) if most > least else 0.0
    z = float(ndtri(0.975))

    def within(theta: float) -> bool:
        most = theta * (1 - theta) / k
        squared = part * most + (1 - part) * min(most, _exponential_variance(theta, m, n))
        return abs(theta - value) <= z * math.sqrt(squared)

    return [_end(within, value, 0.0), _end(within, value, 1.0)]


def tpr_interval(members: np.ndarray, others: np.ndarray, fpr: float) -> list[float]:
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
    return list(_rate_interval(passed, math.floor(len(others) * fpr), fpr))


def f1_interval(members: np.ndarray, others: np.ndarray) -> list[float]:
    """95% interval of `f1_median`. Flagging half of all is the threshold where true positive rate
    and true negative rate are one number F, so F belongs to the interval where it lies within that
    of the true positive rate at a false positive rate of 1 - F."""
    passed, n = _passed(members, others), len(others)
    value = f1_median(members, others)

    def within(f1: float) -> bool:
        low, high = _rate_interval(passed, (1 - f1) * n, 1 - f1)
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


def _exponential_variance(theta: float, m: int, n: int) -> float:
    """Of an AUC theta where the scores of both kinds are exponential (Hanley & McNeil), both
    numbers replaced by their mean in the terms that tell them apart (Newcombe)."""
    pairs = (m + n) / 2 - 1
    spread = 1 + pairs * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    return theta * (1 - theta) * spread / (m * n)


def _delong(members: np.ndarray, others: np.ndarray) -> float:
    """Variance of `auc` from how single sequences are placed among those of the other kind."""

    def placed(a: np.ndarray, b: np.ndarray) -> float:
        b = np.sort(b)
        below = np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")
        return float((below / (2 * len(b))).var(ddof=1)) / len(a) if len(a) > 1 else 0.0

    return placed(members, others) + placed(others, members)


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


def _rate_interval(passed: np.ndarray, allowed: float, fpr: float) -> tuple[float, float]:
    """95% interval of the part of the members above the population's threshold for `fpr`. passed:
    members by number of others that pass [n + 1]; allowed: how many of these the estimate lets."""
    n, m = len(passed) - 1, float(passed[-1])
    value = float(np.interp(allowed, np.arange(n + 1), passed)) / m
    fewest, most = (_binomial_quantile(q, n, fpr) for q in (0.025, 0.975))
    strict = passed[fewest - 1] / m if fewest else 0.0
    low, high = proportion(value, m)
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


def attacks(columns: dict[str, np.ndarray], zlib_bytes: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of the attacks that need one model only, by name.

    loss: - mean loss; zlib: - loss / bytes after zlib (Carlini et al., arXiv 2012.07805); min_k and
    min_k_plus as they are.
    """
    return {
        "loss": -columns["loss"],
        "zlib": -columns["loss"] / zlib_bytes,
        "min_k": columns["min_k"],
        "min_k_plus": columns["min_k_plus"],
    }


def lira(
    target: np.ndarray,
    losses_KN: np.ndarray,
    seen_KN: np.ndarray,
    online: bool = True,
    shared_variance: bool = False,
) -> np.ndarray:
    """Likelihood-ratio attack (Carlini et al., arXiv 2112.03570, sections V and VI): score of each
    sequence [N] from the target's loss and those of K shadow models; seen: whether a shadow model
    was trained on the sequence.

    online: log N(loss; mu_in, sd_in) - log N(loss; mu_out, sd_out); offline: the standardised
    amount by which the loss is below the mean of the models that have not seen it, monotone in the
    paper's -log Pr. shared_variance: one variance per side for all sequences, better with few
    shadows. ValueError where a sequence has fewer than two models on a side that is needed.
    """
    sides = {}
    for name, mask in (("in", seen_KN), ("out", ~seen_KN)):
        if name == "in" and not online:
            continue
        count = mask.sum(0)
        if count.min() < 2:
            raise ValueError(
                f"lira: a sequence has {count.min()} shadow models that "
                f"{'saw' if name == 'in' else 'did not see'} it; needs at "
                "least 2: train more"
            )
        mean = np.where(mask, losses_KN, 0.0).sum(0) / count
        squares = np.where(mask, (losses_KN - mean) ** 2, 0.0)
        variance = (
            np.full(len(target), squares.sum() / (count - 1).sum())
            if shared_variance
            else squares.sum(0) / (count - 1)
        )
        sides[name] = mean, np.maximum(variance, 1e-12)
    mean, variance = sides["out"]
    if not online:
        return (mean - target) / np.sqrt(variance)
    return _log_normal(target, *sides["in"]) - _log_normal(target, mean, variance)


def _log_normal(x: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return -0.5 * np.log(2 * np.pi * variance) - (x - mean) ** 2 / (2 * variance)


def rmia(
    target: np.ndarray, losses_KN: np.ndarray, population: np.ndarray, gamma: float = 1.0
) -> np.ndarray:
    """Robust membership inference (Zarifzadeh et al., arXiv 2312.03262, section 3): for each
    sequence the part of the population z with (p(x|theta) / p(x)) / (p(z|theta) / p(z)) >= gamma,
    in [0, 1].

    p: probability per token (losses are means over tokens); p(x): its mean over the shadow models.
    population: inrngs of sequences.
    """
    ratio = -target - (np.logaddexp.reduce(-losses_KN, axis=0) - np.log(len(losses_KN)))
    ordered = np.sort(ratio[population])
    return np.searchsorted(ordered, ratio - np.log(gamma), "right") / len(ordered)


def bag_of_words_auc(
    members_NS: np.ndarray, others_NS: np.ndarray, vocab_size: int, folds: int = 5, seed: int = 0
) -> float:
    """AUC of a classifier that has seen no model: naive Bayes on token counts, cross-validated.
    Near 0.5 where members and non-members come from one pool; else the split itself tells them
    apart, and no attack on it means anything."""
    rng = np.random.default_rng(seed)
    scores = {}
    parts = {
        side: rng.permutation(len(rows)) % folds
        for side, rows in (("in", members_NS), ("out", others_NS))
    }
    tables = {"in": members_NS, "out": others_NS}
    for fold in range(folds):
        log_odds = 0.0
        for side, sign in (("in", 1), ("out", -1)):
            count = (
                np.bincount(tables[side][parts[side] != fold].reshape(-1), minlength=vocab_size)
                + 1.0
            )
            log_odds = log_odds + sign * np.log(count / count.sum())
        for side in tables:
            scores.setdefault(side, []).append(log_odds[tables[side][parts[side] == fold]].mean(1))
    return auc(np.concatenate(scores["in"]), np.concatenate(scores["out"]))


def auc_se(members: int, others: int) -> float:
    """Standard error of an AUC where nothing is to be told and sequences are independent (Mann and
    Whitney)."""
    return math.sqrt((members + others + 1) / (12 * members * others))


def bag_of_words_sd(
    members_NS: np.ndarray, others_NS: np.ndarray, vocab_size: int, draws: int = 20, seed: int = 0
) -> float:
    """Standard deviation of `bag_of_words_auc` over random splits of the same sequences, which is
    what chance does: about 1.6 times `auc_se`, because the scores of a fold share a classifier. Of
    many sequences a part is split, and the excess taken over."""
    rng, both = np.random.default_rng(seed), np.concatenate([members_NS, others_NS])
    n = min(len(both), max(200, NULL_TOKENS // both.shape[1]))
    m = max(2, round(n * len(members_NS) / len(both)))
    found = []
    for _ in range(draws):
        chosen = rng.permutation(len(both))[:n]
        found.append(
            bag_of_words_auc(
                both[chosen[:m]], both[chosen[m:]], vocab_size, seed=int(rng.integers(2**31))
            )
        )
    return float(np.std(found, ddof=1) / auc_se(m, n - m) * auc_se(len(members_NS), len(others_NS)))
