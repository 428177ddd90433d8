"""What is predicted of a fact from counts of its subject, its object and both in the training data
(Beyond Scaling, arXiv 2502.04066), and how much of what single facts do it explains.

    I     p(s,o) log2[p(s,o) / (p(s) p(o))]   contribution of the pair to the mutual information
    x     log2 I, floored to multiples of 0.2, scaled to [0, 1] over facts
    SMI   x^(1 + 1 / log2 P)                  P parameters

Letters: F facts, C cells of facts that share their predictors, K predictors.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

STEP = 0.2  # of log2 I, to whose multiples the public code floors
NEAR = 1e-9  # within which a number counts as the multiple that it was rounded away from


def pointwise(both: ArrayLike, subject: ArrayLike, value: ArrayLike, total: float) -> np.ndarray:
    """Pointwise mutual information log2[p(s,o) / (p(s) p(o))], in bits, of counts of texts."""
    joint, s, o = (np.asarray(n, float) for n in (both, subject, value))
    return np.log2(joint) + math.log2(total) - np.log2(s) - np.log2(o)


def contribution(both: ArrayLike, subject: ArrayLike, value: ArrayLike, total: float) -> np.ndarray:
    """I = p(s,o) times the pointwise mutual information, in bits."""
    return np.asarray(both, float) / total * pointwise(both, subject, value, total)


def floored(x: ArrayLike) -> np.ndarray:
    """Down to the next multiple of STEP."""
    return np.floor(np.asarray(x, float) / STEP + NEAR) * STEP


def scaled(x: ArrayLike, low: float, high: float) -> np.ndarray:
    """(x - low) / (high - low); ValueError where all facts have one value."""
    if not high > low:
        raise ValueError(f"all facts have one value, {low:g}; nothing can be scaled by it")
    return (np.asarray(x, float) - low) / (high - low)


def smi(x: ArrayLike, parameters: ArrayLike) -> np.ndarray:
    """x^(1 + 1 / log2 P) of x in [0, 1] and P above 1."""
    return np.asarray(x, float) ** (1 + 1 / np.log2(np.asarray(parameters, float)))


def line(x_CK: np.ndarray, n_C: np.ndarray, sum_C: np.ndarray) -> np.ndarray:
    """Least squares over single facts, intercept first, [1 + K]: those of a cell share x, so that
    their number and the sum of their outcomes tell it."""
    design, weight = _design(x_CK), np.sqrt(n_C)
    found = np.linalg.lstsq(design * weight[:, None], sum_C / n_C * weight, rcond=None)
    return found[0]


def explained(
    theta: np.ndarray, x_CK: np.ndarray, n_C: np.ndarray, sum_C: np.ndarray, square_C: np.ndarray
) -> float:
    """R^2 of single facts: 1 - squared errors / squares about the mean of these same facts. Below 0
    where the mean does better. ValueError where all outcomes are alike."""
    said_C, n = _design(x_CK) @ theta, n_C.sum()
    about = square_C.sum() - sum_C.sum() ** 2 / n
    if not about > NEAR * max(1.0, square_C.sum()):
        raise ValueError("the outcomes of all facts are alike; there is nothing to explain")
    left = square_C.sum() - 2 * said_C @ sum_C + said_C**2 @ n_C
    return float(1 - left / about)


def explained_means(
    bin_C: np.ndarray, x_C: np.ndarray, n_C: np.ndarray, sum_C: np.ndarray
) -> float:
    """R^2 of the line through the means of bins, each bin alike, as the paper's: what single facts
    do beside the mean of their bin is left out. bin_C: by which cells are put together; x_C: of
    each, one number a bin. NaN for fewer than three bins or equal means."""
    _, first, of = np.unique(bin_C, return_index=True, return_inverse=True)
    of = of.reshape(-1)
    n = np.bincount(of, n_C)
    mean, x = np.bincount(of, sum_C) / n, x_C[first]
    if len(n) < 3 or np.ptp(mean) <= NEAR:
        return math.nan
    return float(np.corrcoef(x, mean)[0, 1] ** 2)


def _design(x_CK: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(x_CK)), x_CK])
