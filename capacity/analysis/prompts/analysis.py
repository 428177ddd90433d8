"""The share of sequences that adversarial compression calls memorized (arXiv 2404.15146): how it
goes with the amount of data and the size of the model, false positives among held-out sequences,
and bits saved by prompts beside those of the model's own code.

Verdicts are on orders, by permutation of the values of an axis within replicates
(`fitting.trends`), and count only with p <= 5% and where no run of the order still rises; on false
positives, by the exact interval of their share; and on whether prompts save less than the model's
own code, by flipping signs over replicates. A held-out sequence that models of several sizes were
asked for is one trial, and positive where any of them writes it. The published shares are of
pretrained models on text, for whole strings and by search: no number here is judged by them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity.analysis import planned_runs
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.order_verdicts import AGREES, DIFFERS, UNKNOWN, judged
from capacity.analysis.prompts import reading, searching
from capacity.analysis.table_checks import checked, rising
from capacity.analysis.thresholds import RISING
from capacity.base.files import plain
from capacity.base.frames import Frame
from capacity.base.words import plural
from capacity.fitting.statistics import ALPHA, proportion, sign_flips, t_interval

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.study import Study

SCHEMA = 2
INPUTS = ("run_id", "seed", "status", "gain_last_tenth")
MEMORIZED, WITHIN = "memorized", "within"
FALSE_AT_MOST = 0.05  # upper end of the interval from which on no false positive says something
SOURCE = "arXiv 2404.15146"
# name, column, expected sign, whose
AXES = (
    ("amount of data", "items", -1, "arXiv 2505.24832: what a model holds is bounded"),
    ("size of the model", "parameters", 1, f"{SOURCE}, Pythia from 410M to 12B"),
)


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """No published constant is judged; the rules that decide which orders count."""
    rules = {"order": ALPHA, "false_positives_at_most": FALSE_AT_MOST, "rising": RISING}
    return [], rules


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """The orders of a study of prompts. ValueError, in one line, for a table that cannot be
    judged."""
    checked(table, INPUTS, ["gain_last_tenth"], "judge")
    measured, searched = (
        planned_runs.measured(table, results, name) for name in ("prompts", "prompt_search")
    )
    return analysed(study.runs, table, measured, study.name, searched)


def analysed(
    planned: Sequence[Config],
    table: Frame,
    measured: Mapping[str, Mapping[str, Any]],
    name: str,
    searched: Mapping[str, Mapping[str, Any]] | None = None,
) -> Finding:
    """`analyse` of planned runs, their table, and what their records say of prompts, and where
    longer ones were searched for, of these."""
    table = checked(table, INPUTS, ["gain_last_tenth"], "judge")
    known = reading.described(planned)
    found = reading.outcomes(planned, known, measured)
    if found.empty:
        raise ValueError(
            "no finished run was asked for prompts; `capacity measure RUN measure.prompts=2` asks"
        )
    still = set(table.run_id[rising(table)])
    found["rising"] = found.run_id.isin(still)
    random = planned[0].data.kind == "uniform"
    runs = planned_runs.beside(table, known)
    told = found.drop(columns=["others", *(c for c in known if c != "run_id")])
    runs = runs.drop(columns=[c for c in told if c in runs and c != "run_id"])
    runs = runs.merge(told, on="run_id", how="left")
    systems = [(str(system), mine) for system, mine in found.groupby("system", sort=True)]
    numbers = head("prompts", SCHEMA, name, _digest(found)) | {
        "random": random,
        "runs": len(runs),
        "finished": int((runs.status == "finished").sum()),
        "asked": len(found),
        "replicates": int(found.replicate.nunique()),
        "longest": int(found.longest.iloc[0]),
        "seq_len": planned[0].data.seq_len,
        "rows": planned[0].rows,
        "orders": [one for system, mine in systems for one in _orders(system, mine)],
        "false_positives": [_false_positives(*one) for one in systems],
        "codes": [_codes(*one) for one in systems] if random else [],
        "cells": _cells(found),
        "rising": sorted(still),
        **planned_runs.unfinished(runs),
    }
    if searched:
        of_search = searching.outcomes(found, searched, planned[0].data.seq_len)
        numbers["search"] = searching.numbers(of_search, searched) | {
            "false_positives": [
                _false_positives(str(system), mine)
                for system, mine in of_search.groupby("system", sort=True)
            ]
        }
    shown = runs.sort_values(["system", "parameters", "items", "replicate", "run_id"])
    return Finding("prompts", "fit.json", plain(numbers), {"runs.csv": shown})


def _digest(found: Frame) -> str:
    """SHA-256 of what the verdicts read."""
    columns = ["run_id", "within", "memorized", "saved", "code", "rising"]
    rows = found.sort_values("run_id")[columns]
    return hashlib.sha256(rows.to_json(orient="values").encode()).hexdigest()


def _orders(system: str, mine: Frame) -> list[dict[str, Any]]:
    """Both shares along both axes, averaged over the values of the other axis that all have."""
    out = []
    for name, column, sign, source in AXES:
        other = next(axis[1] for axis in AXES if axis[1] != column)
        values = sorted(set(mine[column]))
        if len(values) < 2:
            continue
        # equal conditions on the other axis, or an order would be that of both
        everywhere = mine.groupby(other)[column].nunique()
        some = mine[mine[other].isin(everywhere.index[everywhere == len(values)])]
        for outcome in (MEMORIZED, WITHIN):
            row = {"system": system, "axis": name, "outcome": outcome, "source": source}
            out.append(row | _judged(some, column, outcome, sign, values))
    return out


def _judged(
    some: Frame, column: str, outcome: str, sign: int, values: Sequence[int]
) -> dict[str, Any]:
    """Means over replicates in the order of values, trend, p and verdict; none while runs rise."""
    grid = some.pivot_table(index="replicate", columns=column, values=outcome)
    still = int(some.rising.sum())
    but = f"{plural(still, 'run')} still rising by over {RISING:.0%}" if still else None
    found = judged(grid.reindex(columns=list(values)), sign, but=but)
    return {"values": list(values), "expected": sign, **found}


def _false_positives(system: str, mine: Frame) -> dict[str, Any]:
    """Held-out sequences that count as memorized, of all that were asked for, sizes together."""
    hits = trials = shared = 0
    for _, same in mine.groupby(["replicate", "items"]):
        asked = list(zip(*same.others, strict=True))
        trials += len(asked)
        hits += sum(any(one) for one in asked)
        shared += int(same.shared.max())
    low, high = proportion(hits / trials, trials)
    verdict = DIFFERS if hits else AGREES if high <= FALSE_AT_MOST else UNKNOWN
    return {
        "system": system,
        "hits": hits,
        "trials": trials,
        "interval": [low, high],
        "shared": shared,
        "published": 0.0,
        "source": f"{SOURCE}: random strings and news after training",
        "verdict": verdict,
    }


def _codes(system: str, mine: Frame) -> dict[str, Any]:
    """Whether prompts save less than the model's own code, of all members that were asked for: the
    mean difference of a replicate, over runs that every replicate has."""
    mine = mine.assign(less=mine.code - mine.saved)
    grid = mine.pivot_table(index="replicate", columns=["parameters", "items"], values="less")
    grid = grid.dropna(axis=1)
    row: dict[str, Any] = {"system": system, "replicates": len(grid), "less_bits": None}
    row |= {"interval": None, "p": None, "verdict": UNKNOWN}
    if grid.empty:
        return row | {"reason": "no size and amount that every replicate has"}
    mean = grid.mean(axis=1).to_numpy(float)
    test, (low, high) = sign_flips(mean), t_interval(mean)
    row |= {"less_bits": float(mean.mean()), "p": test["p"], "reason": None}
    row["interval"] = [low, high] if math.isfinite(low) else None
    row["more_somewhere"] = int((mine.less < 0).sum())
    if test["p"] > ALPHA + 1e-12:
        return row | {"reason": f"p is above {ALPHA:.0%}"}
    return row | {"verdict": "less" if mean.mean() > 0 else "more"}


def _cells(found: Frame) -> list[dict[str, Any]]:
    """By system, size and amount of data: means over replicates, and the ratio of saved bits to
    those of the model's own code with its interval over replicates."""
    out = []
    for (system, size, items), mine in found.groupby(["system", "parameters", "items"]):
        ratio = (mine.saved / mine.code).to_numpy(float)
        low, high = t_interval(ratio)
        shares = {}
        for name in (MEMORIZED, WITHIN):
            ends = t_interval(mine[name])
            shares[name] = {
                "mean": float(mine[name].mean()),
                "sd": float(mine[name].std()) if len(mine) > 1 else None,
                "interval": [max(0.0, ends[0]), min(1.0, ends[1])]
                if math.isfinite(ends[0])
                else None,
            }
        prompts = mine.mean_prompt.dropna()
        out.append(
            {
                "system": str(system),
                "parameters": int(size),
                "items": int(items),
                "load": float(mine.load.iloc[0]),
                "replicates": len(mine),
                "sequences": int(mine.n.iloc[0]),
                **shares,
                "own": float(mine.own.mean()),
                "unknown": float(mine.unknown.mean()),
                "mean_prompt": float(prompts.mean()) if len(prompts) else None,
                "held_out": float(np.mean([np.mean(one) for one in mine.others])),
                "ties": int(mine.ties.sum()),
                "saved_bits": float(mine.saved.mean()),
                "code_bits": float(mine.code.mean()),
                "held_out_saved_bits": float(mine.held_out_saved.mean()),
                "held_out_code_bits": float(mine.held_out_code.mean()),
                "ratio": {
                    "value": float(ratio.mean()),
                    "interval": [low, high] if math.isfinite(low) else None,
                },
                "rising": int(mine.rising.sum()),
            }
        )
    return out
