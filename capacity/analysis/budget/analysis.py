"""How the bits of random data that a model holds rise with its budget: a saturating law over
exposures for every model, data set and recipe, whose plateau is the capacity that no run of the
study has reached.

Morris et al. (arXiv 2505.24832 v3, section 3) train every model for a million steps and read
capacity off the end; a shorter study reads it off the law, with the interval that its budgets
allow. The forms are those of facts (`facts.exposures.fit_either_form`); none is a published law.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capacity.analysis.budget import rows
from capacity.analysis.facts.exposures import FEWEST, FEWEST_DOF, curve, fit_either_form
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.random.plateaus import (
    CONVENTIONS,
    COUNTS,
    Frame,
    check,
    classify,
    inputs_hash,
)
from capacity.analysis.table_checks import rising
from capacity.base.files import plain
from capacity.fitting import groups
from capacity.settings.data import UniformData

if TYPE_CHECKING:
    from capacity.study import Study

SCHEMA = 3  # `analysis.convert` says what changed
# what the runs of one law have in common
CELL = ["model", "vocab_size", "seq_len", "n_sequences", "precision", "batch_size", "lr"]
BOTH = (("strict", "total"), ("paper", "paper"))
FEWEST_BUDGETS = FEWEST
RULES = {"fewest_budgets": FEWEST_BUDGETS, "forms_told_apart_from_dof": FEWEST_DOF}


def analyse(study: Study, table: Frame, results: Path, options: Options) -> Finding:
    """The laws of a study over budgets. ValueError, in one line, for a table that cannot be
    judged."""
    return analysed(table, study.name)


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of Table 1 that the models of such a study are, and what fixes their plateaus."""
    found = [
        rows.row_of(run.shape, run.train.precision, run.data.vocab_size, run.data.seq_len)
        for run in study.runs
        if isinstance(run.data, UniformData)
    ]
    values = rows.expected(row for row in found if row is not None)
    return values, {"plateau": rows.FORM, **RULES} if values else {}


def analysed(table: Frame, name: str) -> Finding:
    """`analyse` of a table alone, a row per planned run."""
    runs = check(table, allow_mixed=True)
    runs["exposures"] = runs.tokens / (runs.n_sequences * runs.seq_len)
    if (runs.status == "finished").sum() == 0:
        raise ValueError(f"no run to fit: none of {len(runs)} finished")
    numbers = head("budget", SCHEMA, name, inputs_hash(runs)) | {
        "finished": int((runs.status == "finished").sum()),
        "runs": len(runs),
        "rising": sorted(runs.run_id[rising(runs)]),
        "varied": [column for column in CELL if runs[column].nunique() > 1],
    }
    done = runs[runs.status == "finished"]
    cells = sorted(done.groupby(CELL), key=lambda cell: (cell[1].parameters_total.iloc[0], cell[0]))
    for convention, count in BOTH:
        numbers[convention] = {
            "parameters": count,
            "cells": [_cell(key, part, convention, count) for key, part in cells],
        }
    numbers["verdicts"] = rows.verdicts(numbers["paper"]["cells"])
    for what in ("missing", "failed"):
        numbers[what] = sorted(runs.run_id[runs.status == what])
    runs = runs.assign(class_strict=classify(runs, "strict"), still_rising=rising(runs))
    runs = runs.sort_values(["parameters_total", *CELL, "steps", "seed", "run_id"])
    return Finding("budget", "fit.json", plain(numbers), {"runs.csv": runs})


def _cell(key: Hashable, part: Frame, convention: str, count: str) -> dict[str, Any]:
    """What one model on one data set holds at each budget, and its law. bits per parameter."""
    bits, ceiling = CONVENTIONS[convention]
    p = part[COUNTS[count]].astype(float)
    e, r, most = part.exposures.astype(float), part[bits] / p, float((part[ceiling] / p).mean())
    exposures, codes = groups.rounded(e)
    budgets: list[dict[str, Any]] = []
    for code, value in enumerate(exposures):
        mine = r.to_numpy(float)[codes == code]
        budgets.append(
            {
                "exposures": value,
                "seeds": len(mine),
                "r": float(mine.mean()),
                "sd": float(mine.std(ddof=1)) if len(mine) > 1 else None,
                "doubling": _doubling(budgets[-1], value, float(mine.mean())) if budgets else None,
            }
        )
    return {
        **dict(zip(CELL, key, strict=True)),  # type: ignore[arg-type]
        "p": float(p.iloc[0]),
        "load": float((part.entropy_bits / part.parameters_total).mean()),
        "most": most,
        "budgets": budgets,
        "doublings": math.log2(exposures[-1] / exposures[0]) if exposures[0] > 0 else 0.0,
        "law": fit_either_form(e.to_numpy(), r.to_numpy(float), most),
    }


def _doubling(before: Mapping[str, Any], exposures: float, r: float) -> float | None:
    """Relative gain per doubling of the budget since the one before."""
    if before["r"] <= 0 or r <= 0:
        return None
    return float((r / before["r"]) ** (1 / math.log2(exposures / before["exposures"])) - 1)


def fitted(law: Mapping[str, Any], exposures: np.ndarray) -> np.ndarray:
    """Bits per parameter by a law that has no reason against it."""
    return curve(law["form"], exposures, *(law[name]["value"] for name in ("r_inf", "e0", "b")))
