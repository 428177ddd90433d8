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
from capacity.analysis.text import canaries, forgetting
from capacity.analysis.text import membership_law as membership
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
    found = {
        "random data": _capacity,
        "ablation": _ablation,
        "people": _exposures,
        "text": _text,
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


def _text(fit: dict, runs: pd.DataFrame) -> list[Residuals]:
    done = runs[runs.status == "finished"]
    targets, out = done[done.trained_on == "members"], []
    t = targets.tokens_per_parameter.astype(float)
    for value, words in (("f1_median", "F1"), ("auc", "AUC")):
        law, parts = fit["laws"][value], []
        if "reason" not in law:
            measured = targets[f"loss_{value}"].astype(float)
            parts = [
                points(
                    "sigmoid in t",
                    t,
                    membership.repaired(t, law["c1"], law["c2"], law["c3"]) - measured,
                    targets.run_id,
                )
            ]
            if value == "f1_median":
                other = fit["logarithmic"]
                parts.append(
                    points(
                        "sigmoid in log t",
                        t,
                        membership.logarithmic(t, other["c1"], other["c2"], other["c3"]) - measured,
                        targets.run_id,
                    )
                )
            out.append(
                Residuals(
                    f"{words} of the loss attack, per run",
                    words,
                    words,
                    "tokens per parameter",
                    pd.concat(parts),
                )
            )
    for asked in fit["predicted"]["f1_median"]:
        error = np.subtract(asked["said"], asked["measured"])
        out.append(
            Residuals(
                f"F1 of {asked['label']}, as smaller shapes foretell it",
                "foretold",
                "F1",
                "tokens per parameter",
                points(asked["label"], asked["t"], error),
            )
        )
    if fit["canaries"] is not None:
        out += _canaries(fit["canaries"], targets)
    if "forgetting" in fit:
        out += _forgetting(fit["forgetting"])
    return out


def _canaries(fit: dict, targets: pd.DataFrame) -> list[Residuals]:
    out, levels = [], canaries.points(targets)
    for name, part, unit in (
        ("exposure", "exposure", "bits"),
        ("extracted", "extracted", "part"),
        ("logistic", "extracted", "part"),
    ):
        law = fit[name]
        if "reason" in law:
            continue
        free = canaries.free(levels)[name]
        said = (
            law["a"]["value"]
            + law["b"]["value"] * free.seen
            + (law["c"]["value"] * free["size"] if "c" in law else 0.0)
        )
        said = 1 / (1 + np.exp(-said)) if name == "logistic" else said
        out.append(
            Residuals(
                law["law"],
                name,
                unit,
                "times seen",
                points(free.label, 2**free.seen, said - free[part], free.run),
            )
        )
    return out


def _forgetting(fit: dict) -> list[Residuals]:
    rows = []
    for cell in fit["cells"]:
        if cell["errors"] is not None:
            name = (
                f"{cell['label']}, batch {cell['batch']}, {cell['text']}, seen {cell['views']} "
                f"times"
            )
            for form, numbers in cell["errors"].items():
                said = forgetting.value(
                    form, cell["lags"], *(numbers[key] for key in ("a", "t0", "b"))
                )
                rows.append(
                    points(
                        form,
                        np.add(cell["lags"], 1),
                        100 * (said - np.array(cell["bits"])) / cell["first_bits"]["value"],
                        name=name,
                    )
                )
    return (
        [
            Residuals(
                "forms of forgetting, per curve",
                "forgetting",
                "% of the bits at first",
                "updates since the last view, plus 1",
                pd.concat(rows),
            )
        ]
        if rows
        else []
    )
