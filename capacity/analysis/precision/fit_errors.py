"""Errors of the laws of bit width, format by format: means over models, clipped at zero as for the
fits, of the preferred form of each method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from capacity.analysis.finding import Finding
from capacity.analysis.precision.wording import QUESTIONS
from capacity.analysis.residuals import Residuals, points
from capacity.base.frames import Frame
from capacity.fitting import forms


def residuals(finding: Finding) -> list[Residuals]:
    """In percent of fp32's bits, what is retained first; a question without a law has none."""
    out = []
    for question, words in QUESTIONS:
        laws = finding.numbers["laws"].items()
        parts = [
            _of_method(finding.numbers, method, both[question], question) for method, both in laws
        ]
        if shown := [part for part in parts if part is not None]:
            name = f"{words}, per format"
            out.append(Residuals(name, question, "% of fp32", "bits of a code", pd.concat(shown)))
    return out


def _of_method(fit: Mapping[str, Any], method: str, law: Mapping[str, Any], question: str) -> Frame:
    if law["reason"] or law["preferred"] is None:
        return None
    unit = 1.0 if question == "retained" else _fp32(fit)
    rows = [row for row in fit[question] if row["method"] == method]
    bits = [row["code_bits"] for row in rows]
    measured = np.array([max(row[question], 0.0) / unit for row in rows])
    parameters = law["forms"][law["preferred"]]["parameters"]
    values = {key: entry["value"] for key, entry in parameters.items()}
    predicted = forms.form(law["preferred"]).predict({"bits_per_weight": bits}, values)
    names = [f"{method} {row['format']}" for row in rows]
    return points(method, bits, 100 * (predicted - measured), name=names)


def _fp32(fit: Mapping[str, Any]) -> float:
    """Capacity of fp32 models, bits per parameter."""
    return next(
        row["capacity"]
        for row in fit["capacity"]
        if (row["method"], row["format"]) == ("trained", "fp32")
    )
