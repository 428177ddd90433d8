"""The mixer `linear`: linear attention, whose state does not grow with the sequence (standard
library only; see `model.parts.linear`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.parts import base, recurrent
from capacity.parts.base import Count

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train

inputs = recurrent.inputs


def _width(model: Model) -> int:
    return model.d_model // model.n_heads


def count(model: Model, rows: int) -> Count:
    return recurrent.count(model, 0, _width(model))


def flops(model: Model, length: int) -> int:
    """The closed form multiplies all pairs of positions, as attention does."""
    pairs = recurrent.key(model) + _width(model)
    return recurrent.flops(model, length, 0, pairs, length)


def state(model: Model, length: int) -> int:
    """Of each head of keys a matrix and a sum of keys."""
    return recurrent.state(model, recurrent.key(model) * (_width(model) + 1))


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """Both features, and values of their own in order; a row of weights per head; what comes out
    before its division."""
    d, size, K = model.d_model, base.bytes_of(train), recurrent.key(model)
    features = 2 * model.n_heads * K + d
    own = size * (features + model.n_heads * length + d)
    return recurrent.kept(model, length, train) + own
