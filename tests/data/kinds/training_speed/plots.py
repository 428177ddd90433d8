"""The figure of the speed of training."""

from __future__ import annotations

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from capacity.figures.style import COLORS, STYLE, log_axes, of_runs, panel


def speed(runs: pd.DataFrame) -> Figure:
    x, y = runs.parameters_total.astype(float), runs.speed
    with rc_context(STYLE):
        figure, ax = panel()
        log_axes(ax, (x.min() / 2, 2 * x.max()), (y.min() / 2, 2 * y.max()))
        line = ax.plot(x, y, ls="none", marker="o", color=COLORS[0], gid="runs")
        of_runs(line, runs.run_id)
        ax.set_xlabel("parameters P")
        ax.set_ylabel("operations per second")
    return figure
