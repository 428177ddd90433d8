"""Values out of lists that both sides know, spelled by a model token by token.

A value is told by the model's raw probabilities over the whole vocabulary, as a run's knowledge
is measured: nothing is renormalized over the list. Where the tokens so far are a value and also
the beginning of longer ones, what does not go on to one of those ends it, so that exactly this
value costs -log2 (p of its tokens less that of the longer ones, to one token). So lengths of
values need not be given; the places behind a value are empty (token 0, end of text) and cost
nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from capacity.certify import tables

Piece = tuple[int, ...]  # tokens
STOP = 0  # token behind a value: the end of text, which no value has


class Predicts(Protocol):
    """`predictor.Predictor`."""

    def __call__(self, prefixes_nt: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


class Lists:
    """The values of one attribute, or all names: every choice of one piece of each part, in this
    order; a piece is tokens, also none. Nothing is listed but the pieces, since there may be a
    billion choices."""

    def __init__(self, parts: Sequence[Sequence[Piece]]) -> None:
        self.parts = [list(part) for part in parts]
        # of each part its pieces by their tokens, how long they are, and what goes on with what
        self._pieces: list[dict[Piece, list[int]]] = []
        self._lengths: list[list[int]] = []
        self._begins: list[dict[Piece, set[int]]] = []
        self._known: dict[Piece, set[int]] = {}
        for part in self.parts:
            where: dict[Piece, list[int]] = {}
            begins: dict[Piece, set[int]] = {}
            for i, piece in enumerate(part):
                where.setdefault(piece, []).append(i)
                for k, token in enumerate(piece):
                    begins.setdefault(piece[:k], set()).add(token)
            self._pieces.append(where)
            self._lengths.append(sorted({len(piece) for piece in part}))
            self._begins.append(begins)

    @property
    def longest(self) -> int:
        """Tokens of the longest value."""
        return sum(lengths[-1] for lengths in self._lengths)

    def join(self, choice: Sequence[int]) -> Piece:
        """The tokens of a choice of pieces."""
        pieces = (part[i] for part, i in zip(self.parts, choice, strict=True))
        return tuple(itertools.chain(*pieces))

    def matches(self, tokens: Piece, at: int = 0) -> list[tuple[Piece, int]]:
        """All values that stand in tokens from a place on: choice of pieces, and where it ends."""
        found: list[tuple[Piece, int]] = [((), at)]
        for where, lengths in zip(self._pieces, self._lengths, strict=True):
            found = [
                ((*choice, i), end + length)
                for choice, end in found
                for length in lengths
                if end + length <= len(tokens)
                for i in where.get(tokens[end : end + length], ())
            ]
        return found

    def is_whole(self, begin: Piece) -> bool:
        """Whether tokens are a value."""
        return len(begin) in self._ends(begin)[-1]

    def follows(self, begin: Piece) -> set[int]:
        """The tokens that go on with the beginning of a value."""
        if begin not in self._known:
            ends = self._ends(begin)
            parts = zip(ends, self._begins, strict=False)
            self._known[begin] = {
                token for at_k, part in parts for at in at_k for token in part.get(begin[at:], ())
            }
        return self._known[begin]

    def _ends(self, begin: Piece) -> list[set[int]]:
        """Where the first k parts may end in tokens, k from 0 on."""
        out = [{0}]
        for where, lengths in zip(self._pieces, self._lengths, strict=True):
            out.append(
                {
                    at + n
                    for at in out[-1]
                    for n in lengths
                    if at + n <= len(begin) and begin[at : at + n] in where
                }
            )
        return out

    def packed(self) -> list[np.ndarray]:
        """Each part as int32 [pieces, tokens], -1 behind the last token of a piece."""
        out = []
        for part in self.parts:
            width = max(1, max(len(piece) for piece in part))
            rows = np.full((len(part), width), -1, np.int32)
            for row, piece in zip(rows, part, strict=True):
                row[: len(piece)] = piece
            out.append(rows)
        return out

    @classmethod
    def unpacked(cls, parts: Sequence[np.ndarray]) -> Lists:
        """`packed` again."""
        return cls([[tuple(row[row >= 0].tolist()) for row in part] for part in parts])


class Spelling:
    """`loops.Next` of values: from place begin_N of each row on, a value of lists[list_N]."""

    def __init__(
        self, model: Predicts, lists: Sequence[Lists], list_N: np.ndarray, begin_N: np.ndarray
    ) -> None:
        self.model, self.lists, self.list_N, self.begin_N = model, lists, list_N, begin_N

    def closed(self, prefixes_nt: np.ndarray, who_n: np.ndarray) -> np.ndarray:
        """Rows whose value is over, bool [n]: told by an end, or nothing longer begins so."""
        out = np.zeros(len(who_n), bool)
        for i, (spelled, known) in enumerate(self._at(prefixes_nt, who_n)):
            over = STOP in spelled
            out[i] = over or (known.is_whole(spelled) and not known.follows(spelled))
        return out

    def __call__(self, prefixes_nt: np.ndarray, who_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        table, bits = self.model(prefixes_nt)
        for i, (spelled, known) in enumerate(self._at(prefixes_nt, who_n)):
            if known.is_whole(spelled):
                table[i], bits[i] = or_stop(table[i], bits[i], known.follows(spelled))
        return table, bits

    def _at(
        self, prefixes_nt: np.ndarray, who_n: np.ndarray
    ) -> list[tuple[tuple[int, ...], Lists]]:
        begins, lists = self.begin_N[who_n].tolist(), self.list_N[who_n].tolist()
        return [
            (tuple(row[begin:]), self.lists[k])
            for row, begin, k in zip(prefixes_nt.tolist(), begins, lists, strict=True)
        ]


def or_stop(
    table_V: np.ndarray, bits_V: np.ndarray, follows: set[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of the longer values' tokens as they are, all others together as STOP."""
    longer = np.array(sorted(follows))
    weight = np.zeros_like(table_V)
    weight[longer] = table_V[longer]
    weight[STOP] = tables.TOTAL - weight.sum()
    scaled = weight[None] << (tables.WEIGHT_BITS - tables.BITS)
    bits = np.full_like(bits_V, np.inf)
    bits[longer] = bits_V[longer]
    rest = 1 - sum(2.0**-b for b in bits_V[longer].tolist())
    bits[STOP] = -np.log2(max(rest, 1e-300))
    return tables.quantized(scaled)[0], bits
