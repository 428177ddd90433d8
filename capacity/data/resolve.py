"""What the settings of data amount to once their files are at hand: rows of the token table, items,
bits, tokens per exposure, and their part of a run's identity (standard library, and what compiling
a lexicon needs).

`of(data)` picks by kind; every kind answers the same questions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Generic, TypeVar

from capacity.base.errors import ConfigError
from capacity.base.words import percent
from capacity.data import canaries, entropy, lexicons, sources, text, tiers, timed_facts
from capacity.data.facts import MOST_UNASKED, Facts
from capacity.data.lexicon import Lexicon
from capacity.settings import field as settings
from capacity.settings.data import (
    BiodData,
    BiosData,
    CorpusData,
    Data,
    TextData,
    UniformData,
    WordedData,
)
from capacity.settings.fresh import FreshData, sequence_bits

Settings = TypeVar("Settings", bound=Data)
Worded = TypeVar("Worded", bound=WordedData)
Sequences = TypeVar("Sequences", bound=UniformData | TextData)


class Resolved(ABC, Generic[Settings]):
    """The questions that every kind of data answers. ConfigError where a file that the settings
    name is absent or wrong."""

    def __init__(self, data: Settings) -> None:
        self.data = data

    @property
    @abstractmethod
    def rows(self) -> int:
        """Rows of the token table."""

    @property
    @abstractmethod
    def used_rows(self) -> int:
        """Rows that the training data can touch."""

    @property
    @abstractmethod
    def tokens_per_item(self) -> float:
        """Mean predicted tokens per exposure of an item (sequence or person)."""

    @abstractmethod
    def items(self, parameters: int) -> int:
        """N: as given, or what comes nearest to the demanded load of so many parameters (total)."""

    def trained_items(self, items: int) -> int:
        """Items that a run sees, given the N of `items`."""
        return items

    @abstractmethod
    def bits(self, items: int) -> float:
        """Bits that so many items hold."""

    @abstractmethod
    def identity(self, items: int) -> dict:
        """The resolved settings that a result depends on."""

    def tiers(self, items: int) -> tiers.Tiers | None:
        """Classes of so many items that are seen at different rates; None: all alike."""
        return tiers.of(self.data, items)

    def _settings(self, items: int) -> dict:
        """Settings that a result depends on, with classes in the place of what they follow from."""
        out = settings.identity(self.data)
        for name in ("tiers", "zipf", "zipf_tiers"):
            out.pop(name, None)
        classes = self.tiers(items)
        return out if classes is None else out | {"tiers": classes.identity()}

    def notes(self, items: int) -> list[str]:
        """What is odd in these data and should be told before they are trained on, a line each."""
        return []


def of(data: Data) -> Resolved:
    """The answers of these settings."""
    return RESOLVED[data.kind](data)


class SequencesResolved(Resolved[Sequences]):
    """Single sequences: every token is predicted, all rows are in use."""

    @property
    def rows(self) -> int:
        return self.data.vocab_size

    @property
    def used_rows(self) -> int:
        return self.data.vocab_size

    @property
    def tokens_per_item(self) -> float:
        return float(self.data.seq_len)

    def bits(self, items: int) -> float:
        """N S log2 V: exact for uniform and independent tokens; the entropy of text is lower and
        not known."""
        return items * self.data.seq_len * math.log2(self.data.vocab_size)


class UniformResolved(SequencesResolved[UniformData]):
    """Uniform tokens."""

    def items(self, parameters: int) -> int:
        """N: as given, or the whole number of sequences nearest to the demanded load (at least
        1)."""
        data = self.data
        if data.n_sequences is not None:
            return data.n_sequences
        assert data.load is not None  # one of the two is given: config.check
        return max(1, round(data.load * parameters / (data.seq_len * math.log2(data.vocab_size))))

    def identity(self, items: int) -> dict:
        out = self._settings(items) | {"n_sequences": items}
        del out["load"]
        return out


class TextResolved(SequencesResolved[TextData]):
    """Sequences of text."""

    def items(self, parameters: int) -> int:
        """N of the split: members, also where a run trains on more."""
        data = self.data
        if data.n_sequences is not None:
            return data.n_sequences
        assert data.tokens_per_parameter is not None  # one of the two is given: config.check
        return max(1, round(data.tokens_per_parameter * parameters / data.seq_len))

    def trained_items(self, items: int) -> int:
        """Rows of the training set, canaries with their repeats among them, given the N members of
        the split."""
        data = self.data
        inserted = data.canaries * sum(data.repeats) * canaries.count(data)
        if data.last_view is not None or data.view_windows:  # seen at set steps
            inserted = 0
        inserted += timed_facts.known_rows(data)
        if data.trained_on in ("reference", "others"):
            return (data.n_reference or 0) + inserted
        return ((items + data.n_held_out) // 2 if data.trained_on == "half" else items) + inserted

    def notes(self, items: int) -> list[str]:
        """Folders that a pattern matches beside files."""
        data = self.data
        if data.source != "files" or data.path is None or data.pool is not None:
            return []
        note = sources.left_out(data.path)
        return [] if note is None else [note]

    def identity(self, items: int) -> dict:
        data = self.data
        out = self._settings(items) | {"n_sequences": items, "pool": text.pool_digest(data)}
        if data.trained_on not in ("reference", "others"):
            del out["n_reference"]
        if not data.canaries:
            del out["repeats"]
        if not data.facts:
            for name in ("fact_views", "held_out_wordings"):
                out.pop(name, None)
        if not data.facts and not data.known_facts:
            out.pop("fact_wordings", None)
        for name in (
            "tokens_per_parameter",
            "source",
            "path",
            "field",
            "null_rows",
            "split",
            "documents",
            "revision",
            "split_by",
            "group",
            "near_duplicates",
            "overlap_tokens",
        ):  # the pool's digest says it, or it is about numbers of the record only
            out.pop(name, None)
        return out


class FreshResolved(Resolved[FreshData]):
    """Sequences of which every one is new: as many as a run draws, which its steps say."""

    @property
    def rows(self) -> int:
        return self.data.rows

    @property
    def used_rows(self) -> int:
        return self.data.rows

    @property
    def tokens_per_item(self) -> float:
        return float(self.data.seq_len)

    def items(self, parameters: int) -> int:
        raise TypeError("steps x batch_size: Config.items")

    def bits(self, items: int) -> float:
        """What so many sequences ask for, one after the other; nothing of it is there to be kept
        in weights."""
        return items * sequence_bits(self.data)

    def identity(self, items: int) -> dict:
        return settings.identity(self.data)


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


RESOLVED: dict[str, type[Resolved]] = {
    "text": TextResolved,
    "uniform": UniformResolved,
    "bios": BiosResolved,
    "biod": BiodResolved,
    "corpus": CorpusResolved,
    "copy": FreshResolved,
    "mqar": FreshResolved,
}
