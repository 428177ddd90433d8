"""The figure of the verb compare: A and B by size. Nothing here computes a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capacity.figures.marks import beside, means
from capacity.figures.style import GUIDE, drawing, entry, ink, looks, panels, settle

ALL = "all sizes"
BARS = "bars: 95%, of means by the noise of arms, of {} as compare prints them"
Point = tuple[int, float, Sequence[float] | None]  # place of the size, value, its interval


def compare_figure(comparison: Mapping[str, Any]) -> Figure | None:
    """Above, the means of A and of every B by size; below, their ratio (or difference) by size and
    over all, each with its interval; a colour and a mark per variant, of a single ratio its own.
    comparison: what compare.json holds. None where no pair counts."""
    rows = [row for row in comparison["comparisons"] if row["effect"] is not None]
    if not rows:
        return None
    what = rows[0]["what"]
    rows = [row for row in rows if row["what"] == what]
    sizes = _sizes(rows)
    names = list(dict.fromkeys(name for row in rows for name in (row["a"], row["b"])))
    with drawing():
        style = looks(names)
        legend = [entry(name, ms=4.6, **look) for name, look in style.items()]
        labels = [("", _number(comparison["number"]), ""), ("", _effect(what, rows), "")]
        figure, (above, below) = panels(labels, legend=legend, notes=[BARS.format(what)])
        _ticks(below, sizes)
        above.set_xticks(range(len(sizes)), sizes)
        above.set_xlim(below.get_xlim())
        _draw(above, {name: _levels(rows, name, sizes) for name in names}, style, zero=True)
        equal = 1.0 if what == "A / B" else 0.0
        below.axhline(equal, color=GUIDE, lw=0.7, zorder=0, gid="A and B are equal")
        effects = {row["b"]: _effects(row, sizes) for row in rows}
        # a ratio to the only B is neither's; of several each has the look of its B
        of_both = {"color": ink(), "marker": "D"}
        looked = style if len(effects) > 1 else dict.fromkeys(effects, of_both)
        _draw(below, effects, looked, around=equal)
        settle(figure)
        return figure


def _number(number: str) -> str:
    """What is compared, without the remark on its count."""
    return number.split(" (", maxsplit=1)[0] if len(number) > 40 else number


def _effect(what: str, rows: Sequence[Mapping[str, Any]]) -> str:
    one = {row["a"] for row in rows}
    return f"{what}, A: {one.pop()}" if len(one) == 1 else what


def _sizes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    at = {part["size"]: part["parameters"]["B"] for row in rows for part in row["by_size"]}
    return sorted(at, key=lambda size: at[size])


def _levels(rows: Sequence[Mapping[str, Any]], name: str, sizes: list[str]) -> list[Point]:
    """Means of one variant by size. What A's are may differ between comparisons by the pairs that
    each has: then each is drawn."""
    out: list[Point] = []
    for row in rows:
        for side in ("A", "B"):
            if row[side.lower()] != name:
                continue
            for part in row["by_size"]:
                one = (sizes.index(part["size"]), part[side]["mean"], part[side]["interval"])
                out += [] if one in out else [one]
    return out


def _effects(row: Mapping[str, Any], sizes: list[str]) -> list[Point]:
    parts = [part for part in row["by_size"] if part["what"] == row["what"]]
    out: list[Point] = [
        (sizes.index(part["size"]), part["effect"], part["interval"])
        for part in parts
        if part["effect"] is not None
    ]
    return [*out, (len(sizes), row["effect"], row["interval"])] if len(sizes) > 1 else out


def _ticks(ax: Axes, sizes: list[str]) -> None:
    n = len(sizes) + (len(sizes) > 1)
    ax.set_xticks(range(n), [*sizes, ALL][:n])
    ax.set_xlim(-0.6, n - 0.4)


def _draw(
    ax: Axes,
    series: Mapping[str, list[Point]],
    style: Mapping[str, dict[str, Any]],
    zero: bool = False,
    around: float | None = None,
) -> None:
    """zero, around: what the axis of values has to show besides."""
    ends = [end for points in series.values() for _, y, iv in points for end in (y, *(iv or ()))]
    ends += [0.0] * zero + ([] if around is None else [around])
    low, high = min(ends), max(ends)
    if around is not None:  # an end far out would flatten all else: its bar ends in an arrow
        values = [abs(y - around) for points in series.values() for _, y, _ in points]
        reach = 4 * max([*values, 0.05 * abs(around) + 1e-12])
        low, high = max(low, around - reach), min(high, around + reach)
    more = 0.06 * (high - low)
    ax.set_ylim(low if zero and low == 0 else low - more, high + more)
    for i, (name, points) in enumerate(series.items()):
        for place, y, interval in points:
            x = beside(place, i, len(series), (0.0, 10.0), log=False)
            at = [*ax.get_xticklabels()][place].get_text()
            look = {"zorder": 3, "ms": 4.6, "mew": 0.0} | style[name]
            line = means(ax, [x], [y], [interval], name=f"{name} at {at}", **look)
            line[0].at = [float(place)]
