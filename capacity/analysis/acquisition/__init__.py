"""Studies of how new facts are acquired and lost in training: shown in one wording or several,
asked in the wording of the views, in others, and for what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis.acquisition.analysis import analyse, expected
from capacity.analysis.acquisition.fit_errors import residuals
from capacity.analysis.acquisition.wording import columns, document
from capacity.settings.data import TextData

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs on text that are shown new facts at set steps."""
    return all(isinstance(run.data, TextData) and run.data.facts > 0 for run in runs)


def figures(finding: Finding) -> Mapping[str, Figure]:
    """What a fact is cheaper by over the training, and what is retained at growing lags."""
    from capacity.analysis.acquisition import plots

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
