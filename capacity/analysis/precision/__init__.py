"""Studies of precision: what models hold in formats of training and after quantization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from capacity.analysis.precision.analysis import analyse, expected
from capacity.analysis.precision.bit_widths import asked
from capacity.analysis.precision.fit_errors import residuals
from capacity.analysis.precision.wording import columns, document

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding
    from capacity.config import Config

COMPARES = False


def applies(runs: Sequence[Config], table: pandas.DataFrame) -> bool:
    """Runs that are quantized, or trained in several formats, whatever their data."""
    return asked(runs)


def figures(finding: Finding) -> Mapping[str, Figure]:
    """Capacity and the share retained against bits of a code, and bits held per stored bit."""
    from capacity.analysis.precision.plots import (
        capacity_figure,
        retained_figure,
        stored_figure,
    )

    return {
        "capacity": capacity_figure(finding.numbers),
        "retained": retained_figure(finding.numbers),
        "stored": stored_figure(finding.numbers),
    }


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
