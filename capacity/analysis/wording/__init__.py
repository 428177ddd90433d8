"""Studies of wording: what is held of people's facts and of the wording of their texts, where it is
fixed and where it is drawn anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis import labels
from capacity.analysis.wording.analysis import analyse, expected
from capacity.analysis.wording.words import columns, document

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.analysis.residuals import Residuals
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs on people that measure wording, some of them with fixed texts."""
    return all(labels.family(run) == "facts" and run.measure.wording for run in runs)


def figures(finding: Finding) -> Mapping[str, Figure]:
    """Bits of facts and of wording per parameter, by size."""
    from capacity.analysis.wording.plots import total_figure

    return {"total": total_figure(finding.tables["runs.csv"])}


def residuals(finding: Finding) -> list[Residuals]:
    """There is no law."""
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
