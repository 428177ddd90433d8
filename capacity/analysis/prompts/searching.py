"""What a search for longer prompts adds (`measure.prompt_search`), where runs have one.

Rules. The search *adds* where the share with a ratio above 1 by a searched prompt alone, averaged
over the amounts and sizes that every replicate has, is above 0 with p <= 5% by flipping signs over
replicates; else it cannot be told, since a search that finds nothing says nothing. False positives
are judged as those of all short prompts are. Recall is told with its exact interval, sequences of
all runs together, and judges nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from capacity.analysis.order_verdicts import UNKNOWN
from capacity.base.frames import Frame
from capacity.fitting.statistics import ALPHA, proportion, sign_flips, t_interval

ADDS = "adds"
BUDGET = ("steps", "swaps", "top_k")


def outcomes(found: Frame, searched: Mapping[str, Mapping[str, Any]], seq_len: int) -> Frame:
    """A row per run of `reading.outcomes` that has searched, its columns system, replicate,
    parameters, items and shared beside those of the search. ValueError where budgets differ."""
    border, rows = (seq_len - 1) // 2, []
    budgets = sorted({tuple(m[name] for name in BUDGET) for m in searched.values()})
    if len(budgets) > 1:
        told = " and ".join("/".join(map(str, one)) for one in budgets)
        raise ValueError(
            f"steps, swaps and top_k of the search for prompts are {told}; what is found by one is "
            "no share of what is found by the other"
        )
    keys = ["run_id", "system", "replicate", "parameters", "items", "shared"]
    for row in found[keys].to_dict("records"):
        if (m := searched.get(row["run_id"])) is None:
            continue
        for side in ("members", "held_out"):
            one, before = m[side], "" if side == "members" else "held_out_"
            names = ("searched", "shortened", "added", "memorized", "unknown", "saved_bits")
            row |= {before + name: one[name] for name in names}
            row[f"{before}ratio"] = one["ratio_at_least"]
        row["others"] = tuple((np.array(m["held_out"]["bound"]) <= border).tolist())
        row["recall"] = m["recall"]
        rows.append(row)
    out: Frame = pd.DataFrame(rows)
    return out


def numbers(runs: Frame, searched: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The numbers of a finding about the search; runs: of `outcomes`."""
    first = next(iter(searched.values()))
    systems = [(str(system), mine) for system, mine in runs.groupby("system", sort=True)]
    return {
        **{name: first[name] for name in BUDGET},
        "adds": [_adds(*one) for one in systems],
        "recall": [row for one in systems for row in _recall(*one)],
        "cells": _cells(runs),
    }


def _adds(system: str, mine: Frame) -> dict[str, Any]:
    """The share that the search adds, by replicate, over sizes and amounts that all have."""
    grid = mine.pivot_table(index="replicate", columns=["parameters", "items"], values="added")
    mean = grid.dropna(axis=1).mean(axis=1).to_numpy(float)
    row: dict[str, Any] = {
        "system": system,
        "replicates": len(mean),
        "share": float(mean.mean()),
        "interval": None,
        "p": None,
        "verdict": UNKNOWN,
        "reason": None,
    }
    if not np.isfinite(mean).all():
        return row | {"share": None, "reason": "no size and amount that every replicate has"}
    if not mean.any():
        return row | {"reason": "nothing was found, which says nothing"}
    row["interval"] = _interval(mean)
    row["p"] = sign_flips(mean)["p"]
    if row["p"] > ALPHA + 1e-12:
        return row | {"reason": f"p is above {ALPHA:.0%}"}
    return row | {"verdict": ADDS}


def _interval(share_R: np.ndarray) -> list[float] | None:
    """95% of a mean over replicates by t, cut off at 0 and 1; None of one replicate, and where all
    are equal, which says nothing of how they spread."""
    low, high = t_interval(share_R)
    if not math.isfinite(low) or not np.ptp(share_R):
        return None
    return [max(0.0, low), min(1.0, high)]


def _recall(system: str, mine: Frame) -> list[dict[str, Any]]:
    """By length, of all runs together: of how many that have a prompt of it the search finds
    one."""
    groups: dict[int, list[Mapping[str, Any]]] = {}
    for one in mine.recall:
        for tokens, group in one.items():
            groups.setdefault(int(tokens), []).append(group)
    out = []
    for tokens, some in sorted(groups.items()):
        n = sum(one["sequences"] for one in some)
        hits = round(sum(one["found"] * one["sequences"] for one in some))
        out.append(
            {
                "system": system,
                "tokens": tokens,
                "sequences": n,
                "found": hits,
                "interval": list(proportion(hits / n, n)),
                "by_chance": some[0]["by_chance"],
            }
        )
    return out


def _cells(runs: Frame) -> list[dict[str, Any]]:
    """By system, size and amount of data: means over replicates, sequences of all together."""
    out = []
    for (system, size, items), mine in runs.groupby(["system", "parameters", "items"]):
        sums = ("searched", "shortened", "held_out_searched", "held_out_shortened")
        shares = ("memorized", "added", "unknown", "ratio", "saved_bits")
        out.append(
            {
                "system": str(system),
                "parameters": int(size),
                "items": int(items),
                "replicates": len(mine),
                **{name: int(mine[name].sum()) for name in sums},
                **{name: float(mine[name].mean()) for name in shares},
                "added_interval": _interval(mine.added.to_numpy(float)),
                "held_out": float(np.mean([np.mean(one) for one in mine.others])),
                "held_out_ratio": float(mine.held_out_ratio.mean()),
            }
        )
    return out
