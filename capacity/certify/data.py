"""What of a run's training data a certificate holds, and what those data cost without a model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from capacity.base.errors import ConfigError
from capacity.base.words import joined
from capacity.config import Config
from capacity.settings.data import UniformData
from capacity.train.loop import Stack

Array = np.ndarray


@dataclass(frozen=True)
class Message:
    """Rows of tokens, and which of them are coded; the others are given to both sides.

    kind: what they are. rows: int64 [N, T]. coded: bool [N, T]. bits: what the coded tokens cost
    without a model, by the distribution that they were drawn from; of rows in their order. means:
    that distribution in words. set_why: why rows have an order that is needed, if they have.
    words: text of each token, if there is one.
    """

    kind: str
    rows: Array
    coded: Array
    bits: float
    means: str
    alphabet: int
    set_why: str | None = None
    words: list[str] | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether nothing is given."""
        return bool(self.coded.all())


def order_bits(rows: Array) -> float:
    """log2 of the number of orders of the rows, equal ones being alike: log2 N! - sum log2 c!."""
    _, count = np.unique(rows, axis=0, return_counts=True)
    logs = math.lgamma(len(rows) + 1) - sum(math.lgamma(c + 1) for c in count.tolist())
    return logs / math.log(2)


def of_run(config: Config, stack: Stack, results: Path) -> Message:
    """The data of a finished run; ConfigError for kinds without a certificate."""
    for kind, build in KINDS:
        if isinstance(config.data, kind):
            return build(config, stack, results)
    names = joined([kind.kind for kind, _ in KINDS], "or")
    raise ConfigError(
        f"data.kind={config.data.kind}: certificates are of data with exactly known bits that were "
        f"trained on again and again: {names}"
    )


def _uniform(config: Config, stack: Stack, results: Path) -> Message:
    """All sequences of the training set, each token one of V alike."""
    rows = stack.feed.member_tokens(0).cpu().numpy().astype(np.int64)
    return Message(
        "uniform",
        rows,
        np.ones(rows.shape, bool),
        rows.size * math.log2(config.rows),
        f"N S log2 V: {len(rows):,} sequences of {rows.shape[1]} tokens, V {config.rows:,}",
        config.rows,
    )


KINDS = ((UniformData, _uniform),)


def recorded(message: Message, record: dict[str, Any]) -> dict[str, Any] | None:
    """What the run's record says of the bits that a certificate claims: bits, and their name."""
    if message.kind == "uniform":
        held = record["measures"]["memorization"]["strict"]["bits"]
        return {"name": "strict memorized bits", "bits": held}
    return None
