"""Studies of random data: plateaus of capacity, their law over model sizes, forms compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis.random.analysis import analyse, expected
from capacity.analysis.random.fit_errors import residuals
from capacity.analysis.random.wording import columns, document

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.config import Config

COMPARES = True


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """All runs on uniform tokens that no other kind asks for."""
    return all(run.data.kind == "uniform" for run in runs)


def figures(finding: Finding) -> Mapping[str, Figure]:
    """Capacity against parameters, and memorized bits against data."""
    from capacity.analysis.random.plots import capacity_figure, memorized_figure

    strict = finding.numbers["strict"]
    return {
        "capacity": capacity_figure(strict),
        "memorized": memorized_figure(finding.tables["runs.csv"], strict),
    }


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
