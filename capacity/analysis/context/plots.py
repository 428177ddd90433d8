"""The figure of a study of context: bits held against numbers of state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from capacity.base.frames import Frame
from capacity.figures.marks import of_runs
from capacity.figures.style import SOFT, drawing, entry, looks, panel
from capacity.figures.ticks import log_axes


def state_figure(runs: Frame, numbers: Mapping[str, Any]) -> Figure:
    """Bits held of a sequence by each run at the rate of its system, log-log, a marker and a colour
    per system, and the line of each law over its states.

    runs, numbers: runs.csv and numbers of a finding of `context.analyse`.
    """
    with drawing():
        drawn = runs[runs.chosen.astype(bool) & (runs.status == "finished")]
        drawn = drawn[(drawn.held > 0) & (drawn["class"] != "unlearned")]
        style = looks(sorted(set(drawn.system)))
        laws = [law for law in numbers["laws"] if not law["reason"]]
        legend = [entry(name, ms=4.2, **look) for name, look in style.items()]
        if laws:
            legend.append(entry("β S", color=SOFT, lw=0.9, ls="-"))
        axes = ("numbers of state", "bits held of a sequence")
        figure, ax = panel(axes, legend=legend)
        x, y = drawn.state.astype(float), drawn.held.astype(float)
        if len(drawn):
            log_axes(ax, (x.min() / 1.2, x.max() * 1.2), (y.min() / 1.2, y.max() * 1.2))
        for name, look in style.items():
            mine = drawn[drawn.system == name]
            dots = {"ls": "none", "ms": 3.6, "mew": 0.0, "zorder": 4, **look}
            line = ax.plot(mine.state, mine.held, gid=f"runs {name}", **dots)
            of_runs(line, mine.run_id)
        for law in laws:
            ends = np.array([law["states"][0], law["states"][-1]], float)
            hue = style[law["system"]]["color"]
            bits = law["beta"]["value"] * ends
            ax.plot(ends, bits, color=hue, lw=0.9, zorder=2, gid=f"law {law['system']}")
        return figure
