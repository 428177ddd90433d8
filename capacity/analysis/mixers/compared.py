"""Whether one form of a model holds more bits per parameter than another, within sizes.

Data follow the parameters of each model, so that runs of one seed have nothing in common but its
number: labels are permuted within blocks of one size and amount of data (`fitting.two_groups`), and
not signs of pairs. A difference counts where the interval excludes equality, p of the permutation,
corrected for all comparisons of its list (Holm), is at most 5%, the best rate of both forms lies
inside of what was tried, and no run of the lower form is known to be still rising.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from capacity.analysis.idle import tuning
from capacity.analysis.thresholds import RISING
from capacity.base.frames import Frame
from capacity.base.words import plural
from capacity.fitting.statistics import LEVEL, holm
from capacity.fitting.two_groups import difference

ALPHA = 1 - LEVEL
MORE, LESS, NONE, UNKNOWN = "more", "less", "none shown", "cannot tell"
CLOSE = 1e-12


def of(a: str, b: str, full: Frame, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One comparison before the correction: a, b, ratio (a / b, mean of logarithms over blocks),
    interval (95% by t over seeds, one variance for both), p, smallest_p, runs, by_size, edges (why
    a best rate is not known), rising (of a and of b), reason (why there is no ratio). full: runs of
    one condition that measure capacity, by the chosen recipes."""
    sides = [full[full.system == name] for name in (a, b)]
    values = [_blocks(side) for side in sides]
    both = sorted(set(values[0]) & set(values[1]))
    row: dict[str, Any] = {
        "a": a,
        "b": b,
        "ratio": None,
        "interval": None,
        "p": None,
        "smallest_p": None,
        "runs": [sum(len(side[key]) for key in both) for side in values],
        "by_size": [
            {"size": key[0], "ratio": math.exp(values[0][key].mean() - values[1][key].mean())}
            for key in both
        ],
        "edges": [],
        "rising": [[], []],
        "reason": None if both else f"no runs of {a} and {b} of one size measure capacity",
    }
    if not both:
        return row
    found = difference([(values[0][key], values[1][key]) for key in both])
    ends = found.interval
    condition = int(full.condition.iloc[0])
    return row | {
        "ratio": math.exp(found.value),
        "interval": None if ends is None else [math.exp(end) for end in ends],
        "p": found.p,
        "smallest_p": found.smallest_p,
        "edges": tuning.reasons(choices, condition, 0, a, b),
        "rising": [_rising(side, both) for side in sides],
    }


def judged(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The comparisons of one list with p_holm, verdict (of a: more, less, none shown, cannot tell)
    and why (what withholds it)."""
    corrected = holm([row["p"] for row in rows])
    return [row | {"p_holm": p} | _verdict(row, p) for row, p in zip(rows, corrected, strict=True)]


def shown(row: dict[str, Any], p: float | None) -> str | None:
    """What interval and corrected p show of a, whatever training left open: more, less or None."""
    if row["interval"] is None or p is None or p > ALPHA + CLOSE:
        return None
    if row["interval"][0] > 1:
        return MORE
    return LESS if row["interval"][1] < 1 else None


def _verdict(row: dict[str, Any], p: float | None) -> dict[str, Any]:
    if row["reason"]:
        return {"verdict": UNKNOWN, "why": row["reason"]}
    if row["edges"]:
        return {"verdict": UNKNOWN, "why": "; ".join(row["edges"])}
    side = shown(row, p)
    if side is None:
        return {"verdict": NONE, "why": None}
    # better training of the lower form could turn it, of the higher one it could not
    if lower := row["rising"][1 if side == MORE else 0]:
        return {"verdict": UNKNOWN, "why": f"more training could turn it: {'; '.join(lower)}"}
    return {"verdict": side, "why": None}


def _blocks(runs: Frame) -> dict[tuple[Any, ...], np.ndarray]:
    """Logarithms of bits per parameter by size and amount of data, one per seed."""
    logs = runs.assign(log=np.log(runs.rate.astype(float)))
    means = logs.groupby(["size", "load", "seed"]).log.mean()
    return {key: mine.to_numpy() for key, mine in means.groupby(level=[0, 1])}


def _rising(runs: Frame, blocks: Sequence[tuple[Any, ...]]) -> list[str]:
    """Which runs of these blocks are known to rise by over RISING in the last tenth."""
    at = [key in blocks for key in zip(runs["size"], runs.load, strict=True)]
    up = runs[at][runs[at].shown_rising]
    if up.empty:
        return []
    sizes = ", ".join(sorted(set(up["size"])))
    return [f"{plural(len(up), 'run')} of {up.system.iloc[0]} still rising by over {RISING:.0%} "
            f"({sizes})"]  # fmt: skip
