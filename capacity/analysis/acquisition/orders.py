"""Orders of acquisition that are published (Chang et al., arXiv 2406.11813), each judged by
permutation within replicates (`fitting.trends`).

A replicate is a seed with its facts; what an order is not about (size, batch, arm, kind) is
averaged within it. An order counts as shown only with p <= 5%; of fewer replicates than can reach
it nothing is said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from capacity.base.frames import Frame
from capacity.fitting.statistics import ALPHA
from capacity.fitting.trends import trend

AGREES, DIFFERS, UNKNOWN = "agrees", "differs", "cannot tell"
REPEATED = ("duplicate", "paraphrase")
SAME_VALUE = ("memorization", "semantic")  # kinds that ask for the same value, in the same bits
FIGURE = "arXiv 2406.11813, figure 2"
DECAY = "arXiv 2406.11813, section 4.3"


@dataclass(frozen=True)
class Order:
    """name: what is compared; outcome: in words with its unit; conditions: in the order in which
    the outcome is said to rise (sign 1) or fall (-1); table: of parts, replicate by condition."""

    name: str
    outcome: str
    sign: int
    source: str
    table: Callable[[Frame], Frame]


def _by(column: str, outcome: str, order: tuple[str, ...], **where: tuple[str, ...]) -> Any:
    def table(parts: Frame) -> Frame:
        mine = parts
        for name, values in where.items():
            mine = mine[mine[name].isin(values)]
        grid = mine.pivot_table(
            index="replicate", columns=column, values=outcome, aggfunc=_all_or_none
        )
        columns = order or sorted(grid.columns)
        return grid.reindex(columns=list(columns))

    return table


def _all_or_none(values: pd.Series) -> float:
    """The mean, nan where one of them is: two conditions are averages over the same things."""
    return float(values.mean(skipna=False))


def _gap(parts: Frame) -> Frame:
    """By arm, bits gained in the wording of the first view beyond those in other wordings."""
    keys = ["replicate", "size", "batch", "arm"]
    wide = parts[parts.arm.isin(REPEATED)].pivot_table(index=keys, columns="kind", values="gained")
    gap = (wide["memorization"] - wide["semantic"]).rename("gap").reset_index()
    grid = gap.pivot_table(index="replicate", columns="arm", values="gap")
    return grid.reindex(columns=list(REPEATED))


def _batches(outcome: str) -> Any:
    def table(parts: Frame) -> Frame:
        some = parts[parts.arm.isin(REPEATED) & parts.kind.isin(SAME_VALUE)]
        grid = some.pivot_table(
            index="replicate", columns="batch", values=outcome, aggfunc=_all_or_none
        )
        return grid[sorted(grid.columns)]

    return table


def _sizes(parts: Frame) -> Frame:
    some = parts[parts.arm.isin(REPEATED) & parts.kind.isin(SAME_VALUE)]
    grid = some.pivot_table(index="replicate", columns="parameters", values="effectivity")
    return grid[sorted(grid.columns)]


GAINED, PER_DECADE = "bits gained", "part lost per decade"
ORDERS = (
    Order(
        "duplicate: the wording of the views after other ones",
        GAINED,
        1,
        FIGURE,
        _by("kind", "gained", ("semantic", "memorization"), arm=("duplicate",)),
    ),
    Order("gap of the two: paraphrase after duplicate", GAINED, -1, FIGURE, _gap),
    Order(
        "duplicate after paraphrase",
        PER_DECADE,
        1,
        DECAY,
        _by("arm", "a", ("paraphrase", "duplicate"), kind=SAME_VALUE),
    ),
    Order("size of the batch", PER_DECADE, -1, DECAY, _batches("a")),
    Order(
        "size of the model",
        "bits per view (effectivity)",
        1,
        "arXiv 2406.11813, section 4.2",
        _sizes,
    ),
)


def judged(parts: Frame) -> list[dict[str, Any]]:
    """Every order that the parts have two conditions for, by system: means over replicates, trend,
    p and verdict."""
    out = []
    for system, mine in parts.groupby("system", sort=True):
        for order in ORDERS:
            grid = order.table(mine)
            if grid.shape[1] < 2:
                continue
            out.append({"system": str(system), **_judged(order, grid)})
    return out


def _judged(order: Order, grid: Frame) -> dict[str, Any]:
    whole = grid.dropna()
    row: dict[str, Any] = {
        "order": order.name,
        "outcome": order.outcome,
        "published": order.sign,
        "source": order.source,
        "values": [str(column) for column in grid.columns],
        "means": [float(whole[column].mean()) for column in grid.columns] if len(whole) else [],
        "replicates": len(whole),
        "of": len(grid),
        "slope": None,
        "p": None,
        "smallest_p": None,
        "exact": None,
        "verdict": UNKNOWN,
        "reason": "no replicate has a number for every condition",
    }
    if not len(whole):
        return row
    found = trend(whole.to_numpy(float))
    row |= dataclasses.asdict(found) | {"reason": None}
    if found.smallest_p > ALPHA + 1e-12:
        return row | {"reason": f"{len(whole)} replicates cannot reach a p of {ALPHA:.0%}"}
    if found.p > ALPHA + 1e-12:
        return row | {"reason": f"p is above {ALPHA:.0%}"}
    return row | {"verdict": AGREES if np.sign(found.slope) == order.sign else DIFFERS}
