"""The channel `keys`: a product-key memory, whose values are found by two short lists of keys
(standard library only; see `model.parts.keys`).

H heads, n keys of each half of a query of k numbers, n^2 values, of which a token takes J per head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.parts import base
from capacity.parts.base import TAPS, Count

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train


def queries(model: Model) -> int:
    """H k, numbers of a token's queries."""
    return model.keys_heads * model.keys_width


def taken(model: Model) -> int:
    """H J, values that a token takes; heads may take the same ones."""
    return model.keys_heads * model.keys_choices


def _maps(model: Model) -> int:
    """Weights of its maps: d H k to queries, H n k of all keys, and with a gate 2 d^2."""
    d = model.d_model
    return queries(model) * (d + model.keys_side) + 2 * d * d * model.keys_gate


def width(model: Model) -> int:
    """Numbers of a row of the table: a value, of an expert also what it looks for."""
    return model.d_model * (1 + model.keys_expert)


def count(model: Model, rows: int) -> Count:
    """Beside the maps, their biases (keys have none), a gain of the queries, and n^2 rows."""
    d, values, row = model.d_model, model.keys_side**2, width(model)
    biases = model.bias * (queries(model) + 2 * d * model.keys_gate)
    dense = base.norm(model) + _maps(model) + biases + queries(model)
    dense += base.canon(model, "C", d)
    idle = max(0, values - taken(model)) * row
    return Count(dense + values * row, idle=idle, read=taken(model) * row)


def shared(model: Model, blocks: int) -> Count:
    """What one table in place of one for each of so many blocks adds to the sum over blocks."""
    values, row = model.keys_side**2, width(model)
    idle = max(0, values - blocks * taken(model)) - blocks * max(0, values - taken(model))
    return Count((1 - blocks) * values * row, idle=idle * row)


def flops(model: Model, length: int) -> int:
    """Keys are compared by a product, and values are weighed; experts also look."""
    d = model.d_model
    return 2 * (_maps(model) + taken(model) * width(model) + base.canon(model, "C", d))


def state(model: Model, length: int) -> int:
    return (TAPS - 1) * model.d_model * ("C" in model.canon)


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """Queries as they come, as their norm keeps them and as they are compared; of scores the places
    of the best, and their sums; the values taken with their weights, in fp32 where they are
    weighed; gate, its activation, and what goes into the last map."""
    d, size, half = model.d_model, base.bytes_of(train), model.keys_heads * model.keys_choices
    wide = (8 + 2 * size) * queries(model)
    found = 2 * 8 * half + (4 + 8) * half + 16 * half
    values = 4 * taken(model) * width(model) + (8 + 12 * model.keys_expert) * taken(model)
    gated = (8 + 1.5 * size) * d * model.keys_gate + 4 * d
    canon = base.kept_canon(model, "C", d)
    return base.kept_norm(model, train) + wide + found + values + gated + canon


def inputs(model: Model) -> dict[str, int]:
    return {"model.d_model": model.d_model, "model.keys_width / 2": model.keys_width // 2}
