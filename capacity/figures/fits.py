"""Figures that any study can have: errors of its fits, and means over seeds where it has none.
Nothing here computes a result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capacity.base.frames import Frame
from capacity.figures.style import COLORS, GUIDE, MARKERS, STYLE, of_runs


def residual_figure(residuals: Sequence[Any]) -> Figure:
    """A panel of 3.5 x 2.6 inches per law: fitted minus measured, by point, over what the law is a
    function of.

    residuals: of `analysis.kinds.residuals`, one at least.
    """
    with rc_context(STYLE):
        figure, axes = _panels(len(residuals))
        for ax, part in zip(axes, residuals, strict=True):
            ax.axhline(0.0, color=GUIDE, linewidth=0.7, gid="no error")
            for i, (series, points) in enumerate(part.points.groupby("series", sort=False)):
                of_runs(
                    ax.plot(
                        points.x,
                        points.error,
                        label=series or None,
                        color=COLORS[i % len(COLORS)],
                        marker=MARKERS[i % len(MARKERS)],
                        linestyle="none",
                        markersize=4,
                        markeredgecolor="white",
                        markeredgewidth=0.4,
                    ),
                    points.run_id,
                    points.name,
                )
            ax.set(
                xlabel=part.over,
                ylabel="fitted / measured - 1 (%)"
                if part.unit == "%"
                else f"fitted - measured ({part.unit})",
            )
            ax.set_title(part.law, loc="left")
            if part.log and (part.points.x > 0).all():
                ax.set_xscale("log")
                ax.xaxis.set_major_formatter("{x:g}")
            if part.points.series.nunique() > 1:
                ax.legend(frameon=False, labelspacing=0.3)
        return figure


def means_figure(cells: Frame, over: str, numbers: Sequence[str], log: bool) -> Figure:
    """A panel of 3.5 x 2.6 inches per number: the mean over seeds of otherwise equal runs, with
    their standard deviation as a bar, over a setting.

    cells: of `report.runs.means`; over: the setting's column; numbers: the headings; log: whether
    the setting wants a log axis.
    """
    with rc_context(STYLE):
        figure, axes = _panels(len(numbers))
        for ax, number in zip(axes, numbers, strict=True):
            for i, (name, rows) in enumerate(cells.groupby("name", sort=False)):
                rows, look = (
                    rows.dropna(subset=[number]).sort_values(over),
                    {"color": COLORS[i % len(COLORS)], "label": name or None},
                )
                ax.plot(
                    rows[over],
                    rows[number],
                    marker=MARKERS[i % len(MARKERS)],
                    markersize=4,
                    linewidth=1.0,
                    **look,
                )
                known = rows[rows[f"sd {number}"].notna()]
                ax.vlines(
                    known[over],
                    known[number] - known[f"sd {number}"],
                    known[number] + known[f"sd {number}"],
                    color=look["color"],
                    linewidth=0.8,
                )
            ax.set(xlabel=over, ylabel=number)
            if log:
                ax.set_xscale("log")
                ax.xaxis.set_major_formatter("{x:g}")
            if cells.name.nunique() > 1:
                ax.legend(frameon=False, labelspacing=0.3)
        return figure


def _panels(n: int) -> tuple[Figure, list[Axes]]:
    rows, columns = math.ceil(n / 2), min(n, 2)
    figure = Figure(figsize=(3.5 * columns, 2.6 * rows))
    figure.subplots_adjust(
        left=0.2 / columns,
        right=0.985,
        bottom=0.17 / rows,
        top=1 - 0.09 / rows,
        wspace=0.3,
        hspace=0.42,
    )
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(n)]
