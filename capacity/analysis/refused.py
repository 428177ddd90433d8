"""Finished runs whose bits no law may use: of imported corpora those with too many values that were
not asked for, and those that an older version measured by another convention.

They keep their numbers and get the status "refused", so that nothing that reads finished runs sees
them.
"""

from __future__ import annotations

import math

import numpy as np

from capacity.base.frames import Frame
from capacity.base.words import plural, some
from capacity.data.facts import MOST_UNASKED

# Key of a flag -> what the runs are, in words.
UNASKED, OLD = "unasked", "old_convention"
WHY = {
    UNASKED: f"over {MOST_UNASKED:.0%} of the values not asked for, so that bits are a lower bound "
    "that says little: no law uses them",
    OLD: "measured by an older version, which took all values for equally likely and unasked ones "
    "for asked: measure again (capacity measure)",
}


def reason(kind: str, unasked: float) -> str:
    """The key of WHY for a finished run on this kind of data, empty where laws may use it.
    unasked: part of its values that was not asked for; NaN where the record does not say it."""
    if kind != "corpus":
        return ""
    return OLD if math.isnan(unasked) else UNASKED if unasked > MOST_UNASKED else ""


def reasons(table: Frame) -> list[str]:
    """By row the key of WHY, empty where laws may use it. table: of `run_table.table` or
    `run_table.quantized_table`, also as a file of `capacity table` has it; all rows of other tables
    may be used."""
    if not {"run_id", "kind"} <= set(table):
        return [""] * len(table)
    import pandas as pd  # sweeps read the kinds of study without it

    nothing = pd.Series(math.nan, table.index)
    column = pd.Series(table.get("unasked_fraction", nothing))
    unasked = np.asarray(pd.to_numeric(column, errors="coerce"), float)
    status = table.get("status", pd.Series("finished", table.index))
    return [
        reason(kind, float(part)) if state == "finished" else ""
        for kind, state, part in zip(table.kind, status, unasked, strict=True)
    ]


def set_aside(table: Frame) -> Frame:
    """The table with status "refused", and a key of WHY in the column `refused`, for such runs; as
    it is where there are none. table: of `run_table.table`."""
    why = reasons(table)
    if not any(why):
        return table
    status = ["refused" if key else state for key, state in zip(why, table.status, strict=True)]
    return table.assign(status=status, refused=why)


def by_reason(table: Frame) -> dict[str, list[str]]:
    """Refused runs by key of WHY, empty where there are none."""
    if "refused" not in table:
        return {}
    refused_runs = {key: sorted(set(table.run_id[table.refused == key])) for key in WHY}
    return {key: runs for key, runs in refused_runs.items() if runs}


def describe(table: Frame) -> list[str]:
    """The refused runs, a sentence for each reason."""
    return [
        f"{plural(len(runs), 'finished run')} refused: {WHY[key]} ({some(runs)})"
        for key, runs in by_reason(table).items()
    ]
