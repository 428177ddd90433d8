"""The modules of the parts of a block by kind; `capacity.parts.registry` says which a block has."""

from __future__ import annotations

from capacity.model.context import Part
from capacity.model.parts import (
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
from capacity.parts.registry import of_layer
from capacity.settings.model import Model

PARTS: dict[str, Part] = {
    "attention": attention,
    "linear": linear,
    "based": based,
    "gla": gla,
    "ssd": ssd,
    "delta": delta,
    "titans": titans,
    "lstm": lstm,
    "mlp": mlp,
    "experts": experts,
    "stem": stem,
    "keys": keys,
    "banks": banks,
    "engram": engram,
}


def parts_of(model: Model, layer: int) -> list[Part]:
    """In the order in which they add to the residual stream; a block without an MLP has none of
    it."""
    kinds = of_layer(model, layer)
    return [PARTS[kind] for kind in kinds if kind != "mlp" or model.mlp_width]
