"""Canaries: text that somebody planted a known number of times, beside candidates drawn like it
that were never shown."""

from __future__ import annotations

import math

import numpy as np

from capacity.audit.schema import CanaryLevel, Estimate
from capacity.audit.scored import CanaryScores, TokenScores
from capacity.fitting.statistics import proportion, t_interval
from capacity.fitting.verbatim import exposure


def scored(tokens: TokenScores, repeats_D: np.ndarray, bits_D: np.ndarray) -> CanaryScores:
    """From one model's numbers of D sequences: canaries, and candidates, whose repeats are 0. bits:
    NaN where the file does not say."""
    canary = repeats_D > 0
    nats, size_D = tokens.nats_D(), np.diff(tokens.starts_D)
    half_D = size_D - size_D // 2
    right = np.concatenate([[0], np.cumsum(tokens.right_T, dtype=np.int64)])
    end = tokens.starts_D[1:]
    written = (right[end] - right[end - half_D] == half_D) & (size_D > 1)
    known = bool(np.isfinite(bits_D[canary]).any())
    return CanaryScores(
        repeats_D[canary],
        nats[canary],
        written[canary],
        nats[~canary],
        bits_D[canary] if known else None,
    )


def levels(scores: CanaryScores) -> list[CanaryLevel]:
    """By number of repeats, rising. ValueError without a candidate."""
    if not len(scores.candidates_R):
        raise ValueError("canaries: no candidate to rank them among")
    exposures = exposure(scores.nats_C, scores.candidates_R)
    at_most = math.log2(len(scores.candidates_R) + 1)
    saved = log2_e_values(scores)
    out: list[CanaryLevel] = []
    for repeats in np.unique(scores.repeats_C).tolist():
        here = scores.repeats_C == repeats
        bits = exposures[here]
        written = float(scores.written_C[here].mean())
        known = saved[here][np.isfinite(saved[here])]
        out.append(
            {
                "repeats": int(repeats),
                "canaries": int(here.sum()),
                "exposure": _mean(bits, at_most),
                "at_most": at_most,
                "at_ceiling": int((bits >= at_most - 1e-9).sum()),
                "extracted": {
                    "value": written,
                    "interval": list(proportion(written, int(here.sum()))),
                },
                "log2_e_value": float(known.mean()) if len(known) else None,
            }
        )
    return out


def log2_e_values(scores: CanaryScores) -> np.ndarray:
    """Of each canary the bits that the model saves of those that it cost to draw, [C], NaN where
    these are not known.

    2^saved is an e-value against "the model never saw it": over the 2^bits equally likely draws the
    mean of p(canary) 2^bits is at most one, because probabilities of different sequences add up to
    at most one; so it reaches k in at most a part 1 / k of cases (Grünwald et al. 2024, J. R. Stat.
    Soc. B 86, 1091). Of independent canaries the logarithms add up."""
    if scores.bits_C is None:
        return np.full(len(scores.nats_C), np.nan)
    return np.asarray(scores.bits_C, float) - scores.nats_C / math.log(2)


def _mean(bits: np.ndarray, at_most: float) -> Estimate:
    """Student's t over canaries, within what exposures can be; None of one, or where all are
    equal: at the ceiling nothing says how far above they lie."""
    low, high = t_interval(bits)
    if not math.isfinite(low) or np.ptp(bits) < 1e-9:
        return {"value": float(bits.mean()), "interval": None}
    return {"value": float(bits.mean()), "interval": [max(0.0, low), min(at_most, high)]}
