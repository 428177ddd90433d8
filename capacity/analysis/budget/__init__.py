"""Studies of random data over budgets: what one model on one data set holds after more and more
exposures, and where that ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis.budget.analysis import CELL, analyse, expected
from capacity.analysis.budget.fit_errors import residuals
from capacity.analysis.budget.wording import document
from capacity.analysis.random.wording import columns

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs on uniform tokens of which some differ in nothing but their steps."""
    if not all(run.data.kind == "uniform" for run in runs):
        return False
    return bool((table.groupby([*CELL, "seed"]).steps.nunique() > 1).any())


def figures(finding: Finding) -> Mapping[str, Figure]:
    """Bits per parameter over exposures, with the fitted laws."""
    from capacity.analysis.budget.plots import budget_figure

    return {"budget": budget_figure(finding.tables["runs.csv"], finding.numbers)}


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
