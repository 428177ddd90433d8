"""The verdict on an order: whether an outcome rises or falls along conditions, by permutation
within replicates (`fitting.trends`).

An order counts as shown only with p <= 5%; of fewer replicates than can reach it nothing is said.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from capacity.base.words import plural
from capacity.fitting.statistics import ALPHA
from capacity.fitting.trends import trend

if TYPE_CHECKING:
    from capacity.base.frames import Frame

AGREES, DIFFERS, UNKNOWN, SHOWN = "agrees", "differs", "cannot tell", "shown"
NO_REPLICATE = "no replicate has every value"


def judged(
    grid: Frame, sign: int, *, empty: str = NO_REPLICATE, but: str | None = None
) -> dict[str, Any]:
    """Means over complete replicates, their number, the trend with its p, the verdict, and the
    reason where it cannot be told.

    grid: of outcomes, a row per replicate and a column per condition, in the order of the question;
    rows with a gap are left out. sign: of the published trend (1 rises, -1 falls), 0 where none is
    published: then the verdict is at most that it is shown. empty: the reason without a complete
    row; but: a reason for which no verdict is given, whatever p is."""
    whole = grid.dropna()
    row: dict[str, Any] = {
        "means": [float(whole[column].mean()) for column in whole] if len(whole) else [],
        "replicates": len(whole),
        "slope": None,
        "p": None,
        "smallest_p": None,
        "exact": None,
        "verdict": UNKNOWN,
        "reason": empty,
    }
    if not len(whole):
        return row
    found = trend(whole.to_numpy(float))
    row |= dataclasses.asdict(found) | {"reason": None}
    if but is not None:
        return row | {"reason": but}
    if found.smallest_p > ALPHA + 1e-12:
        few = plural(len(whole), "replicate")
        return row | {"reason": f"{few} cannot reach a p of {ALPHA:.0%}"}
    if found.p > ALPHA + 1e-12:
        return row | {"reason": f"p is above {ALPHA:.0%}"}
    if not sign:
        return row | {"verdict": SHOWN}
    return row | {"verdict": AGREES if np.sign(found.slope) == sign else DIFFERS}
