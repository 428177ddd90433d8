"""How far a fitted law is from what it was fitted to, point by point, out of the fit as it was
written and the table of its runs.

The sign is that of the printed errors: fitted minus measured, so a positive one means that the law
says too much. Where a law is about factors it is fitted / measured - 1 in percent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from capacity.analysis.ablation import analysis as ablations
from capacity.analysis.random.plateaus import CONVENTIONS, COUNTS, classify
from capacity.analysis.result import Outcome
from capacity.fitting import capacity_forms


@dataclass(frozen=True)
class Residuals:
    """Errors of one law."""

    law: str
    key: str  # one word
    unit: str  # what they are in, such as % or bits
    over: str  # what x is
    # series, x, error, run_id (empty where a point is not one run), name (what else to call the
    # point)
    points: pd.DataFrame
    log: bool = True  # whether x wants a log axis


def residuals(outcome: Outcome) -> list[Residuals]:
    """All laws of a study that were fitted; laws without enough runs have none."""
    from capacity.analysis.text.fit_errors import errors

    found = {
        "random data": _capacity,
        "ablation": _ablation,
        "people": _exposures,
        "text": errors,
        "precision": _precision,
    }[outcome.kind](outcome.fit, outcome.tables["runs.csv"])
    return [part for part in found if len(part.points)]


def points(
    series: ArrayLike, x: ArrayLike, error: ArrayLike, run_id: ArrayLike = "", name: ArrayLike = ""
) -> pd.DataFrame:
    """Points of `Residuals`; run_id: empty where a point is not one run; name: what else to call it."""
    return pd.DataFrame(
        {
            "series": series,
            "x": np.asarray(x, float),
            "error": np.asarray(error, float),
            "run_id": run_id,
            "name": name,
        }
    )


def percent(fitted: ArrayLike, measured: ArrayLike) -> np.ndarray:
    """fitted / measured - 1, in percent."""
    return 100 * (np.asarray(fitted, float) / np.asarray(measured, float) - 1)


def _capacity(fit: dict, runs: pd.DataFrame) -> list[Residuals]:
    law, out = fit["strict"], []
    if law["alpha"]:
        units = pd.DataFrame([unit for unit in law["units"] if not unit["lower_bound"]])
        p, said = (
            units.parameters,
            {law["alpha"]["formula"]: law["alpha"]["value"] * units.parameters},
        )
        if "a" in law["power"]:
            said[law["power"]["formula"]] = capacity_forms.power(
                p, law["power"]["a"]["value"], law["power"]["gamma"]["value"]
            )
        if "c0" in law["slope"]:
            said[law["slope"]["formula"]] = (
                law["slope"]["c0"]["value"] + law["slope"]["alpha1"]["value"] * p
            )
        names = [f"{u.label}, seed {u.seed}" for u in units.itertuples()]
        out.append(
            Residuals(
                "capacity laws, per shape and seed",
                "capacity",
                "%",
                "parameters P (total)",
                pd.concat(
                    [
                        points(formula.replace(" *", ""), p, percent(c, units.bits), name=names)
                        for formula, c in said.items()
                    ]
                ),
            )
        )
    for row in law["forms"]["runs"]["forms"]:
        if row["form"] == "smooth_corner":
            bits, ceiling = CONVENTIONS["strict"]
            done = runs[~classify(runs, "strict").isin(["missing", "failed", "unlearned"])]
            p, h, alpha = (
                done[COUNTS["total"]].astype(float),
                done[ceiling].astype(float),
                row["values"]["alpha"],
            )
            said = capacity_forms.smooth_corner(p, h, alpha, row["values"]["k"])
            out.append(
                Residuals(
                    "smooth corner, per run",
                    "corner",
                    "%",
                    "ceiling / (alpha P)",
                    points(done.label, h / (alpha * p), percent(said, done[bits]), done.run_id),
                )
            )
    return out


def _precision(fit: dict, runs: pd.DataFrame) -> list[Residuals]:
    from capacity.analysis import precision
    from capacity.analysis.finding import Finding

    return precision.residuals(Finding("precision", "precision.json", fit, {}))


def _ablation(fit: dict, runs: pd.DataFrame) -> list[Residuals]:
    part, x = fit["strict"], fit["varied"][0]
    if part["reason"]:
        return []
    bits, _ = CONVENTIONS["strict"]
    done, out = runs[(runs.status == "finished") & (runs[bits] > 0)], []
    for name, form in (("min(alpha P, ceiling)", part["hard"]), ("smooth corner", part["smooth"])):
        if form.get("reason"):
            continue
        said = pd.DataFrame(part["cells"])[ablations.CELL].assign(said=form["expected"])
        rows = done.merge(said, on=ablations.CELL)
        out.append(points(name, rows[x], percent(rows.said, rows[bits]), rows.run_id))
    return [
        Residuals(
            "one alpha, per run",
            "alpha",
            "%",
            {"vocab_size": "vocabulary V", "seq_len": "sequence length S"}[x],
            pd.concat(out),
        )
    ]


def _exposures(fit: dict, runs: pd.DataFrame) -> list[Residuals]:
    from capacity.analysis.facts import residuals as of_facts
    from capacity.analysis.finding import Finding

    return of_facts(Finding("facts", "fit.json", fit, {"runs.csv": runs}))
