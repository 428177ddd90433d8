"""The channel `keys`: product keys (Lample et al., arXiv 1907.05242, section 3), by default in the
gated form of Memory+ (Berges et al., arXiv 2412.09764, section 3, and its released code).

Every head has a query of two halves and n keys for each half. A value belongs to a pair of keys and
its score is the sum of the two scores, so the J best of all n^2 pairs are among the J best keys of
each half: 2 n products find them. Their softmax weighs rows of a table of n^2 values, and y is the
sum over heads. Memory+ gives down(y * silu(gate h)), product keys alone y.

As released: initial keys are uniform within 1/sqrt(k), queries Xavier-uniform, values and the maps
of the gate normal with 1/sqrt(d). Ours: each half of a query goes through an RMSNorm with a gain
(the first paper has batch norm in its place, without which few values are used), and every block
has values of its own unless `model.keys_shared` has all read one table, as in Memory+.

With `model.keys_expert` a row is an expert of one hidden unit (PEER, He, arXiv 2407.04153, section
2): v_i, what it looks for, and u_i, what it adds, and y = sum_i p_i act(v_i h) u_i.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from capacity.model.context import Context, Named
from capacity.model.parts.mlp import ACTIVATIONS
from capacity.model.short_conv import canon, canon_weights
from capacity.model.table import looked_up
from capacity.model.weights import Weight, map_weights, norm_weights
from capacity.parts.keys import queries, width
from capacity.settings.model import Model

NORM_EPS = 1e-5  # of the norm of queries


def weights(model: Model, at: str, rows: int) -> list[Weight]:
    D, H, n, k = model.d_model, model.keys_heads, model.keys_side, model.keys_width
    spread = D**-0.5 if model.table_std is None else model.table_std
    keys = Weight(
        at + "keys.weight",
        (2 * H, k // 2, n),
        None,
        decays=True,
        kind="map",
        widths=(n,),
        bound=k**-0.5,
        own=True,
    )
    table = Weight(at + "rows.weight", (n * n, width(model)), spread, kind="table", own=True)
    gate = [
        *map_weights(at + "gate", D, D, D**-0.5, model.bias, own=True),
        *map_weights(at + "down", D, D, D**-0.5, model.bias, own=True),
    ]
    xavier = math.sqrt(6 / (D + queries(model)))
    return [
        *norm_weights(at + "norm2", model, own=True),
        *canon_weights(model, at, "C", D),
        *map_weights(at + "query", D, queries(model), None, model.bias, own=True, bound=xavier),
        Weight(at + "query_norm.weight", (queries(model),), None, 1.0, own=True),
        keys,
        *([table] if _table(model, at) == table.name else []),
        *(gate if model.keys_gate else []),
    ]


def _table(model: Model, at: str) -> str:
    """Name of the table that a block reads."""
    if model.keys_shared:
        at = f"blocks.{model.channel_layers[0] if model.channel_layers else 0}."
    return at + "rows.weight"


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    h_MND = canon(w, at, "C", c.norm(w, at + "norm2", x_MND), c)
    row_MNI, p_MNI = found(w, at, h_MND, c)
    M, N, D = x_MND.shape
    table = _table(c.model, at)
    c.reads(table, "keys", row_MNI, c.model.keys_side**2)
    taken_MNIW = (
        looked_up(w[table], row_MNI.reshape(M, -1)).view(M, N, row_MNI.shape[2], -1).float()
    )
    if c.model.keys_expert:
        looked_MNID, taken_MNIW = taken_MNIW.split(D, -1)
        found_MNI = (looked_MNID * h_MND.float()[:, :, None]).sum(-1)
        p_MNI = p_MNI * ACTIVATIONS[c.model.activation](found_MNI)
    y_MND = (p_MNI[..., None] * taken_MNIW).sum(2)
    if not c.model.keys_gate:
        return y_MND.to(x_MND.dtype)
    gate_MND = F.silu(c.linear(h_MND, w, at + "gate").float())
    return c.linear((y_MND * gate_MND).to(x_MND.dtype), w, at + "down")


def found(w: Named, at: str, h_MND: Tensor, c: Context) -> tuple[Tensor, Tensor]:
    """The rows of the values that each token takes, int64, and their weights, fp32, heads side by
    side, [M, N, H J] each."""
    M, N, _ = h_MND.shape
    H, n, J = c.model.keys_heads, c.model.keys_side, c.model.keys_choices
    q_MNhk = c.linear(h_MND, w, at + "query").float().view(M, N, 2 * H, -1)
    gain_M1hk = w[at + "query_norm.weight"].float().view(M, 1, 2 * H, -1)
    q_MNhk = F.rms_norm(q_MNhk, q_MNhk.shape[-1:], eps=NORM_EPS) * gain_M1hk
    q_hNk = q_MNhk.to(h_MND.dtype).transpose(1, 2).reshape(M * 2 * H, N, -1)
    keys = {at + "keys.weight": w[at + "keys.weight"].flatten(0, 1)}
    scores = c.linear(q_hNk, keys, at + "keys").float().view(M, H, 2, N, n)
    best, key = scores.topk(J, -1)
    sums_MHNJJ = best[:, :, 0, :, :, None] + best[:, :, 1, :, None, :]
    score_MHNJ, pair_MHNJ = sums_MHNJJ.flatten(-2).topk(J, -1)
    first = key[:, :, 0].gather(-1, pair_MHNJ // J)
    second = key[:, :, 1].gather(-1, pair_MHNJ % J)
    both = (first * n + second, torch.softmax(score_MHNJ, -1))
    rows, p = (x.transpose(1, 2).reshape(M, N, H * J) for x in both)
    return rows, p
