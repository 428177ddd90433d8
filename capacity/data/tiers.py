"""Tiers: classes of items (people, sequences) that a run sees at different rates, counted exactly
(standard library only).

A run with tiers shows as many renderings as one without; only who is shown differs. Tier 1 is seen
most often. Which items are in which tier follows from a seed and the number of items alone, so that
models of any size, batch or length of training share it. Time is cut into rounds: a tier of rate r
has every item once in each block of period = most / r rounds, its items dealt out over the rounds
of the block as evenly as whole numbers allow. One cycle of `most` rounds shows each item of a tier
exactly r times.

Zipf (1949): the item of rank i is seen i^-s times as often as the first. Cut at doublings of the
frequency, the items between two doublings grow by 2^(1/s) from one class to the next rarer one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from capacity.base.errors import ConfigError
from capacity.settings.data import Data
from capacity.settings.fresh import FreshData

MOST_RATE = 4096  # rounds of a cycle, which tables hold
SHARES_OFF = 1e-6  # by which shares may miss 1, for thirds


@dataclass(frozen=True)
class Tier:
    """A class of items. number: from 1 on, the most seen first; rate: times that each is seen in a
    cycle."""

    number: int
    items: int
    rate: int

    @property
    def halves(self) -> tuple[int, int]:
        """Items of its two halves, which take turns in every round."""
        return self.items // 2, self.items - self.items // 2


@dataclass(frozen=True)
class Tiers:
    """All tiers of N items, the most seen first."""

    tiers: tuple[Tier, ...]

    @property
    def items(self) -> int:
        """N."""
        return sum(tier.items for tier in self.tiers)

    @property
    def rounds(self) -> int:
        """Rounds of a cycle: the largest rate, of which all others are divisors."""
        return self.tiers[0].rate

    @property
    def cycle(self) -> int:
        """Renderings of a cycle."""
        return sum(tier.items * tier.rate for tier in self.tiers)

    def period(self, tier: Tier) -> int:
        """Rounds in which each item of a tier is shown once."""
        return self.rounds // tier.rate

    def expected(self, tier: Tier, exposures: float) -> float:
        """Mean times that an item of a tier is seen where one of all items is seen `exposures`
        times."""
        return exposures * self.items * tier.rate / self.cycle

    @property
    def gap(self) -> int:
        """Renderings between two of one item, at least: those of the other half of a round."""
        return _gap(self)

    def identity(self) -> list[list[int]]:
        """[items, rate] of each: two spellings of the same tiers have one identity."""
        return [[tier.items, tier.rate] for tier in self.tiers]


@lru_cache(maxsize=256)
def _gap(tiers: Tiers) -> int:
    """Fewest items of a half of any round of a cycle."""
    dealt = [(tier.halves, tiers.period(tier)) for tier in tiers.tiers]
    return min(
        sum(n[half] * (j % p + 1) // p - n[half] * (j % p) // p for n, p in dealt)
        for j in range(tiers.rounds)
        for half in (0, 1)
    )


def of(data: Data, items: int) -> Tiers | None:
    """The tiers of N items; None where all are seen equally often. ConfigError in one line for
    shares that do not add up, rates that do not divide, and tiers without anybody."""
    if isinstance(data, FreshData) or not (data.tiers or data.zipf):
        return None
    if data.tiers and data.zipf:
        raise ConfigError(
            f"data.tiers={','.join(data.tiers)} and data.zipf={data.zipf:g}: each says how often "
            "items are seen; give only one"
        )
    return _of(data.tiers, data.zipf, data.zipf_tiers, items, data.unit)


@lru_cache(maxsize=256)
def _of(listed: tuple[str, ...], zipf: float, number: int, items: int, unit: str) -> Tiers | None:
    named = f"data.tiers={','.join(listed)}" if listed else f"data.zipf={zipf:g}"
    parts = _listed(listed) if listed else _zipf(zipf, number)
    if len(parts) == 1:
        return None  # all of one rate
    counts = apportioned([share for share, _ in parts], items)
    tiers = Tiers(
        tuple(
            Tier(i + 1, n, rate) for i, (n, (_, rate)) in enumerate(zip(counts, parts, strict=True))
        )
    )
    for tier, (share, _) in zip(tiers.tiers, parts, strict=True):
        if not tier.items:
            fewer = "" if listed else f" than data.zipf_tiers={number}"
            raise ConfigError(
                f"{named}: the tier of rate {tier.rate} has a share of {share:.2g} of {items:,} "
                f"{unit}, which is nobody; give fewer tiers{fewer}, or more {unit}"
            )
    return tiers


def _zipf(exponent: float, number: int) -> list[tuple[float, int]]:
    """Share and rate of each class between two doublings of the frequency."""
    weights = [2 ** (i / exponent) for i in range(number)]
    return [(w / sum(weights), 2 ** (number - 1 - i)) for i, w in enumerate(weights)]


def _listed(listed: tuple[str, ...]) -> list[tuple[float, int]]:
    """The same of SHARExRATE, the most seen first, rates without a common divisor."""
    named = f"data.tiers={','.join(listed)}"
    parts = sorted(
        ((float(a), int(b)) for a, _, b in (t.partition("x") for t in listed)), key=_rate
    )
    rates = [rate for _, rate in parts]
    if abs((total := sum(share for share, _ in parts)) - 1) > SHARES_OFF:
        raise ConfigError(f"{named}: the shares add up to {total:.6g}; they have to be 1 together")
    for share, rate in parts:
        if not share > 0:
            raise ConfigError(f"{named}: the share of rate {rate} is {share:g}; give one above 0")
        if not 1 <= rate <= MOST_RATE:
            raise ConfigError(
                f"{named}: rate {rate}: expected a whole number from 1 to {MOST_RATE}"
            )
        if rates[0] % rate:
            raise ConfigError(
                f"{named}: rate {rate} is no divisor of the largest, {rates[0]}, so items could "
                "not be spread evenly; give rates such as 1, 2, 4, 8"
            )
    if len(set(rates)) < len(rates):
        raise ConfigError(f"{named}: two tiers have one rate; give each rate once")
    divisor = math.gcd(*rates)
    return [(share, rate // divisor) for share, rate in parts]


def _rate(part: tuple[float, int]) -> int:
    return -part[1]


def apportioned(shares: list[float], items: int) -> list[int]:
    """Whole numbers in proportion to shares, `items` together (the largest remainders are rounded
    up, of equal ones the first)."""
    total = sum(shares)
    exact = [share / total * items for share in shares]
    counts = [math.floor(number + 1e-9) for number in exact]
    order = sorted(range(len(shares)), key=lambda i: (counts[i] - exact[i], i))
    for i in order[: items - sum(counts)]:
        counts[i] += 1
    return counts


def lines(tiers: Tiers, exposures: float, unit: str) -> list[str]:
    """What a plan says of each tier: how many, and how often each is seen."""
    return [
        f"tier {tier.number}: {tier.items:,} {unit} ({tier.items / tiers.items:.1%}), rate "
        f"{tier.rate}, {tiers.expected(tier, exposures):,.4g} exposures each"
        for tier in tiers.tiers
    ]
