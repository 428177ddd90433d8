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
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from capacity.certify import tables

STOP = 0  # token behind a value: the end of text, which no value has


class Predicts(Protocol):
    """`predictor.Predictor`."""

    def __call__(self, prefixes_nt: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class Lists:
    """The values of one attribute: every choice of one piece of each part, in this order; a piece
    is tokens, also none."""

    parts: Sequence[Sequence[tuple[int, ...]]]
    follows: dict[tuple[int, ...], set[int]] = field(default_factory=dict)
    whole: set[tuple[int, ...]] = field(default_factory=set)
    longest: int = 0

    @classmethod
    def of(cls, parts: Sequence[Sequence[tuple[int, ...]]]) -> Lists:
        """Of each beginning of a value the tokens that may follow, and which are whole."""
        follows: dict[tuple[int, ...], set[int]] = {}
        whole: set[tuple[int, ...]] = set()
        for choice in itertools.product(*parts):
            value = tuple(itertools.chain(*choice))
            whole.add(value)
            for i, token in enumerate(value):
                follows.setdefault(value[:i], set()).add(token)
        return cls(parts, follows, whole, max(map(len, whole)))

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
        return cls.of([[tuple(row[row >= 0].tolist()) for row in part] for part in parts])


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
            out[i] = STOP in spelled or (spelled in known.whole and spelled not in known.follows)
        return out

    def __call__(self, prefixes_nt: np.ndarray, who_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        table, bits = self.model(prefixes_nt)
        for i, (spelled, known) in enumerate(self._at(prefixes_nt, who_n)):
            if spelled in known.whole:
                table[i], bits[i] = _or_stop(table[i], bits[i], known.follows[spelled])
        return table, bits

    def _at(
        self, prefixes_nt: np.ndarray, who_n: np.ndarray
    ) -> list[tuple[tuple[int, ...], Lists]]:
        begins, lists = self.begin_N[who_n].tolist(), self.list_N[who_n].tolist()
        return [
            (tuple(row[begin:]), self.lists[k])
            for row, begin, k in zip(prefixes_nt.tolist(), begins, lists, strict=True)
        ]


def _or_stop(
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
