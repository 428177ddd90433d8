"""One forward pass over sequences of text, and every number per sequence that membership and extraction need of it.

Columns, fp32 [n] each; log-probabilities in nats, sums over tokens unless said otherwise:

    loss         -sum of log p_t: every token is predicted, the first one from BOS
    min_k        mean of the lowest 20% of log p_t (Shi et al., arXiv 2310.16789; ceil(0.2 S) tokens)
    min_k_plus   the same mean of (log p_t - mu_t) / sigma_t, with the mean and standard deviation of log p over the model's own next
                 token (Zhang et al., arXiv 2404.02936); sigma_t of at least 1e-3, where a prediction is uniform or certain
    suffix_loss  -sum of log p_t over the second half of the sequence (S - S // 2 tokens), given the first
    correct      part of the tokens that are the most likely one, under teacher forcing ("exact memorization")
    tail         tokens at the end that are all the most likely one: greedy decoding from S - tail tokens on writes the rest exactly
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from capacity.measure.bits import LOGITS_AT_ONCE
from capacity.model.gpt import GPT

K = 0.2
SIGMA_FLOOR = 1e-3
COLUMNS = ("loss", "min_k", "min_k_plus", "suffix_loss", "correct", "tail")


def scores(gpt: GPT, flat_P: Tensor, tokens_NS: Tensor, dtype: torch.dtype, batch_tokens: int) -> dict[str, np.ndarray]:
    """All columns for the sequences, int [n, S] on the device of the weights. Memory is bounded by `batch_tokens` and the
    vocabulary."""
    seq_len = tokens_NS.shape[1]
    rows = max(1, min(batch_tokens // seq_len, LOGITS_AT_ONCE // (seq_len * gpt.vocab_size)))
    parts: list[Tensor] = []
    with torch.no_grad():
        for batch in tokens_NS.split(rows):
            tokens_BS = batch.long()
            log_p_BSV = torch.log_softmax(gpt.logits(flat_P[None], tokens_BS[None], dtype)[0], -1)
            parts.append(torch.stack(columns(log_p_BSV, tokens_BS), 1).cpu())
    table = torch.cat(parts).numpy()
    return {name: table[:, i] for i, name in enumerate(COLUMNS)}


def columns(log_p_BSV: Tensor, tokens_BS: Tensor) -> list[Tensor]:
    """The columns of one batch, in the order of COLUMNS, from the log-probabilities of every next token."""
    S = tokens_BS.shape[1]
    log_p_BS = log_p_BSV.gather(-1, tokens_BS[..., None])[..., 0]
    p_BSV = log_p_BSV.exp()
    weighted_BSV = p_BSV * log_p_BSV
    mean_BS = weighted_BSV.sum(-1)
    variance_BS = (weighted_BSV * log_p_BSV).sum(-1) - mean_BS.square()
    z_BS = (log_p_BS - mean_BS) / variance_BS.clamp_min(SIGMA_FLOOR**2).sqrt()
    k = math.ceil(K * S)
    right_BS = log_p_BSV.argmax(-1) == tokens_BS
    tail_B = right_BS.flip(1).long().cumprod(1).sum(1)
    return [-log_p_BS.sum(1), log_p_BS.topk(k, dim=1, largest=False).values.mean(1), z_BS.topk(k, dim=1, largest=False).values.mean(1),
            -log_p_BS[:, S // 2:].sum(1), right_BS.float().mean(1), tail_B.float()]


def recall(gpt: GPT, flat_P: Tensor, tokens_NS: Tensor, prefix_T: Tensor, dtype: torch.dtype, batch_tokens: int) -> np.ndarray:
    """ReCaLL (Xie et al., arXiv 2406.15968): log-likelihood of a sequence behind a prefix of non-members, over that without one, fp32 [n].

    Both are negative; a prefix costs a member more, so that a larger ratio means member. The context holds S tokens, so it is the
    first S - T tokens of each sequence that are scored.
    """
    T, S = len(prefix_T), tokens_NS.shape[1]
    rows = max(1, min(batch_tokens // S, LOGITS_AT_ONCE // (S * gpt.vocab_size)))
    parts = []
    with torch.no_grad():
        for batch in tokens_NS.split(rows):
            body = batch[:, :S - T].long()
            behind = torch.cat([prefix_T.long().expand(len(body), T), body], 1)
            with_prefix = gpt.nll(flat_P[None], behind[None], dtype)[0][:, T:].sum(1)
            parts.append((with_prefix / gpt.nll(flat_P[None], body[None], dtype)[0].sum(1).clamp_min(1e-6)).cpu())
    return torch.cat(parts).numpy()
