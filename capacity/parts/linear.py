"""The mixer `linear`: linear attention, whose state does not grow with the sequence (standard
library only; see `model.parts.linear`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.parts import attention, base
from capacity.parts.base import TAPS

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train

# Its maps are those of attention, and its form for a whole sequence has the same two products.
count, flops, inputs = attention.count, attention.flops, attention.inputs


def state(model: Model, length: int) -> int:
    """Of each head of keys a matrix and a sum of keys, whatever the length, and the last inputs of
    its convolutions."""
    d, kv = attention.widths(model)
    K = d // model.n_heads
    before = (TAPS - 1) * (d * ("A" in model.canon) + (d + 2 * kv) * ("B" in model.canon))
    return model.kv_heads * K * (K + 1) + before


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """Queries, keys and values as they came; both features, and values of their own in order; a row
    of weights per head; what comes out, before and after its division."""
    d, size = model.d_model, base.bytes_of(train)
    _, kv = attention.widths(model)
    kept = size * (d + 2 * kv + 3 * d + model.n_heads * length + 2 * d)
    kept += base.kept_norm(model, train) + base.kept_canon(model, "A", d)
    return kept + base.kept_canon(model, "B", d + 2 * kv) + length * model.document_mask
