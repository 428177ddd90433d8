"""How idle parameters are best divided between two parts, at one total: bits over the share of one.

Engram's authors vary the share rho of idle parameters that are experts, at equal total and active
parameters, and find the least loss at 75% to 80% (arXiv 2601.07372, section 3; a U in rho). Here it
is bits held: a curve is the models of one size whose totals are equal, with one or both of two
parts. What a curve asks is whether some mixture holds more than the better of both parts alone;
each mixture is set beside it by paired seeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from capacity.base.frames import Frame
from capacity.fitting.statistics import LEVEL, t_interval

ALIKE = 0.03  # totals of a curve differ by at most so much of their median
FEWEST = 3  # models of a curve: both ends, or one, and what lies between


def curves(full: Frame, choices: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every curve in the runs of a study that measure capacity, with `idle_by`: idle parameters by
    kind of part. choices: of `tuning.choose`; a model without a known optimum of its rates makes
    its curve withheld, with the reason. JSON-able; empty where no models share a total."""
    out = []
    for (condition, form, size), mine in full.groupby(["condition", "form", "size"], sort=True):
        kinds = sorted({kind for by in mine.idle_by for kind in by})
        # experts first: their share is the published axis
        kinds.sort(key=lambda kind: kind != "experts")
        for pair in itertools.combinations(kinds, 2):
            if one := _curve(mine, pair):
                called = mine.called.iloc[0]
                models = {point["model"] for point in one["points"]}
                why = [
                    f"{row['model']}: {reason}"
                    for row in choices
                    if (row["condition"], row["form"]) == (condition, form)
                    and row["model"] in models
                    for reason in row["reasons"]
                ]
                out.append({"condition": called, "size": size, **one, "withheld": why})
    return out


def _curve(mine: Frame, pair: tuple[str, str]) -> dict[str, Any] | None:
    """Models whose idle parameters are of both parts or of one. None where none has both, or fewer
    than `FEWEST` have one total."""
    of_pair = mine[[bool(by) and set(by) <= set(pair) for by in mine.idle_by]]
    mixed = of_pair[[len(by) == 2 for by in of_pair.idle_by]]
    if mixed.empty:
        return None
    total = float(mixed.drop_duplicates("model").p.median())
    alike = of_pair[(of_pair.p - total).abs() <= ALIKE * total]
    points = []
    for model, runs in alike.groupby("model", sort=False):
        by: Mapping[str, int] = runs.idle_by.iloc[0]
        held = runs.groupby("seed").held.mean()
        points.append(
            {
                "model": model,
                "share": by.get(pair[0], 0) / sum(by.values()),
                "p": float(runs.p.iloc[0]),
                "p_active": float(runs.p_active.iloc[0]),
                "bits": float(held.mean()),
                "sd": float(held.std()) if len(held) > 1 else None,
                "by_seed": {int(seed): float(bits) for seed, bits in held.items()},
            }
        )
    points.sort(key=lambda point: point["share"])
    if len(points) < FEWEST or len({point["share"] for point in points}) < FEWEST:
        return None
    return {"kinds": list(pair), "points": points, "against": _against(points)}


def _against(points: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Mixtures beside the part that holds most alone, in bits per parameter, because totals are
    equal only nearly. None where neither is there alone."""
    alone = [point for point in points if point["share"] in (0.0, 1.0)]
    if not alone:
        return None
    best = max(alone, key=lambda point: point["bits"] / point["p"])

    def per(point: Mapping[str, Any], seed: int) -> float:
        return point["by_seed"][seed] / point["p"]

    mixtures = [point for point in points if point not in alone]
    rows = []
    for point in mixtures:
        seeds = sorted(set(point["by_seed"]) & set(best["by_seed"]))
        logs = np.array([math.log(per(point, s) / per(best, s)) for s in seeds])
        rows.append(
            {
                "share": point["share"],
                "ratio": float(np.exp(logs.mean())) if len(logs) else None,
                "interval": _ends(logs, LEVEL),
                "corrected": _ends(logs, 1 - (1 - LEVEL) / len(mixtures)),
                "pairs": len(seeds),
            }
        )
    return {"share": best["share"], "mixtures": rows}


def _ends(logs: np.ndarray, level: float) -> list[float] | None:
    low, high = t_interval(logs, level=level)
    return None if math.isnan(low) else [math.exp(low), math.exp(high)]


def told(curve: Mapping[str, Any]) -> str:
    """What a curve says, in a word: withheld (rates are not tuned), none (neither part is
    there alone), more (some mixture is shown to hold more than the better part alone, corrected
    for as many mixtures by Bonferroni), less (every mixture is shown to hold less), or unknown.
    """
    if curve["withheld"]:
        return "withheld"
    if curve["against"] is None:
        return "none"
    ends = [row["corrected"] for row in curve["against"]["mixtures"]]
    if any(one and one[0] > 1 for one in ends):
        return "more"
    return "less" if all(one and one[1] < 1 for one in ends) else "unknown"
