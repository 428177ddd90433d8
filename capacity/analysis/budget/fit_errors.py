"""How far the laws over budgets are from the runs."""

from __future__ import annotations

import pandas as pd

from capacity.analysis.budget.analysis import CELL, fitted
from capacity.analysis.budget.wording import named
from capacity.analysis.finding import Finding
from capacity.analysis.random.plateaus import CONVENTIONS, COUNTS
from capacity.analysis.residuals import Residuals, percent, points


def residuals(finding: Finding) -> list[Residuals]:
    """Of every law in strict bits, per run."""
    part, runs = finding.numbers["strict"], finding.tables["runs.csv"]
    bits, out = CONVENTIONS["strict"][0], []
    for cell in part["cells"]:
        if cell["law"]["reason"]:
            continue
        same = (runs[CELL] == [cell[name] for name in CELL]).all(axis=1)
        mine = runs[same & (runs.status == "finished") & (runs[bits] > 0)]
        e = mine.exposures.to_numpy(float)
        r = mine[bits] / mine[COUNTS[part["parameters"]]]
        errors = percent(fitted(cell["law"], e), r)
        out.append(points(named(cell, finding.numbers["varied"]), e, errors, mine.run_id))
    if not out:
        return []
    return [Residuals("laws over budgets, per run", "budget", "%", "exposures", pd.concat(out))]
