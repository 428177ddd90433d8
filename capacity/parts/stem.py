"""The channel `stem`: a gated MLP whose map up is a table with a row per token (standard library
only; see `model.parts.stem`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from capacity.parts import base
from capacity.parts.base import TAPS, Count

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train


def spread(model: Model, rows: int) -> float:
    """Standard deviation of the table's initial values: as Xavier-normal maps have it (the released
    code of arXiv 2601.10639), or what the settings say."""
    return model.table_std or math.sqrt(2 / (rows + model.mlp_width))


def _dense(model: Model) -> int:
    d, f = model.d_model, model.mlp_width
    canon = base.canon(model, "C", d) + base.canon(model, "D", f)
    return base.norm(model) + 2 * d * f + model.bias * (f + d) + canon


def count(model: Model, rows: int) -> Count:
    f = model.mlp_width
    return Count(_dense(model) + rows * f, idle=(rows - 1) * f, read=f, by_token=f)


def flops(model: Model, length: int) -> int:
    d, f = model.d_model, model.mlp_width
    return 2 * (2 * d * f + base.canon(model, "C", d) + base.canon(model, "D", f))


def state(model: Model, length: int) -> int:
    """The last inputs of its convolutions."""
    at = model.d_model * ("C" in model.canon) + model.mlp_width * ("D" in model.canon)
    return (TAPS - 1) * at


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """What is in front of and behind the activation, the row that was read, and their product."""
    f = model.mlp_width
    canon = base.kept_canon(model, "C", model.d_model)
    canon += base.kept_canon(model, "D", f)
    return base.kept_norm(model, train) + 4 * base.bytes_of(train) * f + 8 + canon


def inputs(model: Model) -> dict[str, int]:
    return {"the MLP's width": model.mlp_width}
