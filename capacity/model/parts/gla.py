"""The mixer `gla`: gated linear attention (Yang et al., arXiv 2312.06635), in which every number of
a key has a decay of its own.

S_t = diag(a_t) S_{t-1} + k_t v_t^T, y_t = S_t^T q_t / sqrt K, with a = sigmoid(W_2 W_1 h +
b)^(1/16) through 16 inner numbers. Ours: a step decays no number further than to 15%
(LEAST_LOG), so that the factors of the closed form fit fp32; only a sigmoid below 1e-13 would.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from capacity.model import recurrent
from capacity.model.context import Context, Named
from capacity.model.recurrence import LEAST_LOG, vector_decay
from capacity.model.weights import Weight, map_weights
from capacity.parts.gla import RANK
from capacity.parts.recurrent import key
from capacity.settings.model import Model

ROOT = 16.0  # a is the 16th root of a sigmoid (section 4.4)
OPEN = 8.0  # initial bias of mimetic layers: a step keeps 1 - 2e-5


def weights(model: Model, at: str, rows: int) -> list[Weight]:
    D, wide, std = model.d_model, model.n_heads * key(model), model.init_std
    bias = OPEN if model.mixer_init == "mimetic" else 0.0
    own = [
        *map_weights(at + "mixer.low", D, RANK, std, False, own=True),
        *map_weights(at + "mixer.high", RANK, wide, std, False, own=True),
        Weight(at + "mixer.high.bias", (wide,), None, bias, own=True),
    ]
    return recurrent.weights(model, at, own, D // model.n_heads)


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    h_MND, qkv_MNE = recurrent.read(w, at, x_MND, c)
    q, k, v = (recurrent.flat(x).float() for x in recurrent.heads(qkv_MNE, c))
    low_MNR = c.linear(h_MND, w, at + "mixer.low")
    open_MNE = c.linear(low_MNR, w, at + "mixer.high").float()
    log_decay = (F.logsigmoid(open_MNE) / ROOT).clamp(min=LEAST_LOG)
    log_decay = log_decay.view(-1, c.T, c.model.n_heads, q.shape[-1]).transpose(1, 2)
    q = q * q.shape[-1] ** -0.5
    y_nTW = vector_decay(q, k, v, recurrent.flat(log_decay), recurrent.mask(c), c.product)
    return recurrent.written(w, at, y_nTW, h_MND, c)
