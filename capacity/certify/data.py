"""What of a run's training data a certificate holds, and what those data cost without a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from capacity.base.errors import ConfigError
from capacity.base.words import joined
from capacity.certify import biographies, people, texts
from capacity.certify.message import Message
from capacity.config import Config
from capacity.settings.data import BiodData, BiosData, MixedData, TextData, UniformData
from capacity.train.loop import Stack


def of_run(
    config: Config, stack: Stack, reference: Config | None, as_set: bool, whole_texts: bool
) -> Message:
    """The data of a finished run, of text those that are compared with a reference, of people
    values or whole texts; ConfigError for kinds without a certificate."""
    if whole_texts and config.data.kind not in ("bios", "biod"):
        raise ConfigError(
            f"--texts: data.kind={config.data.kind}: whole texts are those of people whose "
            "wording has known bits: data=bios with data.biographies=1, data=biod with "
            "data.order=fixed; leave it out"
        )
    if isinstance(config.data, TextData):
        return texts.canaries(config) if reference is None else texts.members(config, reference)
    if reference is not None:
        raise ConfigError(
            f"--reference: data.kind={config.data.kind}: the bits of these data are known exactly; "
            "leave it out"
        )
    if isinstance(config.data, MixedData):
        raise ConfigError(
            "data.kind=mixed: no certificate codes random rows and people in one file; certify "
            "runs of either kind alone (data=uniform, data=bios)"
        )
    if isinstance(config.data, BiosData) and config.data.value_zipf:
        raise ConfigError(
            f"data.value_zipf={config.data.value_zipf:g}: a certificate counts values as drawn "
            "alike from their lists; certify runs with data.value_zipf=0"
        )
    if whole_texts:
        return biographies.texts(config, stack)
    if as_set and isinstance(config.data, BiosData | BiodData):
        return biographies.everybody(config, stack)
    for kind, build in KINDS:
        if isinstance(config.data, kind):
            return build(config, stack)
    names = joined([kind.kind for kind, _ in KINDS] + ["text"], "or")
    raise ConfigError(
        f"data.kind={config.data.kind}: certificates are of data with exactly known bits that were "
        f"trained on again and again: {names}"
    )


def _uniform(config: Config, stack: Stack) -> Message:
    """All sequences of the training set, each token one of V alike."""
    rows = stack.feed.member_tokens(0).cpu().numpy().astype(np.int64)
    return Message(
        "uniform",
        rows,
        np.ones(rows.shape, bool),
        rows.size * math.log2(config.rows),
        f"N S log2 V: {len(rows):,} sequences of {rows.shape[1]} tokens, V {config.rows:,}",
        config.rows,
        noun="sequences",
    )


def _people(config: Config, stack: Stack) -> Message:
    """Every value of every person, given the names; behind the name, by the first template in which
    nothing else can follow."""
    world = stack.feed.members[0].world
    asked = people.questions(world)
    width = max(q.begin.max() + q.lists.longest for q in asked)
    n = world.n_people
    rows = np.zeros((n * len(asked), width), np.int64)
    coded = np.zeros(rows.shape, bool)
    for k, question in enumerate(asked):
        for i, (tokens, begin) in enumerate(zip(question.rows, question.begin, strict=True)):
            row = k * n + i
            rows[row, : len(tokens)] = tokens
            coded[row, begin : begin + question.lists.longest] = True
    bits = n * sum(q.bits for q in asked)
    sizes = ", ".join(f"{q.attribute} {2**q.bits:,.0f}" for q in asked)
    return Message(
        "values",
        rows,
        coded,
        bits,
        f"log2 of the number of values of each attribute ({sizes}), {n:,} people, names given",
        config.rows,
        words=list(world.lexicon.content["tokens"]),
        lists=tuple(q.lists for q in asked),
        list_N=np.repeat(np.arange(len(asked)), n),
        people=asked[0].names,
        attributes=[q.attribute for q in asked],
        symbols=tuple(q.index for q in asked),
        noun="values",
    )


KINDS: tuple[tuple[type, Callable[[Config, Stack], Message]], ...] = (
    (UniformData, _uniform),
    (BiosData, _people),
    (BiodData, _people),
)


def recorded(message: Message, record: dict[str, Any]) -> dict[str, Any] | None:
    """What the run's record says of the bits that a certificate claims: bits, and their name."""
    if message.kind == "uniform":
        held = record["measures"]["memorization"]["strict"]["bits"]
        return {"name": "strict memorized bits", "bits": held}
    if message.attributes is not None:
        known = record["measures"].get("knowledge", {})
        n = len(message.people or message.rows)
        if known.get("context") != "first" or known["people_asked"] != n:
            return None
        held = n * sum(known["attributes"][name]["bits"] for name in message.attributes)
        if message.people is not None:
            return {"name": "bits of these values, a mean over templates", "bits": held}
        held += message.name_bits - n * known["p1_nats"] / math.log(2)
        return {"name": "bits of these names and values, a mean over templates", "bits": held}
    known = record["measures"].get("wording")
    if message.kind == "texts" and known is not None:
        copies = known["fixed_texts"]
        if known["people"] * copies == len(message.rows) and known["texts"] == copies:
            code = len(message.rows) * known["shown"]["code_bits_per_text"]
            return {"name": "bits of these texts without their ends", "bits": message.bits - code}
    return None
