"""Names of runs: which settings tell them apart, as plain values and in words, for every kind of
study that groups runs.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from capacity import naming
from capacity.naming import Names, Value

if TYPE_CHECKING:
    import pandas as pd

    from capacity.config import Config


def plain(value: object) -> Value:
    """A cell of a table of runs as None, float or str, so that equal settings compare equal however
    the table holds them."""
    frames = sys.modules.get("pandas")  # where it is not loaded, nothing is its NA
    if frames and value is frames.NA:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    return naming.plain(value)


def tuples(frame: pd.DataFrame, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The values of these columns, a tuple per row; empty tuples without columns."""
    if not columns:
        return [()] * len(frame)
    return list(zip(*(frame[c] for c in columns), strict=True))


def codes(keys: Sequence[Hashable]) -> list[int]:
    """Equal keys as equal numbers, from 0, in the order in which they first appear."""
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return [number[key] for key in keys]


def apart(name: str, other: str) -> str:
    """What the name of a variant or curve says that the other's does not."""
    return ", ".join(part for part in name.split(", ") if part not in other.split(", "))


def variants(
    settings: pd.DataFrame,
    family: Sequence[str],
    data: Sequence[str],
    recipe: Sequence[str],
    names: Names | None = None,
) -> list[str]:
    """What every row of plain settings is called, see `naming.variants`."""
    return naming.variants(settings.to_dict("records"), family, data, recipe, names)


def family(run: Config) -> str:
    """What a run is trained on, in words: random data, text, copies, recall, random rows and
    people, or facts."""
    names = {"uniform": "random data", "text": "text", "copy": "copies", "mqar": "recall"}
    names |= {"mixed": "random rows and people"}
    return names.get(run.data.kind, "facts")


def families(runs: Iterable[Config]) -> list[str]:
    """What runs are trained on, each once, in the order of the alphabet."""
    return sorted({family(run) for run in runs})
