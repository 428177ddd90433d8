"""Batch order as a function of (seed, step): resume needs no loader state and exposures are exact
by construction."""

from __future__ import annotations

import numpy as np

from capacity.base.rng import BLOCK, raw_words

TOGETHER = 2**18  # sequences of epochs that are shuffled in one call (a larger epoch alone)


def order(
    seed: int, n_sequences: int, batch_size: int, first_step: int, n_steps: int
) -> np.ndarray:
    """Indices of the sequences of steps first_step .. first_step + n_steps - 1, int64 [n_steps,
    batch_size].

    The training set is read in an endless chain of permutations, one per epoch, cut into batches
    that may span epochs (and hold a sequence more than once where batch_size > N). After k steps
    every sequence was seen floor(k batch / N) or ceil(k batch / N) times.
    """
    return Order(seed, n_sequences).steps(batch_size, first_step, n_steps)


class Order:
    """`order` of one training set for a reader who goes on: the permutation of the epoch that was
    read last is kept until it is read to its end, 4 bytes per sequence (8 from 2^31 on)."""

    def __init__(self, seed: int, n_sequences: int) -> None:
        self.seed, self.n = seed, n_sequences
        self.kept: tuple[int, np.ndarray] | None = None  # epoch and its permutation [N]

    def steps(self, batch_size: int, first_step: int, n_steps: int) -> np.ndarray:
        """As `order`, from any step on; the indices do not depend on what was read before."""
        first, count = first_step * batch_size, n_steps * batch_size
        out = np.empty(count, np.int64)
        done = 0
        if self.kept is not None and self.kept[0] == first // self.n:
            part = self.kept[1][first % self.n :][:count]
            out[: len(part)] = part
            done = len(part)
        while done < count:
            epoch, place = divmod(first + done, self.n)
            wanted = -(-(place + count - done) // self.n)
            epochs = min(wanted, max(1, TOGETHER // self.n))
            chain = permutations(self.seed, self.n, epoch, epochs)
            part = chain.reshape(-1)[place:][: count - done]
            out[done : done + len(part)] = part
            done += len(part)
            self.kept = epoch + epochs - 1, chain[-1].astype(_index_type(self.n))
        if (first + count) % self.n == 0:
            self.kept = None  # what follows begins a new epoch
        return out.reshape(n_steps, batch_size)


def _index_type(n: int) -> type[np.signedinteger]:
    return np.int32 if n < 2**31 else np.int64


def permutations(seed: int, n: int, first_epoch: int, epochs: int) -> np.ndarray:
    """The order of [0, n) in each epoch, int64 [epochs, n]: that of the epoch's random words, of
    equal ones the first comes first.

    Sorting words is several times as fast as sorting indices by them, so the low bits of each word
    give way to its index. Words that differ in those bits alone, few of 2^64, are sorted again.
    """
    blocks = -(-n // BLOCK)  # a whole number of Philox blocks makes every epoch addressable
    words = raw_words(seed, "order", first_epoch * blocks, epochs * blocks * BLOCK)
    words = words.reshape(epochs, blocks * BLOCK)[:, :n]
    index_bits = np.uint64(2 ** (n - 1).bit_length() - 1)
    words &= ~index_bits  # in place: fresh memory costs more than the arithmetic
    words |= np.arange(n, dtype=np.uint64)
    words.sort(axis=1)
    runs = _runs((words[:, 1:] ^ words[:, :-1]) <= index_bits)
    words &= index_bits
    out = words.view(np.int64)
    for epoch, begin, end in runs:
        whole = raw_words(seed, "order", (first_epoch + epoch) * blocks, n)
        here = out[epoch, begin:end]
        out[epoch, begin:end] = here[np.argsort(whole[here], kind="stable")]
    return out


def _runs(same: np.ndarray) -> list[tuple[int, int, int]]:
    """Row, begin and end of the runs of equal neighbours; same: bool [rows, n - 1]."""
    runs: list[tuple[int, int, int]] = []
    if not same.any():
        return runs
    for row, place in np.argwhere(same).tolist():
        if runs and runs[-1][0] == row and runs[-1][2] == place + 1:
            runs[-1] = row, runs[-1][1], place + 2
        else:
            runs.append((row, place, place + 2))
    return runs


def exposure_counts(n_sequences: int, batch_size: int, steps: int) -> tuple[int, int]:
    """Fewest and most times that any sequence is seen in `steps` steps."""
    shown = steps * batch_size
    return shown // n_sequences, -(-shown // n_sequences)
