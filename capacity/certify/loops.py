"""The two orders in which data are coded, each one loop for who writes and who reads.

list  rows in their order. Blocks of rows, and in a block a place of all its rows after the other.
set   rows in no order, which saves log2 N! bits (and gives log2 c! back for c equal rows). Of the
      tree of all prefixes a level after the other: at a prefix that n rows share, how many of them
      go on with each token is told by binary splits of the vocabulary, each by a binomial table,
      and of a prefix of one row the token itself. The cost of the splits is that of a multinomial
      count, so that over all levels it telescopes to the list's minus log2 N! + sum log2 c!. A
      prefix that has nothing left to say is a leaf, whatever its length.

Shape letters: N rows, T places of a row, n rows or prefixes at once, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from capacity.certify.tables import binomial

ROWS = 256  # of a block of a list: what one forward pass takes


class Next(Protocol):
    """What is said of the token at place t behind prefixes int64 [n, t]; who: which rows they are,
    of a list."""

    def __call__(self, prefixes_nt: np.ndarray, who_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tables int64 [n, V], and -log2 p, fp64 [n, V]."""
        ...

    def closed(self, prefixes_nt: np.ndarray, who_n: np.ndarray) -> np.ndarray:
        """Rows that have nothing left to say, bool [n]: their tokens are 0."""
        ...


class Coder(Protocol):
    """A `coder.Writer`, which is told symbols, or a `coder.Reader`, which tells them."""

    def take(self, table_nK: np.ndarray, known_n: np.ndarray | None) -> np.ndarray: ...

    def end_block(self, name: str) -> None: ...


def code_list(
    coder: Coder,
    predict: Next,
    given_NT: np.ndarray,
    coded_NT: np.ndarray,
    known_NT: np.ndarray | None,
    batch_rows: int = ROWS,
) -> tuple[np.ndarray, float]:
    """All rows int64 [N, T], and sum -log2 p of what was coded. given: what is known to both sides,
    where coded is False; known: all rows, of who writes."""
    rows, ideal = np.where(coded_NT, 0, given_NT), 0.0
    for first in range(0, len(rows), batch_rows):
        block = slice(first, first + batch_rows)
        for t in range(rows.shape[1]):
            who = first + np.flatnonzero(coded_NT[block, t])
            who = who[~predict.closed(rows[who, :t], who)]
            if not len(who):
                continue
            table, bits = predict(rows[who, :t], who)
            symbols = coder.take(table, None if known_NT is None else known_NT[who, t])
            rows[who, t] = symbols
            ideal += float(bits[np.arange(len(who)), symbols].sum())
        coder.end_block(f"rows {first + 1} to {min(first + batch_rows, len(rows))}")
    return rows, ideal


def code_set(
    coder: Coder,
    predict: Next,
    n_rows: int,
    length: int,
    known_NT: np.ndarray | None,
    batch_rows: int = ROWS,
) -> tuple[np.ndarray, float]:
    """All rows, int64 [N, T] in lexicographic order, and the ideal bits of the set: sum -log2 p -
    log2 N! + sum log2 c! over groups of c equal rows."""
    prefixes, count = np.zeros((1, 0), np.int64), np.array([n_rows])
    known = None if known_NT is None else known_NT[np.lexsort(known_NT.T[::-1])]
    ideal = -_log2_factorial(n_rows)
    for t in range(length):
        owner = np.repeat(np.arange(len(prefixes)), count)
        wanted = None if known is None else (owner, known[:, t])
        parent, token, count, bits = _level(coder, predict, prefixes, count, wanted, batch_rows)
        ideal += bits
        prefixes = np.concatenate([prefixes[parent], token[:, None]], axis=1)
        coder.end_block(f"place {t + 1} of the rows")
    ideal += sum(_log2_factorial(int(c)) for c in count[count > 1])
    return np.repeat(prefixes, count, axis=0), ideal


def _log2_factorial(n: int) -> float:
    return math.lgamma(n + 1) / math.log(2)


def _level(
    coder: Coder,
    predict: Next,
    prefixes_nt: np.ndarray,
    count_n: np.ndarray,
    known: tuple[np.ndarray, np.ndarray] | None,
    at_once: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """The children of all prefixes, in order: parents, tokens and counts [m], and sum of -log2 p
    over their rows. known: of each row its prefix and its next token."""
    parents, tokens, counts, ideal = [], [], [], 0.0
    for first in range(0, len(prefixes_nt), at_once):
        every = np.arange(first, min(first + at_once, len(prefixes_nt)))
        over = predict.closed(prefixes_nt[every], every)
        counts_nV = np.zeros((len(every), 1), np.int64)
        counts_nV[over, 0] = count_n[every[over]]
        block = every[~over]
        if len(block):
            table, bits = predict(prefixes_nt[block], block)
            wanted = None
            if known is not None:
                wanted = np.zeros(table.shape, np.int64)
                mine = np.isin(known[0], block)
                np.add.at(wanted, (np.searchsorted(block, known[0][mine]), known[1][mine]), 1)
            told_nV = _children(coder, table, count_n[block], wanted)
            parent, token = np.nonzero(told_nV)
            ideal += float((told_nV[parent, token] * bits[parent, token]).sum())
            counts_nV = np.pad(counts_nV, ((0, 0), (0, table.shape[1] - 1)))
            counts_nV[~over] = told_nV
        parent, token = np.nonzero(counts_nV)
        parents.append(parent + first)
        tokens.append(token)
        counts.append(counts_nV[parent, token])
    joined = [np.concatenate(x) for x in (parents, tokens, counts)]
    return joined[0], joined[1], joined[2], ideal


def _children(
    coder: Coder, table_nV: np.ndarray, count_n: np.ndarray, wanted_nV: np.ndarray | None
) -> np.ndarray:
    """How many of the rows of each prefix go on with each token, int64 [n, V]."""
    out = np.zeros(table_nV.shape, np.int64)
    alone, shared = np.flatnonzero(count_n == 1), np.flatnonzero(count_n > 1)
    known = None if wanted_nV is None else wanted_nV[alone].argmax(1)
    out[alone, coder.take(table_nV[alone], known)] = 1
    below = np.concatenate([np.zeros((len(table_nV), 1), np.int64), table_nV.cumsum(1)], axis=1)
    sums = None
    if wanted_nV is not None:
        sums = np.concatenate([np.zeros((len(out), 1), np.int64), wanted_nV.cumsum(1)], axis=1)
    # columns: prefix, first token, token behind the last, rows
    parts = np.stack([shared, 0 * shared, 0 * shared + table_nV.shape[1], count_n[shared]], axis=1)
    while len(parts):
        ends = parts[:, 2] - parts[:, 1] == 1
        out[parts[ends, 0], parts[ends, 1]] = parts[ends, 3]
        parts = _split(coder, parts[~ends], below, sums)
    return out


def _split(
    coder: Coder, parts_m4: np.ndarray, below: np.ndarray, sums: np.ndarray | None
) -> np.ndarray:
    """Both halves of each part of the vocabulary that has rows, in their order. below, sums:
    cumulative tables and, of who writes, cumulative counts."""
    who, first, end, count = parts_m4.T
    middle = (first + end) // 2
    left, right = below[who, middle] - below[who, first], below[who, end] - below[who, middle]
    known = None if sums is None else sums[who, middle] - sums[who, first]
    in_left = np.zeros(len(who), np.int64)
    for n in np.unique(count):
        these = np.flatnonzero(count == n)
        tables = binomial(int(n), left[these], right[these])
        in_left[these] = coder.take(tables, None if known is None else known[these])
    halves = np.stack(
        [
            np.stack([who, first, middle, in_left], axis=1),
            np.stack([who, middle, end, count - in_left], axis=1),
        ],
        axis=1,
    ).reshape(-1, 4)
    return halves[halves[:, 3] > 0]
