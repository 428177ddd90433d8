"""How far one alpha is from what runs of several vocabularies or lengths hold."""

from __future__ import annotations

import pandas as pd

from capacity.analysis.ablation.analysis import CELL
from capacity.analysis.finding import Finding
from capacity.analysis.random.plateaus import CONVENTIONS
from capacity.analysis.residuals import Residuals, percent, points

AXES = {"vocab_size": "vocabulary V", "seq_len": "sequence length S"}


def residuals(finding: Finding) -> list[Residuals]:
    """Of min(alpha P, ceiling) and of its smooth form, per run."""
    part, x = finding.numbers["strict"], finding.numbers["varied"][0]
    if part["reason"]:
        return []
    runs, (bits, _) = finding.tables["runs.csv"], CONVENTIONS["strict"]
    done, out = runs[(runs.status == "finished") & (runs[bits] > 0)], []
    for name, form in (("min(alpha P, ceiling)", part["hard"]), ("smooth corner", part["smooth"])):
        if form.get("reason"):
            continue
        cells = pd.DataFrame(part["cells"])[CELL].assign(fitted=form["expected"])
        rows = done.merge(cells, on=CELL)
        out.append(points(name, rows[x], percent(rows.fitted, rows[bits]), rows.run_id))
    return [Residuals("one alpha, per run", "alpha", "%", AXES[x], pd.concat(out))]
