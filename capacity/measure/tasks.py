"""What is measured of a run, by the kind of its data: memorized bits of random tokens, or knowledge about people."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from capacity.config import Config
from capacity.measure import bits, extraction, knowledge
from capacity.train.loop import Stack

EVALUATED = {bits.NAME: "strict_bits", knowledge.NAME: "bits"}  # the number in metrics.jsonl that convergence is judged by


def name_of(config: Config) -> str:
    """The measure of a run's data."""
    return bits.NAME if config.data.kind == "uniform" else knowledge.NAME


def running(config: Config, loss_bits: float) -> float | None:
    """An estimate of the bits per parameter from the training loss alone; None where the loss does not tell."""
    if config.data.kind != "uniform":
        return None
    per_sequence = config.data.seq_len * (math.log2(config.data.vocab_size) - loss_bits)
    return config.items * per_sequence / config.parameters["total"]


def evaluate(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    """A cheap measure during training, for metrics.jsonl: of knowledge one context per attribute."""
    config = stack.configs[m]
    if config.data.kind == "uniform":
        held = bits.memorized(bits.code_lengths(stack.gpt, flat_P, stack.feed.member_tokens(m), stack.dtype,
                                                config.measure.batch_tokens), config.data.seq_len, config.data.vocab_size)
        return {"strict_bits": float(held["strict"]), "paper_bits": float(held["paper"])}
    held = _knowledge(stack, flat_P, m, 1)
    return {"bits": held["bits"], "bits_per_parameter": held["bits_per_parameter"]["paper"], "accuracy": held["accuracy"],
            "fraction_of_ceiling": held["fraction_of_ceiling"]}


def measure(stack: Stack, flat_P: Tensor, m: int) -> dict:
    """All numbers of the measure for member m, ready for its record."""
    config = stack.configs[m]
    if config.data.kind == "uniform":
        return bits.measure(stack.gpt, flat_P, stack.feed.member_tokens(m), stack.dtype, config.measure.batch_tokens,
                            config.parameters)
    return _knowledge(stack, flat_P, m, config.measure.contexts)


def measure_all(stack: Stack, flat_P: Tensor, m: int) -> dict[str, dict]:
    """Every measure that the settings of member m ask for, by name."""
    config = stack.configs[m]
    out = {name_of(config): measure(stack, flat_P, m)}
    if config.extraction.mode != "none":
        world = stack.feed.members[m].world
        out[extraction.NAME] = extraction.measure(stack.gpt, flat_P, world, config, stack.dtype)
    return out


def held_bits(name: str, measured: dict) -> float:
    """The headline of a measure: strict memorized bits, or bits of knowledge."""
    return measured["strict"]["bits"] if name == bits.NAME else measured["bits"]


def _knowledge(stack: Stack, flat_P: Tensor, m: int, contexts: int) -> dict:
    config = stack.configs[m]

    def scorer(tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            nll, greedy = stack.gpt.score(flat_P[None], tokens_BT[None], stack.dtype)
        return nll[0], greedy[0]

    batch_tokens = max(1, min(config.measure.batch_tokens, bits.LOGITS_AT_ONCE // stack.gpt.vocab_size))
    return knowledge.measure(stack.feed.members[m].world, scorer, config.measure.people, contexts, config.measure.context,
                             batch_tokens, config.parameters)
