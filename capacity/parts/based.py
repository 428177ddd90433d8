"""The mixer `based`: linear attention with the first terms of an exponential (standard library
only; see `model.parts.based`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.parts import linear, recurrent

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train

count, flops, inputs = linear.count, linear.flops, recurrent.inputs


def features(model: Model) -> int:
    """1, K and all pairs of K numbers, each pair once."""
    K = recurrent.key(model)
    return 1 + K + K * (K + 1) // 2


def state(model: Model, length: int) -> int:
    """Of each head a matrix and a sum of features."""
    return recurrent.state(model, features(model) * (model.d_model // model.n_heads + 1))


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """In fp32 queries and keys in order, a row of scores and one of weights per head."""
    own = 4 * model.n_heads * (2 * recurrent.key(model) + 2 * length)
    return recurrent.kept(model, length, train) + own
