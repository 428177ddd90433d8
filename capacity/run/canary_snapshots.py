"""What the snapshots of a run (`measure.snapshots`) say of its canaries of several kinds, put into
the groups of its record: from which step on each was seen, what was held of it and written when."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from capacity import records
from capacity.base import snapshots
from capacity.config import Config
from capacity.data import canaries
from capacity.settings.data import text_data

CANARY = snapshots.KINDS.index("canary")
OF_GROUP = ("first_update", "bits_at", "tails_at")
STEPS = "canary_steps"
DECIMALS = 3  # of bits: records stay small


def put(part: dict[str, Any], config: Config, results: Path) -> None:
    """Add to a part of a record what the table of snapshots beside it has of canaries: steps, and
    by group OF_GROUP; nothing where a run has no such table."""
    found = snapshots.read(records.run_dir(results, config.run_id))
    if found is None or "canary_kinds" not in part:
        return
    mine = np.flatnonzero(found["kind"] == CANARY)
    mine = mine[np.argsort(found["item"][mine], kind="stable")]
    bits = np.round(found["nats"][:, mine].astype(float) / math.log(2), DECIMALS)
    tails = found["tail"][:, mine].astype(int)
    first = _first_updates(config, len(mine))
    part[STEPS] = found["step"].tolist()
    start = 0
    for group in part["canary_kinds"]:  # kind by kind, level by level, as canaries are numbered
        at = slice(start, start := start + group["canaries"])
        group["first_update"] = None if first is None else first[at]
        group["bits_at"] = bits[:, at].tolist()
        group["tails_at"] = tails[:, at].tolist()
    if start != len(mine):
        raise ValueError(f"{config.run_id}: {len(mine)} canaries of snapshots, {start} of groups")


def keep(part: dict[str, Any], before: dict[str, Any]) -> None:
    """Give a part that was measured anew what the record before it had of snapshots."""
    if STEPS not in before:
        return
    part[STEPS] = before[STEPS]
    for new, old in zip(part["canary_kinds"], before["canary_kinds"], strict=True):
        new.update({name: old[name] for name in OF_GROUP})


def _first_updates(config: Config, number: int) -> list[int | None] | None:
    """Of each canary the number (from 1) of the update with its first view, None of those that are
    never seen; None altogether where copies are shuffled into the training set."""
    data = text_data(config.data)
    if not data.view_windows:
        return None
    out: list[int | None] = [None] * number
    for step, canary, _ in canaries.schedule(data, config.steps):  # steps rise
        if out[canary] is None:
            out[canary] = step + 1
    return out
