"""Memorized bits: what a model takes off the code of a reference that was not trained on the
documents (unintended memorization: Morris et al., arXiv 2505.24832, section 3)."""

from __future__ import annotations

import math

import numpy as np

from capacity.audit.schema import Bits, Estimate, MemorizedBits
from capacity.audit.scored import Documents, TokenScores
from capacity.fitting.statistics import student
from capacity.published import values as published

QUOTED = "morris/slope_bf16"  # bits per parameter, of random strings
NATS = math.log(2)


def saved_D(tokens: TokenScores, reference: TokenScores) -> np.ndarray:
    """log2 p - log2 p_ref of each document, float64 [D]: bits that knowing this model saves over
    knowing the reference. Positive for what was memorized and for whatever the model knows
    better."""
    return (reference.nats_D() - tokens.nats_D()) / NATS


def quoted_capacity(parameters: int) -> tuple[float, str]:
    """Bits that a model of so many parameters holds of random data, and whose number that is."""
    value = published.get(QUOTED)
    assert value.value is not None, QUOTED
    words = f"{value.value:g} bits per parameter, {value.what}, {value.source}"
    return value.value * parameters, words


def memorized(
    documents: Documents,
    tokens: TokenScores,
    reference: TokenScores,
    capacity: tuple[float, str],
) -> Bits:
    """Bits of both sides with 95% intervals over units, and the part of the capacity (bits, and
    whose law that is) that the members' take: their clipped bits less what the others' clipped bits
    per token would make of as many tokens, since clipping counts noise as memory."""
    saved, count = saved_D(tokens, reference), tokens.predicted_D().astype(float)
    sides = {}
    for name, side in (("members", documents.member_D), ("others", ~documents.member_D)):
        sides[name] = (saved[side], count[side], documents.unit_D[side])
    mine, theirs = sides["members"], sides["others"]
    clipped = total(np.maximum(mine[0], 0.0), mine[2])
    chance = _per_token(np.maximum(theirs[0], 0.0), theirs[1], theirs[2])
    scale = float(mine[1].sum())
    excess = clipped["value"] - chance["value"] * scale
    half = math.hypot(_half(clipped), _half(chance) * scale)
    known = clipped["interval"] is not None and chance["interval"] is not None
    size, source = capacity
    return {
        "members": _side(*mine),
        "others": _side(*theirs),
        "others_scaled": chance["value"] * scale,
        "capacity": size,
        "capacity_source": source,
        "share": {
            "value": excess / size,
            "interval": [(excess - half) / size, (excess + half) / size] if known else None,
        },
    }


def _side(saved: np.ndarray, count: np.ndarray, units: np.ndarray) -> MemorizedBits:
    return {
        "signed": total(saved, units),
        "clipped": total(np.maximum(saved, 0.0), units),
        "per_token": _per_token(saved, count, units),
    }


def total(values: np.ndarray, units: np.ndarray) -> Estimate:
    """A sum with its interval over units (Student's t of their sums; Cochran 1977, Sampling
    Techniques, section 9A.2); None for a single unit."""
    sums = _sums(values, units)
    return _estimate(float(values.sum()), sums - sums.mean())


def _per_token(values: np.ndarray, count: np.ndarray, units: np.ndarray) -> Estimate:
    """A ratio of sums, linearised (Cochran 1977, section 2.11)."""
    tokens = float(count.sum())
    ratio = float(values.sum()) / tokens if tokens else 0.0
    return _estimate(ratio, _sums(values - ratio * count, units) / max(tokens, 1.0))


def _sums(values: np.ndarray, units: np.ndarray) -> np.ndarray:
    _, place = np.unique(units, return_inverse=True)
    return np.bincount(place.reshape(-1), values)


def _estimate(value: float, residual: np.ndarray) -> Estimate:
    n = len(residual)
    if n < 2:
        return {"value": value, "interval": None}
    half = float(student(n - 1)) * math.sqrt(float((residual**2).sum()) * n / (n - 1))
    return {"value": value, "interval": [value - half, value + half]}


def _half(estimate: Estimate) -> float:
    ends = estimate["interval"]
    return 0.0 if ends is None else (ends[1] - ends[0]) / 2
