"""The mixer `based`: linear attention whose features are the first terms of an exponential (Arora
et al., arXiv 2402.18668, section 3), phi(q) phi(k) = 1 + s + s^2 / 2 with s = q k / sqrt K.

The state is that of linear attention over 1 + K + K (K + 1) / 2 features, the pairs of numbers of a
key once each. Whole sequences are computed from s itself. The weights of a position are positive,
at least 1/2 before they are divided by their sum. Ours: by itself, where the paper has layers of
attention within a short window beside it.
"""

from __future__ import annotations

from torch import Tensor

from capacity.model import recurrent
from capacity.model.context import Context, Named
from capacity.model.parts import linear

weights = linear.weights


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    h_MND, qkv_MNE = recurrent.read(w, at, x_MND, c)
    q, k, v = (recurrent.flat(x).float() for x in recurrent.heads(qkv_MNE, c))
    s_nTT = c.product(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
    pairs_nTT = 1 + s_nTT + s_nTT.square() / 2
    mask_nTT = recurrent.mask(c)
    pairs_nTT = pairs_nTT.tril() if mask_nTT is None else pairs_nTT * mask_nTT
    y_nTW = c.product(pairs_nTT, v) / pairs_nTT.sum(-1, keepdim=True)
    return recurrent.written(w, at, y_nTW, h_MND, c)
