"""The figures of a study of context: bits held against numbers of state, and of sequences that are
longer than those of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from capacity.analysis.context.lengths import KEPT, LOST
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


def lengths_figure(numbers: Mapping[str, Any]) -> Figure:
    """Bits of longer sequences over those of the length of training, against that length: a line
    per system and state with 95% over seeds, dotted the two thresholds; numbers: of a finding of
    `context.analyse`."""
    with drawing():
        rows = numbers["beyond"]
        lines: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            lines.setdefault(f"{row['system']}, {row['state']:,}", []).append(row)
        style = looks(list(lines))
        times = ", ".join(f"{one}x" for one in sorted({row["times"] for row in rows}))
        figure, ax = panel(
            ("answers of a training sequence", f"bits at {times} that length / at that length"),
            legend=[entry(name, ms=4.2, **look) for name, look in style.items()],
        )
        x = [float(row["length"]) for row in rows]
        ax.set_xscale("log", base=2)
        ax.set_xlim(min(x) / 1.2, max(x) * 1.2)
        for name, mine in lines.items():
            place, look = [row["length"] for row in mine], style[name]
            ax.plot(place, [row["ratio"] for row in mine], gid=f"ratio {name}", lw=0.9, ms=3.6,
                    mew=0.0, zorder=4, **look)  # fmt: skip
            for row in mine:
                if row["interval"] is not None:
                    ax.plot([row["length"]] * 2, row["interval"], color=look["color"], lw=0.7)
        lowest = min(row["ratio"] for row in rows)
        ax.set_ylim(max(-1.5, min(-0.05, lowest - 0.1)), 1.25)
        for level in (KEPT, LOST):
            ax.axhline(level, color=SOFT, lw=0.7, ls=":", zorder=1)
        return figure
