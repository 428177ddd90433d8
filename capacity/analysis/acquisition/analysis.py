"""How new facts are acquired and lost: effectivity, what is gained and retained, decay per decade,
by arm, kind of probe, size and batch; and the orders that Chang et al. (arXiv 2406.11813) found.

    R(t) = c - a log10 t        mean retainability at lag t, steps behind the last local maximum
    t_0  = 10^(c / a)           where R is 0, in steps and, times tokens per step, in tokens

`fitting.acquisition` has the formulas. The line is fitted run by run; numbers are means over
replicates with Student's t intervals, over those replicates that have one. Constants are far from
the published sizes, so that orders alone are judged (`acquisition.orders`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import records
from capacity.analysis import planned_runs
from capacity.analysis.acquisition import orders, reading
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.table_checks import checked
from capacity.base.files import plain
from capacity.base.frames import Frame
from capacity.fitting.statistics import ALPHA, t_interval

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.study import Study

SCHEMA = 2
INPUTS = ("run_id", "seed", "status")
CELL = ["system", "parameters", "size", "batch", "tokens_per_step", "arm", "kind"]
NUMBERS = (
    *("effectivity", "gained", "held", "a", "threshold", "threshold_tokens", "r2"),
    "bits_per_decade",
)
POSITIVE = ("threshold", "threshold_tokens")
RANK = {
    name: i
    for names in (("duplicate", "paraphrase", "once", "never"),
                  ("memorization", "semantic", "composition"))
    for i, name in enumerate(names)
}  # fmt: skip


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """No published constant is judged; the level of p decides which orders count."""
    return [], {"order": ALPHA}


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """What a study of acquisition found. ValueError, in one line, for a table that cannot be
    judged."""
    checked(table, INPUTS, ["seed"], "fit")
    measured = {
        run_id: record["measures"]["text"]["facts"]
        for run_id in table.run_id[table.status == "finished"]
        if (record := records.read(results, run_id))
    }
    return analysed(study.runs, table, measured, study.name)


def analysed(
    planned: Sequence[Config],
    table: Frame,
    measured: Mapping[str, list[dict[str, Any]]],
    name: str,
) -> Finding:
    """`analyse` of planned runs, their table, and what their records say of their facts."""
    table = checked(table, INPUTS, ["seed"], "fit")
    known = reading.described(planned)
    runs = planned_runs.beside(table, known)
    found, later, probes = (_sorted(one) for one in reading.parts(known, measured))
    runs = _headline(runs, found)
    numbers = head("acquisition", SCHEMA, name, _digest(found)) | {
        "runs": len(runs),
        "finished": int((runs.status == "finished").sum()),
        "replicates": int(found.replicate.nunique()),
        "cells": _cells(found),
        "orders": orders.judged(found),
        **planned_runs.unfinished(runs),
    }
    shown = runs.sort_values(["system", "parameters", "batch", "replicate", "run_id"])
    keys = [*CELL, "facts"]
    drawn, _ = reading.shown(probes)  # of all cells it would be the log over again
    curve = drawn.groupby([*keys, "step"], sort=False).bits.agg(["mean", "count"]).reset_index()
    tables = {
        "runs.csv": shown,
        "parts.csv": found,
        "retained.csv": later,
        "probes.csv": curve.rename(columns={"mean": "bits", "count": "runs"}),
    }
    return Finding("acquisition", "fit.json", plain(numbers), tables)


def _sorted(table: Frame) -> Frame:
    """In the order of sizes, batches, arms and kinds."""
    if table.empty:
        return table
    keys = [k for k in ("system", "parameters", "batch", "replicate") if k in table]
    last = [k for k in ("lag", "step") if k in table]
    return table.sort_values(
        [*keys, "arm", "kind", *last],
        key=lambda column: column.map(RANK) if column.name in ("arm", "kind") else column,
        kind="stable",
    ).reset_index(drop=True)


def _headline(runs: Frame, found: Frame) -> Frame:
    """What the table of runs shows: bits gained of duplicated facts by kind."""
    mine = found[found.arm == "duplicate"]
    for kind in ("memorization", "semantic"):
        by_run = mine[mine.kind == kind].set_index("run_id").gained
        runs[f"gained_{kind}"] = runs.run_id.map(by_run)
    return runs


def _digest(found: Frame) -> str:
    """SHA-256 of what the numbers read."""
    columns = ["run_id", "arm", "kind", "effectivity", "gained", "held", "a"]
    rows = found.sort_values(["run_id", "arm", "kind"])[columns].round(9)
    return hashlib.sha256(rows.to_json(orient="values").encode()).hexdigest()


def _cells(found: Frame) -> list[dict[str, Any]]:
    """Of every size, batch, arm and kind each number over replicates."""
    out = []
    for key, mine in found.groupby(CELL, sort=False):
        row: dict[str, Any] = dict(zip(CELL, key, strict=True))
        row |= {"facts": int(mine.facts.iloc[0]), "replicates": len(mine)}
        row["why"] = next((why for why in mine.why if why), "")
        for name in NUMBERS:
            row[name] = _over(mine[name].to_numpy(float), log=name in POSITIVE)
        out.append(row)
    return out


def _over(values: np.ndarray, *, log: bool = False) -> dict[str, Any] | None:
    """Mean over replicates with its t interval (None for a single one), of logarithms where steps
    are counted; None without a number."""
    told = values[np.isfinite(values)]
    told = np.log(told) if log else told
    if not len(told):
        return None
    low, high = t_interval(told)
    ends = None if np.isnan(low) else [low, high]
    value = float(told.mean())
    if log:
        value, ends = float(np.exp(value)), None if ends is None else np.exp(ends).tolist()
    return {"value": value, "interval": ends, "replicates": len(told)}
