"""A mixture of experts: a router sends each token to top_k of X MLPs, each of which has a fixed
number of places.

Routing is per member, so members of a stack never mix. All shapes are static, and there is no loop
over tokens or experts: a stable sort of the chosen experts gives every choice its place, and rows
move to their places and back by gathers, forward and backward, so that nothing is summed in an
order that differs from run to run.

Physics of Language Models 3.3 (arXiv 2404.05405, section 9 and appendix D) used the package tutel
with 32 experts and top_k 1; it states neither router noise (none here) nor a load-balance loss and
its weight. Gates and the balance loss follow tutel's defaults.

Shape letters beside those of `gpt`: X experts, C places per expert, J = top_k choices per token.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def places(factor: float, top_k: int, n_tokens: int, n_experts: int) -> int:
    """C = ceil(factor top_k N / X): `factor` times the even share (Fedus et al., arXiv 2101.03961,
    equation 3, who have top_k = 1), and never more than N, which is enough for every token."""
    return min(
        n_tokens, math.ceil(factor * top_k * n_tokens / n_experts * (1 - 1e-9))
    )  # 1.1 x 10 / 11 is 1


def mixture(  # noqa: PLR0913  how tokens are routed
    h_MND: Tensor,
    router_MDX: Tensor,
    experts: Callable[[Tensor], Tensor],
    top_k: int,
    factor: float,
    chosen: Callable[[Tensor], None] = lambda _: None,
    score: str = "softmax",
    shift_MX: Tensor | None = None,
    terms: list[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The sum over a token's experts of gate times output, [M, N, D], and the balance loss of each
    member, fp32 [M].

    experts: [M X, C, D] -> [M X, C, D], a row of MLPs; chosen: told the experts of each token,
    int64 [M, N, J]. The gate is the softmax probability (Fedus et al., equation 2); with more than
    one choice the gates are divided by their sum, as in tutel and in GShard (Lepikhin et al., arXiv
    2006.16668, section 2.2). Places are taken in the order of the tokens, which keeps a sequence
    causal; a choice that finds none adds nothing, so that a token whose choices all find none
    passes through the residual stream alone. The router computes in fp32 whatever the type of h
    (Fedus et al., section 2.4).

    score: softmax, or sigmoid of each number (DeepSeek-V3, arXiv 2412.19437, section 2.1.2). shift:
    experts are chosen by score plus shift and weighed by score (Wang et al., arXiv 2408.15664,
    section 3). To `terms` goes a zero, fp32 [M], whose gradient by the shifts is the sign of an
    expert's load less the mean load: a step takes it out and follows it (`train.loop`).
    """
    M, N, D = h_MND.shape
    X = router_MDX.shape[2]
    logits_MNX = torch.bmm(h_MND.float(), router_MDX.float())
    p_MNX = torch.sigmoid(logits_MNX) if score == "sigmoid" else torch.softmax(logits_MNX, -1)
    if shift_MX is None:
        gate_MNJ, expert_MNJ = p_MNX.topk(top_k, -1)
    else:
        expert_MNJ = (p_MNX + shift_MX[:, None]).topk(top_k, -1).indices
        every_X = torch.arange(X, device=h_MND.device)
        is_MNJX = (expert_MNJ[..., None] == every_X).to(p_MNX.dtype)
        gate_MNJ = (is_MNJX * p_MNX[:, :, None]).sum(-1)  # no gather: that has a gradient
        if terms is not None:
            uneven_MX = torch.sign(is_MNJX.sum((1, 2)) - N * top_k / X)
            terms.append(((shift_MX - shift_MX.detach()) * uneven_MX).sum(1))
    chosen(expert_MNJ)
    if top_k > 1:
        gate_MNJ = gate_MNJ / gate_MNJ.sum(-1, keepdim=True)
    choice_Q, place_R = _seats(expert_MNJ, X, places(factor, top_k, N, X))
    token_Q = torch.where(choice_Q < M * N * top_k, choice_Q // top_k, M * N)
    seated_QD = _Rows.apply(h_MND.reshape(M * N, D), token_Q, place_R.view(M * N, top_k))
    out_QD = experts(seated_QD.view(M * X, -1, D)).reshape(-1, D)
    back_MNJD = _Rows.apply(out_QD, place_R, choice_Q[:, None]).view(M, N, top_k, D)
    y_MND = (gate_MNJ[..., None] * back_MNJD.float()).sum(2).to(h_MND.dtype)
    if score == "sigmoid":
        p_MNX = p_MNX / p_MNX.sum(-1, keepdim=True)
    return y_MND, _balance(p_MNX, expert_MNJ)


def z_loss(h_MND: Tensor, router_MDX: Tensor) -> Tensor:
    """The mean over tokens of logsumexp squared, fp32 [M] (Zoph et al., arXiv 2202.08906, equation
    5)."""
    logits_MNX = torch.bmm(h_MND.float(), router_MDX.float())
    return torch.logsumexp(logits_MNX, -1).square().mean(1)


def _balance(p_MNX: Tensor, expert_MNJ: Tensor) -> Tensor:
    """X sum_i f_i P_i, fp32 [M]: f_i the share of tokens whose first choice is i, P_i the mean
    probability of i (Fedus et al., equations 4 to 6). 1 where either is uniform, X where all goes
    to one expert; P alone has a gradient."""
    M, N, X = p_MNX.shape
    first_MN = expert_MNJ[..., 0]
    count_MX = torch.zeros_like(p_MNX[:, 0]).scatter_add_(
        1, first_MN, torch.ones_like(p_MNX[..., 0])
    )
    return X * (count_MX / N * p_MNX.mean(1)).sum(-1)


def _seats(expert_MNJ: Tensor, X: int, C: int) -> tuple[Tensor, Tensor]:
    """Who sits where, over all members: for each place (m, x, c), Q = M X C of them, the choice (m,
    n, j) that sits there, and for each of the R = M N J choices its place; R and Q stand for nobody
    and nowhere. int64 [Q] and [R]."""
    M, N, J = expert_MNJ.shape
    R, Q, each, device = M * N * J, M * X * C, N * J, expert_MNJ.device
    expert_MR = expert_MNJ.reshape(M, each)
    member_M1 = torch.arange(M, device=device)[:, None]
    order_MR = expert_MR.argsort(
        dim=1, stable=True
    )  # grouped by expert, in the order of tokens within each
    asked_MX = order_MR.new_zeros(M, X).scatter_add_(1, expert_MR, torch.ones_like(expert_MR))
    start_MX = asked_MX.cumsum(1) - asked_MX
    rank_MR = torch.empty_like(order_MR).scatter_(
        1, order_MR, torch.arange(each, device=device).expand(M, each)
    )
    rank_MR = rank_MR - start_MX.gather(1, expert_MR)
    place_MR = torch.where(rank_MR < C, (member_M1 * X + expert_MR) * C + rank_MR, Q)
    seat_C = torch.arange(C, device=device)
    sorted_MXC = (start_MX[..., None] + seat_C).clamp(max=each - 1)
    choice_MXC = (
        order_MR.gather(1, sorted_MXC.view(M, -1)).view(M, X, C) + member_M1[..., None] * each
    )
    choice_MXC = torch.where(seat_C < asked_MX[..., None], choice_MXC, R)
    return choice_MXC.view(-1), place_MR.view(-1)


class _Rows(torch.autograd.Function):
    """x[index], where index len(x) means a row of zeros. `inverse` [len(x), J] names the rows of
    the result that came from each row of x (len(index) where none), so that the backward pass is a
    gather too. First derivatives only."""

    @staticmethod
    def forward(ctx: Any, x_AD: Tensor, index_B: Tensor, inverse_AJ: Tensor) -> Tensor:
        ctx.save_for_backward(inverse_AJ)
        return _with_zeros(x_AD).index_select(0, index_B)

    @staticmethod
    def backward(ctx: Any, dy_BD: Tensor):
        (inverse_AJ,) = ctx.saved_tensors
        dx_AJD = (
            _with_zeros(dy_BD).index_select(0, inverse_AJ.reshape(-1)).view(*inverse_AJ.shape, -1)
        )
        return dx_AJD.sum(1), None, None


def _with_zeros(x_AD: Tensor) -> Tensor:
    return torch.cat([x_AD, x_AD.new_zeros(1, x_AD.shape[1])])
