"""Sequences of which none is drawn twice: copies, and multi-query associative recall.

Sequence i of a stream is a pure function of seed, stream and i, so that training resumes exactly
from the number of its step alone. Training and evaluation read streams of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from capacity.base.rng import BLOCK, raw_words
from capacity.settings.fresh import CopyData, FreshData, MqarData

TRAINED, HELD_OUT = "fresh", "fresh held out"  # streams
AT_ONCE = 2**22  # numbers of a table that is formed at once


def tokens(
    data: FreshData, seed: int, stream: str, first: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences first .. first + count - 1 of a stream: tokens int64 [count, T], and which of them
    are asked for, bool [count, T].

    A symbol is a 64-bit word modulo its number of values, exactly uniform where that is a power of
    two, else with a relative bias below V / 2^64. The order of drawn places (`gap_power`) is that
    of numbers rounded as the platform's logarithm rounds.
    """
    make, n_words, widest = MAKERS[data.kind](data)
    blocks = -(-n_words // BLOCK)  # a whole number makes every sequence addressable
    rows = max(1, AT_ONCE // max(widest, blocks * BLOCK))
    parts = []
    for begin in range(first, first + count, rows):
        n = min(rows, first + count - begin)
        words = raw_words(seed, f"{data.kind} {stream}", begin * blocks, n * blocks * BLOCK)
        parts.append(make(words.reshape(n, -1)[:, :n_words]))
    if not parts:
        empty = np.empty((0, data.seq_len), np.int64)
        return empty, empty.astype(bool)
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


Maker = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _copy(data: CopyData) -> tuple[Maker, int, int]:
    """What makes sequences of words, words of a sequence, and the widest row that it forms."""
    n, V = data.copy_length, np.uint64(data.vocab_size)

    def make(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        said = (words % V).astype(np.int64)
        separator = np.full((len(words), 1), data.vocab_size)
        asked = np.zeros((len(words), data.seq_len), bool)
        asked[:, n + 1 :] = True
        return np.concatenate([said, separator, said], axis=1), asked

    return make, n, data.seq_len


def _mqar(data: MqarData) -> tuple[Maker, int, int]:
    n, half, places = data.pairs, data.symbols, data.places
    n_fillers = data.seq_len - 2 * n
    # at places 1, 2, ... behind the pairs; `power_a * i ** (power_a - 1)` in the released code
    weights = np.arange(1, places + 1) ** (data.gap_power - 1)

    def make(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = np.split(words, np.cumsum([n, n, places]), axis=1)
        keys = _distinct(parts[0], half)
        values = half + (parts[1] % np.uint64(half)).astype(np.int64)
        # drawn one after the other without replacement, each by its weight among those that are
        # left: the order of exponential times with these rates (Efraimidis and Spirakis 2006)
        times = -np.log((parts[2] >> np.uint64(11)).astype(float) * 2.0**-53 + 2.0**-54) / weights
        at = 2 * n + 2 * np.argsort(times, axis=1, kind="stable")[:, :n]
        out = np.empty((len(words), data.seq_len), np.int64)
        out[:, 0 : 2 * n : 2], out[:, 1 : 2 * n : 2] = keys, values
        out[:, 2 * n :] = (parts[3] % np.uint64(data.vocab_size)).astype(np.int64)
        np.put_along_axis(out, at, keys, axis=1)
        np.put_along_axis(out, at + 1, values, axis=1)
        asked = np.zeros(out.shape, bool)
        np.put_along_axis(asked, at + 1, True, axis=1)
        return out, asked

    return make, 2 * n + places + n_fillers, max(half, places, data.seq_len)


def _distinct(words: np.ndarray, of: int) -> np.ndarray:
    """Distinct numbers below `of`, in order of their drawing, int64 [rows, n]: the first n swaps
    of a Fisher-Yates shuffle."""
    rows, n = words.shape
    each = np.arange(rows)
    order = np.tile(np.arange(of), (rows, 1))
    for i in range(n):
        j = i + (words[:, i] % np.uint64(of - i)).astype(np.int64)
        order[:, i], order[each, j] = order[each, j], order[:, i].copy()
    return order[:, :n]


MAKERS: dict[str, Callable] = {"copy": _copy, "mqar": _mqar}
