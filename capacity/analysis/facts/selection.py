"""The best over `best_over`: whether more should have been tried, and how the choice biases R."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from capacity.analysis.facts.schema import Choice, Chosen, Frame
from capacity.fitting.statistics import t_interval, winner

ONE_SEED, HOLES, UNLEARNED = "one seed", "not every setting with every seed", "not learned"


def at_edge(runs: Frame, best_over: Sequence[str]) -> dict[str, list[str]]:
    """Names of arms whose best run has the smallest or largest of three or more values of a setting
    of `best_over`: more of them might have raised R. By setting; runs: of `reading.prepare`."""
    out = {}
    done = runs[runs.status == "finished"]
    for column in best_over:
        if column not in runs or not pd.api.types.is_numeric_dtype(runs[column]):
            continue
        tried = done.groupby(["arm", "seed"])[column]
        ends = (done[column] == tried.transform("min")) | (done[column] == tried.transform("max"))
        edge = done.chosen & (tried.transform("nunique") > 2) & ends
        if edge.any():
            best = done[edge].drop_duplicates("arm")
            names = zip(best.model, best.curve_name, strict=True)
            out[column] = [f"{model} ({curve})" for model, curve in names]
    return out


def choice(runs: Frame) -> Choice | None:
    """By how much the best over `best_over`, chosen for each seed by the reported number itself,
    exceeds a choice that did not see the seed.

    runs: of `reading.prepare`. Of each arm with two tried settings and two seeds, complete: quoted
    (mean over seeds of the best run of each seed), held_out (mean over seeds of the setting that
    the other seeds choose, `statistics.winner`), percent = quoted / held_out - 1, and
    noise_percent, what the winner's own noise adds to it when all seeds choose one setting. The
    setting that others choose may be the worse one, so percent errs upward; it is never below 0,
    and its interval (Student's t over arms) ends there. None where nothing was chosen.
    """
    done = runs[runs.status == "finished"]
    if not (done.groupby(["arm", "seed"]).size() > 1).any():
        return None
    rows: list[Chosen] = []
    left: dict[str, int] = dict.fromkeys((ONE_SEED, HOLES, UNLEARNED), 0)
    for _, mine in done.groupby("arm", sort=False):
        if mine.tried.nunique() < 2:
            continue
        row = _chosen(mine)
        if isinstance(row, str):
            left[row] += 1
        else:
            rows.append(row)
    percent = [row["percent"] for row in rows]
    low, high = t_interval(percent)
    return {
        "arms": rows,
        "left_out": left,
        "percent": float(np.mean(percent)) if rows else None,
        "interval": None if math.isnan(low) else [max(0.0, low), high],
        "noise_percent": float(np.mean([row["noise_percent"] for row in rows])) if rows else None,
    }


def _chosen(mine: Frame) -> Chosen | str:
    """The choice within one arm, or why it cannot be judged."""
    grid = mine.pivot_table(index="tried", columns="seed", values="r")
    if grid.shape[1] < 2:
        return ONE_SEED
    if grid.isna().to_numpy().any():
        return HOLES
    best = winner(mine.r, mine.tried, mine.seed)
    if best["fresh"] <= 0:
        return UNLEARNED
    quoted = float(grid.max().mean())
    return {
        "arm": mine.curve_name.iloc[0],
        "model": mine.model.iloc[0],
        "options": best["options"],
        "seeds": best["seeds"],
        "quoted": quoted,
        "held_out": best["fresh"],
        "percent": 100 * (quoted / best["fresh"] - 1),
        "noise_percent": 100 * best["bias"] / best["value"],
    }
