"""How long what was seen in a window is recognized and recalled (after arXiv 2303.17557), from
canaries that are scored at snapshots of the training.

recognition   AUC of the code length: seen canaries against never seen ones drawn alike (in the
              paper, pairs of a seen sentence and a foil of which the seen one costs less)
recalled      part of the seen canaries whose second half greedy decoding writes behind the first,
              minus that of never seen ones (there ROUGE of the greedy second half)
bits          that never seen ones cost more

Lags count updates since the end of the window. What is kept of a number is what it is at the last
snapshot / at the first one behind all windows of the run, of recognition beyond 1/2. The last
snapshot before the window is a control: nobody was seen by then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from capacity.analysis.items import reading
from capacity.base.frames import Frame
from capacity.fitting.membership import auc
from capacity.fitting.statistics import t_interval

OUTCOMES = ("recognition", "recalled", "bits")
GUESS = {"recognition": 0.5, "recalled": 0.0, "bits": 0.0}
LEAST = 0.02  # of recall behind the window, mean over groups, below which nothing can be kept
KEY = ("system", "replicate", "noise_share")
COLUMNS = (
    *("group", "repeats", "window", "spacing", "noise_share", "length", "step", "lag"),
    *OUTCOMES,
)


def points(
    known: Frame,
    measured: Mapping[str, list[dict[str, Any]]],
    steps: Mapping[str, Sequence[int]],
) -> Frame:
    """A row per finished run with snapshots, group that was seen in a window that ends before the
    training does, and snapshot: the columns of `known` and COLUMNS; lag negative before the end of
    the window, and rows in which some canaries are seen are left out."""
    rows = []
    for run in known.itertuples():
        listed, at = measured.get(str(run.run_id), []), list(steps.get(str(run.run_id), ()))
        for group in listed if at else ():
            end = group["window_end"]
            if not group["repeats"] or group["replaced"] or end is None or end >= at[-1]:
                continue
            alike = [
                g
                for g in listed
                if not g["repeats"]
                and (g["length"], g["noise"]) == (group["length"], group["noise"])
            ]
            for k, step in enumerate(at):
                if group["window_first"] < step < end:
                    continue
                rows.append(
                    {name: getattr(run, name) for name in known.columns}
                    | {name: group[name] for name in ("group", "repeats", "length")}
                    | {"window": reading.window(group, run.steps), "step": step, "lag": step - end}
                    | {"spacing": math.nan if group["spacing"] is None else group["spacing"]}
                    | {"noise_share": group["noise"] / group["length"]}
                    | _outcomes(group, alike, k)
                )
    out: Frame = pd.DataFrame(rows, columns=[*known.columns, *COLUMNS] if not rows else None)
    return out


def _outcomes(
    group: Mapping[str, Any], alike: Sequence[Mapping[str, Any]], k: int
) -> dict[str, float]:
    """Of a group at snapshot k, against never seen canaries drawn alike."""
    half = group["length"] - group["length"] // 2
    bits, tails = (np.array(group[name][k], float) for name in ("bits_at", "tails_at"))
    never_bits, never_tails = (
        np.concatenate([np.array(one[name][k], float) for one in alike])
        for name in ("bits_at", "tails_at")
    )
    return {
        "recognition": float(auc(-bits, -never_bits)),
        "recalled": float((tails >= half).mean() - (never_tails >= half).mean()),
        "bits": float(never_bits.mean() - bits.mean()),
    }


def behind_all(found: Frame) -> Frame:
    """From the first snapshot of a run on that is behind all of its windows, with lags behind the
    last one: the same for windows that end apart."""
    last_end = (found.step - found.lag).groupby(found.run_id).transform("max")
    out: Frame = found[found.step >= last_end]
    return out.assign(lag=out.step - last_end)


def by_spacing(fit: Mapping[str, Any]) -> bool:
    """Whether the numbers of a study have what lasts by the steps between views."""
    return any("spacing" in row for row in fit["retention"])


def kept(found: Frame) -> list[dict[str, Any]]:
    """By system, share of random tokens, views and, where they have one, spacing: every outcome
    before the window, at the first snapshot behind all windows and at the last, means over
    replicates with intervals."""
    out = []
    by = ["system", "noise_share", "repeats"]
    by += ["spacing"] * bool(found.spacing.notna().any())
    later = behind_all(found)
    for key, mine in found.groupby(by, sort=True):
        row: dict[str, Any] = dict(zip(by, key, strict=True))
        behind = later[later.index.isin(mine.index)]
        for name, some in (
            ("before", mine[mine.lag < 0]),
            ("first", behind[behind.step == behind.groupby("run_id").step.transform("min")]),
            ("last", behind[behind.step == behind.groupby("run_id").step.transform("max")]),
        ):
            if name == "before" and len(some):
                some = some[some.step == some.groupby("run_id").step.transform("max")]
            row[name] = None
            if len(some):
                each = some.groupby("replicate", sort=True)[[*OUTCOMES, "lag"]].mean()
                row[name] = {outcome: _mean(each[outcome].to_numpy()) for outcome in OUTCOMES}
                row[name]["lag"] = float(each.lag.mean())
        out.append(row)
    return out


def shares(found: Frame, by: Sequence[str] = KEY) -> Frame:
    """By system, replicate and share of random tokens (`by`), what is kept of recognition, recall
    and bits, sums over levels of views; NaN where less than LEAST of recall, or nothing, stood
    behind the window. Columns: those of by, and the outcomes."""
    rows = []
    behind = behind_all(found) if len(found) else found
    for key, mine in behind.groupby(list(by), sort=True):
        row: dict[str, Any] = dict(zip(by, key, strict=True))
        first, last = (
            mine[mine.step == mine.groupby("run_id").step.transform(which)]
            for which in ("min", "max")
        )
        for name in OUTCOMES:
            was, is_ = (float((side[name] - GUESS[name]).mean()) for side in (first, last))
            enough = was > (LEAST if name == "recalled" else 0.0)
            row[name] = is_ / was if enough else math.nan
        rows.append(row)
    out: Frame = pd.DataFrame(rows, columns=[*by, *OUTCOMES])
    return out


def robustness(found: Frame) -> Frame:
    """What is kept of recall and of recognition, of text alone, as `kept` of the values of an axis
    `what`: for the order of the two. Replicates without recall are left out."""
    each = shares(found)
    each = each[(each.noise_share == 0) & each.recalled.notna() & each.recognition.notna()]
    rows = [
        {"system": row.system, "replicate": row.replicate, "what": what, "kept": getattr(row, what)}
        for row in each.itertuples()
        for what in ("recalled", "recognition")
    ]
    return pd.DataFrame(rows, columns=["system", "replicate", "what", "kept"])


def kinds(found: Frame) -> Frame:
    """What is kept of the bits of text and of random tokens, as `kept` of an axis `noise_share`."""
    each = shares(found).rename(columns={"bits": "kept"})
    return each[each.kept.notna()][["system", "replicate", "noise_share", "kept"]]


def spacings(found: Frame) -> Frame:
    """What is kept of the bits by the steps between views, as `kept` of an axis `spacing`; empty
    where there are none."""
    each = shares(found, ("system", "replicate", "spacing")).rename(columns={"bits": "kept"})
    return each[each.kept.notna()][["system", "replicate", "spacing", "kept"]]


def _mean(values: np.ndarray) -> dict[str, Any]:
    low, high = t_interval(values)
    ends = None if np.isnan(low) else [low, high]
    return {"value": float(values.mean()), "interval": ends, "replicates": len(values)}
