"""Published signs of parts: does a model with idle parameters hold more than the plain model of its
layers and width, and does it hold less per parameter?

No bits per parameter of these parts are published (but for experts on facts, `analysis`), so
signs are what can be judged. Groups are the runs of a system and those of the plain model, of one
size and amount of data; p is of the permutation of their labels within sizes
(`fitting.two_groups`). Bits are compared where the system has the more parameters. A sign counts as
shown only with p <= 5%, and only where more training of the lower side cannot turn it: recipes with
their best inside of what was tried, no run that still rises, all rows read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from capacity.analysis.idle import tuning
from capacity.analysis.idle.reading import PLAIN
from capacity.analysis.order_verdicts import AGREES, DIFFERS, UNKNOWN
from capacity.base.frames import Frame
from capacity.fitting.statistics import LEVEL
from capacity.fitting.two_groups import difference

ALPHA = 1 - LEVEL
BITS, PER_PARAMETER = "bits", "bits per parameter"


@dataclass(frozen=True)
class Sign:
    """direction: 1 where the system is published to have more of the outcome than the plain model
    of its layers and width, -1 where it has less."""

    system: str
    outcome: str
    direction: int
    source: str


MEMORY = "arXiv 2412.09764"
BANKS = "arXiv 2510.02375: 160M and 18M fetched of a bank of 4.6B score like over 320M dense"
SIGNS = (
    Sign("experts", BITS, 1, "arXiv 2410.19034, arXiv 2508.18672: recall follows all parameters"),
    Sign("experts", PER_PARAMETER, -1, "arXiv 2404.05405, section 9 (Result 9)"),
    Sign("engram", BITS, 1, "arXiv 2601.07372: a lower loss at equal active parameters"),
    Sign("stem", BITS, 1, "arXiv 2601.10639: tables in more layers, higher scores"),
    Sign("keys", BITS, 1, f"{MEMORY}: better than the same model without its memory"),
    Sign("keys", PER_PARAMETER, -1, f"{MEMORY}: 0.93B score like 0.37B dense (second-hand)"),
    Sign("peer", BITS, 1, "arXiv 2407.04153: a lower perplexity than dense at equal FLOPs"),
    Sign("banks", BITS, 1, BANKS),
    Sign("banks", PER_PARAMETER, -1, BANKS),
)


def judged(
    full: Frame,
    choices: Sequence[dict[str, Any]],
    not_at_the_end: Callable[[Frame], list[str]],
) -> list[dict[str, Any]]:
    """A row per condition, form and published sign of a system that is there. full: runs that
    measure capacity, of the chosen recipes; not_at_the_end: why runs hold less than they could."""
    out = []
    for _, here in full.groupby(["condition", "form"], sort=True):
        for sign in SIGNS:
            mine = here[here.system == sign.system]
            if not mine.empty:
                out.append(_judged(sign, mine, here[here.system == PLAIN], choices, not_at_the_end)
                           | {"condition": mine.iloc[0].called})  # fmt: skip
    return out


def _judged(
    sign: Sign,
    mine: Frame,
    plain: Frame,
    choices: Sequence[dict[str, Any]],
    not_at_the_end: Callable[[Frame], list[str]],
) -> dict[str, Any]:
    sides = (_by_seed(mine, sign.outcome), _by_seed(plain, sign.outcome))
    sizes = [side.groupby(["size", "amount"]).p.first() for side in (mine, plain)]
    both = sorted(
        key
        for key in set(sides[0]) & set(sides[1])
        if sign.outcome != BITS or sizes[0][key] > sizes[1][key]
    )
    row: dict[str, Any] = {
        "system": sign.system,
        "outcome": sign.outcome,
        "published": sign.direction,
        "source": sign.source,
        "sizes": sorted({size for size, _ in both}),
        "runs": [sum(len(side[key]) for key in both) for side in sides],
        "ratio": None,
        "interval": None,
        "p": None,
        "smallest_p": None,
        "verdict": UNKNOWN,
        "reason": "no plain model of the same size with fewer parameters"
        if sign.outcome == BITS
        else "no plain model of the same size",
    }
    if not both:
        return row
    found = difference([(sides[0][key], sides[1][key]) for key in both])
    ends = found.interval
    row |= {
        "ratio": math.exp(found.value),
        "interval": None if ends is None else [math.exp(end) for end in ends],
        "p": found.p,
        "smallest_p": found.smallest_p,
    }
    if found.smallest_p > ALPHA + 1e-12:
        return row | {"reason": f"so few runs cannot reach a p of {ALPHA:.0%}"}
    if found.p > ALPHA + 1e-12:
        return row | {"reason": f"p is above {ALPHA:.0%}"}
    # better training of the lower side could turn the sign, of the higher side it could not
    higher = 1 if found.value > 0 else -1
    lower = plain if higher > 0 else mine
    used = [
        (size, amount) in both for size, amount in zip(lower["size"], lower.amount, strict=True)
    ]
    first = lower.iloc[0]
    could_turn = [
        *tuning.reasons(choices, first.condition, first.form, first.system),
        *not_at_the_end(lower[used]),
    ]
    if could_turn:
        return row | {"reason": f"more training could turn it: {'; '.join(could_turn)}"}
    return row | {"verdict": AGREES if higher == sign.direction else DIFFERS, "reason": None}


def _by_seed(runs: Frame, outcome: str) -> dict[tuple[str, Any], np.ndarray]:
    """Logarithms of the outcome by size and amount, one per seed."""
    values = runs.held if outcome == BITS else runs.held / runs.p
    logs = runs.assign(log=np.log(values.astype(float)))
    means = logs.groupby(["size", "amount", "seed"]).log.mean()
    return {key: mine.to_numpy() for key, mine in means.groupby(level=[0, 1])}
