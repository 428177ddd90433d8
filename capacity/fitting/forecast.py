"""How well a set of sequences that was foreseen is the set that a model writes out (Emergent and
Predictable Memorization, arXiv 2304.11158, section 3).

    precision   part of the foreseen ones that are written out
    recall      part of those that are written out that were foreseen
    within      what code lengths of a predictor know beyond the copies: the AUC of a shorter one
                for being written out, over pairs of sequences with equal copies

What the paper does not ask is whether the predictor knows more than how often each sequence was
seen: as many sequences, those with the most copies, of equals a random choice, are a forecast, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Forecast:
    """precision: None where nothing was foreseen; recall: None where nothing is written out; by
    copies: the expected values of the ranking by copies at the same number of foreseen ones."""

    foreseen: int
    written: int
    precision: float | None
    recall: float | None
    precision_by_copies: float | None
    recall_by_copies: float | None


def forecast(predictor: np.ndarray, target: np.ndarray, copies: np.ndarray) -> Forecast:
    """predictor, target: whether each sequence is written out by either model, bool [n]; copies of
    each, [n]."""
    predictor, target = np.asarray(predictor, bool), np.asarray(target, bool)
    foreseen, written = int(predictor.sum()), int(target.sum())
    both = int((predictor & target).sum())
    by_copies = expected_hits(np.asarray(copies), target, foreseen)
    return Forecast(
        foreseen,
        written,
        both / foreseen if foreseen else None,
        both / written if written else None,
        by_copies / foreseen if foreseen else None,
        by_copies / written if written else None,
    )


def expected_hits(copies: np.ndarray, target: np.ndarray, chosen: int) -> float:
    """How many of the `chosen` sequences with the most copies are written out, on average over the
    choice among those of equal copies."""
    hits, left = 0.0, chosen
    for level in np.unique(copies)[::-1]:
        mine = target[copies == level]
        taken = min(left, len(mine))
        hits += taken * float(mine.mean())
        left -= taken
        if not left:
            break
    return hits


def within(bits: np.ndarray, target: np.ndarray, copies: np.ndarray) -> float | None:
    """Part of all pairs of sequences with equal copies, one of them written out and one not, in
    which the predictor has the shorter code for the former; a tie counts half. None without a pair;
    1/2 is guessing. bits: code lengths of the predictor, [n]; target, copies: as `forecast`."""
    right, pairs = 0.0, 0
    for level in np.unique(copies):
        mine = np.asarray(copies) == level
        yes, no = bits[mine & target], bits[mine & ~target]
        right += float((yes[:, None] < no).sum() + 0.5 * (yes[:, None] == no).sum())
        pairs += len(yes) * len(no)
    return right / pairs if pairs else None
