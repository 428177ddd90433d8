"""What mixers with a state that does not grow have in common: the maps of attention, short
convolutions over queries, keys and values (`model.mixer_conv`), a gate with a norm behind the state
(`model.mixer_gate`), and how they start (`model.mixer_init`).

The convolutions are causal, of four taps and a filter per channel, without bias, and a silu stands
behind them; they start as torch's own do. The gate is silu of a map of the layer's input. These are
forms of released code: Mamba-2 (arXiv 2405.21060), GLA (2312.06635), DeltaNet (2406.06484), Gated
DeltaNet (2412.06464).

`mimetic` starts a layer near a mixer that finds what it has seen (Trockman et al., arXiv
2410.11135): maps to queries are those to keys, a state hardly decays, convolutions are the
identity. How slowly is ours.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from capacity.model.context import Context, Named
from capacity.model.short_conv import canon, canon_weights, convolved
from capacity.model.weights import Weight, map_weights, norm_weights
from capacity.parts import recurrent
from capacity.parts.base import TAPS
from capacity.settings.model import Model

NORM_EPS = 1e-5  # of the norm in front of the gate
# of mimetic layers: |log decay| of a step is this times what it is otherwise
SLOW = 1e-3


def weights(model: Model, at: str, own: list[Weight], gain: int) -> list[Weight]:
    """own: of this kind alone; gain: numbers of the norm in front of the gate. What attention has
    is drawn as that of attention, in its order."""
    D, sides = model.d_model, recurrent.sides(model)
    residual = model.init_std / math.sqrt(2 * model.n_layers)
    mimetic = model.mixer_init == "mimetic"
    conv = Weight(
        at + "mixer.conv.weight",
        (TAPS, sum(sides)),
        None,
        bound=None if mimetic else TAPS**-0.5,
        start=first_tap if mimetic else None,
        own=True,
    )
    gate = [
        *map_weights(at + "mixer.z", D, D, model.init_std, model.bias, own=True),
        Weight(at + "mixer.norm.weight", (gain,), None, 1.0, own=True),
    ]
    qkv = map_weights(
        at + "qkv",
        D,
        sum(sides),
        model.init_std,
        model.bias,
        widths=sides,
        twins=sides[1] if mimetic else 0,
    )
    return [
        *norm_weights(at + "norm1", model),
        *canon_weights(model, at, "A", D),
        *qkv,
        *canon_weights(model, at, "B", sum(sides)),
        *map_weights(at + "out", D, D, residual, model.bias),
        *([conv] if model.mixer_conv else []),
        *own,
        *(gate if model.mixer_gate else []),
    ]


def first_tap(u: Tensor) -> Tensor:
    """Filters that leave their input as it is: 1 at the tap of this position; [TAPS * channels]."""
    return (torch.arange(len(u)) < len(u) // TAPS).float()


def read(w: Named, at: str, x_MND: Tensor, c: Context) -> tuple[Tensor, Tensor]:
    """The layer's input [M, N, D], and queries, keys and values side by side, [M, N, E]."""
    h_MND = canon(w, at, "A", c.norm(w, at + "norm1", x_MND), c)
    qkv_MNE = canon(w, at, "B", c.linear(h_MND, w, at + "qkv"), c)
    if c.model.mixer_conv:
        moved = F.silu(convolved(qkv_MNE, w[at + "mixer.conv.weight"], c))
        qkv_MNE = moved.to(x_MND.dtype)
    return h_MND, qkv_MNE


def heads(qkv_MNE: Tensor, c: Context) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys [M B, H, T, K] and values [M B, H, T, W]; heads of keys and values repeated
    for the queries that share them."""
    H, G, K = c.model.n_heads, c.model.kv_heads, recurrent.key(c.model)
    if c.model.mixer_key is None:  # all heads are as wide: one view and one transpose
        together = qkv_MNE.view(-1, c.T, H + 2 * G, K).transpose(1, 2)
        q, k, v = together.split([H, G, G], dim=1)
    else:
        parts = qkv_MNE.view(-1, c.T, qkv_MNE.shape[-1]).split(recurrent.sides(c.model), -1)
        q, k, v = (
            x.unflatten(-1, (number, -1)).transpose(1, 2)
            for x, number in zip(parts, (H, G, G), strict=True)
        )
    if G != H:
        k, v = (x.repeat_interleave(H // G, dim=1) for x in (k, v))
    return q, k, v


def flat(x: Tensor) -> Tensor:
    """[M B, H, ...] -> [n, ...], in order."""
    return x.reshape(-1, *x.shape[2:])


def by_head(x_MNH: Tensor, c: Context) -> Tensor:
    """A number of every head, [n, T], of [M, N, H]."""
    H = x_MNH.shape[-1]
    return x_MNH.view(-1, c.T, H).transpose(1, 2).reshape(-1, c.T)


def mask(c: Context) -> Tensor | None:
    """Of every head, bool [n, T, T]; None where all positions before are seen."""
    if c.mask is None:
        return None
    return c.mask.repeat_interleave(c.model.n_heads, 0)


def per_head(w_MH: Tensor) -> Tensor:
    """Numbers of heads beside [M, N, H], fp32."""
    return w_MH.float().unsqueeze(1)


def written(
    w: Named, at: str, y_nTW: Tensor, h_MND: Tensor, c: Context, gated_first: bool = False
) -> Tensor:
    """What a mixer adds to the residual stream. With a gate RMSNorm(y) silu(z) of every head, with
    gated_first RMSNorm(y silu(z)). The gain is one for all heads [W] or each one's [D]."""
    M, N, D = h_MND.shape
    H, W = c.model.n_heads, y_nTW.shape[-1]
    y_mTHW = y_nTW.view(-1, H, c.T, W).transpose(1, 2)
    if not c.model.mixer_gate:
        y_MND = y_mTHW.reshape(M, N, D)
    else:
        z_MNHW = F.silu(c.linear(h_MND, w, at + "mixer.z").float()).view(M, N, H, W)
        gain = w[at + "mixer.norm.weight"].float().view(M, 1, -1, W)
        y_MNHW = y_mTHW.reshape(M, N, H, W).float()
        if gated_first:
            y_MNHW = F.rms_norm(y_MNHW * z_MNHW, (W,), eps=NORM_EPS) * gain
        else:
            y_MNHW = F.rms_norm(y_MNHW, (W,), eps=NORM_EPS) * gain * z_MNHW
        y_MND = y_MNHW.view(M, N, D)
    return c.linear(y_MND.to(h_MND.dtype), w, at + "out")
