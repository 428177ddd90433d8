"""Studies of shadow models of people (`data.trained_on=half`): how well can be told whom a model
was trained on, by how often it saw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis.shadows.analysis import analyse, expected
from capacity.analysis.shadows.reading import halved
from capacity.analysis.shadows.wording import columns, document

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.analysis.residuals import Residuals
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs that see random halves of sets of people."""
    return all(map(halved, runs))


def figures(finding: Finding) -> Mapping[str, Figure]:
    """AUC of each attack by tier, and ROC curves of everybody."""
    from capacity.analysis.shadows.plots import auc_figure, roc_figure

    return {"auc": auc_figure(finding.numbers), "roc": roc_figure(finding.numbers)}


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
