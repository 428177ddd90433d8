"""What one model holds of random rows and of people at once, each counted as the pure kind of data
counts it.

Random rows: strict bits, N S log2 V - sum of -log2 p over all S tokens of a row, each row asked for
behind its marker as a sequence of `data=uniform` is behind BOS (Morris et al., arXiv 2505.24832,
sections 2 and 3; `measure/memorization.py`). V is the number of ids that row tokens are drawn from;
the model's softmax is over the whole table, so that what it gives to other ids is lost.

Facts: names and values behind EOS (`measure/knowledge.py`, arXiv 2404.05405, Definition 4.3).

Neither counts which family comes next: both markers are given, so that the bits of a mixture of one
family are those of that family alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from capacity.data.biographies import MixedWorld
from capacity.declare import mixture as declared
from capacity.measure import memorization
from capacity.model.gpt import GPT

MEASURE = declared.MEASURE
ROWS_AT_ONCE = 2**16


@dataclass(frozen=True)
class Seen:
    """Items of a family, bits that are asked of them, and how often each was shown, int64 [N]."""

    items: int
    asked_bits: float
    count_N: Tensor

    def numbers(self, held: float | None, ceiling: float | None, parameters: int) -> dict[str, Any]:
        """A family's part of the measure; held: None where nothing of it was trained on."""
        counted = self.count_N.double()
        return {
            "items": self.items,
            "bits": held,
            "asked_bits": self.asked_bits,
            "ceiling_bits": ceiling,
            "bits_per_parameter": None if held is None else held / parameters,
            "exposures_min": float(counted.min()) if self.items else None,
            "exposures_mean": float(counted.mean()) if self.items else None,
            "exposures_max": float(counted.max()) if self.items else None,
        }


def tables(world: MixedWorld, rows: int) -> tuple[Tensor, Tensor]:
    """All random rows: as drawn, int64 [N, S] of 0 to V - 1, and as the model takes them behind
    their marker, int64 [N, 1 + S]."""
    parts = [
        world.rows(torch.arange(begin, min(rows, begin + ROWS_AT_ONCE), device=world.device))
        for begin in range(0, rows, ROWS_AT_ONCE)
    ]
    ids = torch.cat(parts)
    marker = torch.full((rows, 1), world.marker, dtype=torch.int64, device=world.device)
    return ids - 1, torch.cat([marker, ids], 1)


def random_bits(  # noqa: PLR0913  data, model, and how to ask
    world: MixedWorld,
    rows: int,
    gpt: GPT,
    flat_P: Tensor,
    dtype: torch.dtype,
    batch_tokens: int,
    parameters: dict[str, int],
) -> dict[str, Any]:
    """`memorization.MEASURE` of the random rows: every number as of data=uniform with V symbols."""
    drawn, shown = tables(world, rows)
    bits_N2 = memorization.code_lengths(gpt, flat_P, shown, dtype, batch_tokens)
    return memorization.of_codes(bits_N2, drawn.cpu().numpy(), world.symbols, parameters)


def held(  # noqa: PLR0913  data, model, and how to ask
    world: MixedWorld,
    rows: int,
    gpt: GPT,
    flat_P: Tensor,
    dtype: torch.dtype,
    batch_tokens: int,
    facts: Callable[[], float],
) -> dict[str, float]:
    """Bits of both families that are there, without ceilings and tables; facts: measures those of
    people."""
    out = {}
    if rows:
        _, shown = tables(world, rows)
        bits_N2 = memorization.code_lengths(gpt, flat_P, shown, dtype, batch_tokens)
        strict = memorization.memorized(bits_N2, world.data.row_len, world.symbols)["strict"]
        out["random"] = float(strict)
    if world.n_people:
        out["facts"] = facts()
    return out


def measure(
    random: dict[str, Any] | None,
    facts: dict[str, Any] | None,
    seen: dict[str, Seen],
    world: MixedWorld,
    parameters: dict[str, int],
) -> dict[str, Any]:
    """This measure of one member, ready for its record. random: `random_bits`, facts: the measure
    of knowledge, None where there are none; seen: by family, `random` and `facts`."""
    held_random = None if random is None else float(random["strict"]["bits"])
    held_facts = None if facts is None else float(facts["bits"])
    most_random = None if random is None else float(random["strict"]["ceiling_bits"])
    most_facts = None if facts is None else float(facts["ceiling_bits"])
    total = parameters["total"]
    return MEASURE.returns(
        {
            "version": MEASURE.version,
            "bits": float(np.sum([b for b in (held_random, held_facts) if b is not None])),
            "symbols": world.symbols,
            "row_bits": world.data.row_len * float(np.log2(world.symbols)),
            "random": seen["random"].numbers(held_random, most_random, total),
            "facts": seen["facts"].numbers(held_facts, most_facts, total),
        }
    )
