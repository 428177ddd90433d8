"""What lasts of what was seen in a window (`items.retention`), in a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from capacity.analysis.items.forecast_words import named
from capacity.analysis.items.retention import by_spacing
from capacity.base.table import Column, Table
from capacity.base.words import digits, percent

DASH = "–"
CONVENTIONS = [
    (
        "recognition",
        "AUC of the code length, seen canaries against never seen ones drawn alike; 0.5 is "
        "guessing. What is kept of it is kept beyond that",
    ),
    (
        "recalled",
        "part of the seen canaries whose second half greedy decoding writes behind the first, "
        "minus that of never seen ones",
    ),
    (
        "kept",
        "what a number is at the last snapshot / at the first one behind the window of views; sums "
        "over levels of views, none where less than 2% is recalled there",
    ),
]


def table(fit: Mapping[str, Any]) -> Table:
    """By kind and views, recognition and recall before the window, behind it and at the end."""
    headings = ("kind", "views", "before", "recognition", "end", "recalled", "end", "bits", "end")
    rows, said = [], None
    for row in fit["retention"]:
        kind = f"{named(row['system'])}{percent(row['noise_share'])} random"
        if "spacing" in row:
            kind = f"{named(row['system'])}every {row['spacing']:g}"
        cells = [kind if kind != said else "", str(row["repeats"])]
        cells.append(_cell(row["before"], "recognition"))
        for name in ("recognition", "recalled", "bits"):
            cells += [_cell(row["first"], name), _cell(row["last"], name)]
        rows.append(cells)
        said = kind
    lags = {
        name: sorted({round(row[name]["lag"]) for row in fit["retention"] if row[name]})
        for name in ("first", "last")
    }
    first, last = (" or ".join(f"{lag:,}" for lag in lags[name]) for name in ("first", "last"))
    return Table(
        [Column(h, right=i > 0) for i, h in enumerate(headings)],
        rows,
        key="every: steps between views. "
        * by_spacing(fit)
        + f"{first} updates after the window, and {last} at the end; before: recognition at the "
        "last snapshot before anything was seen. Means over replicates",
    )


def _cell(side: Mapping[str, Any] | None, name: str) -> str:
    return DASH if side is None else digits(side[name]["value"])
