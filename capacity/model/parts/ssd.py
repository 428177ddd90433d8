"""The mixer `ssd`: the state space of Mamba-2 (Dao and Gu, arXiv 2405.21060), in which values are
the input, keys B and queries C of a head.

S_t = exp(-exp(r) s_t) S_{t-1} + s_t k_t v_t^T, y_t = S_t^T q_t + d v_t, with a step s = softplus(W
h + e); r, e and d are numbers of a head. As released: rates exp(r) start uniform in [1, 16],
softplus(e) log-uniform in [0.001, 0.1], skips d at 1; the norm
stands behind the gate. Ours: keys and queries for each head of values, as many groups as heads in
its words, and values that are together as wide as the model.
"""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from capacity.model import recurrent
from capacity.model.context import Context, Named
from capacity.model.recurrence import scalar_decay
from capacity.model.weights import Weight, map_weights
from capacity.settings.model import Model

FASTEST = 16.0  # largest initial rate
STEPS = (0.001, 0.1)  # smallest and largest initial step


def weights(model: Model, at: str, rows: int) -> list[Weight]:
    own = decays(model, at, "mixer.step", 1.0)
    own.append(Weight(at + "mixer.skip.weight", (model.n_heads,), None, 1.0, own=True))
    return recurrent.weights(model, at, own, model.d_model)


def decays(model: Model, at: str, name: str, slowest: float) -> list[Weight]:
    """The map to a step of every head with its bias, and the logarithms of rates."""
    D, H = model.d_model, model.n_heads
    slow = recurrent.SLOW if model.mixer_init == "mimetic" else 1.0
    rates = partial(_log_rates, low=slow * slowest, high=slow * FASTEST)
    return [
        *map_weights(at + name, D, H, model.init_std, False, own=True),
        Weight(at + name + ".bias", (H,), None, start=_steps, own=True),
        Weight(at + "mixer.rate.weight", (H,), None, start=rates, own=True),
    ]


def _log_rates(u: Tensor, low: float, high: float) -> Tensor:
    """Of numbers in [0, 1) the logarithms of those as far between low and high."""
    return (low + u * (high - low)).log()


def _steps(u: Tensor) -> Tensor:
    """What softplus makes log-uniform numbers in STEPS of: log(exp(s) - 1)."""
    low, high = (math.log(s) for s in STEPS)
    return torch.expm1((low + u * (high - low)).exp()).log()


def rates(w: Named, at: str) -> Tensor:
    """Log decay per unit of a step, -exp(r), fp32 [M, 1, H]."""
    return -recurrent.per_head(w[at + "mixer.rate.weight"]).exp()


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    h_MND, qkv_MNE = recurrent.read(w, at, x_MND, c)
    q, k, v = (x.float() for x in recurrent.heads(qkv_MNE, c))
    step_MNH = F.softplus(c.linear(h_MND, w, at + "mixer.step").float())
    log_decay_nT = recurrent.by_head(rates(w, at) * step_MNH, c)
    values_nTW = recurrent.flat(v) * recurrent.by_head(step_MNH, c)[..., None]
    q, k = recurrent.flat(q), recurrent.flat(k)
    y_nTW = scalar_decay(q, k, values_nTW, log_decay_nT, None, recurrent.mask(c), c.product)
    M, H = h_MND.shape[0], c.model.n_heads
    skip = w[at + "mixer.skip.weight"].float().view(M, 1, H, 1, 1)
    y_nTW = y_nTW + (v.view(M, -1, *v.shape[1:]) * skip).reshape(y_nTW.shape)
    return recurrent.written(w, at, y_nTW, h_MND, c, gated_first=True)
