"""The mixer `gla`: linear attention with a decay of every number of a key (standard library only;
see `model.parts.gla`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.parts import recurrent
from capacity.parts.base import Count
from capacity.parts.recurrent import SHORT_CHUNK

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train

# inner width of the map to decays (Yang et al., arXiv 2312.06635, section 4.4)
RANK = 16


def _maps(model: Model) -> int:
    """Weights of the map to decays, which is the product of two."""
    return RANK * (model.d_model + model.n_heads * recurrent.key(model))


def count(model: Model, rows: int) -> Count:
    """Beside the maps a bias of every decay."""
    own = _maps(model) + model.n_heads * recurrent.key(model)
    return recurrent.count(model, own, model.d_model // model.n_heads)


def flops(model: Model, length: int) -> int:
    pairs = recurrent.key(model) + model.d_model // model.n_heads
    return recurrent.flops(model, length, _maps(model), pairs, SHORT_CHUNK)


def state(model: Model, length: int) -> int:
    """Of each head a matrix."""
    return recurrent.state(model, recurrent.key(model) * (model.d_model // model.n_heads))


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """In fp32: queries, keys, decays and values in order, factors of decays, queries and keys times
    them; a row of pairs per head."""
    d, K, H = model.d_model, recurrent.key(model), model.n_heads
    own = 4 * (9 * H * K + 2 * d + H * min(length, SHORT_CHUNK))
    return recurrent.kept(model, length, train) + own


def inputs(model: Model) -> dict[str, int]:
    return {**recurrent.inputs(model), "the inner width of decays": RANK}
