"""Orders of acquisition that are published (Chang et al., arXiv 2406.11813), each judged by
permutation within replicates (`fitting.trends`).

A replicate is a seed with its facts; what an order is not about (size, batch, arm, kind) is
averaged within it. An order counts as shown only with p <= 5%; of fewer replicates than can reach
it nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from capacity.analysis import order_verdicts
from capacity.base.frames import Frame

EMPTY = "no replicate has a number for every condition"
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


THINGS = ["replicate", "size", "batch", "arm", "kind"]


def _paired(parts: Frame, column: str, outcome: str) -> Frame:
    """Replicate by condition: means over those of THINGS besides that have a number for every
    condition, so that conditions are averages over the same things."""
    things = [
        name for name in THINGS if name != column and (name, column) != ("size", "parameters")
    ]
    told = parts[parts[outcome].notna()]
    wide = told.pivot_table(index=things, columns=column, values=outcome)
    return wide.dropna().groupby("replicate").mean()


def _some(parts: Frame, arms: tuple[str, ...], kinds: tuple[str, ...]) -> Frame:
    return parts[parts.arm.isin(arms) & parts.kind.isin(kinds)]


def _kinds(parts: Frame) -> Frame:
    grid = _paired(_some(parts, ("duplicate",), SAME_VALUE), "kind", "gained")
    return grid.reindex(columns=["semantic", "memorization"])


def _gap(parts: Frame) -> Frame:
    """By arm, bits gained in the wording of the first view beyond those in other wordings."""
    keys = [name for name in THINGS if name != "kind"]
    some = _some(parts, REPEATED, SAME_VALUE)
    wide = some.pivot_table(index=keys, columns="kind", values="gained")
    gap = (wide["memorization"] - wide["semantic"]).rename("gap").reset_index()
    return _paired(gap.assign(kind=""), "arm", "gap").reindex(columns=list(REPEATED))


def _arms(parts: Frame) -> Frame:
    grid = _paired(_some(parts, REPEATED, SAME_VALUE), "arm", "a")
    return grid.reindex(columns=list(reversed(REPEATED)))


def _batches(parts: Frame) -> Frame:
    return _paired(_some(parts, REPEATED, SAME_VALUE), "batch", "a")


def _sizes(parts: Frame) -> Frame:
    return _paired(_some(parts, REPEATED, SAME_VALUE), "parameters", "effectivity")


GAINED, PER_DECADE = "bits gained", "part lost per decade"
ORDERS = (
    Order(
        "duplicate: the wording of the views after other ones",
        GAINED,
        1,
        FIGURE,
        _kinds,
    ),
    Order("gap of the two: paraphrase after duplicate", GAINED, -1, FIGURE, _gap),
    Order(
        "duplicate after paraphrase",
        PER_DECADE,
        1,
        DECAY,
        _arms,
    ),
    Order("size of the batch", PER_DECADE, -1, DECAY, _batches),
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
    return {
        "order": order.name,
        "outcome": order.outcome,
        "published": order.sign,
        "source": order.source,
        "values": [str(column) for column in grid.columns],
        "of": len(grid),
        **order_verdicts.judged(grid, order.sign, empty=EMPTY),
    }
