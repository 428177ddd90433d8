"""How unequal the values of a list are: drawn alike, or by Zipf's law (standard library only).

The value of rank r of a list of V is drawn with probability r^-s / (1 + 2^-s + ... + V^-s) (Zipf
1949), independently for every person. Probabilities are whole parts of GRID, so that draws are the
same on every machine and entropies are those of exactly what is drawn.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from capacity.settings.field import setting

GRID = 2**32
# attributes whose values stand in a list; a date is put together from its parts, and the pronoun
# is the only trace of the gender
LISTS = ("birth_city", "university", "major", "employer")


def value_zipf() -> Any:
    """Popularity of values by a law."""
    return setting(
        0.0,
        "s of Zipf's law, by which the value of rank r in its list (cities of birth, universities, "
        "majors, employers) is drawn r^-s times as often as the first; which value has which rank "
        "follows from the seed; 0: all alike",
        low=0.0,
        high=4.0,
        neutral=0.0,
    )


@lru_cache(maxsize=256)
def ends(size: int, exponent: float) -> tuple[int, ...]:
    """Where the part of GRID of each rank ends, the most frequent first; the last at GRID."""
    weights = [rank**-exponent for rank in range(1, size + 1)]
    total, reached, out = sum(weights), 0.0, []
    for weight in weights:
        reached += weight
        out.append(round(GRID * min(1.0, reached / total)))
    return (*out[:-1], GRID)


def shares(size: int, exponent: float) -> tuple[int, ...]:
    """Whole parts of GRID of each rank; they add up to GRID."""
    each = ends(size, exponent)
    return tuple(b - a for a, b in zip((0, *each[:-1]), each, strict=True))


def entropy_bits(size: int, exponent: float) -> float:
    """Entropy of one value of a list; log2 of its size where all are drawn alike."""
    if not exponent:
        return math.log2(size)
    return -sum(n / GRID * math.log2(n / GRID) for n in shares(size, exponent) if n)
