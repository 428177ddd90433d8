"""The figure of a study of mixers: how many times the bits per parameter of the first form every
other one holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from capacity.analysis.mixers.compared import LESS, MORE
from capacity.figures.marks import rows_of_means
from capacity.figures.style import GUIDE, MARKERS, SOFT, color, drawing, entry, ink, panel
from capacity.naming import listed

BARS = "mean of logarithms over sizes; bars: 95% by t over seeds"


def ratio_figure(numbers: Mapping[str, Any]) -> Figure | None:
    """A row per form: its ratio over all sizes with its interval, filled where a difference is
    shown, and behind it the ratio at each size where there are several.

    numbers: of a finding of `mixers.analyse`; None where nothing was compared."""
    rows = [row for row in numbers["comparisons"]["first"] if row["ratio"] is not None]
    if not rows:
        return None
    with drawing():
        sizes = {part["size"] for row in rows for part in row["by_size"]}
        several = [size for size in numbers["sizes"] if size in sizes] if len(sizes) > 1 else []
        look = {
            size: {"color": SOFT, "marker": MARKERS[1 + i % (len(MARKERS) - 1)]}
            for i, size in enumerate(several)
        }
        shown = {"marker": "o", "color": color(0), "mew": 0.8}
        legend = [
            entry("a difference is shown", ms=4.6, **shown),
            entry("none is told", ms=4.6, **shown | {"mfc": "white"}),
            *(entry(size, ms=3.0, mew=0.0, **one) for size, one in look.items()),
        ]
        figure, ax = panel(
            (f"bits per parameter / {numbers['first']}", ""),
            legend=legend,
            notes=[BARS],
            tall=0.2 * len(rows) + 0.2,
        )
        ends = [1.0]
        for row in rows:
            ends += [row["ratio"], *(row["interval"] or ()), *(p["ratio"] for p in row["by_size"])]
        more = 0.06 * (max(ends) - min(ends)) or 0.01
        ax.set_xlim(min(ends) - more, max(ends) + more)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.set_yticks(range(len(rows)), [listed([r["a"], r["condition"]]) for r in rows])
        ax.tick_params(axis="y", length=0)
        ax.axvline(1.0, color=GUIDE, lw=0.7, zorder=0, gid="as many bits")
        for i, row in enumerate(rows):
            name = listed([row["a"], row["condition"]])
            for part in row["by_size"] if several else []:
                dots = {"ls": "none", "ms": 3.0, "mew": 0.0, "zorder": 2, **look[part["size"]]}
                ax.plot([part["ratio"]], [i], gid=f"{name}, {part['size']}", **dots)
            hollow = {} if row["verdict"] in (MORE, LESS) else {"mfc": "white"}
            at = {"ms": 4.6, "zorder": 3, **shown, **hollow}
            rows_of_means(ax, row["ratio"], i, row["interval"], name=name, **at)
        ax.spines["left"].set_color(ink())
        return figure
