"""Canaries of a run with their copies: the sequences themselves, and the rows that a training set
has of them.

A canary of fewer tokens than a row begins its row, so that what it costs behind BOS is what it
costs in training; what follows is another sequence of the text in every copy, as far as there are
some that nothing else uses. Random places, random tokens and replacements come from streams of
data.split_seed alone: models of any size and seed have the same canaries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capacity.base.errors import ConfigError
from capacity.base.rng import raw_words
from capacity.data import canaries
from capacity.data.canaries import Arm
from capacity.settings.data import TextData


@dataclass(frozen=True)
class Inserted:
    """Canaries kind by kind, level by level, and what a training set has of them."""

    arms: tuple[Arm, ...]
    tokens: np.ndarray  # int32 [arms x levels x n, S]: each with the text behind its first copy
    length: np.ndarray  # int64 [arms x levels x n]: tokens that are the canary
    arm: np.ndarray  # int64, the same: number of its kind
    repeats: np.ndarray  # int64, the same: how often it is seen
    copies: np.ndarray  # int32 [copies, S]: rows of training, canary by canary


def of(data: TextData, steps: int, tokens: np.ndarray, hosts: np.ndarray) -> Inserted:
    """The canaries of a run of so many steps. tokens: int32 [canaries, S], whole rows; hosts: int32
    [n, S], sequences of the text that stand behind shorter ones. ConfigError where there are
    none."""
    arms = canaries.arms(data, steps)
    each = data.canaries * len(data.repeats)
    arm = np.repeat(np.arange(len(arms)), each)
    length = np.array([one.length for one in arms], np.int64)[arm]
    levels = np.tile(np.repeat(np.array(data.repeats, np.int64), data.canaries), len(arms))
    tokens = tokens.copy()
    for i, one in enumerate(arms):
        if one.noise:
            mine = arm == i
            tokens[mine] = mixed(data, tokens[mine], one, f"canary noise {i}")
    copy = np.repeat(np.arange(len(tokens)), levels)
    copies = tokens[copy]
    if any(one.replaced for one in arms):
        _replace(data, copies, copy, np.array([one.replaced for one in arms])[arm], length)
    short = np.flatnonzero(length[copy] < data.seq_len)
    if len(short):
        if not len(hosts):
            raise ConfigError(
                f"data.canary_lengths=[{','.join(map(str, data.canary_lengths))}]: the text has no "
                "sequence left that could follow shorter canaries; give more of it"
            )
        behind = np.arange(data.seq_len) >= length[copy[short], None]
        host = hosts[np.arange(len(short)) % len(hosts)]
        copies[short] = np.where(behind, host, copies[short])
    return Inserted(arms, tokens, length, arm, levels, copies)


def mixed(data: TextData, tokens: np.ndarray, arm: Arm, stream: str) -> np.ndarray:
    """Sequences with as many random tokens among their first arm.length as the kind has, int32 [n,
    S]: uniform over all but the end of text, at random places."""
    out, n = tokens.copy(), len(tokens)
    place = _places(data.split_seed, f"{stream} places", n, arm.length, arm.noise)
    words = raw_words(data.split_seed, stream, 0, n * arm.noise).reshape(n, arm.noise)
    drawn = (1 + words % np.uint64(data.vocab_size - 1)).astype(np.int32)
    np.put_along_axis(out, place, drawn, 1)
    return out


def _places(seed: int, stream: str, n: int, length: int, chosen: int) -> np.ndarray:
    """So many different places of each of n sequences, int64 [n, chosen], all sets alike."""
    words = raw_words(seed, stream, 0, n * length).reshape(n, length)
    return np.argsort(words, axis=1, kind="stable")[:, :chosen]


def _replace(
    data: TextData,
    copies: np.ndarray,
    copy: np.ndarray,
    replaced: np.ndarray,
    length: np.ndarray,
) -> None:
    """Replace tokens in every copy but the first of each canary: exactly as many as its kind says,
    each by another one, uniform over all others but the end of text. copies are changed; replaced
    and length: by canary."""
    later = np.flatnonzero(np.diff(copy, prepend=-1) == 0)
    for count, tokens in {(int(replaced[c]), int(length[c])) for c in copy[later]} - {(0, 0)}:
        if not count:
            continue
        mine = later[(replaced[copy[later]] == count) & (length[copy[later]] == tokens)]
        name = f"copy noise {count} of {tokens}"
        place = _places(data.split_seed, f"{name} places", len(mine), tokens, count)
        words = raw_words(data.split_seed, name, 0, len(mine) * count).reshape(len(mine), count)
        old = np.take_along_axis(copies[mine], place, 1).astype(np.int64)
        # of V - 1 tokens besides the end of text, one of the V - 2 that are others
        step = 1 + (words % np.uint64(data.vocab_size - 2)).astype(np.int64)
        new = np.where(
            old > 0,
            1 + (old - 1 + step) % (data.vocab_size - 1),
            1 + (words % np.uint64(data.vocab_size - 1)).astype(np.int64),
        )
        rows = copies[mine]
        np.put_along_axis(rows, place, new.astype(np.int32), 1)
        copies[mine] = rows
