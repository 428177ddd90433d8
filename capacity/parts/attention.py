"""The mixer `attention`: softmax attention over the positions so far (standard library only)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.parts import base
from capacity.parts.base import SHORT_CONTEXT, TAPS, Count

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train


def widths(model: Model) -> tuple[int, int]:
    """Values of all queries of a token, and of all its keys."""
    return model.d_model, model.kv_heads * (model.d_model // model.n_heads)


def maps(model: Model) -> int:
    """Weights of its maps: queries, keys and values side by side, and out. Keys and values may have
    fewer heads than queries."""
    d, kv = widths(model)
    return base.linear(model, d, d, kv, kv, d)


def count(model: Model, rows: int) -> Count:
    d, kv = widths(model)
    canon = base.canon(model, "A", d) + base.canon(model, "B", d + 2 * kv)
    return Count(base.norm(model) + maps(model) + model.bias * 2 * (d + kv) + canon)


def flops(model: Model, length: int) -> int:
    """The full S x S square counts, without causal or document saving, as in the convention of PaLM
    (Chowdhery et al. 2022, appendix B)."""
    d, kv = widths(model)
    canon = base.canon(model, "A", d) + base.canon(model, "B", d + 2 * kv)
    return 2 * (maps(model) + canon) + 4 * length * d


def state(model: Model, length: int) -> int:
    """Keys and values of all tokens, and the last inputs of its convolutions."""
    d, kv = widths(model)
    before = (TAPS - 1) * (d * ("A" in model.canon) + (d + 2 * kv) * ("B" in model.canon))
    return 2 * length * kv + before


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """Queries, keys and values, as they came or in copies of their own where they are turned,
    repeated or rounded, what comes out, and a number per head; a document mask, and a row of scores
    per head where a short context on a CPU keeps them."""
    d, size = model.d_model, base.bytes_of(train)
    _, kv = widths(model)
    turned, repeated, rounded = model.position == "rotary", kv < d, train.precision == "tf32"
    copies = 3 * d if rounded else (d if turned else 0)
    if not rounded:
        copies += 2 * d if repeated else (kv if turned else 0)
    whole = not rounded and not (turned and repeated)  # a part of them is still in use
    out = (8 if rounded else size) * d
    kept = size * (copies + whole * (d + 2 * kv)) + out + 4 * model.n_heads
    kept += base.kept_factors(model, train, 4)  # queries, keys, values and out
    kept += base.kept_norm(model, train) + base.kept_canon(model, "A", d)
    kept += base.kept_canon(model, "B", d + 2 * kv)
    if model.document_mask:
        return kept + length
    if device == "cpu" and length <= SHORT_CONTEXT and train.precision in ("fp32", "tf32"):
        kept += 4 * (2 * d + model.n_heads * length)
    return kept


def inputs(model: Model) -> dict[str, int]:
    rank = {} if model.map_rank is None else {"model.map_rank": model.map_rank}
    return {"model.d_model": model.d_model} | rank
