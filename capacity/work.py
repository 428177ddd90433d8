"""What a step of training consists of, in units that a device takes a constant time for each: the
terms of the cost model (`cost`). Standard library only.

Counts follow the code: operations are those that torch dispatches (model/gpt.py, model/qat.py,
train/optim.py; a test counts them), values are those that a term's kernels read or write.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from capacity import counts
from capacity.parts import attention, banks, engram, experts, keys, mlp, registry
from capacity.parts.base import SHORT_CONTEXT
from capacity.parts.recurrent import CHUNK, SHORT_CHUNK
from capacity.settings.data import BiosData
from capacity.settings.fresh import FreshData
from capacity.settings.model import Model

if TYPE_CHECKING:
    from capacity.config import Config

# term -> what one unit of it is
TERMS = {
    "operation": "an operation that torch dispatches, once for a whole stack",
    "flop": "a floating-point operation of a matrix product, forward and backward",
    "narrow": "a value that a product over few channels reads or writes",
    "logit": "a logit, with its softmax and gradient",
    "hidden": "a hidden unit of an MLP and token, with its activation",
    "stream": "a value of the residual stream, in a norm, a sum or a rotation, by token and layer",
    "score": "an attention score of a query and a key that is kept for the backward pass",
    "fused": "a score that the fused kernel forms",
    "weight": "a weight, with its gradient and moments",
    "rounding": "a weight that is rounded at one of its scales (quantization-aware training)",
    "seat": "a value of a place of an expert, to which rows are moved",
    "rendered": "a token of a stream that is rendered while training goes on",
}
SCALES = {"none": 0, "binary": 1}  # that rounding tries of a channel; other formats try all
ALL_SCALES, TRIED_AT_ONCE = 8, 2**16  # `RATIOS` and `AT_ONCE` of model/qat.py
# of a part that GPT-2's form does not have, beyond those of what it takes the place of
ADDED_OPERATIONS = {
    "canon": 45.0,
    "linear": 8.0,
    "based": 13.0,
    "gla": 58.0,
    "ssd": 87.0,
    "delta": 93.0,
    "titans": 210.0,
    "lstm": -66.0,
    "stem": 16.0,
    "keys": 123.0,
    "banks": 42.0,
    "engram": 220.0,
}
# of a chunk of positions beyond the first; with a decay also of the first chunk of the delta rule
OF_CHUNK = {
    "gla": (SHORT_CHUNK, 100.0),
    "ssd": (CHUNK, 92.0),
    "delta": (CHUNK, 105.0),
    "titans": (CHUNK, 265.0),
}
OF_DECAY, OF_DECAY_BY_CHUNK = 62.0, 45.0
OF_STEP = 42.0  # of a position of an LSTM
OF_MIXER_CONV, OF_MIXER_GATE = 44.0, 49.0
OF_BANK_LEVEL, OF_BANK_TOKEN = 29.0, 6.0  # of a level of banks, of a token that chooses
OF_FACTORS, OF_FACTORS_OF_MAP = 44.0, 7.0  # of a block of low rank, and of each map of its MLP
OF_EXPERT = 17.0  # of a found value that is an expert
OF_GATE, OF_CONV = 30.0, 73.0  # those among them of the gate of keys, of the convolution of engram
ITERATIONS = 5  # of Muon, see train/optim.py
STREAMED = ("bios", "mixed", "biod", "corpus")
DRAWN_QUESTIONS = 6  # about a person of bioD or of a corpus: as many as bioS has, about


def operations(run: Config) -> float:
    """Operations of one step of a stack, whatever its members: a fixed part, one of each block, and
    those of every chunk of the head."""
    model, train = run.model, run.train
    block = 134.0
    if not model.mlp_width:
        block -= 45
    if model.mlp == "gated":
        block += 16
    if model.position == "rotary":
        block += 49
    if not model.bias:
        block -= 20
    if model.norm == "rmsnorm":
        block += 20
    if model.map_rank is not None:
        block += OF_FACTORS + OF_FACTORS_OF_MAP * _mlp_maps(model)
    if model.n_experts:
        block += 126 + 140 * (model.expert_rounds - 1) + 28 * (model.n_shared > 0)
        block += model.expert_rounds * (35 * (model.router_shift > 0) + 26 * (model.router_z > 0))
    blocks = block * model.n_layers
    for name, times in added_parts(model).items():
        left_out = OF_GATE * (name == "keys" and not model.keys_gate)
        left_out -= OF_EXPERT * (name == "keys" and model.keys_expert)
        left_out += OF_CONV * (name == "engram" and not model.engram_conv)
        if name == "banks":
            left_out -= OF_BANK_LEVEL * len(model.banks_units) + OF_BANK_TOKEN * model.banks_prefix
        blocks += (ADDED_OPERATIONS[name] - left_out) * times
    blocks += model.n_layers * _mixer_operations(model, run.data.seq_len)
    blocks *= model.loops
    if train.optimizer == "muon":  # shapes of its matrices, not their number
        shapes = 1 + 2 * (model.mlp_width > 0) + (model.kv_heads != model.n_heads)
        fixed = 147.0 + 94 * (shapes + (model.map_rank is not None))
    else:
        fixed = 147.0
    if scales := SCALES.get(train.qat, ALL_SCALES):
        fixed += model.n_layers * sum(_rounding(size, scales) for size in _maps(run))
    return fixed + blocks + 23 * (head_chunks(run) - 1)


def added_parts(model: Model) -> dict[str, int]:
    """Parts that GPT-2's form does not have, with the number of them in all blocks."""
    times = Counter(
        kind for layer in range(model.n_layers) for kind in registry.of_layer(model, layer)
    )
    canon = len(model.canon) * model.n_layers
    return {"canon": canon} | {kind: times[kind] for kind in ADDED_OPERATIONS if kind != "canon"}


def _mixer_operations(model: Model, length: int) -> float:
    """Of one block, beyond those of its kind of mixer in one chunk of positions."""
    more = OF_MIXER_CONV * model.mixer_conv + OF_MIXER_GATE * model.mixer_gate
    if model.mixer == "lstm":
        return OF_STEP * length
    chunk, each = OF_CHUNK.get(model.mixer, (length, 0.0))
    further = math.ceil(length / chunk) - 1
    return more + each * further + (OF_DECAY + OF_DECAY_BY_CHUNK * further) * model.mixer_decay


def _mlp_maps(model: Model) -> int:
    return (3 if model.mlp == "gated" else 2) * (model.mlp_width > 0)


def _maps(run: Config) -> list[int]:
    """Weights of each map of a block, or of its factors, that is rounded to few values."""
    model, r = run.model, run.model.map_rank
    (d, kv), f = attention.widths(model), max(1, model.n_experts) * model.mlp_width
    if r is None:
        return [d * (d + 2 * kv), d * d] + [d * f] * _mlp_maps(model)
    return [3 * r * d, r * d, r * kv, r * kv, r * d, r * d] + [r * d, r * f] * _mlp_maps(model)


def _rounding(size: int, scales: int) -> float:
    """Operations of rounding a map of so many weights: of one scale, or of as many passes as trying
    all of them takes."""
    if scales == 1:
        return 27.0
    passes = math.ceil(scales / max(1, TRIED_AT_ONCE // size))
    return 40.0 + 9 * passes + (passes > 1)


def head_chunks(run: Config) -> int:
    """Chunks of tokens for which a CPU forms logits at once, see model/head.py."""
    tokens = run.train.batch_size * run.data.seq_len
    return -(-tokens // min(tokens, max(1, counts.HEAD_CHUNK["cpu"] // run.rows)))


def of_member(run: Config) -> dict[str, float]:
    """Units of every term but operations in one step of one member."""
    model, train, S, V = run.model, run.train, run.data.seq_len, run.rows
    L, d, f, N = model.n_layers, model.d_model, model.mlp_width, train.batch_size * S
    inward, rank = 2 if model.mlp == "gated" else 1, model.map_rank or 0
    places = 1.0
    if model.n_experts:
        places = experts.places(model) + model.n_shared
    wide = d + 2 * model.kv_heads * (d // model.n_heads)
    added = added_parts(model)
    mlps, memories = (
        L - added["stem"] - added["keys"],
        added["engram"] * 2 * engram.read(model) * d,
    )
    maps = L * attention.maps(model) + added["stem"] * 2 * d * f + memories
    maps += added["keys"] * keys.flops(model, S) // 2 + added["banks"] * banks.read(model)
    short = S <= SHORT_CONTEXT and not model.document_mask and train.precision == "fp32"
    pairs = S
    if model.mixer != "attention":
        short, pairs = False, min(S, OF_CHUNK.get(model.mixer, (S, 0.0))[0])
    scores = float(N * pairs * model.n_heads * L)
    weights = counts.parameters(model, V, S, run.data.bos)["total"]
    scales = SCALES.get(train.qat, ALL_SCALES)
    in_blocks = maps + mlps * max(1, model.n_experts + model.n_shared) * mlp.maps(model)
    maps += mlps * places * mlp.maps(model)
    squares = 2 * L * S * d
    if model.mixer != "attention":  # the maps of attention are counted above
        whole = registry.MIXERS[model.mixer].flops(model, S) // 2
        squares = L * (whole - d * (wide + d))
    flop = 6.0 * N * (model.loops * (maps + squares) + V * d)
    if train.optimizer == "muon":  # a gram matrix, its square and a product, five times
        side = d * d
        flop += ITERATIONS * L * d * (4 * side + 2 * d * side + (inward + 1) * (2 * d * f + side))
    L *= model.loops
    scores *= model.loops
    banked = added["banks"] * model.loops
    return {
        "flop": flop,
        "narrow": float(
            N * L * (wide + 2 * d + places * (inward + 1) * (f + d) + 2 * (5 + inward) * rank)
        ),
        "logit": float(N * V),
        "hidden": float(N * (L * places * f + banked * sum(model.banks_units)) * inward),
        # a convolution goes over its channels about as often as a norm does, a memory as five norms
        "stream": float(
            N
            * (
                L * (2 + (f > 0) + (model.position == "rotary"))
                + added["canon"]
                + 5 * added["engram"]
                + 1
            )
            * d
            + N * banked * banks.fetched(model, S)
        ),
        "score": scores if short else 0.0,
        "fused": 0.0 if short else scores,
        "weight": float(weights),
        "rounding": float(in_blocks * scales),
        "seat": N * L * places * d if model.n_experts else 0.0,
        "rendered": float(N) if run.data.kind in STREAMED else 0.0,
    }


def evaluation_steps(run: Config) -> float:
    """Forward passes over the training set that a run is interrupted for, in steps: all sequences,
    or every question about every person, whose text is read up to the value, half of it."""
    data = run.data
    if isinstance(data, FreshData):
        tokens = run.measure.sequences * data.seq_len
        return (run.measure.evaluations + 1) * tokens / (run.train.batch_size * data.seq_len)
    each = 1.0
    if data.kind in STREAMED:
        questions = len(data.attribute_sizes) if isinstance(data, BiosData) else DRAWN_QUESTIONS
        each = (questions + 1) / 2
    tokens = run.trained_items * run.resolved.tokens_of(run.items) * each
    return (run.measure.evaluations + 1) * tokens / (run.train.batch_size * data.seq_len)
