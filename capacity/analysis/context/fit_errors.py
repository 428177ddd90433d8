"""How far the laws of bits in context are from the runs."""

from __future__ import annotations

import pandas as pd

from capacity.analysis.finding import Finding
from capacity.analysis.residuals import Residuals, percent, points


def residuals(finding: Finding) -> list[Residuals]:
    """Of every law, per run."""
    runs, out = finding.tables["runs.csv"], []
    for law in finding.numbers["laws"]:
        if law["reason"]:
            continue
        mine = runs[runs.in_law.astype(bool) & (runs.system == law["system"])]
        fitted = law["beta"]["value"] * mine.state.astype(float)
        out.append(points(law["system"], mine.state, percent(fitted, mine.held), mine.run_id))
    if not out:
        return []
    about = "bits by numbers of state, per run"
    return [Residuals(about, "context", "%", "numbers of state S", pd.concat(out))]
