"""How far the lines of retainability over the log of the lag are from its means."""

from __future__ import annotations

import numpy as np
import pandas as pd

from capacity.analysis.finding import Finding
from capacity.analysis.residuals import Residuals, points
from capacity.fitting import acquisition


def residuals(finding: Finding) -> list[Residuals]:
    """Of every run, arm and kind with a line, per lag."""
    later, out = finding.tables["retained.csv"], []
    if later.empty:
        return []
    for _, mine in later[later.retained.notna()].groupby(["run_id", "arm", "kind"], sort=False):
        if len(mine) < 3:
            continue
        lag, mean = mine.lag.to_numpy(float), mine.retained.to_numpy(float)
        line = acquisition.decay(lag, mean)
        error = line.c - line.a * np.log10(lag) - mean
        out.append(points(mine.arm + ", " + mine.kind, mine.lag, error, mine.run_id))
    if not out:
        return []
    about = "retainability over the log of the lag, per run, arm and kind of probe"
    return [Residuals(about, "acquisition", "share", "lag in steps", pd.concat(out))]
