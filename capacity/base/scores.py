"""Tables of numbers per sequence of text, or per person, beside a record: scores.safetensors, read
and written by numpy alone. Columns: `measure/sequence_scores.py`, `measure/people.py`."""

from __future__ import annotations

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
