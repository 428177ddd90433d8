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

Their intervals: `separation`.
"""

from __future__ import annotations

import math

import numpy as np

RESOLVABLE = 10  # false positives that a rate must allow for: at 0.1% these are 10,000 non-members
FPRS = (0.01, 0.001)
# Part of the non-members that may share n-grams with the training set: more of them alone could
# fill the false positives that the first of these rates allows.
OVERLAP_LIMIT = FPRS[0]
NULL_TOKENS = 2**18  # of a random split, to see what chance does to a bag of words

Units = tuple[np.ndarray, np.ndarray]  # of members and of others


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


def _counted(units: np.ndarray) -> tuple[int, np.ndarray]:
    different, place = np.unique(units, return_inverse=True)
    return len(different), place.reshape(-1)


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


def recall_prefix(seen: np.ndarray, unit: np.ndarray | None = None) -> int:
    """Place of the sequence whose beginning is the prefix of ReCaLL, which has to be a non-member
    (Xie et al., arXiv 2406.15968, section 3): the first of the scored ones that was not trained on,
    where documents are split the first of a document of which nothing was.

    seen: bool [n], whether the run was trained on each sequence; unit: what stays together.
    ValueError where all were.
    """
    seen = np.asarray(seen, bool)
    if seen.all():
        raise ValueError("recall: every sequence was trained on; none is left for a prefix")
    if unit is not None:
        whole = ~np.isin(unit, unit[seen])
        if whole.any():
            return int(np.argmax(whole))
    return int(np.argmax(~seen))


def at_prefix(seen: np.ndarray, unit: np.ndarray | None = None) -> np.ndarray:
    """Sequences that ReCaLL does not tell apart, bool [n]: that of its prefix, and non-members of
    the same document where these are split."""
    place = recall_prefix(seen, unit)
    if unit is None:
        return np.arange(len(seen)) == place
    return (unit == unit[place]) & ~np.asarray(seen, bool)


def copies_levels(copies: np.ndarray) -> dict[int, np.ndarray]:
    """Where copies are 1, 2, 3 to 4, 5 to 8, ...: by the largest of each level that is there, bool
    [n]."""
    level = np.ceil(np.log2(copies)).astype(int)
    return {2**number: level == number for number in np.unique(level).tolist()}


def fewest_copies(most: int) -> int:
    """The smallest number of copies of a level, given its largest."""
    return most // 2 + 1 if most > 1 else 1


def lira(
    target: np.ndarray,
    losses_KN: np.ndarray,
    seen_KN: np.ndarray,
    online: bool = True,
    shared_variance: bool = False,
) -> np.ndarray:
    """Likelihood-ratio attack (Carlini et al., arXiv 2112.03570, section IV-C): score of each
    sequence [N] from the target's loss and those of K shadow models; seen: whether a shadow model
    was trained on the sequence.

    online (Algorithm 1 there): log N(loss; mu_in, sd_in) - log N(loss; mu_out, sd_out); offline
    (equation 4): the standardised amount by which the loss is below the mean of the models that
    have not seen it, monotone in the paper's one-sided probability. Losses are code lengths of
    sequences here, where the paper takes the logit of a class's probability. shared_variance: one
    variance per side for all sequences, the paper's global variance (section VI-B), against one of
    each sequence. ValueError where a sequence has fewer than two models on
    a side that is needed.
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
    members_NS: np.ndarray,
    others_NS: np.ndarray,
    vocab_size: int,
    folds: int = 5,
    seed: int = 0,
    units: Units | None = None,
) -> float:
    """AUC of a classifier that has seen no model: naive Bayes on token counts, cross-validated.
    Near 0.5 where members and non-members come from one pool; else the split itself tells them
    apart, and no attack on it means anything.

    units: see `statistics`; all of one unit is in one fold, or the words of a document would tell
    its side. Each side needs two."""
    rng = np.random.default_rng(seed)
    scores = {}
    if units is None:
        units = np.arange(len(members_NS)), np.arange(len(others_NS))
    counted = {"in": _counted(units[0]), "out": _counted(units[1])}
    folds = min(folds, *(n for n, _ in counted.values()))
    parts = {side: (rng.permutation(n) % folds)[unit] for side, (n, unit) in counted.items()}
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
    members_NS: np.ndarray,
    others_NS: np.ndarray,
    vocab_size: int,
    draws: int = 20,
    seed: int = 0,
    units: Units | None = None,
) -> float:
    """Standard deviation of `bag_of_words_auc` over random splits of the same sequences, which is
    what chance does: about 1.6 times `auc_se`, because the scores of a fold share a classifier, and
    more where units (see `statistics`) are split. Of many sequences a part is split, and the excess
    taken over."""
    rng, both = np.random.default_rng(seed), np.concatenate([members_NS, others_NS])
    n = min(len(both), max(200, NULL_TOKENS // both.shape[1]))
    m = max(2, round(n * len(members_NS) / len(both)))
    unit = None if units is None else _counted(np.concatenate(units))
    aucs, chance = [], []
    for _ in range(draws):
        mine, theirs = _random_split(rng, n, m, len(both), unit)
        drawn = None if unit is None else (unit[1][mine], unit[1][theirs])
        draw_seed = int(rng.integers(2**31))
        aucs.append(
            bag_of_words_auc(both[mine], both[theirs], vocab_size, seed=draw_seed, units=drawn)
        )
        chance.append(auc_se(len(mine), len(theirs)))
    excess = np.std(aucs, ddof=1) / np.median(chance)
    return float(excess * auc_se(len(members_NS), len(others_NS)))


def _random_split(
    rng: np.random.Generator, n: int, m: int, total: int, unit: tuple[int, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a random split of n of all rows, m of them on the first side, or of about as many and
    at least two units on each."""
    if unit is None:
        chosen = rng.permutation(total)[:n]
        return chosen[:m], chosen[m:]
    place = rng.permutation(unit[0])[unit[1]]
    rows = np.argsort(place, kind="stable")
    order = place[rows]
    enough = min(max(2, int(order[min(m, len(rows) - 1)])), unit[0] - 2)
    last = max(int(order[min(n, len(rows)) - 1]) + 1, enough + 2)
    return rows[order < enough], rows[(order >= enough) & (order < last)]
