"""Studies of parts of which a token uses a share (experts, memories, tables): what an idle
parameter is worth beside an active one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis import labels
from capacity.analysis.idle.analysis import analyse, expected
from capacity.analysis.idle.fit_errors import residuals
from capacity.analysis.idle.reading import BITS, PLAIN, system
from capacity.analysis.idle.wording import columns, document
from capacity.parts import registry

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Models with tables of their own beside plain ones, on random data or facts. Experts alone
    make random data such a study; facts on experts have the ratio of their paper."""
    if any(labels.family(run) not in BITS for run in runs):
        return False
    tables = [registry.has_tables(run.model) for run in runs]
    random = labels.family(runs[0]) == "random data"
    systems = {system(run) for run in runs}
    return PLAIN in systems and (any(tables) or (random and len(systems) > 1))


def figures(finding: Finding) -> Mapping[str, Figure]:
    """Bits against total and against active parameters, and over the division of idle ones."""
    from capacity.analysis.idle.plots import allocation_figure, bits_figure

    runs = finding.tables["runs.csv"]
    drawn = {count: bits_figure(runs, finding.numbers, count) for count in ("total", "active")}
    if finding.numbers.get("allocation"):
        drawn["allocation"] = allocation_figure(finding.numbers)
    return drawn


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
