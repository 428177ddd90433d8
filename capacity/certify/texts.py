"""What of a run of text a certificate holds: canaries of random tokens, whose bits are known, or
members, whose bits are those that a model needs that has not seen them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from capacity.base.errors import ConfigError
from capacity.certify.message import Message
from capacity.config import Config
from capacity.data import text
from capacity.feed import split
from capacity.settings.data import TextData, text_data

# settings by which canaries are other than whole rows of random tokens that are copied exactly
OTHER_KINDS = ("canary_lengths", "canary_noise", "copy_noise")


def canaries(config: Config) -> Message:
    """Every canary that was seen, once: tokens 1 to V - 1 alike, from the first on (`split`)."""
    data = text_data(config.data)
    others = [name for name in OTHER_KINDS if getattr(data, name, ())]
    if not data.canaries or data.canary_text != "random" or others:
        why = (
            "it has no canaries"
            if not data.canaries
            else f"its canaries are not whole rows of random tokens (data.{others[0]})"
            if others
            else f"data.canary_text={data.canary_text}"
        )
        raise ConfigError(
            f"text has no exactly known bits, and {why}: give --reference RUN, a run that was "
            "trained on other text of the same source, whose code the text is compared with"
        )
    dealt = split.of(config)
    rows = dealt.canaries[dealt.repeats > 0].astype(np.int64)
    if not len(rows):
        raise ConfigError(f"data.repeats={list(data.repeats)}: no canary was ever seen")
    return Message(
        "canaries",
        rows,
        np.ones(rows.shape, bool),
        rows.size * math.log2(data.vocab_size - 1),
        f"N S log2 (V - 1): {len(rows):,} canaries of {rows.shape[1]} tokens, V "
        f"{data.vocab_size:,}, each once",
        data.vocab_size,
        words=dealt.pool.words,
        noun="canaries",
    )


def members(config: Config, reference: Config) -> Message:
    """Every different row that the run was trained on and the reference was not; `bits` are not
    known before the reference's code."""
    data, theirs = text_data(config.data), reference.data
    if not isinstance(theirs, TextData) or not _same_text(data, theirs):
        raise ConfigError(
            "--reference: that run does not read the same text by the same vocabulary and split; "
            "one that differs in data.trained_on, such as `reference`, does"
        )
    mine, its = split.of(config), split.of(reference)
    trained = mine.pool.tokens_NS[mine.trained]
    _, first = np.unique(trained, axis=0, return_index=True)
    rows = trained[np.sort(first)]
    known = np.unique(its.pool.tokens_NS[its.trained], axis=0)
    seen = {row.tobytes() for row in known}
    rows = np.stack([row for row in rows if row.tobytes() not in seen] or [rows[0]])
    if rows[0].tobytes() in seen:
        raise ConfigError("--reference: that run was trained on every row that this one was")
    written = "".join(mine.pool.words[t] for t in rows.reshape(-1).tolist())
    return Message(
        "text",
        rows.astype(np.int64),
        np.ones(rows.shape, bool),
        math.nan,
        f"8 x bytes of the reference's code of the same {len(rows):,} rows of {rows.shape[1]} "
        "tokens",
        data.vocab_size,
        words=mine.pool.words,
        noun="rows of text",
        table=written.encode(),
    )


def _same_text(mine: TextData, theirs: TextData) -> bool:
    """Whether two runs are dealt rows of one pool in one order."""
    apart = ("trained_on", "n_sequences", "tokens_per_parameter", "n_reference")
    own = {"canaries", "repeats", "canary_text", "tiers", "zipf", "zipf_tiers", "last_view"}
    skipped = {*apart, *own, *OTHER_KINDS, "view_spacing", "view_windows"}
    return text.of(mine).digest == text.of(theirs).digest and all(
        getattr(mine, one.name) == getattr(theirs, one.name)
        for one in dataclasses.fields(mine)
        if one.name not in skipped
    )
