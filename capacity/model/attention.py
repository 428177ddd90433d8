"""Causal attention: the library's kernels (`sdpa` on a GPU), or on a CPU with a short context forms
that suit tiny heads.

Tiny models have heads of 2 to 16 values. Library kernels multiply [T, T] scores by [T, K] values,
whose rows are too short for vector units; with the head transposed, [K, T] by [T, T], rows are T
long. Where a head's scores are many beside its values, most of the time goes into softmax: there it
takes powers of two without a maximum, the sum of a row is one more row of the product with v, and
heads go through the cache in groups. Measured, one thread and two: 1.6 and 1.1 times as fast at K =
2, T = 32, 1.4 and 1.0 at K = 4, T = 64, 2.0 and 1.7 at K = 2, T = 128, slower for larger heads or
shorter contexts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from capacity.model.sdpa import library_attention
from capacity.parts.base import (
    SHORT_CONTEXT,
)  # beyond, the O(T) memory of the fused kernel matters more

GROUPED_FROM, GROUPED_RATIO = (
    32,
    16,
)  # positions, and positions per value of a head, from which groups and powers of two are faster
SCORES_AT_ONCE = 2**18  # of a group of heads: 1 MiB, which stays in a core's second-level cache
SAFE = (
    2.0**64
    # sums of powers between 1 / SAFE and SAFE are exact to rounding; a head with others is computed
    # again
)


def _forward(q_nKT: Tensor, k_nKT: Tensor, v_nKT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """y [n, K, T], powers e [n, T, T] (query, key; 0 for later keys), their sums l [n, 1, T], with
    softmax = e / l.

    A head's result depends on that head alone: one whose sums leave the safe range is computed
    again with its maximum taken off.
    """
    n, K, T = q_nKT.shape
    later_TT = torch.full((T, T), float("-inf"), dtype=q_nKT.dtype).triu_(1)
    bits = K**-0.5 / math.log(2)
    v_and_one = torch.cat([v_nKT, v_nKT.new_ones(n, 1, T)], 1)
    e_nTT, sums = q_nKT.new_empty(n, T, T), v_nKT.new_empty(n, K + 1, T)

    def attend(q: Tensor, k: Tensor, v: Tensor, e: Tensor, out: Tensor, stable: bool) -> None:
        torch.baddbmm(later_TT, q.transpose(1, 2), k, alpha=bits, out=e)
        if stable:
            e -= e.amax(-1, keepdim=True)
        torch.bmm(v, e.exp2_().transpose(1, 2), out=out)

    for group in _groups(q_nKT, k_nKT, v_and_one, e_nTT, sums):
        attend(*group, stable=False)
    low, high = torch.aminmax(sums[:, K]) if n else (torch.ones(()), torch.ones(()))
    if not (low > 1 / SAFE and high < SAFE):  # also where they are not numbers
        bad = (~((sums[:, K] > 1 / SAFE) & (sums[:, K] < SAFE)).all(1)).nonzero()[:, 0]
        e_bad, sums_bad = e_nTT[bad], sums[bad]
        attend(q_nKT[bad], k_nKT[bad], v_and_one[bad], e_bad, sums_bad, stable=True)
        e_nTT[bad], sums[bad] = e_bad, sums_bad
    total = sums[:, K:].clone()
    return sums[:, :K] / total, e_nTT, total


def _backward(  # noqa: PLR0913  the operation's arguments
    dy_nKT: Tensor,
    q_nKT: Tensor,
    k_nKT: Tensor,
    v_nKT: Tensor,
    y_nKT: Tensor,
    e_nTT: Tensor,
    l_n1T: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v. With g = dy / l those of the scores are e (g.v - g.y): one product
    with K + 1 rows."""
    n, K, T = q_nKT.shape
    g = dy_nKT / l_n1T
    g_and_gy = torch.cat([g, -(g * y_nKT).sum(1, keepdim=True)], 1)
    v_and_one = torch.cat([v_nKT, v_nKT.new_ones(n, 1, T)], 1)
    q, k = q_nKT * K**-0.5, k_nKT * K**-0.5
    dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v_nKT))
    room = q.new_empty(min(n, _group(T)), T, T)
    for g_, both, v, e, q_, k_, dq_, dk_, dv_ in _groups(
        g, g_and_gy, v_and_one, e_nTT, q, k, dq, dk, dv
    ):
        ds = room[: len(g_)]
        torch.bmm(g_, e, out=dv_)
        torch.bmm(both.transpose(1, 2), v, out=ds).mul_(e)
        torch.bmm(k_, ds.transpose(1, 2), out=dq_)
        torch.bmm(q_, ds, out=dk_)
    return dq, dk, dv


def _group(T: int) -> int:
    return max(1, SCORES_AT_ONCE // (T * T))


def _groups(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(x.split(_group(tensors[0].shape[-1])) for x in tensors), strict=True)


# Operations of their own, because a step is also traced, and what a tracer sees may not branch on
# values.
_library = torch.library.Library("capacity", "DEF")
_library.define("short_causal(Tensor q, Tensor k, Tensor v) -> (Tensor, Tensor, Tensor)")
_library.define(
    "short_causal_backward(Tensor dy, Tensor q, Tensor k, Tensor v, Tensor y, Tensor e, "
    "Tensor total) -> (Tensor, Tensor, Tensor)"
)
_library.impl("short_causal", _forward, "CPU")
_library.impl("short_causal_backward", _backward, "CPU")


@torch.library.register_fake("capacity::short_causal", lib=_library)
def _(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n, _, T = q.shape
    return v.new_empty(v.shape), q.new_empty(n, T, T), q.new_empty(n, 1, T)


@torch.library.register_fake("capacity::short_causal_backward", lib=_library)
def _(  # noqa: PLR0913  as above
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor, y: Tensor, e: Tensor, total: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


class _Grouped(torch.autograd.Function):
    """y_nkt = sum_s softmax_s(q_n.t . k_n.s / sqrt K, s <= t) v_nks for contiguous q, k, v of shape
    [n, K, T]."""

    @staticmethod
    def forward(ctx: Any, q_nKT: Tensor, k_nKT: Tensor, v_nKT: Tensor) -> Tensor:
        y, e, total = torch.ops.capacity.short_causal(q_nKT, k_nKT, v_nKT)
        ctx.save_for_backward(q_nKT, k_nKT, v_nKT, y, e, total)
        return y

    @staticmethod
    def backward(ctx: Any, dy_nKT: Tensor):
        return torch.ops.capacity.short_causal_backward(dy_nKT.contiguous(), *ctx.saved_tensors)


class _Softmax(torch.autograd.Function):
    """The same by softmax over all heads at once: for heads of more values, and for a compiler,
    which fuses its passes and could not look into `_Grouped`."""

    @staticmethod
    def forward(ctx: Any, q_nKT: Tensor, k_nKT: Tensor, v_nKT: Tensor) -> Tensor:
        K, T = q_nKT.shape[1:]
        later_TT = torch.full((T, T), float("-inf"), dtype=q_nKT.dtype).triu_(1)
        scores = torch.baddbmm(
            later_TT.expand(len(q_nKT), T, T), q_nKT.transpose(1, 2), k_nKT, alpha=K**-0.5
        )
        p_nTT = torch.softmax(scores, -1)
        ctx.save_for_backward(q_nKT, k_nKT, v_nKT, p_nTT)
        return torch.bmm(v_nKT, p_nTT.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, dy_nKT: Tensor):
        q_nKT, k_nKT, v_nKT, p_nTT = ctx.saved_tensors
        dv = torch.bmm(dy_nKT, p_nTT)
        dp = torch.bmm(dy_nKT.transpose(1, 2), v_nKT)
        # what autograd itself calls for a softmax
        ds = torch.ops.aten._softmax_backward_data(dp, p_nTT, -1, p_nTT.dtype)  # noqa: SLF001
        ds.mul_(q_nKT.shape[1] ** -0.5)
        return torch.bmm(k_nKT, ds.transpose(1, 2)), torch.bmm(q_nKT, ds), dv


def causal_attention(q: Tensor, k: Tensor, v: Tensor, mask_NTT: Tensor | None = None) -> Tensor:
    """Softmax attention over positions s <= t (Vaswani et al., arXiv 1706.03762, section 3.2.1).

    q: [N, H, T, K]; k, v: [N, G, T, K], where each of the G heads serves H / G neighbouring heads
    of q (grouped-query attention, Ainslie et al., arXiv 2305.13245, section 2.2) -> [N, T, H, K].
    mask: bool [N, T, T] (query, key), True where a query may look, instead of s <= t. First
    derivatives only on the short CPU path and on a GPU.
    """
    N, H, T, K = q.shape
    if k.shape[1] != H:
        k, v = (x.repeat_interleave(H // x.shape[1], dim=1) for x in (k, v))
    if q.device.type != "cpu":
        return library_attention(q, k, v, mask_NTT)
    if mask_NTT is not None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask_NTT[:, None]).transpose(1, 2)
    if T > SHORT_CONTEXT or q.dtype != torch.float32:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    q, k, v = (x.transpose(2, 3).reshape(N * H, K, T) for x in (q, k, v))
    grouped = T >= max(GROUPED_FROM, GROUPED_RATIO * K) and not torch.compiler.is_compiling()
    attend = _Grouped if grouped else _Softmax
    return attend.apply(q, k, v).view(N, H, K, T).permute(0, 3, 1, 2)


def document_mask(inputs_NT: Tensor) -> Tensor:
    """bool [N, T, T]: key s <= query t in the same document. A document starts at an EOS token, row
    0 of the vocabulary; what stands before the first one in a window is the rest of a document.
    inputs: int64 [N, T]."""
    document_NT = documents(inputs_NT)
    T = inputs_NT.shape[1]
    causal_TT = torch.ones(T, T, dtype=torch.bool, device=inputs_NT.device).tril_()
    return causal_TT & (document_NT[:, :, None] == document_NT[:, None, :])


def documents(inputs_NT: Tensor) -> Tensor:
    """int64 [N, T]: how many documents have started up to each position, see `document_mask`."""
    return (inputs_NT == 0).cumsum(1)
