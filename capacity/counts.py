"""Closed formulas for parameters, FLOPs and memory (standard library only; the built model is
asserted against them).

L layers, d width, f hidden width of an MLP, X experts, V vocabulary rows, S positions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train


# tokens; on a CPU, contexts up to here keep their attention scores (model/attention.py)
SHORT_CONTEXT = 128
# logits that the head forms at once (model/head.py): 1 MiB stays in a core's level-2 cache, 1 GiB
# bounds memory and is far too large to cost launches
HEAD_CHUNK = {"cpu": 2**18, "cuda": 2**28}


def parameters(
    model: Model, vocab_size: int, seq_len: int, bos: bool = True, used_rows: int | None = None
) -> dict[str, int]:
    """Parameter counts by convention.

    total          every trained number; a tied embedding counts once, the learned BOS vector counts
    paper          what the study of that kind of data counts. With BOS, total without its vector:
                   with learned positions, tied head and biases this is V d + S d + L (12 d^2 + 13
                   d) + 2 d, which reproduces all rows of Table 1 of Morris et al. (arXiv
                   2505.24832) and GPT-2 small with 64 positions, 123,702,528. Without BOS, total
                   without the rows of embedding and untied head that no training token can touch
                   (Physics of Language Models 3.3, arXiv 2404.05405, appendix A, which says nothing
                   of untied heads)
    non_embedding  blocks and final norm only: no token, position or BOS vectors and no untied head
    active         total without the experts that a token does not visit; the same as total where
                   the model is dense

    used_rows: rows of the token table that the training data can touch, all of them where None.
    """
    L, d, V, S = model.n_layers, model.d_model, vocab_size, seq_len
    norm = 2 * d if model.norm == "layernorm" else d
    expert, norms = sum(_mlp(model)), 2 if model.mlp_width else 1
    block = (
        norms * norm + sum(_attention(model)) + max(1, model.n_experts) * expert + _router(model)
    )
    non_embedding = L * block + norm
    copies = 1 if model.tied else 2
    total = non_embedding + V * d * copies + S * d * (model.position == "learned") + bos * d
    left_out = d if bos else (0 if used_rows is None else V - used_rows) * d * copies
    idle = L * (model.n_experts - model.top_k) * expert if model.n_experts else 0
    return {
        "total": total,
        "paper": total - left_out,
        "non_embedding": non_embedding,
        "active": total - idle,
    }


def used_parameters(model: Model, total: int, vocab_size: int, used_rows: int) -> int:
    """`total` without the rows of embedding and untied head that no text uses; BOS is in use."""
    return total - (vocab_size - used_rows) * model.d_model * (1 if model.tied else 2)


def forward_flops_per_token(model: Model, vocab_size: int, seq_len: int) -> float:
    """Floating-point operations of one forward pass per predicted token: 2 per multiply-add of a
    matrix product.

    The head counts, embedding look-ups do not, attention counts the full S x S square (no causal or
    document saving), as in the model-FLOPs convention of PaLM (Chowdhery et al. 2022, appendix B):
    2 x matrix weights + 4 L S d. Of experts those count that a token visits, not their empty
    places.
    """
    L, d = model.n_layers, model.d_model
    visited = model.top_k if model.n_experts else 1
    matrices = _attention(model)[0] + visited * _mlp(model)[0] + _router(model)
    return 2.0 * (L * matrices + vocab_size * d) + 4.0 * L * seq_len * d


def memory_bytes(
    model: Model,
    vocab_size: int,
    seq_len: int,
    train: Train,
    members: int = 1,
    device: str = "cpu",
) -> float:
    """Rough peak bytes of a stack in training: weights, gradient, two moments and the optimizer's
    temporaries (34 P; 4 P more in other formats, 16 P with quantized weights), activations kept for
    the backward pass (about 16 d values, 3 per hidden unit, 5 where it is gated, for each layer and
    token, and a row of scores per head where a short context on a CPU keeps them), and the head's
    chunk of logits with two copies. Experts keep all their places, each with its input and output,
    and the router three rows per token. Fitted to the peak of six CPU processes of 42 to 558 MB
    (fp32), which it meets within 16%."""
    d, f = model.d_model, model.mlp_width
    tokens = train.batch_size * seq_len
    hidden = (5 if model.mlp == "gated" else 3) * f
    if model.n_experts:
        hidden = (
            min(model.capacity_factor * model.top_k, model.n_experts) * (hidden + 2 * d)
            + 3 * model.n_experts
        )
    scores = model.n_heads * seq_len if device == "cpu" and seq_len <= SHORT_CONTEXT else 0
    activations = members * tokens * (model.n_layers * (16 * d + hidden + scores) + 4 * d)
    logits = 3 * min(members * tokens * vocab_size, max(vocab_size, HEAD_CHUNK[device]))
    per_weight = 34.0 + 4.0 * (train.precision != "fp32") + 16.0 * (train.qat != "none")
    weights = per_weight * parameters(model, vocab_size, seq_len)["total"]
    return members * weights + 4.0 * (activations + logits)


def _attention(model: Model) -> tuple[int, int]:
    """Weights and biases of a block's attention; keys and values may have fewer heads than
    queries."""
    d, kv = model.d_model, model.kv_heads * (model.d_model // model.n_heads)
    return 2 * d * (d + kv), model.bias * 2 * (d + kv)


def _mlp(model: Model) -> tuple[int, int]:
    """Weights and biases of one MLP or expert: one map to the hidden units, two where it is gated,
    and one back."""
    d, f, inward = model.d_model, model.mlp_width, 2 if model.mlp == "gated" else 1
    return (inward + 1) * d * f, (inward * f + d) * (model.bias and f > 0)


def _router(model: Model) -> int:
    """Weights of a block's router, which has no bias."""
    return model.d_model * model.n_experts


def uniform_ceiling_bits(n: int, seq_len: int, vocab_size: int, convention: str) -> float:
    """Most bits that a model can hold about n uniform sequences, which it may know perfectly but in
    no order.

    strict: n (S log2 V - log2 n): a perfect memorizer still spreads its probability over the n
    sequences.
    paper:  n S (log2 V - g(n/V)/(S-1)), g(x) = E[log2(1 + Poisson(x))]: the first token is given,
            and the sequence has to be distinguished from those that share it. Expected over the
            draw of the data, for distinct sequences. Both derived for this project from the
            definitions of Morris et al., section 2.
    ValueError for another convention.
    """
    bits = math.log2(vocab_size)
    if convention == "strict":
        return max(0.0, n * (seq_len * bits - math.log2(n)))
    if convention == "paper":
        return max(
            0.0, n * seq_len * (bits - expected_log2_sharers((n - 1) / vocab_size) / (seq_len - 1))
        )
    raise ValueError(f"convention {convention!r}: expected strict or paper")


def expected_log2_sharers(rate: float) -> float:
    """g(rate) = E[log2(1 + X)], X ~ Poisson(rate), by summation over all X within 12 standard
    deviations."""
    if rate <= 0:
        return 0.0
    reach = 12 * math.sqrt(rate) + 12
    total = 0.0
    for k in range(max(0, int(rate - reach)), int(rate + reach) + 1):
        total += math.log2(1 + k) * math.exp(k * math.log(rate) - rate - math.lgamma(k + 1))
    return total
