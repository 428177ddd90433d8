"""Sequences longer than those of training: what a state still holds of them.

A recurrence that never met more than it can keep has no reason to learn what to forget, and its
state overflows beyond the length of training; longer training sequences teach it (Stuffed Mamba,
arXiv 2410.07145, where the length that is needed grows linearly with the state). On copies a state
that has learned it holds of a longer sequence what it holds of one of the length of training; one
that overflows holds less, or less than nothing, because its answers are wrong with confidence.

Bits at the longest measured multiple of the length of training, over those at that length, seed by
seed. A length of training keeps its bits where the mean ratio is above `KEPT` and loses them where
it is below `LOST`; between lies neither.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from capacity.base.frames import Frame
from capacity.fitting.statistics import t_interval

KEPT, LOST = 0.9, 0.5
# the column of bits of sequences of so many times the length of training
COLUMN = re.compile(r"context_bits_(\d+)x")


def beyond(runs: Frame) -> list[dict[str, Any]]:
    """Of every system, state and length of training at the rate of the system, the ratio at the
    longest multiple that all of its runs were asked for: mean over seeds with its 95% interval by
    Student's t. JSON-able; empty where no run was asked for more than its own length."""
    done = runs[runs.chosen & (runs.status == "finished") & (runs["class"] != "unlearned")]
    asked = {int(m[1]): name for name in runs if (m := COLUMN.fullmatch(str(name)))}
    out = []
    for (system, state, length), mine in done.groupby(["system", "state", "length"]):
        known = [k for k, name in asked.items() if k > 1 and bool(mine[name].notna().all())]
        if not known:
            continue
        times = max(known)
        ratios = (mine[asked[times]].astype(float) / mine.held).groupby(mine.seed).mean()
        low, high = t_interval(ratios.to_numpy())
        mean = float(ratios.mean())
        out.append(
            {
                "system": system,
                "state": int(state),
                "length": int(length),
                "times": times,
                "seeds": len(ratios),
                "ratio": mean,
                "interval": None if math.isnan(low) else [low, high],
                "says": "kept" if mean > KEPT else "lost" if mean < LOST else "between",
            }
        )
    return out


def needed(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of every system and state the training length from which on all that were tried keep their
    bits, and the longest below it that does not: `from` is None where the longest tried one does
    not, `after` None where all keep."""
    out = []
    for key in dict.fromkeys((row["system"], row["state"]) for row in rows):
        mine = sorted(
            (row for row in rows if (row["system"], row["state"]) == key),
            key=lambda row: row["length"],
        )
        failing = [row["length"] for row in mine if row["says"] != "kept"]
        after = failing[-1] if failing else None
        beyond = [row["length"] for row in mine if after is None or row["length"] > after]
        out.append(
            {
                "system": key[0],
                "state": key[1],
                "times": mine[0]["times"],
                "tried": [row["length"] for row in mine],
                "from": beyond[0] if beyond else None,
                "after": after,
            }
        )
    return out


def grows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whether the needed length grows with the state, by system: the exact one-sided p of Kendall's
    order over all orders of the states, of states whose length lies between two that were tried.
    JSON-able: by system p, states, smallest_p (what so many can reach)."""
    out = {}
    for system in dict.fromkeys(row["system"] for row in rows):
        known = sorted(
            (row["state"], row["from"])
            for row in rows
            if row["system"] == system and row["from"] is not None and row["after"] is not None
        )
        if len(known) < 2:
            out[system] = {"states": len(known), "p": None, "smallest_p": None}
            continue
        lengths = [length for _, length in known]

        def order(values: Sequence[int]) -> int:
            pairs = itertools.combinations(values, 2)
            return sum(int(np.sign(later - earlier)) for earlier, later in pairs)

        every = [order(one) for one in itertools.permutations(lengths)]
        out[system] = {
            "states": len(known),
            "p": sum(one >= order(lengths) for one in every) / len(every),
            "smallest_p": 1 / math.factorial(len(known)),
        }
    return out
