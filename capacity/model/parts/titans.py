"""The mixer `titans`: the memory of Titans whose map is linear (Behrouz et al., arXiv 2501.00663,
section 3.1), a delta rule with momentum.

The state M of a head maps keys to values, and every position moves it against the gradient of its
error, with a momentum S and a decay: S_t = e_t S_{t-1} + b_t k_t (v_t - M_{t-1}^T k_t)^T, M_t = a_t
M_{t-1} + S_t, y_t = M_t^T q_t; k (M^T k - v)^T is the gradient of half the squared error, so that b
is twice their theta, and a = 1 - alpha, e = eta. b = sigmoid(W_b h), e = sigmoid(W_e h + g), and a
as in the gated delta rule (`model.parts.delta`), exp(-exp(r) softplus(W_a h + f)); b, e, a, g, r
and f are numbers of a head, and g starts at 0. Keys and queries have length 1, and queries are
divided by sqrt K. The paper states no form of b, e and a beyond that they depend on h.

Without momentum (e = 0) and decay (a = 1) it is the delta rule. Without momentum alone it differs
from the gated delta rule, which takes its gradient at the decayed state: what it erases is b M^T k,
there it is a b M^T k.

Ours or left out: deep memories, the three ways of mixing with attention and learned tokens in front
of a sequence; the closed form by chunks in place of a loop over positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from capacity.model import recurrent
from capacity.model.context import Context, Named
from capacity.model.parts import delta, ssd
from capacity.model.recurrence import with_momentum
from capacity.model.weights import Weight, map_weights
from capacity.settings.model import Model


def weights(model: Model, at: str, rows: int) -> list[Weight]:
    D, H, std = model.d_model, model.n_heads, model.init_std
    own = [
        *map_weights(at + "mixer.beta", D, H, std, False, own=True),
        *map_weights(at + "mixer.eta", D, H, std, True, own=True),
        *ssd.decays(model, at, "mixer.alpha", delta.SLOWEST),
    ]
    return recurrent.weights(model, at, own, D // H)


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    h_MND, qkv_MNE = recurrent.read(w, at, x_MND, c)
    q, k, v = (recurrent.flat(x).float() for x in recurrent.heads(qkv_MNE, c))
    q, k = delta.length_one(q) * q.shape[-1] ** -0.5, delta.length_one(k)
    b_MNH = torch.sigmoid(c.linear(h_MND, w, at + "mixer.beta").float())
    log_e_MNH = F.logsigmoid(c.linear(h_MND, w, at + "mixer.eta").float())
    step_MNH = F.softplus(c.linear(h_MND, w, at + "mixer.alpha").float())
    numbers = (ssd.rates(w, at) * step_MNH, log_e_MNH, b_MNH)
    log_a, log_e, b = (recurrent.by_head(one, c) for one in numbers)
    y_nTW = with_momentum(q, k, v, log_a, log_e, b, recurrent.mask(c), c.product)
    return recurrent.written(w, at, y_nTW, h_MND, c)
