"""How far the laws over the times seen are from the classes of people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from capacity.analysis.finding import Finding
from capacity.analysis.frequency.analysis import FORM
from capacity.analysis.frequency.reading import EVEN
from capacity.analysis.residuals import Residuals, points
from capacity.fitting.forms import form


def predicted(law: Mapping[str, Any], seen: Any, parameters: Any) -> np.ndarray:
    """Accuracy beyond guessing [n] by a law with numbers."""
    theta = {name: law[name]["value"] for name in ("a", "b", "c")}
    return form(FORM).predict({"times_seen": seen, "parameters": parameters}, theta)


def residuals(finding: Finding) -> list[Residuals]:
    """Of every law, per class of a run."""
    classes, out = finding.tables["points.csv"], []
    for law in finding.numbers["laws"]:
        if law["reason"]:
            continue
        mine = classes[
            (classes.system == law["system"]) & (classes.rates != EVEN) & (classes.tier > 0)
        ]
        said = predicted(law, mine.seen.to_numpy(float), mine.parameters.to_numpy(float))
        error = said - mine.beyond.to_numpy(float)
        out.append(points(mine["size"], mine.seen, error, mine.run_id))
    if not out:
        return []
    about = "accuracy beyond guessing by times seen, per class of a run"
    return [Residuals(about, "frequency", "share", "times seen", pd.concat(out))]
