"""Which runs stand beside which: one rule for every kind of study.

Two runs are a pair where they are equal in the columns that a comparison fixes (size, seed, data).
A run with two partners is refused, never averaged over them and never paired with the first: which
of them is meant is for the reader to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capacity.base.frames import Frame


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows; frame: columns that both sides must share once, all others with a suffix per
    side. unequal: columns that should be equal where any pair can be, and in no pair are."""

    frame: Frame
    unequal: list[str]


class SeveralPartners(ValueError):
    """A row has several partners. row: what names it; side: 0 or 1; rows: its side's pairs."""

    def __init__(self, row: str, side: int, rows: Frame) -> None:
        super().__init__(f"{row} has several partners")
        self.row, self.side, self.rows = row, side, rows


def matched(
    one: Frame,
    other: Frame,
    equal: Sequence[str],
    *,
    equal_if_any: Sequence[str] = (),
    suffixes: tuple[str, str] = ("_a", "_b"),
    key: str = "run_id",
) -> Pairs:
    """Rows of `one` beside those of `other` with equal values in the columns `equal`; rows without
    a partner are left out. equal_if_any: columns in which pairs have to be equal as well, unless no
    pair is (a setting that always goes with what is compared). key: the column that names a
    row among those of equal values.

    `SeveralPartners` where a row has more than one."""
    both = one.merge(other, on=[*equal], how="inner", suffixes=suffixes)
    unequal = []
    for column in equal_if_any:
        left, right = (both[f"{column}{suffix}"] for suffix in suffixes)
        same = np.array([x == y for x, y in zip(left, right, strict=True)], bool)
        if same.any():
            both = both[same]
        else:
            unequal.append(column)
    for side, suffix in enumerate(suffixes):
        rows = both[both.duplicated([*equal, f"{key}{suffix}"], keep=False)]
        if len(rows):
            raise SeveralPartners(rows[f"{key}{suffix}"].iloc[0], side, rows)
    return Pairs(both, unequal)
