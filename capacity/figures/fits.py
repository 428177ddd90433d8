"""Figures that any study can have: errors of its fits, and means over seeds where it has none.
Nothing here computes a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capacity.base.frames import Frame
from capacity.figures.look import WIDTHS, current, using
from capacity.figures.marks import of_runs
from capacity.figures.style import GUIDE, drawing, entry, looks, panels, settle
from capacity.figures.ticks import log_ticks

SD = "bars: standard deviation over seeds of otherwise equal runs"


def residual_figure(residuals: Sequence[Any]) -> Figure:
    """A panel per law, two abreast: fitted minus measured, by point, over what the law is a
    function of.

    residuals: of `analysis.kinds.residuals`, one at least.
    """
    with using(_wide(len(residuals))), drawing():
        names = list(dict.fromkeys(s for part in residuals for s in part.points.series))
        style = looks(names)
        several = any(part.points.series.nunique() > 1 for part in residuals)
        legend = [entry(name, ms=4, **look) for name, look in style.items() if name and several]
        units = {"%": "fitted / measured - 1 (%)"}
        labels = [
            (part.over, units.get(part.unit, f"fitted - measured ({part.unit})"), part.law)
            for part in residuals
        ]
        figure, axes = panels(labels, legend=legend)
        for ax, part in zip(axes, residuals, strict=True):
            ax.axhline(0.0, color=GUIDE, linewidth=0.7, gid="no error")
            for series, points in part.points.groupby("series", sort=False):
                line = ax.plot(
                    points.x,
                    points.error,
                    gid=series or part.law,
                    linestyle="none",
                    markersize=4,
                    markeredgecolor="white",
                    markeredgewidth=0.4,
                    **style[series],
                )
                of_runs(line, points.run_id, points.name)
            if part.log and (part.points.x > 0).all():
                _log(ax, part.points.x)
        settle(figure)
        return figure


def means_figure(cells: Frame, over: str, numbers: Mapping[str, str], log: bool) -> Figure:
    """A panel per number, two abreast: the mean over seeds of otherwise equal runs, with their
    standard deviation as a bar, over a setting.

    cells: of `report.runs.means`; over: the setting's column; numbers: the headings, and
    what they mean; log: whether
    the setting wants a log axis.
    """
    with using(_wide(len(numbers))), drawing():
        style = looks(cells.name.drop_duplicates())
        legend = [entry(name, ms=4, ls="-", lw=1.0, **look) for name, look in style.items() if name]
        known = any(cells[f"sd {number}"].notna().any() for number in numbers)
        figure, axes = panels(
            [(over, meaning, "") for meaning in numbers.values()],
            legend=legend,
            notes=[SD] if known else [],
        )
        for ax, number in zip(axes, numbers, strict=True):
            for name, rows in cells.groupby("name", sort=False):
                rows = rows.dropna(subset=[number]).sort_values(over)
                x, y = rows[over].astype(float), rows[number].astype(float)
                sd = rows[f"sd {number}"].astype(float)
                for at, mean, one in zip(x, y, sd, strict=True):
                    if np.isfinite(one):
                        ax.plot(
                            [at, at],
                            [mean - one, mean + one],
                            color=style[name]["color"],
                            lw=0.8,
                            gid=f"sd of {name or number}",
                        )
                ax.plot(x, y, ms=4, lw=1.0, gid=name or number, **style[name])
            if log:
                _log(ax, cells[over].astype(float))
        settle(figure)
        return figure


def _wide(n: int) -> Any:
    """Several panels want the width of two columns, unless a width was asked for."""
    look = current()
    return look if look.width or n < 2 else replace(look, width=WIDTHS["double"])


def _log(ax: Axes, x: Any) -> None:
    low, high = float(x.min()), float(x.max())
    more = max(1.06, (high / low) ** 0.06)
    ax.set(xscale="log", xlim=(low / more, high * more))
    log_ticks(ax.xaxis)
