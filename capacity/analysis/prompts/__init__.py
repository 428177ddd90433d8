"""Studies of shortest prompts (`measure.prompts`): the share of sequences that adversarial
compression calls memorized, by amount of data and size, and what prompts save as a code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis.prompts.analysis import analyse, expected
from capacity.analysis.prompts.wording import columns, document

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.analysis.residuals import Residuals
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs that ask for shortest prompts of their sequences."""
    return all(run.measure.prompts for run in runs)


def figures(finding: Finding) -> Mapping[str, Figure]:
    """The share that is memorized against the data per parameter, by size."""
    from capacity.analysis.prompts.plots import share_figure

    return {"memorized": share_figure(finding.numbers)}


def residuals(finding: Finding) -> list[Residuals]:
    """None: no law is fitted to such runs."""
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
