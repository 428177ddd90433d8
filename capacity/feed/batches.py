"""Batch order as a function of (seed, step): resume needs no loader state and exposures are exact
by construction."""

from __future__ import annotations

import numpy as np

from capacity.base.rng import BLOCK, raw_words


def order(
    seed: int, n_sequences: int, batch_size: int, first_step: int, n_steps: int
) -> np.ndarray:
    """Indices of the sequences of steps first_step .. first_step + n_steps - 1, int64 [n_steps,
    batch_size].

    The training set is read in an endless chain of permutations, one per epoch, cut into batches
    that may span epochs (and hold a sequence more than once where batch_size > N). After k steps
    every sequence was seen floor(k batch / N) or ceil(k batch / N) times.
    """
    first, last = first_step * batch_size, (first_step + n_steps) * batch_size
    epochs = range(first // n_sequences, -(-last // n_sequences))
    blocks = -(
        -n_sequences // BLOCK
    )  # a whole number of Philox blocks per epoch makes every epoch addressable
    keys = raw_words(seed, "order", epochs.start * blocks, len(epochs) * blocks * BLOCK)
    keys = keys.reshape(len(epochs), blocks * BLOCK)[:, :n_sequences]
    chain = np.argsort(keys, axis=1, kind="stable").reshape(-1)
    start = first - epochs.start * n_sequences
    return chain[start : start + n_steps * batch_size].reshape(n_steps, batch_size)


def exposure_counts(n_sequences: int, batch_size: int, steps: int) -> tuple[int, int]:
    """Fewest and most times that any sequence is seen in `steps` steps."""
    shown = steps * batch_size
    return shown // n_sequences, -(-shown // n_sequences)
