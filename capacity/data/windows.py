"""Documents cut into windows of S tokens, and which document each window is from.

Two cuts. `through` cuts all documents as one stream, so that a window may begin in one and end in
another, and drops windows that are there already. `inside` cuts every document from its own
beginning, so that what is split by document has no window on both sides; rests that fill no window
are dropped, but documents of one unit share windows, and units that fill none at all are put
together until they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from capacity.data import near_duplicates

NUMBERED = ("cluster", "group", "unit")  # what documents have a number of


@dataclass(frozen=True)
class Documents:
    """The documents of a source, as numbers from 0 on in its order.

    group_D: number of the name in groups, -1 without one. copies_D: documents with exactly the same
    text, itself among them. cluster_D: sets of near-duplicates, or of exact copies where no others
    were looked for. unit_D: what stays on one side of a split; None where windows are split."""

    copies_D: np.ndarray  # int32, like the others
    cluster_D: np.ndarray
    group_D: np.ndarray
    groups: list[str]
    unit_D: np.ndarray | None

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self.copies_D)


@dataclass(frozen=True)
class Origin:
    """Where the windows of a pool come from.

    piece_P4: int32 [pieces, 4] of (row, document, first token within it, tokens), by row and place
    in the window. same_N: the first row with the same tokens, None where all rows differ.
    """

    documents: Documents
    piece_P4: np.ndarray
    same_N: np.ndarray | None

    def tensors(self) -> dict[str, np.ndarray]:
        """Everything but the names of groups, by name; `of` is the inverse."""
        arrays = {"pieces": self.piece_P4, "same": self.same_N}
        arrays |= {name: getattr(self.documents, f"{name}_D") for name in ("copies", *NUMBERED)}
        return {name: np.ascontiguousarray(x) for name, x in arrays.items() if x is not None}

    @staticmethod
    def of(tensors: Mapping[str, np.ndarray], groups: list[str]) -> Origin:
        """From the tensors of a file. KeyError where one is absent."""
        copies, cluster, group = (tensors[name] for name in ("copies", "cluster", "group"))
        documents = Documents(copies, cluster, group, groups, tensors.get("unit"))
        return Origin(documents, tensors["pieces"], tensors.get("same"))

    @cached_property
    def main_N2(self) -> np.ndarray:
        """int32 [rows, 2]: of each row the document that has most of its tokens, the first of
        equals, and where in it the row begins."""
        row, document, offset, length = self.piece_P4.T
        order = np.lexsort((-length, row))  # stable: of equals the first piece
        first = np.flatnonzero(np.diff(row[order], prepend=-1))
        return np.stack([document[order][first], offset[order][first]], 1)

    @property
    def unit_N(self) -> np.ndarray | None:
        """By row, what stays together; None where windows are split."""
        unit_D = self.documents.unit_D
        return None if unit_D is None else unit_D[self.main_N2[:, 0]]


def same_rows(tokens_NS: np.ndarray) -> np.ndarray:
    """Of each row the first one with the same tokens, int64 [N]. Exact: rows are grouped by a hash
    of 64 bits, and compared."""
    odd = np.cumprod(
        np.full(tokens_NS.shape[1], 0x9E3779B97F4A7C15, np.uint64)
    )  # powers of an odd number, modulo 2^64
    hash_N = np.concatenate(
        [
            (block.astype(np.uint64) + np.uint64(1)) @ odd
            for block in np.array_split(tokens_NS, 1 + len(tokens_NS) // 2**20)
        ]
    )
    _, first, group = np.unique(hash_N, return_index=True, return_inverse=True)
    same = first[group.reshape(-1)]
    other = np.flatnonzero((tokens_NS != tokens_NS[same]).any(1))  # share a hash only
    if len(other):
        _, first, group = np.unique(
            tokens_NS[other], axis=0, return_index=True, return_inverse=True
        )
        same[other] = other[first[group.reshape(-1)]]
    return same


def distinct(tokens_NS: np.ndarray) -> np.ndarray:
    """Numbers of the rows that come first among equals, int64, in their order."""
    return np.flatnonzero(same_rows(tokens_NS) == np.arange(len(tokens_NS)))


def through(stream_T: np.ndarray, starts_D: np.ndarray, seq_len: int) -> tuple[np.ndarray, ...]:
    """Windows of a stream, the different ones, int32 [N, S], and their pieces, int32 [pieces, 4].
    starts_D: where documents begin; what is in front of the first one belongs to none."""
    tokens = stream_T[: len(stream_T) // seq_len * seq_len].reshape(-1, seq_len)
    kept = distinct(tokens)
    begin = kept * seq_len
    ends_D = np.append(starts_D[1:], len(stream_T))
    first = np.maximum(np.searchsorted(starts_D, begin, "right") - 1, 0)
    last = np.searchsorted(starts_D, begin + seq_len - 1, "right") - 1
    count = np.maximum(last - first + 1, 0)
    row = np.repeat(np.arange(len(kept)), count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    document = first[row] + within
    low = np.maximum(starts_D[document], begin[row])
    high = np.minimum(ends_D[document], begin[row] + seq_len)
    pieces = np.stack([row, document, low - starts_D[document], high - low], 1)
    return tokens[kept], pieces.astype(np.int32)


def inside(
    stream_T: np.ndarray, starts_D: np.ndarray, unit_D: np.ndarray, seq_len: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows of single documents, then those that several share, int32 [N, S]; their pieces, int32
    [pieces, 4]; and the units, int64 [D], with those put together that share a window."""
    lengths_D = np.diff(np.append(starts_D, len(stream_T)))
    whole_D = lengths_D // seq_len
    document = np.repeat(np.arange(len(starts_D)), whole_D)
    number = np.arange(len(document)) - np.repeat(np.cumsum(whole_D) - whole_D, whole_D)
    offset = number * seq_len
    size = np.full(len(document), seq_len)
    pieces = np.stack([np.arange(len(document)), document, offset, size], 1)
    shared, pairs = _filled(lengths_D, unit_D, seq_len)
    for i, bin_ in enumerate(shared):
        bin_[:, 0] = len(document) + i
    pieces = np.concatenate([pieces, *shared])
    unit_D = near_duplicates.together(
        len(starts_D), np.concatenate([near_duplicates.pairs_of_equals(unit_D), pairs])
    )
    begin = starts_D[pieces[:, 1]] + pieces[:, 2]
    where = np.repeat(begin - (np.cumsum(pieces[:, 3]) - pieces[:, 3]), pieces[:, 3])
    tokens = stream_T[where + np.arange(len(where))].reshape(-1, seq_len)
    return tokens, pieces.astype(np.int32), unit_D


def _filled(
    lengths_D: np.ndarray, unit_D: np.ndarray, seq_len: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Windows filled with the rests of documents, each as pieces; and pairs of documents that share
    a window. Rests of one unit come together in its order; what a unit has left is used only where
    the unit has no window of its own. What does not fit at the end of a window is dropped."""
    rest_D = lengths_D % seq_len
    has = np.zeros(int(unit_D.max(initial=-1)) + 1, bool)
    has[unit_D[lengths_D >= seq_len]] = True
    order = np.argsort(unit_D, kind="stable")
    order = order[rest_D[order] > 1]  # an end of text alone says nothing
    windows, alone, left = [], [], _Bin(seq_len)
    previous = -1
    for d in order.tolist():
        unit = int(unit_D[d])
        if unit != previous:
            alone += [] if left.is_empty or has[previous] else [left.pieces]
            left, previous = _Bin(seq_len), unit
        length = int(rest_D[d])
        if left.add(d, int(lengths_D[d]) - length, length):
            windows.append(left.pieces)
            has[unit], left = True, _Bin(seq_len)
    alone += [] if left.is_empty or has[previous] else [left.pieces]
    joint: list[list[list[int]]] = []
    left = _Bin(seq_len)
    for pieces in alone:
        if any(left.add(*piece[1:]) for piece in pieces):
            joint.append(left.pieces)
            left = _Bin(seq_len)
    pairs = [[w[0][1], piece[1]] for w in joint for piece in w[1:]]
    table = np.array(pairs, np.int64).reshape(-1, 2)
    return [np.array(w, np.int64) for w in windows + joint], table


class _Bin:
    """A window that is being filled with pieces of documents."""

    def __init__(self, seq_len: int) -> None:
        self.room, self.pieces = seq_len, []

    @property
    def is_empty(self) -> bool:
        return not self.pieces

    def add(self, document: int, offset: int, length: int) -> bool:
        """Put in what there is room for; whether the window is full now."""
        taken = min(length, self.room)
        self.pieces.append([0, document, offset, taken])
        self.room -= taken
        return self.room == 0
