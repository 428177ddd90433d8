"""Studies of what is stored and not said (`measure.inside`): the true value among all values of its
list, in a biography, behind a question and by a probe of hidden states, by kind of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis.inside.analysis import analyse, expected
from capacity.analysis.inside.wording import columns, document

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.analysis.residuals import Residuals
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs that ask people in texts, by questions and by a probe."""
    return all(run.measure.inside for run in runs)


def figures(finding: Finding) -> Mapping[str, Figure]:
    """K of each score by arm."""
    from capacity.analysis.inside.plots import scores_figure

    return {"scores": scores_figure(finding.numbers)}


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
