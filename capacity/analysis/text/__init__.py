"""The kind "text": what models remember of text. Membership by attacks, canaries, forgetting,
double descent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis.document import GAIN, RunColumn
from capacity.analysis.finding import Finding
from capacity.analysis.text import canaries, fit_errors
from capacity.analysis.text.analysis import analyse, expected
from capacity.analysis.text.schema import Frame
from capacity.analysis.text.wording import document

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from capacity.analysis.residuals import Residuals
    from capacity.config import Config

__all__ = [
    "COMPARES",
    "analyse",
    "applies",
    "columns",
    "document",
    "expected",
    "figures",
    "residuals",
]

COMPARES = False
COLUMNS = [
    RunColumn("parameters_total", "P", "parameters, total count"),
    RunColumn(
        "tokens_per_parameter", "tokens/P", "tokens of distinct training sequences per parameter"
    ),
    RunColumn(
        "members_loss_bits_per_token", "loss", "bits per token on trained sequences", main=True
    ),
    RunColumn("held_out_loss_bits_per_token", "held-out", "bits per token on held-out sequences"),
    RunColumn("loss_auc", "AUC", "of the loss attack", main=True),
    RunColumn("loss_f1_median", "F1", "of the loss attack, half flagged"),
    RunColumn("reference_auc", "AUC:reference", "of the attack with a reference model"),
    RunColumn("lira_auc", "AUC:LiRA", "with shadow models"),
    RunColumn(
        "unintended_same_mixture",
        "memorized/P",
        "unintended bits per parameter, mixture, reference of the same size",
        "parameters_total",
    ),
    RunColumn(
        "bag_of_words_auc",
        "bag-of-words",
        "AUC of a classifier that sees no model; must be at chance",
    ),
]


def applies(runs: Sequence[Config], table: Frame) -> bool:
    """Whether the runs are trained on text."""
    return all(run.data.kind == "text" for run in runs)


def figures(finding: Finding) -> Mapping[str, Figure]:
    """Figures by name."""
    from capacity.analysis.text import plots  # matplotlib imports as slowly as all the rest

    return plots.draw(finding)


def residuals(finding: Finding) -> list[Residuals]:
    """Predicted minus measured, of every law that was fitted."""
    tables = finding.tables
    return fit_errors.errors(finding.numbers, tables["runs.csv"], tables.get("canaries.csv"))


def columns(runs: Frame) -> Sequence[RunColumn]:
    """What the table of runs shows: the columns in which some run has a value."""
    exposures = [
        RunColumn(
            f"exposure_{level}",
            f"exposure:x{level}",
            f"exposure in bits of canaries repeated {level} times",
        )
        for level in canaries.levels_of(runs)
    ]
    shown = COLUMNS
    if "parameters_used" in runs:  # which ratios are then of
        shown = [dataclasses.replace(c, per=c.per and "parameters_used") for c in COLUMNS]
        shown.insert(1, RunColumn("parameters_used", "P in use", "parameters of rows in use"))
    return [
        column
        for column in [*shown, *exposures, *GAIN]
        if column.name in runs and runs[column.name].notna().any()
    ]
