"""How each measure is computed of a run in a stack: one line a measure in COMPUTED and BESIDES.
What it is called and what its numbers mean stands in `capacity.declare`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from capacity.config import Config
from capacity.data import resolve
from capacity.declare import registry
from capacity.declare.field import Measure
from capacity.measure import (
    context,
    extraction,
    fact_cells,
    inside,
    knowledge,
    mixture,
    people,
    prompt_search,
    prompts,
    quantization,
    start,
    tables,
    text,
    timed_facts,
    wording,
)
from capacity.measure import memorization as bits
from capacity.measure.questions import Asking
from capacity.model.gpt import GPT
from capacity.model.numerics import allow_tf32
from capacity.settings.data import BiosData, mixed_data, text_data
from capacity.settings.quantize import Spec
from capacity.train import starts
from capacity.train.loop import Stack

Scores = dict[str, np.ndarray]  # columns by name, one number per sequence or person


@dataclass(frozen=True)
class Asked:
    """What a measure may need besides the run itself: the results folder, the variants of
    quantization that are wanted, how often people were seen on average, counted, what the main
    measure says of single sequences or people, once it is taken, and by name what other measures
    it took on its way."""

    results: Path
    variants: list[Spec]
    exposures: float = 0.0
    scores: Scores | None = None
    parts: dict[str, dict] = dataclasses.field(default_factory=dict)
    tuned: list[Tensor] = dataclasses.field(default_factory=list)  # on questions, once they are
    tried: dict = dataclasses.field(default_factory=dict)  # short prompts, once they are


@dataclass(frozen=True)
class Computed:
    """The measure of a kind of data, of member m of a stack with weights flat_P.

    whole: its part of a record, and of text and people the table of single ones; cheap: numbers for
    metrics.jsonl during training; held: the bits that the measure declares as its headline, as
    `whole` measures them, and of facts the accuracy; headline: held_bits and numbers beside them,
    in fp32 arithmetic; running: bits per parameter from the training loss (bits per token) alone,
    where it tells.
    """

    whole: Callable[[Stack, Tensor, int, Asked], tuple[dict, Scores | None]]
    cheap: Callable[[Stack, Tensor, int], dict[str, float]]
    held: Callable[[Stack, Tensor, int], dict[str, float]]
    headline: Callable[[Stack, Tensor, int], dict[str, float]]
    running: Callable[[Config, float], float] | None = None


def measure_of(config: Config) -> Measure:
    """What the measure of a run's data declares."""
    return registry.main_of(config.data.kind)


def running(config: Config, loss_bits: float) -> float | None:
    """An estimate of the bits per parameter from the training loss alone; None where the loss does
    not tell."""
    estimate = COMPUTED[measure_of(config).name].running
    return None if estimate is None else estimate(config, loss_bits)


def evaluate(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    """A cheap measure during training, for metrics.jsonl: of knowledge one context per
    attribute."""
    return COMPUTED[measure_of(stack.configs[m]).name].cheap(stack, flat_P, m)


def probe(stack: Stack, flat_P: Tensor, m: int) -> dict[str, list[float]]:
    """Bits per token of every canary of member m, or nats of its new facts, for metrics.jsonl."""
    config = stack.configs[m]
    if text_data(config.data).facts:
        return timed_facts.probe(stack.gpt, flat_P, config, stack.dtype)
    return {
        "canary_loss_bits_per_token": text.canary_losses(
            stack.gpt, flat_P, stack.feed.canaries(m), stack.configs[m], stack.dtype
        )
    }


def headline(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    """held_bits, which the measure declares as its headline, in fp32 arithmetic, and beside them
    paper_bits or the accuracy of values."""
    return COMPUTED[measure_of(stack.configs[m]).name].headline(stack, flat_P, m)


def measure_all(
    stack: Stack, flat_P: Tensor, m: int, asked: Asked
) -> tuple[dict[str, dict], Scores | None]:
    """Every measure that the settings of member m ask for, by name, ready for its record; and of
    text and people the table of single ones."""
    name = measure_of(stack.configs[m]).name
    part, scores = COMPUTED[name].whole(stack, flat_P, m, asked)
    # tuned, tried: of this member alone, also where `asked` serves several
    out, asked = {name: part}, dataclasses.replace(asked, scores=scores, tuned=[], tried={})
    for besides, compute in BESIDES.items():
        if (part := compute(stack, flat_P, m, asked)) is not None:
            out[besides] = part
    return out, scores


def _memorization(stack: Stack, flat_P: Tensor, m: int, asked: Asked) -> tuple[dict, None]:
    config = stack.configs[m]
    part = bits.measure(
        stack.gpt,
        flat_P,
        stack.feed.member_tokens(m),
        stack.dtype,
        config.measure.batch_tokens,
        config.parameters,
        stack.feed.classes(m),
    )
    return part, None


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
        config.rows,
    )
    return {"strict_bits": float(held["strict"]), "paper_bits": float(held["paper"])}


def _memorized_in_fp32(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    held = _memorized(stack, flat_P, m, torch.float32, stack.gpt.in_fp32())
    return {"held_bits": held["strict_bits"], "paper_bits": held["paper_bits"]}


def _memorized_by_loss(config: Config, loss_bits: float) -> float:
    per_sequence = config.data.seq_len * (math.log2(config.rows) - loss_bits)
    return config.items * per_sequence / config.parameters["total"]


def _text_bits(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    config = stack.configs[m]
    held = text.bits(stack.gpt, flat_P, stack.feed.member_tokens(m), config, stack.dtype)
    return {"bits": held, "bits_per_parameter": held / config.parameters["total"]}


def _text_bits_in_fp32(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    tokens_NS = stack.feed.member_tokens(m)
    gpt = stack.gpt.in_fp32()
    return {"held_bits": text.bits(gpt, flat_P, tokens_NS, stack.configs[m], torch.float32)}


def asking_of(stack: Stack, flat_P: Tensor, m: int, contexts: int, gpt: GPT | None) -> Asking:
    """How people are asked by member m. contexts: per attribute. gpt: None for that of the training
    in its arithmetic, else this one in fp32."""
    config = stack.configs[m]
    used, dtype = (stack.gpt, stack.dtype) if gpt is None else (gpt, torch.float32)

    def scorer(tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            nll, greedy = used.score(flat_P[None], tokens_BT[None], dtype)
        return nll[0], greedy[0]

    return Asking(
        scorer=scorer,
        people=config.measure.people,
        draws=contexts,
        context=config.measure.context,
        batch_tokens=max(
            1, min(config.measure.batch_tokens, bits.LOGITS_AT_ONCE // used.vocab_size)
        ),
    )


def by_person(
    stack: Stack, flat_P: Tensor, m: int, contexts: int, gpt: GPT | None = None
) -> tuple[dict, Scores]:
    """The measure of people, and the answers of each."""
    config, member = stack.configs[m], stack.feed.members[m]
    classes = None if config.tiers is None else knowledge.Classes(config.tiers, member.tier_N())
    asking = asking_of(stack, flat_P, m, contexts, gpt)
    return knowledge.measured(member.world, asking, config.parameters, classes)


def _knowledge(stack: Stack, flat_P: Tensor, m: int, contexts: int, gpt: GPT | None = None) -> dict:
    return by_person(stack, flat_P, m, contexts, gpt)[0]


def _knowledge_whole(stack: Stack, flat_P: Tensor, m: int, asked: Asked) -> tuple[dict, Scores]:
    """With held-out people behind the others in the table, where some are asked for."""
    config, member = stack.configs[m], stack.feed.members[m]
    contexts, more = config.measure.contexts, config.measure.held_out_people
    part, trained = by_person(stack, flat_P, m, contexts)
    others = None
    if more:
        asking = asking_of(stack, flat_P, m, contexts, None)
        others = people.held_out(member.world, more, asking)
    tier_N = None if config.tiers is None else member.tier_N()
    count_N = member.counts_of(round(asked.exposures * config.items))
    table = people.scores(trained, others, tier_N, count_N)
    if others is not None:
        person_R = torch.from_numpy(table["person"]).long().to(member.world.device)
        table["frequency_nats"] = people.frequencies(member.world, person_R, count_N)
    return part, table


def _people(stack: Stack, flat_P: Tensor, m: int, asked: Asked) -> dict | None:
    config = stack.configs[m]
    if asked.scores is None or "person" not in asked.scores or not config.measure.held_out_people:
        return None
    return people.measure(asked.scores, config.tiers)


def _wording(stack: Stack, flat_P: Tensor, m: int, asked: Asked) -> dict | None:
    config = stack.configs[m]
    if not config.measure.wording or not isinstance(config.data, BiosData) or not asked.scores:
        return None
    world = stack.feed.members[m].world
    asking = asking_of(stack, flat_P, m, config.measure.contexts, None)
    return wording.measure(world, asking, asked.scores, config.parameters["paper"])


def _fact_cells(stack: Stack, flat_P: Tensor, m: int, asked: Asked) -> dict | None:
    config = stack.configs[m]
    if not config.measure.fact_cells or config.data.kind != "bios" or not asked.scores:
        return None
    member = stack.feed.members[m]
    count_N = member.counts_of(round(asked.exposures * config.items))
    return fact_cells.measure(member.world, asked.scores, count_N)


def _knowledge_cheap(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    held = _knowledge(stack, flat_P, m, 1)
    return {
        "bits": held["bits"],
        "bits_per_parameter": held["bits_per_parameter"]["paper"],
        "accuracy": held["accuracy"],
        "fraction_of_ceiling": held["fraction_of_ceiling"],
    }


def _knowledge_held(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    held = _knowledge(stack, flat_P, m, stack.configs[m].measure.contexts)
    return {"bits": held["bits"], "accuracy": held["accuracy"]}


def _knowledge_in_fp32(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    contexts = stack.configs[m].measure.contexts
    held = _knowledge(stack, flat_P, m, contexts, stack.gpt.in_fp32())
    return {"held_bits": held["bits"], "accuracy": held["accuracy"]}


def _mixture_whole(
    stack: Stack, flat_P: Tensor, m: int, asked: Asked
) -> tuple[dict, Scores | None]:
    config, member = stack.configs[m], stack.feed.members[m]
    resolved = resolve.MixedResolved(mixed_data(config.data))
    n_people, rows = resolved.split(config.items)
    counts = member.family_counts(round(asked.exposures * config.items))
    seen = {
        "random": mixture.Seen(rows, rows * resolved.row_bits, counts["rows"]),
        "facts": mixture.Seen(n_people, resolved.fact_bits(n_people), counts["people"]),
    }
    random, facts, scores = None, None, None
    if rows:
        batch_tokens = config.measure.batch_tokens
        random = mixture.random_bits(
            member.world, rows, stack.gpt, flat_P, stack.dtype, batch_tokens, config.parameters
        )
        asked.parts["memorization"] = random
    if n_people:
        facts, scores = _knowledge_whole(stack, flat_P, m, asked)
        asked.parts["knowledge"] = facts
    return mixture.measure(random, facts, seen, member.world, config.parameters), scores


def _mixture(
    stack: Stack, flat_P: Tensor, m: int, contexts: int, gpt: GPT | None = None
) -> dict[str, float]:
    """Bits of both families and their sum; gpt: as of `_asking`."""
    config, world = stack.configs[m], stack.feed.members[m].world
    rows = resolve.MixedResolved(mixed_data(config.data)).split(config.items)[1]
    used, dtype = (stack.gpt, stack.dtype) if gpt is None else (gpt, torch.float32)
    held = mixture.held(
        world,
        rows,
        used,
        flat_P,
        dtype,
        config.measure.batch_tokens,
        lambda: _knowledge(stack, flat_P, m, contexts, gpt)["bits"],
    )
    return {"bits": sum(held.values())} | {f"{name}_bits": b for name, b in held.items()}


def _mixture_cheap(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    held = _mixture(stack, flat_P, m, 1)
    return held | {"bits_per_parameter": held["bits"] / stack.configs[m].parameters["total"]}


def _mixture_held(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    return {"bits": _mixture(stack, flat_P, m, stack.configs[m].measure.contexts)["bits"]}


def _mixture_in_fp32(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    contexts, gpt = stack.configs[m].measure.contexts, stack.gpt.in_fp32()
    return {"held_bits": _mixture(stack, flat_P, m, contexts, gpt)["bits"]}


def _context(stack: Stack, flat_P: Tensor, m: int, asked: Asked) -> tuple[dict, None]:
    config = stack.configs[m]
    return context.measure(stack.gpt, flat_P, stack.feed, m, config, stack.dtype), None


def _context_held(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    held = context.held(stack.gpt, flat_P, stack.feed, m, stack.configs[m], stack.dtype)
    return {"context_bits": held}


def _context_in_fp32(stack: Stack, flat_P: Tensor, m: int) -> dict[str, float]:
    gpt = stack.gpt.in_fp32()
    return {"held_bits": context.held(gpt, flat_P, stack.feed, m, stack.configs[m], torch.float32)}


def _extraction(stack: Stack, flat_P: Tensor, m: int, asked: Asked) -> dict | None:
    config = stack.configs[m]
    if config.extraction.mode == "none":
        return None
    world = stack.feed.members[m].world
    tuned = extraction.tuned_weights(stack.gpt, flat_P, world, config, stack.dtype)
    asked.tuned.append(tuned)
    return extraction.answers(stack.gpt, tuned, world, config, stack.dtype)


def _inside(stack: Stack, flat_P: Tensor, m: int, asked: Asked) -> dict | None:
    config = stack.configs[m]
    if not config.measure.inside:
        return None
    world, tuned = stack.feed.members[m].world, asked.tuned[0] if asked.tuned else flat_P
    return inside.measure(stack.gpt, flat_P, tuned, world, config, stack.dtype)


def _prompts(stack: Stack, flat_P: Tensor, m: int, asked: Asked) -> dict | None:
    config = stack.configs[m]
    if not config.measure.prompts:
        return None
    trained = stack.feed.member_tokens(m)
    asked.tried.update(prompts.measure(stack.gpt, flat_P, trained, config, stack.dtype))
    return dict(asked.tried)


def _prompt_search(stack: Stack, flat_P: Tensor, m: int, asked: Asked) -> dict | None:
    config = stack.configs[m]
    if not config.measure.prompt_search:
        return None
    trained = stack.feed.member_tokens(m)
    return prompt_search.measure(stack.gpt, flat_P, trained, config, stack.dtype, asked.tried)


def _quantization(stack: Stack, flat_P: Tensor, m: int, asked: Asked) -> dict | None:
    if not asked.variants:
        return None
    config = stack.configs[m]
    allow_tf32(False)
    out = quantization.measure(
        stack.gpt,
        flat_P,
        asked.variants,
        quantization.Source(
            rows=lambda n: stack.feed.first_rows(m, n),
            evaluate=lambda weights_P: headline(stack, weights_P, m),
            measure=measure_of(config),
        ),
        config.parameters,
        quantization.storage(stack.gpt, config.train, "fp32")["bits"],
    )
    allow_tf32(stack.gpt.tf32)
    return out


def _tables(stack: Stack, flat_P: Tensor, m: int, asked: Asked) -> dict | None:
    config = stack.configs[m]
    if not tables.applies(config):
        return None
    rows_NT = stack.feed.first_rows(m, tables.windows(config)).to(flat_P.device)
    return tables.measure(stack.gpt, flat_P, rows_NT, config, stack.dtype)


def _start(stack: Stack, flat_P: Tensor, m: int, asked: Asked) -> dict | None:
    begun = starts.of(asked.results, stack.configs[m])
    if begun is None:
        return None
    # its data and arithmetic, and the model of this run
    before = Stack([begun.with_model(stack.configs[m].model)], stack.device)
    try:
        return start.measure(begun, COMPUTED[measure_of(begun.config).name].held(before, flat_P, 0))
    finally:
        before.feed.close()
        allow_tf32(stack.gpt.tf32)


# By name of a measure that is the headline of its data.
COMPUTED = {
    "memorization": Computed(
        whole=_memorization,
        cheap=lambda stack, flat_P, m: _memorized(stack, flat_P, m, stack.dtype),
        held=lambda stack, flat_P, m: {
            "bits": _memorized(stack, flat_P, m, stack.dtype)["strict_bits"]
        },
        headline=_memorized_in_fp32,
        running=_memorized_by_loss,
    ),
    "text": Computed(
        whole=lambda stack, flat_P, m, asked: text.measure(
            stack.gpt, flat_P, stack.configs[m], stack.dtype, stack.feed.classes(m)
        ),
        cheap=_text_bits,
        held=lambda stack, flat_P, m: {"bits": _text_bits(stack, flat_P, m)["bits"]},
        headline=_text_bits_in_fp32,
    ),
    "knowledge": Computed(
        whole=_knowledge_whole,
        cheap=_knowledge_cheap,
        held=_knowledge_held,
        headline=_knowledge_in_fp32,
    ),
    "mixture": Computed(
        whole=_mixture_whole,
        cheap=_mixture_cheap,
        held=_mixture_held,
        headline=_mixture_in_fp32,
    ),
    "context": Computed(
        whole=_context,
        cheap=_context_held,
        held=lambda stack, flat_P, m: {"bits": _context_held(stack, flat_P, m)["context_bits"]},
        headline=_context_in_fp32,
    ),
}
# By name of a measure that is taken besides, where the settings ask for it: None where they do not.
BESIDES: dict[str, Callable[[Stack, Tensor, int, Asked], dict | None]] = {
    "memorization": lambda stack, flat_P, m, asked: asked.parts.get("memorization"),
    "knowledge": lambda stack, flat_P, m, asked: asked.parts.get("knowledge"),
    "people": _people,
    "wording": _wording,
    "fact_cells": _fact_cells,
    "extraction": _extraction,
    "inside": _inside,  # behind extraction, whose weights it asks
    "prompts": _prompts,
    "prompt_search": _prompt_search,  # behind prompts, which it goes on from
    "quantization": _quantization,
    "tables": _tables,
    "start": _start,
}
