"""The mixer `linear`: linear attention (Katharopoulos et al., arXiv 2006.16236, equations 9 to 12),
phi(x) = elu(x) + 1.

Its recurrence keeps S = sum_s phi(k_s) v_s^T and z = sum_s phi(k_s) of each head and gives
phi(q_t)^T S / phi(q_t)^T z, so that its state does not grow. Whole sequences are computed by the
closed form, which multiplies all pairs of positions as attention does. Its weights are those of
attention.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from capacity.model import recurrent
from capacity.model.context import Context, Named
from capacity.model.weights import Weight
from capacity.settings.model import Model


def weights(model: Model, at: str, rows: int) -> list[Weight]:
    return recurrent.weights(model, at, [], model.d_model // model.n_heads)


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    h_MND, qkv_MNE = recurrent.read(w, at, x_MND, c)
    q, k, v = recurrent.heads(qkv_MNE, c)
    q, k, v = (recurrent.flat(x) for x in (F.elu(q) + 1, F.elu(k) + 1, v))
    pairs_nTT = c.product(q, k.transpose(1, 2))
    mask_nTT = recurrent.mask(c)
    pairs_nTT = pairs_nTT.tril() if mask_nTT is None else pairs_nTT * mask_nTT
    # a row's sum is at least phi(q) phi(k) of its own position: positive, if not by much
    y_nTW = c.product(pairs_nTT, v) / pairs_nTT.float().sum(-1, keepdim=True)
    return recurrent.written(w, at, y_nTW, h_MND, c)
