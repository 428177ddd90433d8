"""Errors of the fitted forms of a study of text, point by point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd

from capacity.analysis.residuals import Residuals, points
from capacity.analysis.text import canaries, forgetting
from capacity.analysis.text import membership_law as law
from capacity.analysis.text.analysis import targets_of
from capacity.analysis.text.schema import (
    Canaries,
    Forgetting,
    Frame,
    Memory,
)


def errors(
    numbers: Mapping[str, Any], runs: Frame, singles: Frame | None = None
) -> list[Residuals]:
    """Predicted minus measured, of every law that was fitted. numbers: of memory.json; runs: of
    runs.csv; singles: of canaries.csv."""
    memory, targets = cast(Memory, numbers), targets_of(runs)
    out = _membership(memory, targets)
    for row in memory["predictions"]["f1_median"]:
        error = np.subtract(row["predicted"], row["measured"])
        out.append(
            Residuals(
                f"F1 of {row['model']}, predicted from smaller models",
                "predicted",
                "F1",
                "tokens per parameter",
                points(row["model"], row["t"], error),
            )
        )
    if memory["canaries"] is not None:
        out += _canaries(memory["canaries"], targets, singles)
    if memory["forgetting"] is not None:
        out += _forgetting(memory["forgetting"])
    return out


def _membership(memory: Memory, targets: Frame) -> list[Residuals]:
    out, t = [], targets.tokens_per_parameter.to_numpy(float)
    for value, words in (("f1_median", "F1"), ("auc", "AUC")):
        fitted = memory["laws"][value]
        if "reason" in fitted:
            continue
        measured = targets[f"loss_{value}"].to_numpy(float)
        curves = {"sigmoid in t": law.repaired(t, *law.constants_of(fitted))}
        other = memory["logarithmic"]
        if value == "f1_median" and other is not None and "reason" not in other:
            curves["sigmoid in log t"] = law.logarithmic(t, *law.constants_of(other))
        parts = [points(name, t, y - measured, targets.run_id) for name, y in curves.items()]
        out.append(
            Residuals(
                f"{words} of the loss attack, per run",
                words,
                words,
                "tokens per parameter",
                pd.concat(parts),
            )
        )
    return out


def _canaries(numbers: Canaries, targets: Frame, singles: Frame | None) -> list[Residuals]:
    """Of exposure those of canaries between the limits, which are no whole distribution; of
    extraction those of the part that is written at each level."""
    out, table = [], canaries.points(targets, singles)
    for name, fitted in canaries.laws_of(numbers).items():
        if "reason" in fitted:
            continue
        column, unit = ("exposure", "bits") if name == "exposure" else ("extracted", "part")
        if "censored" in fitted:
            low, high = fitted["censored"]["low"], fitted["censored"]["high"]
            table = table[(table.exposure > low) & (table.exposure < high)]
        else:
            table = canaries.level_means(targets)
        seen, size = table.seen.to_numpy(float), table["size"].to_numpy(float)
        error = canaries.predicted(name, fitted, seen, size) - table[column].to_numpy(float)
        out.append(
            Residuals(
                fitted["law"],
                name,
                unit,
                "times seen",
                points(table.model, 2**seen, error, table.run),
            )
        )
    return out


def _forgetting(forgetting_numbers: Forgetting) -> list[Residuals]:
    rows = []
    for cell in forgetting_numbers["cells"]:
        if cell["errors"] is None:
            continue
        name = f"{cell['model']}, batch {cell['batch']}, {cell['text']}, seen {cell['views']} times"
        for form, numbers in cell["errors"].items():
            curve = forgetting.value(form, cell["lags"], numbers["a"], numbers["t0"], numbers["b"])
            error = 100 * (curve - np.array(cell["bits"])) / cell["first_bits"]["value"]
            rows.append(points(form, np.add(cell["lags"], 1), error, name=name))
    if not rows:
        return []
    return [
        Residuals(
            "forms of forgetting, per curve",
            "forgetting",
            "% of the bits at first",
            "updates since the last view, plus 1",
            pd.concat(rows),
        )
    ]
