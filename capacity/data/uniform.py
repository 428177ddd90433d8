"""Uniform random tokens: the data set whose entropy is known exactly (Morris et al., arXiv
2505.24832, section 3)."""

from __future__ import annotations

import numpy as np

from capacity.base.rng import BLOCK, raw_words


def tokens(seed: int, n_sequences: int, seq_len: int, vocab_size: int, skip: int = 0) -> np.ndarray:
    """The training set, int64 of shape [N, S], a pure function of its arguments on every platform.

    Sequence i does not depend on N, so a larger set extends a smaller one of the same seed. Each
    token is a 64-bit word modulo V: exactly uniform where V is a power of two, else with a relative
    bias below V / 2^64. skip: sequences of the seed before the first one.
    """
    block, left = divmod(skip * seq_len, BLOCK)
    words = raw_words(seed, "data", block, left + n_sequences * seq_len)[left:]
    return (words % np.uint64(vocab_size)).astype(np.int64).reshape(n_sequences, seq_len)
