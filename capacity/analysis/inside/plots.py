"""The figure of a study of what is stored and not said: K of each score, by kind of texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from capacity.figures.marks import beside, means
from capacity.figures.style import SOFT, drawing, entry, looks, panel

DRAWN = {
    "biography": "in the biography",
    "question": "asked",
    "probe": "probe of states",
    "both": "asked and probe",
    "shuffled": "probe of shuffled values",
}


def scores_figure(numbers: Mapping[str, Any]) -> Figure:
    """K of each score against the arms, means over replicates with 95% by t; dashed: guessing.

    numbers: of a finding of `inside.analyse`."""
    with drawing():
        style = looks(list(DRAWN.values()))
        legend = [entry(name, ms=4.2, **look) for name, look in style.items()]
        figure, ax = panel(("texts about a person", "K of the true value"), legend=legend)
        cells = numbers["cells"]
        limits = (-0.5, len(cells) - 0.5)
        ax.set_xlim(*limits)
        ax.set_ylim(0.4, 1.03)
        ax.axhline(0.5, color=SOFT, lw=0.8, ls="--", gid="guessing")
        for i, (score, name) in enumerate(DRAWN.items()):
            x = [beside(at, i, len(DRAWN), limits, log=False) for at in range(len(cells))]
            found = [cell["scores"][score]["k"] for cell in cells]
            y, ends = [one["mean"] for one in found], [one["interval"] for one in found]
            line = means(ax, x, y, ends, name=name, ms=4.2, **style[name])
            line[0].at = [float(at) for at in range(len(cells))]
        ax.set_xticks(range(len(cells)), [cell["arm"] for cell in cells])
        ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        return figure
