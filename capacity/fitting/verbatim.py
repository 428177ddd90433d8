"""Verbatim memory from probabilities of tokens: suffixes that sampling would write, canaries by
their rank, runs of tokens that greedy decoding writes."""

from __future__ import annotations

import numpy as np

TRIES = (1, 100, 10000)  # samples of a suffix
CHANCE = 0.5  # with which one of them must be the true suffix


def discoverable(suffix_nats: np.ndarray, n: int, p: float = CHANCE) -> np.ndarray:
    """Whether a suffix is (n, p)-discoverable: 1 - (1 - p_z)^n >= p for its probability p_z under
    plain sampling at temperature 1 (Hayes et al., arXiv 2410.19482, section 3); suffix_nats = -log
    p_z. n p_z stands for the power where p_z is below 1e-16."""
    p_z = np.exp(-suffix_nats.astype(float))
    with np.errstate(divide="ignore"):
        return -n * np.where(p_z < 1.0, np.log1p(-p_z), -np.inf) >= -np.log1p(-p)


def exposure(canaries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """log2 |R| - log2 rank of each canary by its loss among itself and all candidates (Carlini et
    al., arXiv 1802.08232, section 4.2); of equal losses the canary's comes last. Without memory the
    rank is uniform and the mean is log2 e = 1.44 bits, not 0; at log2 |R| it is censored."""
    rank = 1 + np.searchsorted(np.sort(candidates), canaries, "right")
    return np.log2(len(candidates) + 1) - np.log2(rank)


def run_lengths(right_T: np.ndarray, part_T: np.ndarray) -> np.ndarray:
    """Of each token how many right ones stand in a row up to it within its part, int64 [T]; parts
    (such as windows) are numbered in the order of tokens."""
    right_T, part_T = np.asarray(right_T, bool), np.asarray(part_T)
    place = np.arange(len(right_T))
    begins = np.append(True, part_T[1:] != part_T[:-1])[: len(right_T)]
    last_wrong = np.where(right_T, -1, place)
    before_part = np.where(begins, place - 1, -1)
    return place - np.maximum.accumulate(np.maximum(last_wrong, before_part))
