"""The figure of the speed of training."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from capacity.figures.marks import of_runs
from capacity.figures.style import color, drawing, panel
from capacity.figures.ticks import log_axes


def speed(runs: pd.DataFrame) -> Figure:
    x, y = runs.parameters_total.astype(float), runs.speed
    with drawing():
        figure, ax = panel(("parameters P", "operations per second"))
        log_axes(ax, (x.min() / 2, 2 * x.max()), (y.min() / 2, 2 * y.max()))
        line = ax.plot(x, y, ls="none", marker="o", color=color(0), gid="runs")
        of_runs(line, runs.run_id)
    return figure
