"""Studies of people who are seen at different rates: what a model answers and holds about a person
by the number of times that it saw them, and what skew costs in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis import labels
from capacity.analysis.frequency.analysis import analyse, expected
from capacity.analysis.frequency.fit_errors import residuals
from capacity.analysis.frequency.reading import skewed
from capacity.analysis.frequency.wording import columns, document

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs on people, some of which see them at different rates."""
    return all(labels.family(run) == "facts" for run in runs) and any(map(skewed, runs))


def figures(finding: Finding) -> Mapping[str, Figure]:
    """Accuracy and bits of a person against the times that it was seen."""
    from capacity.analysis.frequency.plots import rate_figure

    points = finding.tables["points.csv"]
    return {what: rate_figure(points, finding.numbers, what) for what in ("accuracy", "bits")}


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
