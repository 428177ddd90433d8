"""Studies of what counts of a person and a value predict of the fact: co-occurrence, pointwise
mutual information, contribution to mutual information, and SMI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis.smi.analysis import analyse, expected
from capacity.analysis.smi.wording import columns, document

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.analysis.residuals import Residuals
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs whose records hold facts by how often they and their values were shown."""
    return all(run.data.kind == "bios" and run.measure.fact_cells for run in runs)


def figures(finding: Finding) -> Mapping[str, Figure]:
    """What each predictor explains, by outcome."""
    from capacity.analysis.smi.plots import draw

    return draw(finding.numbers)


def residuals(finding: Finding) -> list[Residuals]:
    """None: laws are of single facts, of which tables hold sums."""
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
