"""The mixer `ssd`: the state space of Mamba-2 (standard library only; see `model.parts.ssd`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.parts import recurrent
from capacity.parts.base import Count
from capacity.parts.recurrent import CHUNK

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train

inputs = recurrent.inputs


def _map(model: Model) -> int:
    """Weights of the map to a step of every head."""
    return model.d_model * model.n_heads


def count(model: Model, rows: int) -> Count:
    """Beside the map a bias, a rate and a skip of every head; the norm's gain is not shared by
    heads."""
    return recurrent.count(model, _map(model) + 3 * model.n_heads, model.d_model)


def flops(model: Model, length: int) -> int:
    pairs = recurrent.key(model) + model.d_model // model.n_heads
    return recurrent.flops(model, length, _map(model), pairs, CHUNK)


def state(model: Model, length: int) -> int:
    """Of each head a matrix."""
    return recurrent.state(model, recurrent.key(model) * (model.d_model // model.n_heads))


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """In fp32: queries, keys, values and values times steps in order; per head rows of decays, of
    pairs, and of their product."""
    d, K, H = model.d_model, recurrent.key(model), model.n_heads
    own = 4 * (2 * H * K + 2 * d + H * (3 * min(length, CHUNK) + 8))
    return recurrent.kept(model, length, train) + own
