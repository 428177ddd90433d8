"""What a run still holds of the data of the run with whose weights it began (`train.start_from`),
measured as that run was: after other data, what is not held any more is what these have cost."""

from __future__ import annotations

from typing import Any

from capacity.declare import registry
from capacity.declare import start as declared
from capacity.train.starts import Start

MEASURE = declared.MEASURE


def measure(start: Start, after: dict[str, float]) -> dict[str, Any]:
    """MEASURE. after: what this run holds of the data of `start`, as its record has it: bits and,
    of facts, accuracy."""
    main = registry.main_of(start.config.data.kind)
    part = start.record["measures"][main.name]
    before = main.held_bits(part)
    out: dict[str, Any] = {
        "version": MEASURE.version,
        "run_id": start.record["run_id"],
        "kind": start.config.data.kind,
        "bits_before": float(before),
        "bits_after": after["bits"],
        "bits_lost": before - after["bits"],
        "kept": after["bits"] / before if before > 0 else None,
    }
    if "accuracy" in after:
        out |= {"accuracy_before": part["accuracy"], "accuracy_after": after["accuracy"]}
    return MEASURE.returns(out)
