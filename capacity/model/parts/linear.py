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

from capacity.model.context import Context, Named
from capacity.model.parts import attention

weights = attention.weights


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    H, G = c.model.n_heads, c.model.kv_heads
    q, k, v = attention.heads(w, at, x_MND, c).transpose(1, 2).split([H, G, G], dim=1)
    if G != H:
        k, v = (x.repeat_interleave(H // G, dim=1) for x in (k, v))
    q, k, v = (x.reshape(-1, c.T, x.shape[-1]) for x in (F.elu(q) + 1, F.elu(k) + 1, v))
    pairs_nTT = c.product(q, k.transpose(1, 2))
    if c.mask is None:
        pairs_nTT = pairs_nTT.tril()
    else:
        pairs_nTT = (pairs_nTT.view(-1, H, c.T, c.T) * c.mask[:, None]).flatten(0, 1)
    # a row's sum is at least phi(q) phi(k) of its own position: positive, if not by much
    y_nTK = c.product(pairs_nTT, v) / pairs_nTT.float().sum(-1, keepdim=True)
    y_MND = y_nTK.view(-1, H, c.T, v.shape[-1]).transpose(1, 2).reshape(x_MND.shape)
    return c.linear(y_MND.to(x_MND.dtype), w, at + "out")
