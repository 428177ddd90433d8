"""How far the laws of a study of random data are from its plateaus and runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from capacity.analysis.finding import Finding
from capacity.analysis.random.plateaus import CONVENTIONS, COUNTS, Frame, classify
from capacity.analysis.residuals import Residuals, percent, points
from capacity.fitting import capacity_forms


def residuals(finding: Finding) -> list[Residuals]:
    """Of the laws over plateaus, and of the smooth corner over all runs."""
    strict, runs = finding.numbers["strict"], finding.tables["runs.csv"]
    out = [_over_plateaus(strict)] if strict["alpha"] else []
    rows = [row for row in strict["forms"]["runs"]["forms"] if row["form"] == "smooth_corner"]
    return out + [_over_runs(row, runs) for row in rows]


def _over_plateaus(strict: Mapping[str, Any]) -> Residuals:
    units: Frame = pd.DataFrame(
        [replicate for replicate in strict["units"] if not replicate["lower_bound"]]
    )
    p, alpha, power, slope = units.parameters, strict["alpha"], strict["power"], strict["slope"]
    fitted = {alpha["formula"]: alpha["value"] * p}
    if "a" in power:
        fitted[power["formula"]] = capacity_forms.power(
            p, power["a"]["value"], power["gamma"]["value"]
        )
    if "c0" in slope:
        fitted[slope["formula"]] = slope["c0"]["value"] + slope["alpha1"]["value"] * p
    names = [f"{u.model}, seed {u.seed}" for u in units.itertuples()]
    rows = [
        points(formula.replace(" *", ""), p, percent(c, units.bits), name=names)
        for formula, c in fitted.items()
    ]
    return Residuals(
        "capacity laws, per model and seed",
        "capacity",
        "%",
        "parameters P (total)",
        pd.concat(rows),
    )


def _over_runs(row: Mapping[str, Any], runs: Frame) -> Residuals:
    bits, ceiling = CONVENTIONS["strict"]
    done = runs[~classify(runs, "strict").isin(["missing", "failed", "unlearned"])]
    p, h = done[COUNTS["total"]].astype(float), done[ceiling].astype(float)
    alpha = row["values"]["alpha"]
    fitted = capacity_forms.smooth_corner(p, h, alpha, row["values"]["k"])
    return Residuals(
        "smooth corner, per run",
        "corner",
        "%",
        "ceiling / (alpha P)",
        points(done.model, h / (alpha * p), percent(fitted, done[bits]), done.run_id),
    )
