"""How far the laws of single items are from the groups of canaries."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

from capacity.analysis.finding import Finding
from capacity.analysis.items.analysis import axes_of
from capacity.analysis.residuals import Residuals, points


def residuals(finding: Finding) -> list[Residuals]:
    """Of every law, by its numbers over all replicates, per group of canaries of a run."""
    groups, out = finding.tables["groups.csv"], []
    for law in finding.numbers["laws"]:
        if law["reason"]:
            continue
        mine = groups[
            (groups.system == law["system"]) & (groups.repeats > 0) & (groups.replaced == 0)
        ]
        x = axes_of(mine)
        numbers = {name: one["value"] for name, one in law["numbers"].items()}
        line = numbers["a"] + sum(numbers[name] * value for name, value in x.items())
        error = expit(np.asarray(line, float)) - mine.share.astype(float)
        label = mine.window.where(mine.window != "", law["system"])
        out.append(points(label, mine.repeats, error, mine.run_id))
    if not out:
        return []
    about = "share held by copies, per group of canaries"
    return [Residuals(about, "items", "share", "copies", pd.concat(out))]
