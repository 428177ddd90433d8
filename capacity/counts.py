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
# what malloc takes for blocks of many sizes that come and go, over their sum
HOLES = {"cpu": 1.45}


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
    """Peak bytes of a stack in training, without its data (`cost.stack_bytes` adds them): weights
    and two moments in fp32, on CUDA a copy of them while a step is recorded, and then either what
    the backward pass needs (activations in the precision used, the head's chunk of logits, copies
    of the weights) or what the optimizer holds at once, whichever is more.

    Activations are counted tensor by tensor; sums of live tensors of a traced step lie within 25%
    (tests/unit/test_memory.py). What a process on a CPU takes for them is HOLES times as much: so
    the peaks of five processes of 28 to 101 MB, fp32 and bf16, are met within 10%.
    """
    d, tokens = model.d_model, members * train.batch_size * seq_len
    size = _bytes_of(train)
    logits = _logits(tokens, vocab_size, members, train.precision, HEAD_CHUNK[device])
    # last norm; in turn the head's chunk with its two gradients, or a block's gradients on their
    # way
    ends = tokens * 8 * d + max(
        logits + tokens * size * d + 4 * members * vocab_size * d, tokens * 20 * d
    )
    kept = ends + tokens * model.n_layers * _kept(model, seq_len, train, device)
    weights = members * parameters(model, vocab_size, seq_len)["total"]
    copies = {"fp32": 0, "tf32": 4}.get(train.precision, 2) + 16 * (train.qat != "none")
    at_once = 20 if train.optimizer == "muon" else 16
    if train.weights == "bf16_stochastic":
        at_once = 36  # words of 64 bits for the random numbers
    recorded = 12 * (device == "cuda")
    kept *= HOLES.get(device, 1.0)
    return weights * (12.0 + recorded) + max(weights * copies + kept, weights * at_once)


def _logits(tokens: int, vocab_size: int, members: int, precision: str, chunk: int) -> float:
    """Bytes of the head's logits: of a chunk with its probabilities, which are formed beside those
    of the chunk before where there are several, or are rounded to another format."""
    at_once = max(vocab_size, chunk)
    if precision == "fp16":  # sums of products are short there (model/head.py)
        at_once = min(at_once, 1024 * members * vocab_size)
    if tokens * vocab_size <= at_once:
        return tokens * vocab_size * {"fp32": 8, "tf32": 12}.get(precision, 10)
    return 12 * at_once


def _bytes_of(train: Train) -> int:
    """Of a number that products take and give."""
    return 2 if train.precision in ("bf16", "fp16") else 4


def _kept(model: Model, seq_len: int, train: Train, device: str) -> float:
    """Bytes that a block keeps for its backward pass, by token. Norms keep their input and the
    normalized numbers in fp32 and hand on numbers of the format; a hidden layer keeps what is in
    front of and behind its activation, a gated one also both factors. Experts keep all their
    places with what goes in and out, in fp32 where it is weighed, and the router three rows."""
    d, size = model.d_model, _bytes_of(train)
    norms = 2 if model.mlp_width else 1
    hidden = (4 if model.mlp == "gated" else 2) * size * model.mlp_width
    if model.n_experts:
        places = min(model.capacity_factor * model.top_k, model.n_experts)
        hidden = places * (hidden + (8 + 2 * size) * d) + 12 * model.n_experts
    return norms * (8 + size) * d + _kept_attention(model, seq_len, train, device) + hidden


def _kept_attention(model: Model, seq_len: int, train: Train, device: str) -> float:
    """Bytes that attention keeps, by token: queries, keys and values, as they came or in copies of
    their own where they are turned, repeated or rounded, what comes out, and a number per head; a
    document mask, and a row of scores per head where a short context on a CPU keeps them."""
    d, size = model.d_model, _bytes_of(train)
    kv = model.kv_heads * (d // model.n_heads)
    turned, repeated, rounded = model.position == "rotary", kv < d, train.precision == "tf32"
    copies = 3 * d if rounded else (d if turned else 0)
    if not rounded:
        copies += 2 * d if repeated else (kv if turned else 0)
    whole = not rounded and not (turned and repeated)  # a part of them is still in use
    out = (8 if rounded else size) * d
    kept = size * (copies + whole * (d + 2 * kv)) + out + 4 * model.n_heads
    if model.document_mask:
        return kept + seq_len
    if device == "cpu" and seq_len <= SHORT_CONTEXT and train.precision in ("fp32", "tf32"):
        kept += 4 * (2 * d + model.n_heads * seq_len)
    return kept


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
