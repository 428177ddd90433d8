"""The figure of a study of prompts: how much of what was trained on a short prompt brings out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from capacity.base.words import count
from capacity.figures.marks import means
from capacity.figures.style import SOFT, drawing, entry, looks, panel


def share_figure(numbers: Mapping[str, Any]) -> Figure:
    """Share of members with a ratio above 1 against the bits of data per parameter, means over
    replicates with 95% by t, a marker and a colour per size; below, of held-out sequences.

    numbers: of a finding of `prompts.analyse`."""
    with drawing():
        lines: dict[str, list[Mapping[str, Any]]] = {}
        for row in numbers["cells"]:
            system = "" if row["system"] == "all runs" else f"{row['system']}, "
            lines.setdefault(f"{system}{count(row['parameters'])} parameters", []).append(row)
        style = looks(list(lines))
        legend = [entry(name, ms=4.2, **look) for name, look in style.items()]
        legend.append(entry("held out", color=SOFT, ms=3.4, marker="_", mew=1.0))
        figure, ax = panel(
            ("bits of data per parameter, N S log2 V / P", "share with a ratio above 1"),
            legend=legend,
        )
        load = [row["load"] for row in numbers["cells"]]
        ax.set_xscale("log", base=2)
        ax.set_xlim(min(load) / 1.2, max(load) * 1.2)
        ax.set_ylim(-0.06, 1.06)
        for name, mine in lines.items():
            x, look = [row["load"] for row in mine], style[name]
            shares = [row["memorized"] for row in mine]
            y = [one["mean"] for one in shares]
            ax.plot(x, y, gid=f"line {name}", lw=0.9, color=look["color"], zorder=2)
            means(ax, x, y, [one["interval"] for one in shares], name=name, ms=4.2, **look)
            others = [row["held_out"] for row in mine]
            dots = {"color": SOFT, "ls": "none", "ms": 4.2, "mew": 1.0, "marker": "_"}
            ax.plot(x, others, gid=f"held out, {name}", **dots)
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        return figure
