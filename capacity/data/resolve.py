"""What the settings of data amount to once their files are at hand: rows of the token table, items,
bits, tokens per exposure, and their part of a run's identity (standard library, and what compiling
a lexicon needs).

`of(data)` picks by kind; every kind answers the same questions.
"""

from __future__ import annotations

import math
from typing import TypeVar

from capacity.data import canaries, sources, text, timed_facts
from capacity.data.resolve_people import (
    BiodResolved,
    BiosResolved,
    CorpusResolved,
    MixedResolved,
)
from capacity.data.resolved import Resolved
from capacity.settings import field as settings
from capacity.settings.data import Data, TextData, UniformData
from capacity.settings.fresh import FreshData, sequence_bits

Sequences = TypeVar("Sequences", bound=UniformData | TextData)


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


RESOLVED: dict[str, type[Resolved]] = {
    "text": TextResolved,
    "uniform": UniformResolved,
    "bios": BiosResolved,
    "mixed": MixedResolved,
    "biod": BiodResolved,
    "corpus": CorpusResolved,
    "copy": FreshResolved,
    "mqar": FreshResolved,
}
