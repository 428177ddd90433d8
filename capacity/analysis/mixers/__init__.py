"""Studies of mixers, their convolutions and loops at equal layers and width: what they change of
the bits that a parameter holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis import labels
from capacity.analysis.idle.reading import idle_kinds
from capacity.analysis.mixers.analysis import analyse, expected
from capacity.analysis.mixers.reading import CHOICES
from capacity.analysis.mixers.wording import columns, document

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.analysis.residuals import Residuals
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Random tokens, models all of which every token uses, in more than one form of mixer,
    convolution, loops or maps."""
    if any(labels.family(run) != "random data" for run in runs):
        return False
    forms = {tuple(getattr(run.model, name) for name in CHOICES) for run in runs}
    return len(forms) > 1 and not any(idle_kinds(run.model, run.rows) for run in runs)


def figures(finding: Finding) -> Mapping[str, Figure]:
    """The ratio of every form to the first one; without a comparison there is none."""
    from capacity.analysis.mixers.plots import ratio_figure

    drawn = ratio_figure(finding.numbers)
    return {} if drawn is None else {"ratios": drawn}


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
