"""The mixer `titans`: a delta rule with momentum and decay (standard library only; see
`model.parts.titans`)."""

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
    """Weights of the maps to a strength, a momentum and a decay of every head."""
    return 3 * model.d_model * model.n_heads


def count(model: Model, rows: int) -> Count:
    """Beside the maps biases of momentum and decay and a rate of the decay of every head."""
    return recurrent.count(model, _maps(model) + 3 * model.n_heads, model.d_model // model.n_heads)


def flops(model: Model, length: int) -> int:
    """Pairs of a query and a key and of two keys, values that are solved for and read, products of
    decays; of two states, which keys, and queries once more, read, and keys write."""
    K, W, H = recurrent.key(model), model.d_model // model.n_heads, model.n_heads
    pairs = 2 * (K + W) + min(length, CHUNK)
    further = H * 4 * K * W * (length > CHUNK)  # a reading and a writing are counted there
    return recurrent.flops(model, length, _maps(model) + further, pairs, CHUNK)


def state(model: Model, length: int) -> int:
    """Of each head two matrices, what it holds and how it moves."""
    of_head = 2 * recurrent.key(model) * (model.d_model // model.n_heads)
    return recurrent.state(model, of_head)


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """In fp32: queries and keys as they came and normalized, in order, values, and what the state
    takes up; per head rows of pairs of queries and of keys, of decays, of momenta, of the products
    of both, and of what those give pairs."""
    d, K, H = model.d_model, recurrent.key(model), model.n_heads
    own = 4 * (4 * H * K + 4 * d + H * (9 * min(length, CHUNK) + 12))
    return recurrent.kept(model, length, train) + own
