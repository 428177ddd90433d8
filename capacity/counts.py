"""Closed formulas for parameters, FLOPs and memory (standard library only; the built model is asserted against them).

L layers, d width, f = mlp_ratio d, V vocabulary rows, S positions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capacity.config import Model


def parameters(model: Model, vocab_size: int, seq_len: int) -> dict[str, int]:
    """Parameter counts by convention.

    total          every trained number; a tied embedding counts once, the learned BOS vector counts
    paper          total without the BOS vector: with learned positions, tied head and biases this is the count
                   V d + S d + L (12 d^2 + 13 d) + 2 d that reproduces all rows of Table 1 of Morris et al.
                   (arXiv 2505.24832) and GPT-2 small with 64 positions, 123,702,528
    non_embedding  blocks and final norm only: no token, position or BOS vectors and no untied head

    No run has unused vocabulary rows yet (uniform data uses all), so the used-rows count equals `total`.
    """
    L, d, V, S = model.n_layers, model.d_model, vocab_size, seq_len
    f = round(model.mlp_ratio * d)
    block = 4 * d * d + 2 * d * f + 4 * d + model.bias * (5 * d + f)
    non_embedding = L * block + 2 * d
    tables = V * d * (1 if model.tied else 2) + S * d * (model.position == "learned")
    return {"total": non_embedding + tables + d, "paper": non_embedding + tables, "non_embedding": non_embedding}


def forward_flops_per_token(model: Model, vocab_size: int, seq_len: int) -> float:
    """Floating-point operations of one forward pass per predicted token: 2 per multiply-add of a matrix product.

    The head counts, embedding look-ups do not, attention counts the full S x S square (no causal saving), as in the
    model-FLOPs convention of PaLM (Chowdhery et al. 2022, appendix B): 2 x matrix weights + 4 L S d.
    """
    L, d = model.n_layers, model.d_model
    f = round(model.mlp_ratio * d)
    return 2.0 * (L * (4 * d * d + 2 * d * f) + vocab_size * d) + 4.0 * L * seq_len * d


def memory_bytes(model: Model, vocab_size: int, seq_len: int, batch_size: int) -> float:
    """Rough peak bytes of one training run in fp32: weights, gradient, two moments and the optimizer's temporaries (24 P),
    activations kept for the backward pass (about 12 d + 2 f values and one row of scores per head, layer and token), and
    the head's chunk of logits with its probabilities (at most 2 x 2^18 values on a CPU)."""
    d, f = model.d_model, model.mlp_ratio * model.d_model
    tokens = batch_size * seq_len
    activations = tokens * (model.n_layers * (12 * d + 2 * f + model.n_heads * seq_len) + 4 * d)
    logits = 2 * min(tokens * vocab_size, max(vocab_size, 2**18))
    return 24.0 * parameters(model, vocab_size, seq_len)["total"] + 4.0 * (activations + logits)


def uniform_ceiling_bits(n: int, seq_len: int, vocab_size: int, convention: str) -> float:
    """Most bits that a model can hold about n uniform sequences, which it may know perfectly but in no order.

    strict: n (S log2 V - log2 n): a perfect memorizer still spreads its probability over the n sequences.
    paper:  n S (log2 V - g(n/V)/(S-1)), g(x) = E[log2(1 + Poisson(x))]: the first token is given, and the sequence has
            to be told apart from those that share it. An expectation over the draw of the data, for distinct
            sequences. Both derived for this project from the definitions of Morris et al., section 2.
    ValueError for another convention.
    """
    bits = math.log2(vocab_size)
    if convention == "strict":
        return max(0.0, n * (seq_len * bits - math.log2(n)))
    if convention == "paper":
        return max(0.0, n * seq_len * (bits - expected_log2_sharers((n - 1) / vocab_size) / (seq_len - 1)))
    raise ValueError(f"convention {convention!r}: expected strict or paper")


def expected_log2_sharers(rate: float) -> float:
    """g(rate) = E[log2(1 + X)], X ~ Poisson(rate), by summation over all X within 12 standard deviations."""
    if rate <= 0:
        return 0.0
    reach = 12 * math.sqrt(rate) + 12
    total = 0.0
    for k in range(max(0, int(rate - reach)), int(rate + reach) + 1):
        total += math.log2(1 + k) * math.exp(k * math.log(rate) - rate - math.lgamma(k + 1))
    return total
