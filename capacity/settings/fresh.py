"""The settings of data of which every sequence is new, so that only what a model keeps of the
sequence itself can predict them (standard library only).

A sequence first says something and then asks for it. The loss counts predictions that are asked
for and no other: what is said is random, and nothing could be learned from its loss but that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from capacity.settings.field import setting


class _Fresh:
    """What these kinds have in common: a learned BOS in front, and no sequence is drawn twice."""

    bos: ClassVar[bool] = True
    unit: ClassVar[str] = "sequences"
    size_key: ClassVar[str] = "n_sequences"


@dataclass(frozen=True)
class CopyData(_Fresh):
    """u, a separator, u again: u is |u| independent, uniform symbols, and the second u is asked
    for. The separator, a row of its own, tells where it begins at any length."""

    kind: str = setting("copy", "which generator", choices=("copy",))
    vocab_size: int = setting(
        16, "V, different symbols; the token table has one row more", low=2, high=2**20
    )
    copy_length: int = setting(32, "|u|, symbols that are said, then asked for", low=1, high=32767)

    @property
    def seq_len(self) -> int:
        """Tokens of a sequence."""
        return 2 * self.copy_length + 1

    @property
    def rows(self) -> int:
        """Rows of the token table."""
        return self.vocab_size + 1

    @property
    def said(self) -> int:
        """Tokens in front of the first prediction that is asked for."""
        return self.copy_length + 1

    @property
    def asked(self) -> int:
        """Predictions of a sequence that are asked for."""
        return self.copy_length

    @property
    def symbols(self) -> int:
        """Equally likely answers."""
        return self.vocab_size

    def longer(self, times: int) -> CopyData:
        """Sequences that say so many times as much."""
        return replace(self, copy_length=times * self.copy_length)


@dataclass(frozen=True)
class MqarData(_Fresh):
    """Multi-query associative recall (Zoology, arXiv 2312.04927, section 3 and appendix; gaps as in
    its released code): pairs of a key and a value, then each key once more, as a query, in front of
    its value, which is asked for. Between them stand random tokens.

    Keys are distinct tokens of the lower half of the vocabulary, values of the upper half,
    independent and uniform, so that an answer is exactly log2(V/2) bits. (The released code draws
    values without replacement, and puts a random token where here the answer stands.)
    """

    kind: str = setting("mqar", "which generator", choices=("mqar",))
    vocab_size: int = setting(
        8192, "V, an even number: a half of keys, a half of values", low=4, high=2**20
    )
    seq_len: int = setting(64, "S, tokens of a sequence, an even number", low=4, high=65536)
    pairs: int = setting(4, "pairs of a key and a value, each asked for once", low=1, high=16384)
    gap_power: float = setting(
        0.01,
        "a: a query stands i places of two tokens behind the pairs with probability ~ i^(a-1)",
        above=0.0,
        high=10.0,
    )

    @property
    def rows(self) -> int:
        """Rows of the token table."""
        return self.vocab_size

    @property
    def said(self) -> int:
        """Tokens in front of the first query."""
        return 2 * self.pairs

    @property
    def asked(self) -> int:
        """Predictions of a sequence that are asked for."""
        return self.pairs

    @property
    def symbols(self) -> int:
        """Equally likely answers."""
        return self.vocab_size // 2

    @property
    def places(self) -> int:
        """Places for a query and its answer."""
        return (self.seq_len - 2 * self.pairs) // 2

    def longer(self, times: int) -> MqarData:
        """Sequences that are so many times as long and say so many times as much."""
        return replace(self, seq_len=times * self.seq_len, pairs=times * self.pairs)


FreshData = CopyData | MqarData


def sequence_bits(data: FreshData) -> float:
    """Bits that a sequence asks for: number of answers x log2 of how many are equally likely."""
    return data.asked * math.log2(data.symbols)


def fresh_data(data: object) -> FreshData:
    """The settings of such data; TypeError for another kind, which is a mistake of the caller."""
    if not isinstance(data, FreshData):
        raise TypeError(f"data.kind={getattr(data, 'kind', data)}: expected copy or mqar")
    return data
