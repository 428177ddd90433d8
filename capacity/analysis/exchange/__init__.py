"""Studies of an exchange rate: one model trained on random rows and people at once, over mixes of
what it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis import labels
from capacity.analysis.exchange.analysis import analyse, expected
from capacity.analysis.exchange.words import columns, document

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.analysis.residuals import Residuals
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs on random rows and people in one stream."""
    return all(labels.family(run) == "random rows and people" for run in runs)


def figures(finding: Finding) -> Mapping[str, Figure]:
    """Bits of random rows against bits of facts, by size."""
    from capacity.analysis.exchange.plots import frontier_figure

    return {"frontier": frontier_figure(finding.tables["runs.csv"], finding.numbers)}


def residuals(finding: Finding) -> list[Residuals]:
    """The rate is a ratio of contrasts, which has no errors point by point."""
    return []


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
