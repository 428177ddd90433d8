"""Studies of facts: what models learn of people from biographies (bioS, bioD) and corpora.

How many bits per parameter an arm of runs holds (R), its peak over model sizes, how it rises with
exposures, and verdicts beside the values of Physics of Language Models 3.3 (arXiv 2404.05405).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.analysis.facts.analysis import analyse, applies, expected, residuals
from capacity.analysis.facts.run_lists import columns
from capacity.analysis.facts.wording import document
from capacity.analysis.finding import Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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

COMPARES = True


def figures(finding: Finding) -> dict[str, Figure]:
    """R or bits of every run: by arm, against exposures and against parameters, where each says
    something."""
    from capacity.analysis.facts import plots  # brings matplotlib

    return plots.figures(finding)
