"""The mixer `attention`: heads of softmax attention over the positions so far."""

from __future__ import annotations

import math

from torch import Tensor

from capacity.model import low_rank
from capacity.model.attention import causal_attention
from capacity.model.context import Context, Named
from capacity.model.kernels import dispatch
from capacity.model.numerics import tf32_operand
from capacity.model.rotary import rotate
from capacity.model.short_conv import canon, canon_weights
from capacity.model.weights import Weight, norm_weights
from capacity.parts.attention import widths
from capacity.settings.model import Model


def weights(model: Model, at: str, rows: int) -> list[Weight]:
    """Queries, keys and values are maps side by side, with `model.map_rank` of factors each."""
    D, kv = widths(model)
    residual = model.init_std / math.sqrt(2 * model.n_layers)
    sides = (D, kv, kv)
    return [
        *norm_weights(at + "norm1", model),
        *canon_weights(model, at, "A", D),
        *low_rank.maps(model, at + "qkv", D, sum(sides), model.init_std, sides),
        *canon_weights(model, at, "B", sum(sides)),
        *low_rank.maps(model, at + "out", D, D, residual),
    ]


def heads(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    """Queries, keys and values of all heads side by side, [M B, T, H + 2 G, K]."""
    h_MND = canon(w, at, "A", c.norm(w, at + "norm1", x_MND), c)
    qkv_MNE = canon(w, at, "B", c.linear(h_MND, w, at + "qkv"), c)
    model = c.model
    together = model.n_heads + 2 * model.kv_heads
    return qkv_MNE.view(-1, c.T, together, model.d_model // model.n_heads)


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    model, K = c.model, c.model.d_model // c.model.n_heads
    qkv = heads(w, at, x_MND, c)
    apart = model.position == "rotary" or c.tf32 or c.mask is not None
    if c.kernels and not apart and dispatch.takes_attention(c.T, K):
        y = dispatch.packed_attention(qkv, model.n_heads)
        return c.linear(y.view(x_MND.shape), w, at + "out")
    q, k, v = qkv.transpose(1, 2).split([model.n_heads, model.kv_heads, model.kv_heads], dim=1)
    if model.position == "rotary":
        q, k = rotate(q, model.rotary_base), rotate(k, model.rotary_base)
    if c.tf32:
        q, k, v = tf32_operand(q), tf32_operand(k), tf32_operand(v)
    attend = dispatch.causal_attention if c.kernels else causal_attention
    return c.linear(attend(q, k, v, c.mask).reshape(x_MND.shape), w, at + "out")
