"""Closed forms of recurrences whose state is a matrix per head, S [K, W], by chunks of positions.

With a decay a_t in [0, 1] of the whole state, c_t the sum of log a up to t within a chunk, and
pairs D_ij = exp(c_i - c_j) for i >= j, else 0, a chunk reads (Q K^T * D) U + exp(c) Q S and leaves
exp(c_end) S + sum_j D_end,j k_j u_j^T, where u_j is what position j adds: a value, or by the delta
rule what the state lacks of it (Yang et al., arXiv 2406.06484, section 3, and with a decay arXiv
2412.06464, section 3; Dao and Gu, arXiv 2405.21060, section 6).

All of it in fp32 whatever the type of products elsewhere, since a state is a sum over a sequence.
Letters beside those of `gpt`: n sequences times heads, C positions of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from capacity.parts.recurrent import CHUNK, SHORT_CHUNK

Product = Callable[[Tensor, Tensor], Tensor]
# largest sum of |log decay| over a chunk with a decay of every number of a key: its exponential, a
# factor of keys, times a product of keys stays far below fp32's 3e38
MOST = 60.0
LEAST_LOG = -MOST / SHORT_CHUNK  # so that no step decays further than to 15%


def scalar_decay(  # noqa: PLR0913  the operands of a recurrence
    q_nTK: Tensor,
    k_nTK: Tensor,
    v_nTW: Tensor,
    log_decay_nT: Tensor | None,
    strength_nT: Tensor | None,
    mask_nTT: Tensor | None,
    product: Product,
) -> Tensor:
    """S_t = a_t S_{t-1} + k_t u_t^T, y_t = S_t^T q_t, fp32 [n, T, W]. u_t = v_t, or with a strength
    b the delta rule, u_t = b_t (v_t - a_t S_{t-1}^T k_t). mask: bool, which positions are of the
    same document and not later (`attention.document_mask`); a document starts with S = 0."""
    state, out = None, []
    for at in _chunks(q_nTK.shape[1], CHUNK):
        q, k, u = q_nTK[:, at], k_nTK[:, at], v_nTW[:, at]
        pairs = _allowed(mask_nTT, at, q)
        c = None if log_decay_nT is None else _summed(log_decay_nT[:, at, None], pairs, mask_nTT)
        if c is not None:
            between = c - c.transpose(1, 2)
            pairs = between.masked_fill(~pairs, -torch.inf).exp()
        since = _since(None if c is None else c.exp(), mask_nTT, at)
        if strength_nT is not None:
            b = strength_nT[:, at, None]
            if state is not None:
                u = u - product(k * since, state)
            lacking = (b * product(k, k.transpose(1, 2)) * pairs).tril(-1)
            u = torch.linalg.solve_triangular(lacking, b * u, upper=False, unitriangular=True)
        y = product(product(q, k.transpose(1, 2)) * pairs, u)
        out.append(y if state is None else y + product(q * since, state))
        if at.stop < q_nTK.shape[1]:
            left = product((k * pairs[:, -1, :, None]).transpose(1, 2), u)
            state = left if state is None else left + state * _last(since)
    return out[0] if len(out) == 1 else torch.cat(out, 1)


def vector_decay(
    q_nTK: Tensor,
    k_nTK: Tensor,
    v_nTW: Tensor,
    log_decay_nTK: Tensor,
    mask_nTT: Tensor | None,
    product: Product,
) -> Tensor:
    """S_t = diag(a_t) S_{t-1} + k_t v_t^T, y_t = S_t^T q_t, fp32 [n, T, W] (Yang et al., arXiv
    2312.06635, section 4.2), log a at least LEAST_LOG."""
    state, out = None, []
    for at in _chunks(q_nTK.shape[1], SHORT_CHUNK):
        q, k, v = q_nTK[:, at], k_nTK[:, at], v_nTW[:, at]
        allowed = _allowed(mask_nTT, at, q)
        c = _summed(log_decay_nTK[:, at], allowed, mask_nTT)
        q = q * c.exp()
        # where, not times 0: no pair that is left out may spoil one that counts
        pairs = product(q, (k * (-c).exp()).transpose(1, 2)).masked_fill(~allowed, 0.0)
        y = product(pairs, v)
        if state is not None:
            y = y + product(q * _since(None, mask_nTT, at), state)
        out.append(y)
        if at.stop < q_nTK.shape[1]:
            remaining = (c[:, -1:] - c).exp() * allowed[:, -1, :, None]
            left = product((k * remaining).transpose(1, 2), v)
            if state is not None:
                left = left + state * c[:, -1, :, None].exp() * _last(_since(None, mask_nTT, at))
            state = left
    return out[0] if len(out) == 1 else torch.cat(out, 1)


def with_momentum(  # noqa: PLR0913  the operands of a recurrence
    q_nTK: Tensor,
    k_nTK: Tensor,
    v_nTW: Tensor,
    log_decay_nT: Tensor,
    log_momentum_nT: Tensor,
    strength_nT: Tensor,
    mask_nTT: Tensor | None,
    product: Product,
) -> Tensor:
    """S_t = e_t S_{t-1} + k_t u_t^T, M_t = a_t M_{t-1} + S_t, y_t = M_t^T q_t, fp32 [n, T, W], with
    u_t = b_t (v_t - M_{t-1}^T k_t) (`model.parts.titans`); mask as in `scalar_decay`.

    Both states are sums of k_j u_j^T. With A_ts the product of a and E_sj that of e after the
    second position up to the first, M_t has P = A E of each, so that a chunk is the delta rule with
    P in place of decays; what M_t has of S in front of the chunk is A times the e since then.
    """
    state, out = None, []  # M and S, one below the other, [n, 2 K, W]
    for at in _chunks(q_nTK.shape[1], CHUNK):
        q, k, b = q_nTK[:, at], k_nTK[:, at], strength_nT[:, at, None]
        allowed = _allowed(mask_nTT, at, q)
        sums = [_summed(x[:, at, None], allowed, mask_nTT) for x in (log_decay_nT, log_momentum_nT)]
        kept, moving = (
            (c - c.transpose(1, 2)).masked_fill(~allowed, -torch.inf).exp() for c in sums
        )
        reach = product(kept, moving)
        of_memory, still = (_since(c.exp(), mask_nTT, at) for c in sums)
        of_momentum = product(kept, still)
        u, known = b * v_nTW[:, at], _later(reach, 0.0) * allowed
        if state is not None:
            same = _since(None, mask_nTT, at)
            held = _twice(k, _later(of_memory, 1.0) * same, _later(of_momentum, 0.0) * same)
            u = u - b * product(held, state)
        lacking = b * product(k, k.transpose(1, 2)) * known
        u = torch.linalg.solve_triangular(lacking, u, upper=False, unitriangular=True)
        y = product(product(q, k.transpose(1, 2)) * reach, u)
        out.append(y if state is None else y + product(_twice(q, of_memory, of_momentum), state))
        if at.stop < q_nTK.shape[1]:
            left = product(_twice(k, reach[:, -1, :, None], moving[:, -1, :, None]).mT, u)
            if state is not None:
                memory, momentum = state.chunk(2, 1)
                memory = memory * of_memory[:, -1:] + momentum * of_momentum[:, -1:]
                left = left + torch.cat([memory, momentum * still[:, -1:]], 1)
            state = left
    return out[0] if len(out) == 1 else torch.cat(out, 1)


def _later(x_nCK: Tensor, first: float) -> Tensor:
    """Of each position what stands at the one before."""
    return F.pad(x_nCK[:, :-1], (0, 0, 1, 0), value=first)


def _twice(x_nCK: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Times one and times other, side by side, [n, C, 2 K]."""
    return torch.cat([x_nCK * one, x_nCK * other], -1)


def _chunks(T: int, size: int) -> list[slice]:
    return [slice(first, min(T, first + size)) for first in range(0, T, size)]


def _allowed(mask_nTT: Tensor | None, at: slice, like: Tensor) -> Tensor:
    """bool [n or 1, C, C]: which pairs of a chunk count."""
    if mask_nTT is not None:
        return mask_nTT[:, at, at]
    C = at.stop - at.start
    return torch.ones(1, C, C, dtype=torch.bool, device=like.device).tril()


def _summed(log_decay_nCK: Tensor, allowed: Tensor, mask_nTT: Tensor | None) -> Tensor:
    """c, from the start of the chunk or of a document in it, so that no other one rounds it."""
    if mask_nTT is None:
        return log_decay_nCK.cumsum(1)
    return torch.bmm(allowed.float(), log_decay_nCK)


def _since(decay_nC1: Tensor | None, mask_nTT: Tensor | None, at: slice) -> Any:
    """What a position reads of the state in front of its chunk, [n, C, 1]: nothing where that is
    of another document."""
    if mask_nTT is None or at.start == 0:
        return 1.0 if decay_nC1 is None else decay_nC1
    same_nC1 = mask_nTT[:, at, at.start - 1, None].float()
    return same_nC1 if decay_nC1 is None else decay_nC1 * same_nC1


def _last(since: Tensor | float) -> Tensor | float:
    return since[:, -1:] if isinstance(since, Tensor) else since
