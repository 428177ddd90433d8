"""Tables of numbers per sequence of text, or per person, beside a record: scores.safetensors, read
and written by numpy alone. Columns: `measure/sequence_scores.py`, `measure/people.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from capacity.base.files import write_atomic

if TYPE_CHECKING:
    import numpy as np

SCORES = "scores.safetensors"


def write_scores(folder: Path, table: dict[str, np.ndarray], run_id: str) -> None:
    """Write the table of a run into its folder: columns [n] by name."""
    import numpy as np
    from safetensors.numpy import save

    columns = {name: np.ascontiguousarray(column) for name, column in table.items()}
    write_atomic(folder / SCORES, save(columns, metadata={"run_id": run_id}))


def read_scores(folder: Path) -> dict[str, np.ndarray] | None:
    """The table of a run, columns [n] by name; None if it has none."""
    from safetensors.numpy import load

    path = folder / SCORES
    return load(path.read_bytes()) if path.exists() else None


NATS, HIT = "nats.", "hit."  # of columns of people, in front of the attribute
FOLLOWS = ("work_city",)  # of bioS: follows from the employer and counts no bits (footnote 12)
UNCOUNTED = ("gender", *FOLLOWS)  # of bioS: not in the mean accuracy


def people_totals(table: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each person nats of the name, nats of all values that count bits, and the part of the
    counted attributes that is answered exactly; fp64 [R] each. table: of `measure/people.py`."""
    import numpy as np

    name_N = table["name_nats"].astype(np.float64)
    values_N = np.zeros(len(name_N))
    for column in sorted(table):  # a file has its columns in any order
        if column.startswith(NATS) and column.removeprefix(NATS) not in FOLLOWS:
            values_N += table[column]
    counted = [c for c in table if c.startswith(HIT) and c.removeprefix(HIT) not in UNCOUNTED]
    return name_N, values_N, np.mean([table[c].astype(np.float64) for c in counted], axis=0)
