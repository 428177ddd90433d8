"""How often the values of an imported corpus come, and what they hold (standard library only).

Bits of a value are those of an ideal code for its frequency. With c_v of the n people whose texts
state the attribute having the value v,

    H = sum over v of (c_v / n) log2(n / c_v)

is what the best model pays per person that knows how often each value comes and nothing about
anybody; n H - (what a model pays) are its bits beyond the frequencies: 0 for that one, n H for one
that knows every value. Frequencies are counted among those people alone, which are the frequencies
that texts teach, and of all codes without knowledge of persons the cheapest for them. They are a
count, not an estimate: the corpus is the data, so that nothing is corrected for bias.

Every person is asked alone, with replacement, so the order in which people are asked changes
nothing, and n H is up to K log2(n + 1) bits (K values) above log2 of n! / prod c_v!, the number of
ways to hand out exactly these values; where all values differ by log2 e = 1.44 bits per person, as
N log2(N0 / N) of names is above log2 C(N0, N). What the list of values itself holds counts nothing.
Where the source is known, as of people who were drawn by this program, the file may say of how many
equally likely values each was drawn; data.value_bits=alternatives then counts log2 of that number,
as for bioS, which also counts knowing which of the possible values come at all.

Attributes count as independent of each other: where one follows from another, as a country from its
city, knowing the rule counts for every person.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

MOST_UNASKED = 0.05  # part of the values without an answer, above which no law uses a run
NAME = "person"  # key of the name among the spans of a lexicon


def key_of(attribute: str) -> str:
    """Key of an attribute among the spans of a lexicon, where the name has NAME."""
    inner = attribute == NAME or attribute.startswith("attribute ")
    return f"attribute {attribute}" if inner else attribute


def frequency_bits(counts: Iterable[int]) -> float:
    """H in bits of values that come so often; 0 of none."""
    some = [count for count in counts if count]
    n = sum(some)
    return math.fsum(count / n * math.log2(n / count) for count in some)


@dataclass(frozen=True)
class Attribute:
    """One attribute of a corpus. value_N: of each person the number of the value, None where the
    person has none; texts_N: how many of the person's texts state it; alternatives: of how many
    equally likely values they were drawn, None: bits go by frequency."""

    name: str
    value_N: tuple[int | None, ...]
    texts_N: tuple[int, ...]
    alternatives: float | None = None

    @cached_property
    def having(self) -> int:
        """People who have a value."""
        return sum(value is not None for value in self.value_N)

    @cached_property
    def stating(self) -> int:
        """People whose texts state their value, so that it can be asked for."""
        return sum(texts > 0 for texts in self.texts_N)

    @property
    def stated_texts(self) -> int:
        """Texts that state it."""
        return sum(self.texts_N)

    @cached_property
    def all_counts(self) -> Counter[int]:
        """How often each value comes among people who have one."""
        return Counter(value for value in self.value_N if value is not None)

    @cached_property
    def counts(self) -> Counter[int]:
        """How often each value comes among people whose texts state it."""
        pairs = zip(self.value_N, self.texts_N, strict=True)
        return Counter(value for value, texts in pairs if texts and value is not None)

    @property
    def bits(self) -> float:
        """H of the values that are stated, bits per person; log2 of the alternatives where they are
        known."""
        if self.alternatives is not None:
            return math.log2(self.alternatives)
        return frequency_bits(self.counts.values())

    @property
    def all_bits(self) -> float:
        """H of all values, those that no text states among them, bits per person."""
        if self.alternatives is not None:
            return math.log2(self.alternatives)
        return frequency_bits(self.all_counts.values())

    @property
    def uniform_bits(self) -> float:
        """log2 of the number of values that are stated."""
        return math.log2(max(1, len(self.counts)))

    @property
    def most_frequent(self) -> float:
        """Accuracy of always answering the most frequent value."""
        return max(self.counts.values(), default=0) / max(1, self.stating)

    def code_bits(self, person: int) -> float:
        """Bits of a person's stated value by its frequency, log2(n / c), or log2 of the
        alternatives."""
        if self.alternatives is not None:
            return math.log2(self.alternatives)
        value = self.value_N[person]
        assert value is not None and self.texts_N[person]
        return math.log2(self.stating / self.counts[value])


class Facts:
    """What the content of a corpus's lexicon says of its people."""

    def __init__(self, content: dict[str, Any]) -> None:
        facts, spans = content["facts"], content["spans"]
        self.n_people = len(content["people"])
        self.named_N = tuple(texts > 0 for texts in _texts(spans, NAME))
        source = content.get("alternatives", {})
        self.attributes = {
            name: Attribute(
                name, tuple(facts["values"][name]), _texts(spans, key_of(name)), source.get(name)
            )
            for name in content["values"]
        }
        self.missed: dict[str, dict[str, int]] = facts["missed"]
        self.shown: dict[str, int] = facts["shown"]
        self.similar: list[list[str]] = facts["similar_names"]

    @property
    def bits(self) -> float:
        """What all values hold, those that no text states among them: an upper bound on what can be
        learned, sum of n H over attributes."""
        return math.fsum(a.having * a.all_bits for a in self._all)

    @property
    def uniform_bits(self) -> float:
        """The same with all values of an attribute equally likely."""
        return math.fsum(a.having * math.log2(max(1, len(a.all_counts))) for a in self._all)

    @property
    def _all(self) -> list[Attribute]:
        return list(self.attributes.values())

    def asked_for(self, with_names: bool) -> int:
        """Values that people have; with_names: the names among them, because they count bits."""
        return sum(a.having for a in self._all) + with_names * self.n_people

    def following(self) -> list[tuple[str, str]]:
        """Pairs (a, b) of attributes of which b follows from a: everybody with one value of a has
        one value of b, at least two people to a value of a on average, so that it is no
        accident of rare values. Knowing such a rule counts bits of b for every person."""
        return [
            (a.name, b.name)
            for a in self._all
            for b in self._all
            if a is not b and len(b.counts) > 1 and 2 * len(a.counts) <= a.having
            if _follows(a, b)
        ]

    def unasked(self, with_names: bool) -> int:
        """Of these, those that no text states."""
        left = sum(a.having - a.stating for a in self._all)
        return left + with_names * (self.n_people - sum(self.named_N))


def _follows(a: Attribute, b: Attribute) -> bool:
    pairs = [
        (one, other)
        for one, other in zip(a.value_N, b.value_N, strict=True)
        if one is not None and other is not None
    ]
    values = {one for one, _ in pairs}
    return len(pairs) >= 2 * len(values) and len(set(pairs)) == len(values) > 1


def _texts(spans: list[list[dict[str, Any]]], key: str) -> tuple[int, ...]:
    """How many texts of each person have a place under a key."""
    return tuple(sum(text.get(key) is not None for text in texts) for texts in spans)
