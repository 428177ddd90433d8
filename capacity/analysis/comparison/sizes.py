"""A comparison size by size: the mean of A and of B, and their ratio or difference, each with its
interval, as a figure shows them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from capacity.analysis.arm_ratio import Noise
from capacity.analysis.comparison import verdicts
from capacity.analysis.comparison.pairs import Paired
from capacity.analysis.comparison.runs import Runs
from capacity.base.frames import Frame
from capacity.fitting import ratios
from capacity.fitting.statistics import student

TOLD = ("what", "effect", "interval", "method", "units", "reason")


def by_size(runs: Runs, paired: Paired) -> list[dict[str, Any]]:
    """A dict per size of the pairs that count, in the order of parameters: size, parameters {A, B},
    A and B {mean, interval} over these pairs, and what `verdicts.analyse` says of them alone."""
    used = paired.pairs[paired.pairs.left_out == ""]
    out = []
    for size, mine in used.groupby("size", sort=False):
        comparison = verdicts.analyse(runs, dataclasses.replace(paired, pairs=mine))
        sides = {side.upper(): _mean(mine, side, paired.noise) for side in "ab"}
        parameters = {side.upper(): float(mine[f"parameters_{side}"].mean()) for side in "ab"}
        out.append(
            {"size": str(size), "parameters": parameters, **sides}
            | {key: comparison[key] for key in TOLD}
        )
    return sorted(out, key=lambda row: row["parameters"]["B"])


def _mean(pairs: Frame, side: str, known: Noise) -> dict[str, Any]:
    """The mean of one side, every seed alike, with 95% by the noise of its arms (Student's t at the
    degrees of freedom of that noise; no more than the data hold); no interval where an arm's noise
    is not known."""
    pairs_per_seed = pairs.groupby("seed")[f"value_{side}"].transform("size")
    weight = 1 / pairs_per_seed / pairs.seed.nunique()
    value = float((weight * pairs[f"value_{side}"]).sum())
    shares, dof = [], []
    for arm, mine in weight.groupby(pairs[f"arm_{side}"]):
        one = known.of(arm)
        if one is None:
            return {"mean": value, "interval": None}
        shares.append(one.variance * float((mine**2).sum()))
        dof.append(one.dof)
    whole = ratios.satterthwaite(shares, dof)
    if len(dof) > 1 and known.lines:  # arms of one line do not know it better than it is known
        whole = min(whole, float(sum(line.dof for line in known.lines.values())))
    half = float(student(whole)) * math.sqrt(sum(shares))
    most = float(pairs[f"most_{side}"].mean()) if f"most_{side}" in pairs else math.nan
    high = value + half if math.isnan(most) else min(value + half, max(value, most))
    return {"mean": value, "interval": [value - half, high]}
