"""What mixers with a state that does not grow have in common (standard library only; their code is
in `model.recurrent` and, of each, in `model.parts`).

H heads of K numbers of a query and a key and W = d / H of a value, G heads of keys and values, E =
H K + G K + G W numbers of all of them. Beside the maps of attention a mixer may have short
convolutions over queries, keys and values, and a gate with a norm behind its state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.parts import base
from capacity.parts.base import TAPS, Count

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train

# positions that a closed form takes at once; a state goes from one such chunk to the next. Products
# of keys within a chunk fit fp32 whatever they are; with a decay of every number of a key the two
# factors of a pair have to (`model.recurrence`)
CHUNK, SHORT_CHUNK = 64, 32


def key(model: Model) -> int:
    """K, numbers of a query and of a key of a head."""
    return model.mixer_key or model.d_model // model.n_heads


def sides(model: Model) -> tuple[int, int, int]:
    """Numbers of all queries, keys and values of a token, which are maps side by side."""
    K, W = key(model), model.d_model // model.n_heads
    return model.n_heads * K, model.kv_heads * K, model.kv_heads * W


def products(model: Model) -> int:
    """Weights of the products of a token with matrices and filters: maps, gate, convolutions."""
    d, wide = model.d_model, sum(sides(model))
    maps = d * wide + d * d * (1 + model.mixer_gate)
    conv = TAPS * wide * model.mixer_conv
    return maps + conv + base.canon(model, "A", d) + base.canon(model, "B", wide)


def count(model: Model, own: int, gain: int) -> Count:
    """own: weights that only this kind has; gain: of the norm that its gate brings."""
    d, wide = model.d_model, sum(sides(model))
    biases = model.bias * (wide + d * (1 + model.mixer_gate))
    return Count(base.norm(model) + products(model) + biases + gain * model.mixer_gate + own)


def flops(model: Model, length: int, own: int, pairs: int, chunk: int) -> int:
    """own: weights of further products; pairs: numbers of a head that are multiplied for every pair
    of positions of a chunk, the square in full; from chunk to chunk the state is read by every
    query and written by every key."""
    K, W = key(model), model.d_model // model.n_heads
    moved = 2 * K * W * (length > chunk)
    return 2 * (products(model) + own + model.n_heads * (pairs * min(length, chunk) + moved))


def before(model: Model) -> int:
    """The last inputs of its convolutions."""
    wide = sum(sides(model))
    at = model.d_model * ("A" in model.canon) + wide * (("B" in model.canon) + model.mixer_conv)
    return (TAPS - 1) * at


def state(model: Model, of_head: int) -> int:
    """of_head: numbers that a head of keys keeps, whatever the length."""
    return model.kv_heads * of_head + before(model)


def kept(model: Model, length: int, train: Train) -> float:
    """Bytes by token of what all have: the norm, queries, keys and values as they came, in fp32 the
    input of the convolutions, padded, and what stands in front of their activation, the gate's
    norm, its map and their product, what comes out, the document mask."""
    d, size, wide = model.d_model, base.bytes_of(train), sum(sides(model))
    kept = base.kept_norm(model, train) + base.kept_canon(model, "A", d) + size * (wide + d)
    kept += base.kept_canon(model, "B", wide) + length * model.document_mask
    return kept + 8 * wide * model.mixer_conv + (16 + size) * d * model.mixer_gate


def inputs(model: Model) -> dict[str, int]:
    return {"model.d_model": model.d_model}
