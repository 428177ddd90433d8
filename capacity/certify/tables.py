"""Probabilities as whole numbers: what a range coder takes, from whole numbers alone.

A table of K symbols is q_1..q_K >= 1 with sum 2^24. Every symbol can be coded, at 24 bits at most,
so that a model that is surely wrong is charged less than its -log2 p, and one that is surely right
pays for (K - 1) 2^-24 of doubt. Both differences are printed, and what counts is the file.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from capacity.base.errors import ConfigError
from capacity.certify import functions as f

BITS = 24  # of a table's sum, the precision of `constriction`'s range coder
TOTAL = 1 << BITS
WEIGHT_BITS = 38  # of weights before: the product with a sum of 24 bits stays below 2^63
MOST = TOTAL // 16  # symbols of a table, so that doubt stays below a sixteenth


def quantized(weight_nK: np.ndarray) -> np.ndarray:
    """Tables int64 [n, K], in proportion to weights int64 in [0, 2^38], of which some is 2^38 or
    near it: 1 + floor(w (2^24 - K) / sum w), and what is left goes to the first of the largest."""
    n, k = weight_nK.shape
    if k > MOST:
        raise ConfigError(f"a table of {k:,} symbols: the code has room for {MOST:,}")
    q = 1 + weight_nK * (TOTAL - k) // weight_nK.sum(1, keepdims=True)
    q[np.arange(n), weight_nK.argmax(1)] += TOTAL - q.sum(1)
    return q


def of_logits(logits_nV: Tensor) -> tuple[np.ndarray, Tensor]:
    """Tables [n, V] of the softmax of logits, and its logarithm in nats, fp64 [n, V], which nothing
    is decoded by."""
    wide = logits_nV.double()
    if not bool(torch.isfinite(wide).all()):
        raise ConfigError("the model's logits are not all finite; it has no certificate")
    above = wide - wide.amax(1, keepdim=True)
    e = f.exp(above)
    weight = (e * float(1 << WEIGHT_BITS)).floor().to(torch.int64)
    return quantized(weight.numpy()), above - f.log(f.total(e, 1, keepdim=True))


def binomial(n: int, part_m: np.ndarray, rest_m: np.ndarray) -> np.ndarray:
    """Tables [m, n + 1] of the number of n draws that fall into a part: the binomial distribution
    with p = part / (part + rest), whole numbers from 1 to 2^24.

    From the most likely count outwards by the ratios p(k) / p(k - 1) = (n - k + 1) part / (k rest),
    each a single division of whole numbers, so that no logarithm of a factorial is needed.
    """
    k = np.arange(n + 1)
    mode_m = ((n + 1) * part_m) // (part_m + rest_m)
    up = ((n - k + 1) * part_m[:, None]) / (np.maximum(k, 1) * rest_m[:, None])
    down = ((k + 1) * rest_m[:, None]) / (np.maximum(n - k, 1) * part_m[:, None])
    above, below = k > mode_m[:, None], k < mode_m[:, None]
    rising = np.multiply.accumulate(np.where(above, up, 1.0), axis=1)
    falling = np.multiply.accumulate(np.where(below, down, 1.0)[:, ::-1], axis=1)[:, ::-1]
    weight = np.floor(rising * falling * float(1 << WEIGHT_BITS)).astype(np.int64)
    return quantized(weight)
