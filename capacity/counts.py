"""Closed formulas for parameters, FLOPs and memory (standard library only; the built model is
asserted against them).

What a block counts is the sum of what its parts say of themselves (`capacity.parts`, one module per
kind). L layers, d width, V vocabulary rows, S positions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from capacity.parts import attention, base, registry

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train

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
    active         numbers that take part in what is computed of one token: total without the
                   experts that it does not visit and without the rows of hashed and token-indexed
                   tables that it does not read. The token embedding counts whole: where it is tied
                   the head reads all of it, and so it does in every published count

    used_rows: rows of the token table that the training data can touch, all of them where None.
    """
    d, V, S = model.d_model, vocab_size, seq_len
    blocks = registry.count(model, V + bos)
    non_embedding = blocks.total + base.norm(model)
    copies = 1 if model.tied else 2
    total = non_embedding + V * d * copies + S * d * (model.position == "learned") + bos * d
    unused = 0 if used_rows is None else V - used_rows
    left_out = d if bos else unused * (d * copies + blocks.by_token)
    return {
        "total": total,
        "paper": total - left_out,
        "non_embedding": non_embedding,
        "active": total - blocks.idle,
    }


def idle_parameters(model: Model, vocab_size: int, bos: bool) -> int:
    """total - active: 0 where the model is dense, and therefore nothing to divide bits by. (Papers
    say sparse or stored parameters; what a model takes on a disk are stored bits, another number.)
    """
    return registry.count(model, vocab_size + bos).idle


def values_read(model: Model, vocab_size: int, bos: bool) -> int:
    """Numbers that a token fetches from tables of parts in all blocks; the row of its embedding is
    not among them."""
    return registry.count(model, vocab_size + bos).read


def state_numbers(model: Model, length: int) -> int:
    """Numbers that a model keeps of one sequence of so many tokens to go on with it: keys and
    values, states of recurrences, inputs of convolutions; of loops each has its own."""
    each = sum(times * part.state(model, length) for part, times in registry.blocks(model))
    return each * model.loops


def used_parameters(model: Model, total: int, vocab_size: int, used_rows: int) -> int:
    """`total` without the rows of embedding, untied head and token-indexed tables that no text
    uses; BOS is in use."""
    rows = model.d_model * (1 if model.tied else 2) + registry.count(model, vocab_size).by_token
    return total - (vocab_size - used_rows) * rows


def forward_flops_per_token(model: Model, vocab_size: int, seq_len: int) -> float:
    """Floating-point operations of one forward pass per predicted token: 2 per multiply-add of a
    matrix product.

    The head counts, embedding look-ups do not, attention counts the full S x S square (no causal or
    document saving), as in the model-FLOPs convention of PaLM (Chowdhery et al. 2022, appendix B):
    2 x matrix weights + 4 L S d. Of experts those count that a token visits, not their empty
    places; convolutions count as 2 per tap.
    """
    blocks = sum(times * part.flops(model, seq_len) for part, times in registry.blocks(model))
    return float(2 * vocab_size * model.d_model + blocks * model.loops)


def decoded_flops_per_token(model: Model, vocab_size: int, length: int) -> float:
    """Floating-point operations per token where a sequence of so many is written token by token
    with what is known of the earlier ones kept: `forward_flops_per_token`, but attention counts
    the kept tokens only, (length - 1) / 2 on the mean from the first token to the last.

    The convention of Information Capacity (arXiv 2511.08066; `avg_decode_TFLOPs_per_token` in
    flops.py of github.com/TeleAI-AI-Flow/InformationCapacity, at seq_len 0): a token's own key is
    not counted, the head is. That script takes every MLP for a gated one; here a plain one counts
    as it is. Other mixers count as in a forward pass.
    """
    square = sum(times for part, times in registry.blocks(model) if part is attention)
    fewer = 2.0 * (length + 1) * model.d_model  # 4 S d less 4 d (S - 1) / 2
    return forward_flops_per_token(model, vocab_size, length) - square * model.loops * fewer


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
    size = base.bytes_of(train)
    logits = _logits(tokens, vocab_size, members, train.precision, HEAD_CHUNK[device])
    # last norm; in turn the head's chunk with its two gradients, or a block's gradients on their
    # way
    ends = tokens * 8 * d + max(
        logits + tokens * size * d + 4 * members * vocab_size * d, tokens * 20 * d
    )
    kept = ends + tokens * model.loops * sum(
        times * part.kept(model, seq_len, train, device) for part, times in registry.blocks(model)
    )
    weights = members * parameters(model, vocab_size, seq_len)["total"]
    copies = {"fp32": 0, "tf32": 4}.get(train.precision, 2) + 16 * (train.qat != "none")
    at_once = 20 if train.optimizer == "muon" else 16
    if train.weights == "bf16_stochastic":
        at_once = 24  # words of 64 bits for the random numbers, mixed in place
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
