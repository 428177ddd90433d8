"""Scores of single sequences or people at some steps of a training: snapshots.safetensors beside a
record, read and written by numpy alone.

    step   int64 [K]
    item   int64 [N]: number of the sequence; of text its row of the pool; of a canary its
           number; of a person that of the data, those held out behind all
    kind   uint8 [N]: an index of KINDS
    nats   fp32 [K, N]: code length of the whole sequence
    tail   uint16 [K, N]: tokens at the end that greedy decoding writes exactly

and of people, instead of the last two, as `measure/people.py` counts them

    name_nats   fp32 [K, N]: of the name
    value_nats  fp32 [K, N]: of all values that count bits, means over contexts
    accuracy    fp32 [K, N]: part of the counted attributes and contexts that is answered exactly
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from capacity.base.files import write_atomic

if TYPE_CHECKING:
    import numpy as np

SNAPSHOTS = "snapshots.safetensors"
KINDS = ("trained", "held out", "canary")
ABOUT = ("item", "kind")  # the same at every step
SCORED = ("nats", "tail", "name_nats", "value_nats", "accuracy")  # by step


def add(folder: Path, run_id: str, step: int, columns: Mapping[str, np.ndarray]) -> None:
    """Add the scores of a step: item, kind and the numbers of each, all [N]. Steps of the file from
    this one on are left out, as a run that goes on makes them again."""
    import numpy as np

    before = read(folder)
    now = {name: column if name in ABOUT else column[None] for name, column in columns.items()}
    now["step"] = np.array([step], np.int64)
    if before is not None and (kept := before["step"] < step).any():
        now |= {
            name: np.concatenate([before[name][kept], now[name]])
            for name in now
            if name not in ABOUT
        }
    from safetensors.numpy import save

    table = {name: np.ascontiguousarray(column) for name, column in now.items()}
    about = {"run_id": run_id, "kinds": json.dumps(KINDS)}
    write_atomic(folder / SNAPSHOTS, save(table, metadata=about))


def read(folder: Path) -> dict[str, np.ndarray] | None:
    """The table of a run; None if it has none."""
    from safetensors.numpy import load

    path = folder / SNAPSHOTS
    return load(path.read_bytes()) if path.exists() else None
