"""What all kinds of study ask of a table of runs first: that it can be read, and which runs had not
levelled off."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

import numpy as np
import pandas as pd

from capacity.analysis import refused
from capacity.analysis.thresholds import RISING
from capacity.base.frames import Frame


def checked(table: Frame, inputs: Sequence[str], numbers: Iterable[str], what: str) -> Frame:
    """The table sorted by run_id, without exact copies of rows and with its numbers as numbers, or
    ValueError: one line that says what is wrong. inputs: columns that it must have; what: what a
    finished run is needed for, as "fit"."""
    if absent := [c for c in inputs if c not in table]:
        raise ValueError(f"the table of runs has no column {', '.join(absent)}")
    table = table.drop_duplicates().sort_values("run_id", ignore_index=True)
    table = table.assign(**{c: pd.to_numeric(table[c]) for c in numbers if c in table})
    if twice := list(table.run_id[table.run_id.duplicated()]):
        raise ValueError(f"run {twice[0]} appears more than once with different content")
    if odd := sorted(set(table.status) - {"finished", "failed", "missing", "refused"}):
        raise ValueError(f"status {odd[0]!r} is none of finished, failed, missing")
    if not (table.status == "finished").any():
        number = table.status.value_counts().reindex(["failed", "missing"], fill_value=0)
        counts = ", ".join(f"{n} {status}" for status, n in number.items())
        raise ValueError(
            "; ".join([f"no finished run to {what}: {counts}", *refused.describe(table)])
        )
    return table


def check_numbers(table: Frame, columns: Iterable[str], positive: Container[str]) -> None:
    """ValueError where a finished run has a number that is not finite, or not positive where it has
    to be."""
    done = table[table.status == "finished"]
    for column in columns:
        values = done[column].astype(float)
        bad = ~(np.isfinite(values) & ((values > 0) | (column not in positive)))
        if bad.any():
            raise ValueError(
                f"finished run {done.run_id[bad].iloc[0]} has {column} = {values[bad].iloc[0]:g}"
            )


def rising(table: Frame) -> pd.Series:
    """True for finished runs not shown to have levelled off: gain_last_tenth > RISING, or
    absent."""
    unknown = table.gain_last_tenth.isna()
    return (table.status == "finished") & (shown_rising(table) | unknown)


def shown_rising(table: Frame) -> pd.Series:
    """True for runs that are known to have gained over RISING of their bits in the last tenth of
    training; of failed and missing runs no gain is known."""
    return table.gain_last_tenth.astype(float) > RISING
