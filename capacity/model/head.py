"""Output head and cross-entropy in one pass over chunks of tokens: the logits of a whole batch
never exist at once.

The head is most of the work of a tiny model with a vocabulary. Kept in autograd, its logits are
written and read five times through memory; here a chunk stays in cache while its loss and its two
gradients are formed, in the forward pass, and the backward pass only scales them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from capacity.counts import HEAD_CHUNK
from capacity.model.numerics import tf32

SUMMED = {
    torch.float16: 1024
}  # most tokens whose outer products are summed in the format itself, which ends at 65,504
# tokens from which a CPU sums the table's gradient as [D, V]: products with few rows and many
# columns go 1.1 to 1.6 times as fast there as tall ones (5 in stacks), slower below
WIDE_FROM = 32


class _MeanNLL(torch.autograd.Function):
    """mean_NLL[m] = mean over n of -log softmax(x[m] table[m]^T)[n, target[m, n]], in nats."""

    @staticmethod
    def forward(
        ctx: Any, x_MND: Tensor, table_MVD: Tensor, target_MN: Tensor, in_tf32: bool
    ) -> Tensor:
        if in_tf32:
            x_MND, table_MVD = tf32(x_MND), tf32(table_MVD)
        M, N, D = x_MND.shape
        V = table_MVD.shape[1]
        limit = HEAD_CHUNK["cuda" if x_MND.is_cuda else "cpu"]
        rows = min(N, max(1, limit // V), SUMMED.get(x_MND.dtype, N))
        members = max(1, min(M, limit // (rows * V)))
        wide = not x_MND.is_cuda and rows >= WIDE_FROM
        dx_MND, sums = (
            torch.empty_like(x_MND),
            table_MVD.new_zeros((M, D, V) if wide else (M, V, D), dtype=torch.float32),
        )
        loss_M = torch.zeros(M, dtype=torch.float32, device=x_MND.device)
        for m in range(0, M, members):
            table, dtable = table_MVD[m : m + members], sums[m : m + members]
            for n in range(0, N, rows):
                x, target = (
                    x_MND[m : m + members, n : n + rows],
                    target_MN[m : m + members, n : n + rows, None],
                )
                logits = torch.bmm(x, table.transpose(1, 2)).float()
                p = torch.softmax(logits, -1)
                # log-sum-exp through the largest entry, whose probability is at least 1/V and
                # cannot underflow
                lse = logits.amax(-1) - p.amax(-1).log()
                loss_M[m : m + members] += (lse - logits.gather(-1, target)[..., 0]).sum(-1)
                p.scatter_(-1, target, p.gather(-1, target) - 1)  # no atomics: one target per row
                p = tf32(p) if in_tf32 else p.to(x.dtype)
                dx_MND[m : m + members, n : n + rows] = torch.bmm(p, table)
                left, right = (x.transpose(1, 2), p) if wide else (p.transpose(1, 2), x)
                if x.dtype == torch.float32:
                    dtable.baddbmm_(left, right)
                else:  # the sum over chunks stays in fp32
                    dtable += torch.bmm(left, right)
        dtable_MVD = sums.transpose(1, 2).contiguous() if wide else sums
        ctx.N = N
        if (
            x_MND.dtype == torch.float16
        ):  # divided by N only once it is scaled: the quotient may be too small for the format
            ctx.save_for_backward(dx_MND, dtable_MVD)
        else:
            ctx.save_for_backward(dx_MND.div_(N), dtable_MVD.div_(N).to(table_MVD.dtype))
        return loss_M / N

    @staticmethod
    def backward(ctx: Any, grad_M: Tensor):
        dx_MND, dtable_MVD = ctx.saved_tensors
        if dx_MND.dtype == torch.float16:
            scale = grad_M.view(-1, 1, 1) / ctx.N
            return (dx_MND.float() * scale).half(), (dtable_MVD * scale).half(), None, None
        scale = grad_M.view(-1, 1, 1).to(dx_MND.dtype)
        return dx_MND * scale, dtable_MVD * scale, None, None


def mean_nll(x_MND: Tensor, table_MVD: Tensor, target_MN: Tensor, in_tf32: bool = False) -> Tensor:
    """Mean cross-entropy of each member in nats, fp32 [M], differentiable in x and the head's
    table.

    x: [M, N, D] last hidden states; table: [M, V, D]; target: int64 [M, N]. Equal to cross_entropy
    of x table^T to rounding. in_tf32: the operands of the three products are rounded to TF32. No
    second derivatives.
    """
    return _MeanNLL.apply(x_MND, table_MVD, target_MN, in_tf32)
