"""Causal attention: the library's kernel, or on a CPU with a short context a form that suits tiny heads.

Tiny models have heads of 2 to 16 values. Library kernels multiply [T, T] scores by [T, K] values, whose rows are too short
for vector units; with the head transposed, [K, T] by [T, T], rows are T long (measured at T = 32, K = 2: 48 against 184
microseconds per product; a whole step of a 3K to 22K parameter model costs 6 to 30% less CPU time). Same arithmetic.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from capacity.counts import SHORT_CONTEXT  # beyond, the O(T) memory of the fused kernel matters more


class _ShortCausal(torch.autograd.Function):
    """y_nkt = sum_s softmax_s(q_n.t . k_n.s / sqrt K, s <= t) v_nks for q, k, v of shape [n, K, T]."""

    @staticmethod
    def forward(ctx, q_nKT: Tensor, k_nKT: Tensor, v_nKT: Tensor) -> Tensor:
        K, T = q_nKT.shape[1:]
        mask_TT = torch.full((T, T), float("-inf"), dtype=q_nKT.dtype).triu_(1)
        scores = torch.baddbmm(mask_TT.expand(len(q_nKT), T, T), q_nKT.transpose(1, 2), k_nKT, alpha=K**-0.5)
        p_nTT = torch.softmax(scores, -1)
        ctx.save_for_backward(q_nKT, k_nKT, v_nKT, p_nTT)
        return torch.bmm(v_nKT, p_nTT.transpose(1, 2))

    @staticmethod
    def backward(ctx, dy_nKT: Tensor):
        q_nKT, k_nKT, v_nKT, p_nTT = ctx.saved_tensors
        dv = torch.bmm(dy_nKT, p_nTT)
        dp = torch.bmm(dy_nKT.transpose(1, 2), v_nKT)
        ds = torch.ops.aten._softmax_backward_data(dp, p_nTT, -1, p_nTT.dtype).mul_(q_nKT.shape[1] ** -0.5)
        return torch.bmm(k_nKT, ds.transpose(1, 2)), torch.bmm(q_nKT, ds), dv


def causal_attention(q: Tensor, k: Tensor, v: Tensor, mask_NTT: Tensor | None = None) -> Tensor:
    """Softmax attention over positions s <= t (Vaswani et al., arXiv 1706.03762, section 3.2.1).

    q: [N, H, T, K]; k, v: [N, G, T, K], where each of the G heads serves H / G neighbouring heads of q (grouped-query
    attention, Ainslie et al., arXiv 2305.13245, section 2.2) -> [N, T, H, K]. mask: bool [N, T, T] (query, key), True
    where a query may look, instead of s <= t. First derivatives only on the short CPU path.
    """
    N, H, T, K = q.shape
    if k.shape[1] != H:
        k, v = (x.repeat_interleave(H // x.shape[1], dim=1) for x in (k, v))
    if mask_NTT is not None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask_NTT[:, None]).transpose(1, 2)
    if q.device.type != "cpu" or T > SHORT_CONTEXT or q.dtype != torch.float32:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    q, k, v = (x.transpose(2, 3).reshape(N * H, K, T) for x in (q, k, v))
    return _ShortCausal.apply(q, k, v).view(N, H, K, T).permute(0, 3, 1, 2)


def document_mask(inputs_NT: Tensor) -> Tensor:
    """bool [N, T, T]: key s <= query t in the same document. A document starts at an EOS token, row 0 of the
    vocabulary; what stands before the first one in a window is the rest of a document. inputs: int64 [N, T]."""
    document_NT = (inputs_NT == 0).cumsum(1)
    T = inputs_NT.shape[1]
    causal_TT = torch.ones(T, T, dtype=torch.bool, device=inputs_NT.device).tril_()
    return causal_TT & (document_NT[:, :, None] == document_NT[:, None, :])
