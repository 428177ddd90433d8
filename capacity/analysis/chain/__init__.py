"""Studies of a chain of families of data: what one change after another makes of the bits per
parameter of random rows, until they are biographies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis import families
from capacity.analysis.chain.analysis import analyse, expected
from capacity.analysis.chain.words import columns, document

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.analysis.residuals import Residuals
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs on random rows and on facts, all of families of the chain."""
    return families.is_chain(runs)


def figures(finding: Finding) -> Mapping[str, Figure]:
    """Bits per parameter by family and size."""
    from capacity.analysis.chain.plots import chain_figure

    return {"chain": chain_figure(finding.tables["runs.csv"])}


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
