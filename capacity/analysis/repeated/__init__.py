"""Studies of repeated data: what a subset that is seen many times does to the loss on other data,
as an effective size of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis.repeated.analysis import analyse, expected
from capacity.analysis.repeated.wording import columns, document
from capacity.data.canaries import several
from capacity.settings.data import TextData

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.analysis.residuals import Residuals
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs on text, some with sequences of it that are shuffled in several times, at one level a
    run, and some clean; of several levels a run it is the exposure of canaries that is asked."""
    text = [run.data for run in runs if isinstance(run.data, TextData)]
    if len(text) < len(runs) or any(several(one) or one.last_view is not None for one in text):
        return False
    levels = [[r for r in one.repeats if r] if one.canaries else [] for one in text]
    repeated = [one for one, level in zip(text, levels, strict=True) if level]
    return (
        0 < len(repeated) < len(text)
        and all(len(level) < 2 for level in levels)
        and all(one.canary_text == "pool" for one in repeated)
    )


def figures(finding: Finding) -> Mapping[str, Figure]:
    """Effective size by repeats, with what is held of the subset; and the clean loss by size."""
    from capacity.analysis.repeated import plots

    return plots.draw(finding)


def residuals(finding: Finding) -> list[Residuals]:
    """None: the clean loss is read between points, through all of them."""
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
