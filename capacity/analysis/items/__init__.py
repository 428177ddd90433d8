"""Studies of single items: canaries of several kinds, by copies, size, tokens of training, length,
random tokens, time of their views, and what a fuzzy copy is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis.items.analysis import analyse, expected
from capacity.analysis.items.fit_errors import residuals
from capacity.analysis.items.wording import columns, document
from capacity.data.canaries import several
from capacity.settings.data import TextData

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs on text with canaries of several kinds."""
    return all(isinstance(run.data, TextData) and several(run.data) for run in runs)


def figures(finding: Finding) -> Mapping[str, Figure]:
    """What is held against copies, by kind; and the worth of fuzzy copies."""
    from capacity.analysis.items import plots

    return plots.draw(finding)


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
