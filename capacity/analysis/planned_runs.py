"""Runs of a study as its kinds read them: the table of runs beside what the plan says of each, and
what their records say of one measure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from capacity import records

if TYPE_CHECKING:
    from pathlib import Path

    from capacity.base.frames import Frame


def beside(table: Frame, known: Frame) -> Frame:
    """The rows of a table of runs that a plan has, with its columns; where both have a column, the
    plan's. known: a row per planned run, run_id among its columns."""
    own = table.drop(columns=[c for c in known if c in table and c != "run_id"])
    out: Frame = own.merge(known, on="run_id", how="inner", validate="one_to_one")
    return out


def unfinished(runs: Frame) -> dict[str, list[str]]:
    """The ids of runs that are missing and of those that failed, for the numbers of a finding."""
    return {
        status: sorted(runs.run_id[runs.status == status].tolist())
        for status in ("missing", "failed")
    }


def measured(table: Frame, results: Path, measure: str) -> dict[str, Any]:
    """Run id -> what the record of a finished run says of a measure, of those that have it."""
    out = {}
    for run_id in table.run_id[table.status == "finished"]:
        found = (records.read(results, run_id) or {}).get("measures", {})
        if measure in found:
            out[run_id] = found[measure]
    return out
