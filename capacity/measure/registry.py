"""What is measured of a run, by the kind of its data: memorized bits of random tokens, knowledge
about people, or text."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from capacity.config import Config
from capacity.measure import extraction, knowledge, quantization, text
from capacity.measure import memorization as bits
from capacity.model.gpt import GPT
from capacity.model.numerics import allow_tf32
from capacity.settings.quantize import Spec
from capacity.train.loop import Stack

NAMES = {"uniform": bits.NAME, "text": text.NAME}  # by kind of data; all others are about people
EVALUATED = {
    bits.NAME: "strict_bits",
    knowledge.NAME: "bits",
    text.NAME: "bits",
}  # the number in metrics.jsonl that convergence is judged by


def name_of(config: Config) -> str:
    """The measure of a run's data."""
    return NAMES.get(config.data.kind, knowledge.NAME)


def running(config: Config, loss_bits: float) -> float | None:
    """An estimate of the bits per parameter from the training loss alone; None where the loss does
    not tell."""
    if config.data.kind != "uniform":
        return None
    per_sequence = config.data.seq_len * (math.log2(config.data.vocab_size) - loss_bits)
    return config.items * per_sequence / config.parameters["total"]


def evaluate(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    """A cheap measure during training, for metrics.jsonl: of knowledge one context per
    attribute."""
    config = stack.configs[m]
    if config.data.kind == "uniform":
        return _memorized(stack, flat_P, m, stack.dtype)
    if config.data.kind == "text":
        held = text.bits(stack.gpt, flat_P, stack.feed.member_tokens(m), config, stack.dtype)
        return {"bits": held, "bits_per_parameter": held / config.parameters["total"]}
    held = _knowledge(stack, flat_P, m, 1, stack.dtype)
    return {
        "bits": held["bits"],
        "bits_per_parameter": held["bits_per_parameter"]["paper"],
        "accuracy": held["accuracy"],
        "fraction_of_ceiling": held["fraction_of_ceiling"],
    }


def probe(stack: Stack, flat_P: Tensor, m: int) -> dict[str, list[float]]:
    """Bits per token of every canary of member m, for metrics.jsonl."""
    return {
        "canary_loss_bits_per_token": text.canary_losses(
            stack.gpt, flat_P, stack.feed.canaries(m), stack.configs[m], stack.dtype
        )
    }


def headline(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    """held_bits as `held_bits` says, in fp32 arithmetic, and beside them paper_bits or the accuracy
    of values."""
    config, gpt, exact = stack.configs[m], stack.gpt.in_fp32(), torch.float32
    if config.data.kind == "uniform":
        held = _memorized(stack, flat_P, m, exact, gpt)
        return {"held_bits": held["strict_bits"], "paper_bits": held["paper_bits"]}
    if config.data.kind == "text":
        return {"held_bits": text.bits(gpt, flat_P, stack.feed.member_tokens(m), config, exact)}
    held = _knowledge(stack, flat_P, m, config.measure.contexts, exact, gpt)
    return {"held_bits": held["bits"], "accuracy": held["accuracy"]}


def measure_all(
    stack: Stack, flat_P: Tensor, m: int, variants: list[Spec]
) -> tuple[dict[str, dict], dict[str, np.ndarray] | None]:
    """Every measure that the settings of member m ask for, by name, ready for its record, with
    these variants of quantization; and of text the table of its sequences."""
    config, table = stack.configs[m], None
    if config.data.kind == "uniform":
        found = bits.measure(
            stack.gpt,
            flat_P,
            stack.feed.member_tokens(m),
            stack.dtype,
            config.measure.batch_tokens,
            config.parameters,
        )
    elif config.data.kind == "text":
        found, table = text.measure(stack.gpt, flat_P, config, stack.dtype)
    else:
        found = _knowledge(stack, flat_P, m, config.measure.contexts, stack.dtype)
    out = {name_of(config): found}
    if config.extraction.mode != "none":
        world = stack.feed.members[m].world
        out[extraction.NAME] = extraction.measure(stack.gpt, flat_P, world, config, stack.dtype)
    if variants:
        allow_tf32(False)
        out[quantization.NAME] = quantization.measure(
            stack.gpt,
            flat_P,
            variants,
            lambda n: stack.feed.first_rows(m, n),
            lambda weights_P: headline(stack, weights_P, m),
            name_of(config),
            config.parameters,
            quantization.storage(stack.gpt, config.train, "fp32")["bits"],
        )
        allow_tf32(stack.gpt.tf32)
    return out, table


def held_bits(name: str, measured: dict) -> float:
    """The headline of a measure: strict memorized bits, or bits of knowledge."""
    return measured["strict"]["bits"] if name == bits.NAME else measured["bits"]


def _memorized(
    stack: Stack, flat_P: Tensor, m: int, dtype: torch.dtype, gpt: GPT | None = None
) -> dict[str, float]:
    config = stack.configs[m]
    held = bits.memorized(
        bits.code_lengths(
            gpt or stack.gpt,
            flat_P,
            stack.feed.member_tokens(m),
            dtype,
            config.measure.batch_tokens,
        ),
        config.data.seq_len,
        config.data.vocab_size,
    )
    return {"strict_bits": float(held["strict"]), "paper_bits": float(held["paper"])}


def _knowledge(
    stack: Stack, flat_P: Tensor, m: int, contexts: int, dtype: torch.dtype, gpt: GPT | None = None
) -> dict:
    config, gpt = stack.configs[m], gpt or stack.gpt

    def scorer(tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            nll, greedy = gpt.score(flat_P[None], tokens_BT[None], dtype)
        return nll[0], greedy[0]

    batch_tokens = max(1, min(config.measure.batch_tokens, bits.LOGITS_AT_ONCE // gpt.vocab_size))
    return knowledge.measure(
        stack.feed.members[m].world,
        scorer,
        config.measure.people,
        contexts,
        config.measure.context,
        batch_tokens,
        config.parameters,
    )
