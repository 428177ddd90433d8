"""Studies over vocabularies or lengths: does one number of bits per parameter hold for all?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis.ablation.analysis import BOTH, analyse, expected, varied
from capacity.analysis.ablation.fit_errors import residuals
from capacity.analysis.ablation.wording import document
from capacity.analysis.random.wording import columns

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs on uniform tokens of several vocabularies or lengths."""
    return all(run.data.kind == "uniform" for run in runs) and bool(varied(table))


def figures(finding: Finding) -> Mapping[str, Figure]:
    """Measured and fitted bits, a figure per convention."""
    from capacity.analysis.ablation.plots import ablation_figure

    runs = finding.tables["runs.csv"]
    return {f"ablation_{bits}": ablation_figure(runs, finding.numbers, bits) for bits, _ in BOTH}


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
