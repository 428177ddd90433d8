"""The mixer `delta`: the delta rule, with a decay the gated delta rule (standard library only; see
`model.parts.delta`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.parts import recurrent
from capacity.parts.base import Count
from capacity.parts.recurrent import CHUNK

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train

inputs = recurrent.inputs


def _maps(model: Model) -> int:
    """Weights of the maps to a strength and a decay of every head."""
    return model.d_model * model.n_heads * (1 + model.mixer_decay)


def count(model: Model, rows: int) -> Count:
    """Beside the maps a bias and a rate of the decay of every head."""
    own = _maps(model) + 2 * model.n_heads * model.mixer_decay
    return recurrent.count(model, own, model.d_model // model.n_heads)


def flops(model: Model, length: int) -> int:
    """Pairs of a query and a key and of two keys; values that are solved for, and that are read."""
    W = model.d_model // model.n_heads
    pairs = 2 * (recurrent.key(model) + W)
    keys = model.n_heads * recurrent.key(model) * W * (length > CHUNK)  # of what the state has
    return recurrent.flops(model, length, _maps(model) + keys, pairs, CHUNK)


def state(model: Model, length: int) -> int:
    """Of each head a matrix."""
    return recurrent.state(model, recurrent.key(model) * (model.d_model // model.n_heads))


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """In fp32: queries and keys as they came and normalized, in order, values, and what the state
    takes up; per head rows of pairs of queries and of keys, and with a decay of decays and of both
    products with them."""
    d, K, H = model.d_model, recurrent.key(model), model.n_heads
    rows = (2 + 3 * model.mixer_decay) * min(length, CHUNK)
    own = 4 * (4 * H * K + 4 * d + H * (rows + 8))
    return recurrent.kept(model, length, train) + own
