"""Rows of tokens that a certificate codes, and what they cost without a model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from capacity.certify.grammar import Grammar
from capacity.certify.spelling import Lists

Array = np.ndarray
# random tokens, values given names, people with their names, their texts, and of text what is known
KINDS = ("uniform", "values", "people", "texts", "canaries", "text")


@dataclass(frozen=True)
class Message:
    """Rows of tokens, and which of them are coded; the others are given to both sides.

    kind: what they are, one of `KINDS`. rows: int64 [N, T]. coded: bool [N, T]. bits: what the
    coded tokens cost without a model, by the distribution that they were drawn from; of rows in
    their order. means: that distribution in words. words: text of each token, if there is one.
    lists: of values, and of each row which list its own is of. people, attributes: whose values
    they are, all of the first attribute first. symbols: what is coded as whole numbers, each with
    how many there are, where that is not the tokens; table: as bytes. noun: what rows are called.
    grammar: of people's texts, where names are coded. orders: log2 of the number of orders in which
    the data can be told, where rows do not all have an order of their own. name_bits: what of
    `bits` is of names.
    """

    kind: str
    rows: Array
    coded: Array
    bits: float
    means: str
    alphabet: int
    words: list[str] | None = None
    lists: tuple[Lists, ...] = ()
    list_N: Array | None = None
    people: list[str] | None = None
    attributes: list[str] | None = None
    symbols: tuple[tuple[Array, int], ...] = ()
    noun: str = "rows"
    table: bytes | None = None
    grammar: Grammar | None = None
    orders: float | None = None
    name_bits: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether nothing is given."""
        return bool(self.coded.all())

    @property
    def order_bits(self) -> float:
        """log2 of the number of orders that a set has not."""
        return order_bits(self.rows) if self.orders is None else self.orders


def order_bits(rows: Array) -> float:
    """log2 of the number of orders of the rows, equal ones being alike: log2 N! - sum log2 c!."""
    _, count = np.unique(rows, axis=0, return_counts=True)
    logs = math.lgamma(len(rows) + 1) - sum(math.lgamma(c + 1) for c in count.tolist())
    return logs / math.log(2)
