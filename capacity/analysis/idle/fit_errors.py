"""How far the laws of idle parameters are from the runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from capacity.analysis.finding import Finding
from capacity.analysis.idle.reading import PLAIN
from capacity.analysis.residuals import Residuals, percent, points
from capacity.base.frames import Frame
from capacity.fitting import curves
from capacity.naming import listed


def fitted(law: Mapping[str, Any], active: Any, idle: Any) -> np.ndarray:
    """Bits by a law without a reason against it."""
    x = {"parameters_active": np.asarray(active, float), "parameters_idle": np.asarray(idle, float)}
    return curves.idle(x, law["alpha"]["value"], law["kappa"]["value"])[0]


def of_law(runs: Frame, law: Mapping[str, Any]) -> Frame:
    """The runs that a law was fitted to; runs: runs.csv of a finding."""
    mine = runs[runs.in_law.astype(bool) & (runs.called.fillna("") == law["condition"])]
    return mine[mine.system.isin([PLAIN, law["system"]]) & mine.model.isin(law["models"])]


def residuals(finding: Finding) -> list[Residuals]:
    """Of every law, per run."""
    runs, out = finding.tables["runs.csv"], []
    for law in finding.numbers["laws"]:
        if law["reason"]:
            continue
        mine = of_law(runs, law)
        errors = percent(fitted(law, mine.p_active, mine.p_idle), mine.held)
        name = listed([law["system"], law["condition"]])
        out.append(points(name, mine.p, errors, mine.run_id))
    if not out:
        return []
    about = "laws of active and idle parameters, per run"
    return [Residuals(about, "idle", "%", "parameters P (total)", pd.concat(out))]
