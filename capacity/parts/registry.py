"""Which parts a block has, by the settings of the model, and which settings do not go together
(standard library only)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from functools import cache

from capacity.base.errors import ConfigError
from capacity.parts import (
    attention,
    banks,
    based,
    delta,
    engram,
    experts,
    gla,
    keys,
    linear,
    lstm,
    mlp,
    ssd,
    stem,
    titans,
)
from capacity.parts.base import Count, Part
from capacity.settings.field import applies
from capacity.settings.model import Model

MIXERS: dict[str, Part] = {
    "attention": attention,
    "linear": linear,
    "based": based,
    "gla": gla,
    "ssd": ssd,
    "delta": delta,
    "titans": titans,
    "lstm": lstm,
}
CHANNELS: dict[str, Part] = {
    "mlp": mlp,
    "experts": experts,
    "stem": stem,
    "keys": keys,
    "banks": banks,
}
MEMORIES: dict[str, Part] = {"engram": engram}
PARTS = MIXERS | CHANNELS | MEMORIES
TABLES = ("stem", "keys", "banks", "engram")  # kinds that have a table of their own


def of_layer(model: Model, layer: int) -> list[str]:
    """The kinds of parts of a block, in the order in which they add to the residual stream: a
    memory, the mixer, the channel."""
    memory = [model.memory] if model.memory != "none" and _at(model.memory_layers, layer) else []
    plain = "experts" if model.n_experts else "mlp"
    channel = model.channel if _at(model.channel_layers, layer) else plain
    return [*memory, model.mixer, plain if channel == "mlp" else channel]


def _at(layers: tuple[int, ...], layer: int) -> bool:
    return not layers or layer in layers


@cache
def blocks(model: Model) -> tuple[tuple[Part, int], ...]:
    """The parts of all blocks, each kind with the number of blocks that have it."""
    times = Counter(kind for layer in range(model.n_layers) for kind in of_layer(model, layer))
    return tuple((PARTS[kind], number) for kind, number in times.items())


@cache
def count(model: Model, rows: int) -> Count:
    """The sum over all parts of all blocks; rows: of the vocabulary, and BOS."""
    counted = [(part.count(model, rows), times) for part, times in blocks(model)]
    if model.keys_shared:
        counted += [(keys.shared(model, times), 1) for part, times in blocks(model) if part is keys]
    return Count(
        *(
            sum(getattr(one, f.name) * times for one, times in counted)
            for f in dataclasses.fields(Count)
        )
    )


def idle(model: Model, rows: int) -> dict[str, int]:
    """Idle numbers by the kind of part that has them, over all blocks, kinds without any left out;
    their sum is `count(...).idle`."""
    times = Counter(kind for layer in range(model.n_layers) for kind in of_layer(model, layer))
    by = {kind: PARTS[kind].count(model, rows).idle * n for kind, n in times.items()}
    if model.keys_shared and "keys" in by:
        by["keys"] += keys.shared(model, times["keys"]).idle
    return {kind: number for kind, number in by.items() if number}


def inputs(model: Model) -> dict[str, int]:
    """Widths that groups of a quantizer must divide, by the words for them."""
    return {
        words: width for part, _ in blocks(model) for words, width in part.inputs(model).items()
    }


def kinds(model: Model) -> set[str]:
    """Those that some block has."""
    return {kind for layer in range(model.n_layers) for kind in of_layer(model, layer)}


def has_tables(model: Model) -> bool:
    """Whether some block reads a table of its own."""
    return bool(kinds(model) & set(TABLES))


def check(model: Model) -> None:
    """ConfigError for parts that do not go together, layers that there are not, and settings of a
    kind that no block has."""
    for field in dataclasses.fields(model):
        owner, value = field.metadata["of"], getattr(model, field.name)
        if value != field.default and not applies(model, field):
            kinds = " or ".join(f"model.{owner[0]}={kind}" for kind in owner[1])
            raise ConfigError(
                f"model.{field.name}={_text(value)}: a setting of {kinds}, but this model's "
                f"model.{owner[0]} is {getattr(model, owner[0])}; leave it out or choose that"
            )
    for name in ("channel_layers", "memory_layers"):
        layers = getattr(model, name)
        if layers and layers[-1] >= model.n_layers:
            raise ConfigError(
                f"model.{name}={_text(layers)}: model.n_layers={model.n_layers} has layers 0 to "
                f"{model.n_layers - 1}"
            )
    if model.table_std is not None and not has_tables(model):
        raise ConfigError(
            f"model.table_std={model.table_std:g}: no part of this model has a table; choose "
            "model.channel=stem, keys or banks or model.memory=engram, or leave it empty"
        )
    if model.channel in ("stem", "banks") and model.mlp_width == 0:
        raise ConfigError(
            f"model.channel={model.channel}: needs hidden units, but model.mlp_ratio=0 means none"
        )
    if model.keys_width % 2:
        raise ConfigError(
            f"model.keys_width={model.keys_width}: a query has two halves; give an even number"
        )
    if model.keys_choices > model.keys_side:
        raise ConfigError(
            f"model.keys_choices={model.keys_choices}: a head has only model.keys_side="
            f"{model.keys_side} keys to choose from"
        )
    if model.channel != "mlp" and model.n_experts:
        raise ConfigError(
            f"model.channel={model.channel} and model.n_experts={model.n_experts}: experts are the "
            "channel of their blocks; choose model.channel=mlp or model.n_experts=0"
        )
    if model.channel == "banks":
        _check_banks(model)
    _check_experts(model)
    _check_canon(model)
    _check_mixer(model)
    _check_rank(model)


def _check_rank(model: Model) -> None:
    """Factors are those of attention and of one MLP, and no wider than the maps that they make."""
    if model.map_rank is None:
        return
    for name, plain in (
        ("mixer", "attention"),
        ("channel", "mlp"),
        ("n_experts", 0),
        ("memory", "none"),
    ):
        if (value := getattr(model, name)) != plain:
            raise ConfigError(
                f"model.map_rank={model.map_rank}: maps of attention and of one MLP have factors, "
                f"this is model.{name}={value}; choose model.{name}={plain}, or leave the rank out"
            )
    _, kv = attention.widths(model)
    sides = {"model.d_model": model.d_model, "keys and values": kv}
    if model.mlp_width:
        sides["the MLP's width"] = model.mlp_width
    words, most = min(sides.items(), key=lambda side: side[1])
    if model.map_rank > most:
        raise ConfigError(
            f"model.map_rank={model.map_rank}: a map has no more than the smaller of its widths, "
            f"here {most} ({words}); give 1 to {most}"
        )


def _check_banks(model: Model) -> None:
    """Levels of blocks, as many of each as keys can choose."""
    if not model.banks_units:
        raise ConfigError(
            "model.banks_units=[]: no level has units; give those of each level, such as [8,4], or "
            "choose model.channel=mlp"
        )
    if banks.levels(model)[-1][0] > banks.MOST_BLOCKS:
        raise ConfigError(
            f"model.banks_branching={model.banks_branching}: level {len(model.banks_units)} of "
            f"model.banks_units={_text(model.banks_units)} would have more blocks than keys have "
            f"values, {banks.MOST_BLOCKS}; give fewer levels or less"
        )


MIXED = "mixed"  # kind of data whose random rows begin with a marker that starts no document


def check_documents(model: Model, kind: str, bos: bool) -> None:
    """ConfigError where documents are asked for that rows of the data do not show."""
    if not model.document_mask:
        return
    if bos:
        raise ConfigError(
            f"model.document_mask=true: sequences of data.kind={kind} hold no EOS to start a "
            "document; set model.document_mask=false"
        )
    if kind == MIXED:
        raise ConfigError(
            "model.document_mask=true: random rows of data.kind=mixed begin with a marker of their "
            "own, which starts no document; set model.document_mask=false"
        )


def check_banks(model: Model, kind: str, bos: bool, length: int) -> None:
    """ConfigError where banks are of what rows of the data are not, or have no token to serve."""
    if model.channel != "banks":
        return
    if kind == MIXED:
        raise ConfigError(
            f"model.channel=banks: random rows of data.kind={kind} begin with a marker of their "
            f"own, which starts no document to choose blocks by; choose another model.channel"
        )
    fit = "sequence" if bos else "document"
    if model.banks_of != fit:
        rows = "sequences" if bos else "windows of documents"
        raise ConfigError(
            f"model.banks_of={model.banks_of}: rows of data.kind={kind} are {rows}; set "
            f"model.banks_of={fit}"
        )
    if model.banks_prefix >= length:
        raise ConfigError(
            f"model.banks_prefix={model.banks_prefix}: no token of data.seq_len={length} is left "
            f"behind those; give at most {length - 1}"
        )


OF_EXPERTS = ("n_shared", "expert_rounds", "router_score", "router_shift", "router_z")


def _check_experts(model: Model) -> None:
    """Settings of experts need some. (Those that are older are ignored, since runs exist that state
    them.)"""
    for name in OF_EXPERTS:
        value = getattr(model, name)
        if value != Model.__dataclass_fields__[name].default and not model.n_experts:
            raise ConfigError(
                f"model.{name}={_text(value)}: a setting of experts, but model.n_experts=0; leave "
                "it out or set model.n_experts"
            )


def _check_mixer(model: Model) -> None:
    """What only some mixers have."""
    if model.mixer != "attention" and model.position == "rotary":
        raise ConfigError(
            f"model.position=rotary: turns queries and keys of model.mixer=attention, this is "
            f"model.mixer={model.mixer}; choose model.position=learned or that mixer"
        )
    if model.mixer not in ("attention", "linear") and model.n_kv_heads is not None:
        raise ConfigError(
            f"model.n_kv_heads={model.n_kv_heads}: heads of model.mixer={model.mixer} do not "
            "share keys and values; leave it empty, or choose model.mixer=attention or linear"
        )


def _check_canon(model: Model) -> None:
    """A and B are around the maps of a mixer that has keys, C is in front of a channel, D
    in front of an activation, whose tokens follow each other."""
    have = kinds(model)
    hidden = model.mlp_width > 0 and bool(have & {"mlp", "stem", "banks"})
    allowed = (
        "AB" * (model.mixer != "lstm")
        + "C" * (hidden or bool(have & {"experts", "keys"}))
        + "D" * hidden
    )
    if wrong := "".join(letter for letter in model.canon if letter not in allowed):
        raise ConfigError(
            f"model.canon={model.canon}: no place for {wrong}: C is in front of the channel of a "
            "block, D in front of the activation of an MLP, not of experts, whose tokens do not "
            f"follow each other; this model has {', '.join(allowed)}"
        )


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
