"""Studies of sequences that are new at every step: how many bits a number of state holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis.context.analysis import analyse, expected
from capacity.analysis.context.fit_errors import residuals
from capacity.analysis.context.wording import columns, document
from capacity.settings.fresh import FreshData

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs on copies or on associative recall."""
    return all(isinstance(run.data, FreshData) for run in runs)


def figures(finding: Finding) -> Mapping[str, Figure]:
    """Bits held in context against numbers of state, and of longer sequences."""
    from capacity.analysis.context.plots import lengths_figure, state_figure

    drawn = {"state": state_figure(finding.tables["runs.csv"], finding.numbers)}
    if finding.numbers.get("beyond"):
        drawn["lengths"] = lengths_figure(finding.numbers)
    return drawn


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
