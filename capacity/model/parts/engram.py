"""The memory `engram`: tables of hashed n-grams, read in front of a block (Engram, arXiv
2601.07372, and its released demonstration).

The last n input tokens, n = 2 up to the longest, are hashed by several heads: mix = XOR over k < n
of token[t - k] c_k with odd factors c_k, row = mix modulo the head's number of rows, a prime. In
front of a sequence, or of a document where those are kept apart, stands the number V, as for the
BOS vector. The rows e of all heads side by side give key W_K e and value W_V e; with s = <RMS(x),
RMS(key)> / sqrt D the gate is sigmoid(sign(s) sqrt max(|s|, 1e-6)), v = gate value, and to the
residual stream goes v + silu(conv(RMS(v))), a causal convolution of 4 taps that lie a longest
n-gram apart and start at zero.

As released: initial rows are standard normal (`model.table_std`). Ours: maps start as those of the
other parts do, there is one residual stream in place of hyper-connections, tokens are not merged by
their spelling first, and the factors come from named streams of this package.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from capacity.model.context import Context, Named
from capacity.model.short_conv import convolved
from capacity.model.table import looked_up
from capacity.model.weights import Weight, map_weights
from capacity.parts import engram
from capacity.parts.base import TAPS
from capacity.settings.model import Model

NORM_EPS = 1e-5  # of its norms, which are RMSNorm in every model
LEAST = 1e-6  # of |s| under the root


def weights(model: Model, at: str, rows: int) -> list[Weight]:
    at, D, read, std = at + "engram.", model.d_model, engram.read(model), model.init_std
    table = (sum(engram.sizes(model)), model.engram_width)
    spread = 1.0 if model.table_std is None else model.table_std
    residual = std / math.sqrt(2 * model.n_layers)
    conv = [
        Weight(at + "conv_norm.weight", (D,), None, 1.0, own=True),
        Weight(at + "conv.weight", (TAPS, D), None, own=True),
    ]
    return [
        Weight(at + "rows.weight", table, spread, kind="table", own=True),
        *map_weights(at + "key", read, D, std, model.bias, own=True),
        *map_weights(at + "value", read, D, residual, model.bias, own=True),
        Weight(at + "state_norm.weight", (D,), None, 1.0, own=True),
        Weight(at + "key_norm.weight", (D,), None, 1.0, own=True),
        *(conv if model.engram_conv else []),
    ]


def hashed(ids_MBT: Tensor, model: Model, layer: int, pad: int, c: Context | None = None) -> Tensor:
    """Row numbers of all heads in the table of a block, int64 [M, B, T, O H]; ids: in [0, pad],
    pad: the number in front of a sequence, and of a document where `c` keeps those apart."""
    sizes = iter(engram.sizes(model))
    factors = engram.multipliers(model, layer, pad + 1)
    mix_MBT = ids_MBT * factors[0]
    rows, first = [], 0
    for k in range(1, model.engram_longest):
        before_MBT = F.pad(ids_MBT, (k, 0), value=pad)[:, :, : ids_MBT.shape[2]]
        if c is not None and c.document_NT is not None:
            same_NT = c.document_NT == F.pad(c.document_NT, (k, 0), value=-1)[:, : c.T]
            before_MBT = torch.where(same_NT.view(ids_MBT.shape), before_MBT, pad)
        mix_MBT = mix_MBT ^ (before_MBT * factors[k])
        for _ in range(model.engram_heads):
            size = next(sizes)
            rows.append(mix_MBT % size + first)
            first += size
    return torch.stack(rows, -1)


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    M, N, D = x_MND.shape
    layer, at = int(at.split(".")[1]), at + "engram."
    rows_MI = hashed(c.ids(), c.model, layer, c.vocab_size, c).view(M, -1)
    c.reads(f"blocks.{layer}.", "engram", rows_MI, w[at + "rows.weight"].shape[1])
    e_MNI = looked_up(w[at + "rows.weight"], rows_MI).view(M, N, -1)
    key_MND = _rms(w, at + "key_norm", c.linear(e_MNI, w, at + "key"))
    state_MND = _rms(w, at + "state_norm", x_MND)
    s_MN1 = (state_MND * key_MND).sum(-1, keepdim=True) / math.sqrt(D)
    gate_MN1 = torch.sigmoid(s_MN1.sign() * s_MN1.abs().clamp(min=LEAST).sqrt())
    v_MND = gate_MN1 * c.linear(e_MNI, w, at + "value").float()
    if c.model.engram_conv:
        moved = convolved(
            _rms(w, at + "conv_norm", v_MND), w[at + "conv.weight"], c, c.model.engram_longest
        )
        v_MND = v_MND + F.silu(moved)
    return v_MND.to(x_MND.dtype)


def _rms(w: Named, name: str, x_MND: Tensor) -> Tensor:
    """RMSNorm with a gain per member, in fp32."""
    gain_M1D = w[name + ".weight"].float().unsqueeze(1)
    return F.rms_norm(x_MND.float(), x_MND.shape[-1:], eps=NORM_EPS) * gain_M1D
