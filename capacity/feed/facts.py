"""New facts of a run as tokens: rows of training, and what is asked of a model.

Each text begins a row, so that what it costs behind BOS is what it costs in training; what follows
is another sequence of the text, in every view one of its own as far as there are some that nothing
else uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from capacity.base.errors import ConfigError
from capacity.data import text, timed_facts
from capacity.data.timed_facts import Said
from capacity.settings.data import TextData

if TYPE_CHECKING:
    from capacity.data.vocabulary import Encoder  # whose package a compute node may lack


@dataclass(frozen=True)
class Asked:
    """Texts up to their values, and the tokens that are asked."""

    tokens: np.ndarray  # int32 [n, L], behind the value padded with rows 0
    value: np.ndarray  # bool [n, L]
    fact: np.ndarray  # int64 [n]: number of the fact
    kind: np.ndarray  # int64 [n]: index of the kind


@dataclass(frozen=True)
class FactRows:
    """What a run trains on, and asks."""

    known: np.ndarray  # int32 [rows, S], of the training set
    views: np.ndarray  # int32 [views, S], fact by fact in the order of views
    asked: Asked


def of(data: TextData, hosts: np.ndarray) -> FactRows:
    """The rows of data.facts; hosts: int32 [n, S], sequences of the text to follow. ConfigError
    where a text is longer than a row."""
    facts, encoder = timed_facts.of(data), _encoder(text.pool_digest(data), data)
    views = [said for fact in facts.new for said in fact.views]
    rows = _rows(data, encoder, [*views, *facts.known], hosts)
    asked, kinds = [], timed_facts.kinds(data)
    for j, fact in enumerate(facts.new):
        asked += [(j, k, said) for k, kind in enumerate(kinds) for said in fact.asked[kind]]
    return FactRows(rows[len(views) :], rows[: len(views)], _asked(encoder, asked))


_ENCODERS: dict[str, Encoder] = {}


def _encoder(digest: str, data: TextData) -> Encoder:
    """What cut the pool into tokens, made once."""
    if digest not in _ENCODERS:
        _ENCODERS[digest] = text.tokenizer(data)
    return _ENCODERS[digest]


@lru_cache(maxsize=2**16)
def _ids(encoder: Encoder, words: str) -> tuple[int, ...]:
    return tuple(token + 1 for token in encoder.whole(words))


def _rows(data: TextData, encoder: Encoder, said: list[Said], hosts: np.ndarray) -> np.ndarray:
    out = np.zeros((len(said), data.seq_len), np.int32)
    if len(said) and not len(hosts):
        raise ConfigError(
            f"data.documents={data.documents}: the text has no sequence left that could follow "
            "facts in their rows; give more of it"
        )
    for row, one in enumerate(said):
        ids = _ids(encoder, one.text)
        if len(ids) > data.seq_len:
            raise ConfigError(
                f"data.seq_len={data.seq_len}: a fact such as '{one.text}' has {len(ids)} tokens; "
                "give longer rows, or a larger data.vocab_size"
            )
        out[row, : len(ids)] = ids
        out[row, len(ids) :] = hosts[row % len(hosts)][: data.seq_len - len(ids)]
    return out


def _asked(encoder: Encoder, asked: list[tuple[int, int, Said]]) -> Asked:
    """Tokenizers split in front of a space, so that the tokens of the text before a value and those
    of the value follow each other."""
    parts = [
        (_ids(encoder, said.text[: said.value[0]]), _ids(encoder, said.text[slice(*said.value)]))
        for _, _, said in asked
    ]
    longest = max((len(before) + len(value) for before, value in parts), default=1)
    tokens = np.zeros((len(parts), longest), np.int32)
    is_value = np.zeros((len(parts), longest), bool)
    for row, (before, value) in enumerate(parts):
        end = len(before) + len(value)
        tokens[row, :end] = before + value
        is_value[row, len(before) : end] = True
    fact, kind = (np.array([one[i] for one in asked], np.int64) for i in (0, 1))
    return Asked(tokens, is_value, fact, kind)
