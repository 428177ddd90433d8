"""What figures draw of runs and arms: points, means with intervals, and what a page or a table
later reads of them.

A line of matplotlib carries `run_ids` and `point_names` (whose its points are), `at` (where they
belong, if they are drawn beside that place), `values` (what was measured, if less is drawn), and
`ends` (the interval of each point). `files.rows` and `report/figure_data.py` read these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from capacity.figures.style import ink

PART = "part of a mean"  # gid of bars and arrows, which the mean's own row tells
# parts of an axis: between two things that share a place, and between the first and the last
APART, SPREAD = 0.022, 0.14


def of_runs(
    lines: Sequence[Any], run_ids: Iterable[str] | None = None, names: Iterable[str] | None = None
) -> None:
    """Say whose points a line's are, or what they are called, for a page that shows it
    (`report/figure_data.py`)."""
    lines[0].run_ids, lines[0].point_names = (
        None if labels is None else list(labels) for labels in (run_ids, names)
    )


def belongs(lines: Sequence[Any], at: Iterable[float]) -> None:
    """Say at which x the points of a line belong that are drawn beside it."""
    lines[0].at = [float(x) for x in at]


def means(
    ax: Axes,
    x: Sequence[float],
    y: Sequence[float],
    ends: Sequence[Sequence[float] | None],
    *,
    name: str,
    **look: Any,
) -> Any:
    """Means as points of this look, with a bar from end to end of the interval of each that has
    one. The axes' limits are set already: a bar that would leave them ends there in an arrow."""
    low, high = sorted(ax.get_ylim())
    known = look.get("label", name)
    shown: dict[str, Any] = {k: look[k] for k in ("color", "zorder", "alpha") if k in look}
    shown["ls"] = "-"
    for at, one in zip(x, ends, strict=True):
        if one is None:
            continue
        drawn = [min(max(end, low), high) for end in one]
        # a bar that goes on tells little: it stays behind the others
        width = 0.6 if one[1] > high else 1.0
        ax.plot([at, at], drawn, lw=width, gid=PART, label=known, solid_capstyle="butt", **shown)
        if one[0] < low:
            _arrow(ax, at, low, "v", shown | {"label": known})
        if one[1] > high:
            _arrow(ax, at, high, "^", shown | {"label": known})
    style: dict[str, Any] = {"ls": "none"} | look
    line: Any = ax.plot(x, y, gid=name, **style)
    line[0].ends = [None if one is None else (float(one[0]), float(one[1])) for one in ends]
    return line


def rows_of_means(
    ax: Axes, x: float, row: float, ends: Sequence[float] | None, *, name: str, **look: Any
) -> Any:
    """The same for one mean along a row: x is what was measured."""
    low, high = sorted(ax.get_xlim())
    shown: dict[str, Any] = {k: look[k] for k in ("color", "zorder") if k in look} | {"ls": "-"}
    if ends is not None:
        drawn = [min(max(end, low), high) for end in ends]
        ax.plot(drawn, [row, row], lw=1.0, gid=PART, label=name, solid_capstyle="butt", **shown)
        if ends[0] < low:
            _arrow(ax, low, row, "<", shown | {"label": name})
        if ends[1] > high:
            _arrow(ax, high, row, ">", shown | {"label": name})
    style: dict[str, Any] = {"ls": "none"} | look
    line: Any = ax.plot([x], [row], gid=name, **style)
    line[0].ends = [None if ends is None else (float(ends[0]), float(ends[1]))]
    line[0].along = "x"
    return line


def _arrow(ax: Axes, x: float, y: float, marker: str, look: dict[str, Any]) -> None:
    more: dict[str, Any] = look | {"ls": "none"}
    ax.plot([x], [y], marker=marker, ms=3.2, mew=0, gid=PART, clip_on=False, **more)


def beside(x: float, i: int, n: int, ends: Sequence[float], log: bool) -> float:
    """Where the i-th of n things that share a place x is drawn, on an axis with these ends."""
    part = min(APART, SPREAD / max(n, 1)) * (i - (n - 1) / 2)
    if log:
        return float(x * np.exp(part * np.log(ends[1] / ends[0])))
    return float(x + part * (ends[1] - ends[0]))


def grey() -> dict[str, Any]:
    """The look of a mean in a legend that has no colour of its own."""
    return {"color": ink(), "marker": "o", "ms": 4.6, "mew": 0.0}
