"""One forward pass over sequences of text, and every number per sequence that membership and
extraction need of it.

Columns, fp32 [n] each; log-probabilities in nats, sums over tokens unless said otherwise:

    loss         -sum of log p_t: every token is predicted, the first one from BOS
    min_k        mean of the lowest 20% of log p_t (Shi et al., arXiv 2310.16789; ceil(0.2 S)
                 tokens)
    min_k_plus   the same mean of (log p_t - mu_t) / sigma_t, with the mean and standard deviation
                 of log p over the model's own next token (Zhang et al., arXiv 2404.02936); sigma_t
                 of at least 1e-3, where a prediction is uniform or certain
    suffix_loss  -sum of log p_t over the second half of the sequence (S - S // 2 tokens), given the
                 first
    correct      part of the tokens that are the most likely one, under teacher forcing ("exact
                 memorization")
    tail         tokens at the end that are all the most likely one: greedy decoding from S - tail
                 tokens on writes the rest exactly
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from capacity.measure.memorization import LOGITS_AT_ONCE
from capacity.model.gpt import GPT

K = 0.2
SIGMA_FLOOR = 1e-3
COLUMNS = ("loss", "min_k", "min_k_plus", "suffix_loss", "correct", "tail")


def scores(
    gpt: GPT, flat_P: Tensor, tokens_NS: Tensor, dtype: torch.dtype, batch_tokens: int
) -> dict[str, np.ndarray]:
    """All columns for the sequences, int [n, S] on the device of the weights. Memory is bounded by
    `batch_tokens` and the vocabulary."""
    rows = _rows_at_once(gpt, tokens_NS, batch_tokens)
    with torch.no_grad():
        parts = [
            torch.stack(columns(gpt.by_token(flat_P, batch.long(), of_tokens, dtype)), 1).cpu()
            for batch in tokens_NS.split(rows)
        ]
    table = torch.cat(parts).numpy()
    return {name: table[:, i] for i, name in enumerate(COLUMNS)}


def _rows_at_once(gpt: GPT, tokens_NS: Tensor, batch_tokens: int) -> int:
    seq_len = tokens_NS.shape[1]
    return max(1, min(batch_tokens // seq_len, LOGITS_AT_ONCE // (seq_len * gpt.vocab_size)))


def of_tokens(logits_NV: Tensor, target_N: Tensor) -> Tensor:
    """log p, (log p - mu) / sigma, and whether the target is the most likely token (of equals the
    first one), fp32 [N, 3]. Overwrites the logits. With logits relative to the largest, log p =
    logit + log max p, and mu and sigma are formed without large numbers.

    torch's argmax and exp take as long as all the rest on a CPU; here softmax forms the
    exponentials, and argmax decides between equals only.
    """
    top_N1 = logits_NV.amax(-1, keepdim=True)
    equal_N = torch.eq(logits_NV, top_N1, out=torch.empty_like(logits_NV)).sum(-1)
    logits_NV.sub_(top_N1)
    logit_N = logits_NV.gather(-1, target_N[:, None])[:, 0]
    right_N = logit_N == 0
    between = (right_N & (equal_N > 1)).nonzero()[:, 0]
    right_N[between] = logits_NV[between].argmax(-1) == target_N[between]
    p_NV = torch.softmax(logits_NV, -1)
    log_max_N = p_NV.amax(-1).log()
    p_NV.mul_(logits_NV)
    mean_N = p_NV.sum(-1)
    variance_N = p_NV.mul_(logits_NV).sum(-1) - mean_N.square()
    return torch.stack(
        [
            logit_N + log_max_N,
            (logit_N - mean_N) / variance_N.clamp_min(SIGMA_FLOOR**2).sqrt(),
            right_N.float(),
        ],
        1,
    )


def columns(numbers_BS3: Tensor) -> list[Tensor]:
    """The columns of one batch, in the order of COLUMNS, from `of_tokens`."""
    log_p_BS, z_BS, right_BS = numbers_BS3.unbind(-1)
    S = log_p_BS.shape[1]
    k = math.ceil(K * S)
    return [
        -log_p_BS.sum(1),
        log_p_BS.topk(k, dim=1, largest=False).values.mean(1),
        z_BS.topk(k, dim=1, largest=False).values.mean(1),
        -log_p_BS[:, S // 2 :].sum(1),
        right_BS.mean(1),
        right_BS.flip(1).cumprod(1).sum(1),
    ]


@dataclass(frozen=True)
class Prefix:
    """Tokens of a non-member in front of sequences, int [T]; alone_N: nats of the first S - T
    tokens of each sequence without it, fp32 [n], where a pass has scored them before."""

    tokens_T: Tensor
    alone_N: np.ndarray | None = None


def recall(
    gpt: GPT,
    flat_P: Tensor,
    tokens_NS: Tensor,
    prefix: Prefix,
    dtype: torch.dtype,
    batch_tokens: int,
) -> np.ndarray:
    """ReCaLL (Xie et al., arXiv 2406.15968): log-likelihood of a sequence behind a prefix of
    non-members, over that without one, fp32 [n].

    Both are negative; a prefix costs a member more, so that a larger ratio means member. The
    context holds S tokens, so it is the first S - T tokens of each sequence that are scored.
    """
    prefix_T, alone_N = prefix.tokens_T, prefix.alone_N
    T, S = len(prefix_T), tokens_NS.shape[1]

    def nats(tokens_BT: Tensor, first: int) -> Tensor:
        return (
            gpt.by_token(
                flat_P,
                tokens_BT,
                lambda logits, target: F.cross_entropy(logits, target, reduction="none"),
                dtype,
                first,
            )
            .sum(1)
            .cpu()
        )

    behind, alone = [], []
    with torch.no_grad():
        for batch in tokens_NS.split(_rows_at_once(gpt, tokens_NS, batch_tokens)):
            body = batch[:, : S - T].long()
            behind.append(nats(torch.cat([prefix_T.long().expand(len(body), T), body], 1), T))
            if alone_N is None:
                alone.append(nats(body, 0))
    nats_N = torch.cat(alone) if alone_N is None else torch.from_numpy(alone_N)
    return (torch.cat(behind) / nats_N.clamp_min(1e-6)).numpy()
