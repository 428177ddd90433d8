"""The figure of a study over budgets: bits per parameter against exposures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from capacity.analysis.budget.analysis import CELL, fitted
from capacity.analysis.budget.wording import named
from capacity.analysis.random.plateaus import CONVENTIONS, COUNTS, Frame
from capacity.figures.marks import of_runs
from capacity.figures.style import DASHED, SOFT, drawing, entry, looks, panel
from capacity.figures.ticks import log_ticks, widened

APART = 1.07  # plateaus of several laws beside each other
BEYOND = 4.0  # how far behind the largest budget a law is drawn


def budget_figure(runs: Frame, numbers: Mapping[str, Any]) -> Figure:
    """Strict bits per parameter of each run against exposures (log axis), the law of each model
    with its extrapolation, dashed, and its plateau with the interval at the right edge.

    runs, numbers: runs.csv and numbers of a finding of `budget.analyse`.
    """
    with drawing():
        part, varied = numbers["strict"], numbers["varied"]
        bits, count = CONVENTIONS["strict"][0], COUNTS[part["parameters"]]
        names = [named(cell, varied) for cell in part["cells"]]
        style, laws = looks(names), [not cell["law"]["reason"] for cell in part["cells"]]
        legend = [entry(name, ms=4.2, **look) for name, look in style.items()]
        if any(laws):
            legend += [
                entry("law", color=SOFT, lw=0.9, ls="-"),
                entry("extrapolated, and its plateau", color=SOFT, lw=0.9, dashes=DASHED),
            ]
        axes = ("exposures of each sequence", "strict bits per parameter")
        figure, ax = panel(axes, legend=legend)
        done = runs[runs.status == "finished"]
        e, top = done.exposures.astype(float), BEYOND if any(laws) else 1.25
        ax.set(xscale="log", xlim=widened(e.min() / 1.25, e.max() * top))
        log_ticks(ax.xaxis)
        for cell, name in zip(part["cells"], names, strict=True):
            look = style[name]
            mine = done[(done[CELL] == [cell[key] for key in CELL]).all(axis=1)]
            dots = {"ls": "none", "ms": 3.4, "mew": 0.0, "zorder": 4, **look}
            line = ax.plot(mine.exposures, mine[bits] / mine[count], gid=f"runs {name}", **dots)
            of_runs(line, mine.run_id)
            if not cell["law"]["reason"]:
                _draw_law(
                    ax,
                    cell["law"],
                    name,
                    look["color"],
                    APART ** (names.index(name) - len(names) + 1),
                )
        return figure


def _draw_law(ax: Any, law: Mapping[str, Any], name: str, hue: Any, aside: float) -> None:
    """The law, and its plateau at `aside` times the end of the axis."""
    low, high = law["exposures"]
    end = ax.get_xlim()[1]
    inside, beyond = np.geomspace(low, high, 80), np.geomspace(high, end, 40)
    ax.plot(inside, fitted(law, inside), color=hue, lw=0.9, zorder=2, gid=f"law {name}")
    dashed = {"color": hue, "lw": 0.9, "dashes": DASHED, "zorder": 2}
    ax.plot(beyond, fitted(law, beyond), gid=f"extrapolated {name}", **dashed)
    place, plateau = end * aside, {"color": hue, "clip_on": False}
    if law["r_inf"]["interval"] is not None:
        bar = {"lw": 1.6, "solid_capstyle": "butt", "zorder": 3, **plateau}
        ax.plot([place] * 2, law["r_inf"]["interval"], gid=f"plateau {name}", **bar)
    point = {"marker": "<", "ms": 4.2, "mew": 0.0, "ls": "none", "zorder": 4, **plateau}
    ax.plot([place], [law["r_inf"]["value"]], gid=f"plateau of {name}", **point)
