"""The mixer `delta`: the delta rule (DeltaNet, Yang et al., arXiv 2406.06484), with
`model.mixer_decay` the gated delta rule (Gated DeltaNet, Yang et al., arXiv 2412.06464).

Its state maps keys to values, and every position corrects it: S_t = a_t S_{t-1} (I - b_t k_t k_t^T)
+ b_t v_t k_t^T, y_t = S_t q_t, with b = sigmoid(W_b h) and, of the gated one, a = exp(-exp(r)
softplus(W_a h + e)); r and e are numbers of a head. Keys and queries have length 1, and queries are
divided by sqrt K. As released: rates exp(r) start uniform in [0.01, 16], softplus(e) log-uniform in
[0.001, 0.1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from capacity.model import recurrent
from capacity.model.context import Context, Named
from capacity.model.parts import ssd
from capacity.model.recurrence import scalar_decay
from capacity.model.weights import Weight, map_weights
from capacity.settings.model import Model

SLOWEST = 0.01  # smallest initial rate, away from 0, whose logarithm there is none of
EPS = 1e-6  # under the root of the length of queries and keys


def weights(model: Model, at: str, rows: int) -> list[Weight]:
    D, H, std = model.d_model, model.n_heads, model.init_std
    own = map_weights(at + "mixer.beta", D, H, std, False, own=True)
    if model.mixer_decay:
        own += ssd.decays(model, at, "mixer.alpha", SLOWEST)
    return recurrent.weights(model, at, own, D // H)


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    h_MND, qkv_MNE = recurrent.read(w, at, x_MND, c)
    q, k, v = (recurrent.flat(x).float() for x in recurrent.heads(qkv_MNE, c))
    q, k = length_one(q) * q.shape[-1] ** -0.5, length_one(k)
    b_MNH = torch.sigmoid(c.linear(h_MND, w, at + "mixer.beta").float())
    log_decay = None
    if c.model.mixer_decay:
        step_MNH = F.softplus(c.linear(h_MND, w, at + "mixer.alpha").float())
        log_decay = recurrent.by_head(ssd.rates(w, at) * step_MNH, c)
    y_nTW = scalar_decay(
        q, k, v, log_decay, recurrent.by_head(b_MNH, c), recurrent.mask(c), c.product
    )
    return recurrent.written(w, at, y_nTW, h_MND, c)


def length_one(x: Tensor) -> Tensor:
    """Vectors along the last axis, each divided by its length; zeros stay."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + EPS)
