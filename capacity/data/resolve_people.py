"""What the settings of data about people amount to: `data.resolve` picks by kind (standard library,
and what compiling a lexicon needs)."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TypeVar

from capacity.base.errors import ConfigError
from capacity.base.words import percent
from capacity.data import entropy, lexicons, tiers
from capacity.data.facts import MOST_UNASKED, Facts
from capacity.data.lexicon import Lexicon, world_pieces
from capacity.data.resolved import Resolved
from capacity.settings.data import BiodData, BiosData, CorpusData, MixedData, WordedData

Worded = TypeVar("Worded", bound=WordedData)


class WordedResolved(Resolved[Worded]):
    """Data with words: vocabulary and pieces come from a compiled lexicon."""

    @cached_property
    def lexicon(self) -> Lexicon:
        """Token ids of every piece of text that this data can show."""
        return lexicons.of(self.data)

    @property
    def rows(self) -> int:
        return self.lexicon.rows

    @property
    def used_rows(self) -> int:
        return self.lexicon.used_rows(self.data)

    @property
    def tokens_per_item(self) -> float:
        """A biography and its EOS."""
        return self.lexicon.mean_tokens(self.data) + 1

    def _identity(self, items: int, *paths: str) -> dict:
        """Without the settings that the lexicon's digest or the number of items replaces."""
        out = self._settings(items) | {"n_people": items, "lexicon": self.lexicon.digest}
        for name in paths:
            out.pop(name, None)
        return out


class BiosResolved(WordedResolved[BiosData]):
    """bioS and its variants."""

    @property
    def rows(self) -> int:
        return super().rows + (self.data.tag != "none")

    @property
    def used_rows(self) -> int:
        return super().used_rows + (self.data.tag != "none")

    def items(self, parameters: int) -> int:
        data = self.data
        if data.n_people is not None:
            return data.n_people
        assert data.load is not None  # one of the two is given: config.check
        return entropy.largest_population(data.load * parameters, data.n_names, data.attribute_bits)

    def bits(self, items: int) -> float:
        """R^max P = N log2(N0/N) + N log2 S0."""
        return entropy.knowledge_ceiling(items, self.data.n_names, self.data.attribute_bits)

    @property
    def tokens_per_item(self) -> float:
        """Mean tokens of the stream per exposure of a measured person: biography, EOS, tag, and the
        other stream's part."""
        data, length = self.data, self.lexicon.mean_tokens(self.data)
        main, other = length + 1 + (data.tag == "main"), length + 1 + (data.tag == "other")
        if not data.other_parts:
            return main
        if data.windows == "pure":  # the parts are windows of equal length
            return main * (data.main_parts + data.other_parts) / data.main_parts
        return main + other * data.other_parts / data.main_parts

    def identity(self, items: int) -> dict:
        return self._identity(items, "load", "pools_dir", "templates_file")


class MixedResolved(BiosResolved):
    """People and random rows in one stream."""

    data: MixedData

    @property
    def rows(self) -> int:
        """Those of the people's texts and, where there are any random rows, their marker."""
        return self.lexicon.rows + self.data.has_rows

    @property
    def used_rows(self) -> int:
        return self.lexicon.once("used_rows with rows", self.data, self._counted)

    def _counted(self) -> int:
        data, ids = self.data, set()
        if data.has_people:
            pieces = world_pieces(self.lexicon.content, data)
            ids = {0}.union(*(self.lexicon.pieces[p] for p in pieces))
        if data.has_rows:
            ids |= set(range(1, self.symbols + 1)) | {self.lexicon.rows}
        return len(ids)

    @property
    def symbols(self) -> int:
        """V, different tokens of random rows: ids 1 to V."""
        return self.data.row_vocab or self.lexicon.rows - 1

    @property
    def row_bits(self) -> float:
        """S log2 V, entropy of a random row."""
        return self.data.row_len * math.log2(self.symbols)

    def split(self, items: int) -> tuple[int, int]:
        """People and random rows among so many items: as given, or with those rows whose part of
        all bits is nearest to data.random_share (of two, the fewer)."""
        data = self.data
        if data.load is None:
            return data.n_people or 0, data.n_rows or 0
        if not (data.has_people and data.has_rows):
            return (items, 0) if data.has_people else (0, items)
        low, high = 0, items - 1  # somebody is there
        while low < high:
            middle = (low + high) // 2
            if self._share(middle + 1, items) <= data.random_share:
                low = middle + 1
            else:
                high = middle
        near = [n for n in (low, low + 1) if 1 <= n < items] or [low]
        rows = min(near, key=lambda n: abs(self._share(n, items) - data.random_share))
        return items - rows, rows

    def people(self, items: int) -> int:
        return self.split(items)[0]

    def _share(self, rows: int, items: int) -> float:
        """Random part of all bits with so many rows."""
        random = rows * self.row_bits
        return random / (random + self.fact_bits(items - rows))

    def fact_bits(self, people: int) -> float:
        """R^max P of so many people, as data=bios counts it."""
        if not people:
            return 0.0
        return entropy.knowledge_ceiling(people, self.data.n_names, self.data.attribute_bits)

    def families(self, items: int) -> tuple[tuple[str, tiers.Tier], ...]:
        """The families that are there, "people" and "rows", each with how many and its rate, the
        most seen first (people where both are seen alike)."""
        data, counts = self.data, self.split(items)
        rates = (data.person_rate, data.row_rate)
        there = [
            (name, n, rate)
            for name, n, rate in zip(("people", "rows"), counts, rates, strict=True)
            if n
        ]
        if len(there) == 1:
            there = [(there[0][0], there[0][1], 1)]
        there.sort(key=lambda one: -one[2])
        return tuple((name, tiers.Tier(i + 1, n, rate)) for i, (name, n, rate) in enumerate(there))

    def items(self, parameters: int) -> int:
        data = self.data
        if data.load is None:
            return (data.n_people or 0) + (data.n_rows or 0)
        bits, out = data.load * parameters, 0
        if data.has_people:
            out += entropy.largest_population(
                (1 - data.random_share) * bits, data.n_names, data.attribute_bits
            )
        if data.has_rows:
            out += max(1, round(data.random_share * bits / self.row_bits))
        return out

    def bits(self, items: int) -> float:
        """N S log2 V of the rows and R^max P of the people."""
        people, rows = self.split(items)
        return rows * self.row_bits + self.fact_bits(people)

    @property
    def tokens_per_item(self) -> float:
        """Mean tokens per rendering: a biography and EOS, or a row and its marker."""
        # the split does not depend on parameters once load is a number of items: config gives it
        raise TypeError("tokens_of: the mean depends on how many of both there are")

    def tokens_of(self, items: int) -> float:
        """The same of so many items."""
        sizes = {"people": self.lexicon.mean_tokens(self.data) + 1, "rows": self.data.row_len + 1}
        shown = [(name, tier.items * tier.rate) for name, tier in self.families(items)]
        return sum(n * sizes[name] for name, n in shown) / sum(n for _, n in shown)

    def given(self, items: int) -> dict[str, int]:
        people, rows = self.split(items)
        return {"n_people": people, "n_rows": rows}

    def identity(self, items: int) -> dict:
        out = super().identity(items) | self.given(items)
        del out["random_share"]
        return out


class BiodResolved(WordedResolved[BiodData]):
    """bioD."""

    @property
    def sizes(self) -> entropy.BiodSizes:
        """Its numbers but N."""
        d = self.data
        return entropy.BiodSizes(
            d.n_names, d.attributes, d.chunks, d.diversity, d.length, d.alphabet
        )

    def items(self, parameters: int) -> int:
        data = self.data
        if data.n_people is not None:
            return data.n_people
        assert data.load is not None  # one of the two is given: config.check
        sets = data.attributes * entropy.diversity_bits(
            data.alphabet, data.length, data.diversity, 0.0
        )
        value_bits = data.attributes * data.chunks * math.log2(data.diversity)
        return max(
            4, entropy.largest_population(data.load * parameters - sets, data.n_names, value_bits)
        )

    def bits(self, items: int) -> float:
        """R^max P (Definition 4.1)."""
        return entropy.biod_ceiling(items, self.sizes)

    def identity(self, items: int) -> dict:
        return self._identity(items, "load", "pools_dir")


class CorpusResolved(WordedResolved[CorpusData]):
    """A corpus of one's own."""

    def items(self, parameters: int) -> int:
        return self.lexicon.n_people

    def bits(self, items: int) -> float:
        """N log2(N0/N) + sum of n H over attributes: what an ideal code for the frequencies of the
        values takes, see data/facts.py; those that no text states among them. Of a lexicon of an
        older version whose file is gone N sum of log2(different values), its convention."""
        try:
            return self.name_bits(items) + self.facts.bits
        except ConfigError:
            values = self.lexicon.content["values"].values()
            return self.name_bits(items) + items * sum(math.log2(len(some)) for some in values)

    def uniform_bits(self, items: int) -> float:
        """The same if all values of an attribute were equally likely."""
        return self.name_bits(items) + self.facts.uniform_bits

    def name_bits(self, items: int) -> float:
        """N log2(N0/N), 0 where names count no bits."""
        n_names = self.data.n_names
        return entropy.name_bits(n_names, items) if n_names is not None else 0.0

    @property
    def facts(self) -> Facts:
        """How often values come. ConfigError where the kept lexicon does not say it."""
        return lexicons.facts(self.lexicon, self.data)

    def notes(self, items: int) -> list[str]:
        """Values that no text states, attributes that follow from others, and names that are hardly
        told apart."""
        with_names = self.data.n_names is not None
        facts, out = self.facts, []
        if unasked := facts.unasked(with_names):
            asked_for = facts.asked_for(with_names)
            out.append(
                f"{self.data.path}: {unasked:,} of {asked_for:,} values cannot be asked for "
                f"({percent(unasked / asked_for)}) and add no bits"
                + ("" if unasked <= MOST_UNASKED * asked_for else "; no law will use the run")
            )
            out += [f"  {words}" for words in _why(facts, with_names)]
        for a, b in facts.following():
            out.append(
                f"{self.data.path}: {b!r} follows from {a!r}; knowing the rule counts its bits for "
                "every person, so leave one of them out"
            )
        if facts.similar:
            (one, two), more = facts.similar[0], len(facts.similar) - 1
            out.append(
                f"{self.data.path}: {one!r} and {two!r} are two people, whose names differ in "
                f"letter case or quotes only{f' (and {more:,} more pairs)' if more else ''}"
            )
        return out

    def identity(self, items: int) -> dict:
        # the lexicon says what was read
        return self._identity(items, "path", "missing_attributes")


def _why(facts: Facts, with_names: bool) -> list[str]:
    """Why values cannot be asked for, by attribute."""
    return [
        f"{name or 'names'}: " + ", ".join(f"{n:,} {why}" for why, n in sorted(some.items()))
        for name, some in facts.missed.items()
        if name or with_names
    ]
