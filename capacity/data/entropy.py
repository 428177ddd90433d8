"""Exact bits of synthetic facts, and the bit-complexity bound (standard library only).

All formulas are of "Physics of Language Models: Part 3.3" (Allen-Zhu and Li, arXiv 2404.05405),
sections 2 to 4. N people with distinct names out of N0; losses p1, p2, p3 are natural logarithms,
summed over tokens and averaged over people.
"""

from __future__ import annotations

import math
from typing import NamedTuple


def name_bits(n_names: float, n_people: int) -> float:
    """N log2(N0 / N): the name term of R^max (Definitions 4.1 and 4.3), at most N log2 e below log2
    of the number of sets."""
    return n_people * math.log2(n_names / n_people)


def log2_name_sets(n_names: int, n_people: int) -> float:
    """log2 C(N0, N), the exact entropy of a set of N names without replacement."""
    return (
        math.lgamma(n_names + 1) - math.lgamma(n_people + 1) - math.lgamma(n_names - n_people + 1)
    ) / math.log(2)


def knowledge_bits(
    n_people: int, n_names: int, p1: float, attribute_bits: float, p2: float
) -> float:
    """Bits learned of bioS(N): N log2(N0 / e^p1) + N log2(S0 / e^p2) (Definition 4.3), may be
    negative.

    attribute_bits: log2 S0, bits of one person's attributes; p2: nats, the SUM over the attributes.
    """
    return n_people * (math.log2(n_names) - p1 / math.log(2) + attribute_bits - p2 / math.log(2))


def knowledge_ceiling(n_people: int, n_names: int, attribute_bits: float) -> float:
    """R^max P of bioS(N): N log2(N0 / N) + N log2 S0 (Definition 4.3); what p1 = ln N and p2 = 0
    give."""
    return name_bits(n_names, n_people) + n_people * attribute_bits


def diversity_bits(alphabet: int, length: int, diversity: int, p3: float) -> float:
    """Per attribute of bioD: D log2((T^L) / (D e^p3)) bits of which strings make up its set
    (Definition 4.1).

    p3: nats, loss of the first chunk of a value, averaged over people and attributes.
    """
    return diversity * (length * math.log2(alphabet) - math.log2(diversity) - p3 / math.log(2))


class BiodSizes(NamedTuple):
    """What bioD(N, K, C, D, L, T) is made of but its N people (Definition 2.2)."""

    n_names: int  # N0
    attributes: int  # K
    chunks: int  # C
    diversity: int  # D
    length: int  # L
    alphabet: int  # T


def biod_bits(n_people: int, sizes: BiodSizes, p1: float, p2: float, p3: float) -> float:
    """Bits learned of bioD(N, K, C, D, L, T), Definition 4.1: names + values + diversity sets; may
    be negative.

    p1: nats per person, the name; p2: nats per (person, attribute), whole value; p3: the same for
    its first chunk.
    """
    d = sizes
    names = n_people * (math.log2(d.n_names) - p1 / math.log(2))
    values = n_people * d.attributes * (d.chunks * math.log2(d.diversity) - p2 / math.log(2))
    sets = d.attributes * diversity_bits(d.alphabet, d.length, d.diversity, p3)
    return names + values + sets


def biod_ceiling(n_people: int, sizes: BiodSizes) -> float:
    """R^max P of bioD: the same with p1 = ln N, p2 = p3 = 0."""
    return biod_bits(n_people, sizes, math.log(n_people), 0.0, 0.0)


def largest_population(bits: float, n_names: int, attribute_bits: float) -> int:
    """The number of people, 1 to N0, whose ceiling is nearest to `bits`; N (log2(N0/N) + b) rises
    while N < N0 2^b / e."""
    low, high = (
        1,
        max(1, min(n_names, int(n_names * 2 ** min(0.0, attribute_bits - math.log2(math.e))))),
    )
    while low < high:
        middle = (low + high) // 2
        if knowledge_ceiling(middle, n_names, attribute_bits) < bits:
            low = middle + 1
        else:
            high = middle
    if low > 1 and (
        abs(knowledge_ceiling(low - 1, n_names, attribute_bits) - bits)
        <= abs(knowledge_ceiling(low, n_names, attribute_bits) - bits)
    ):
        low -= 1
    return low
