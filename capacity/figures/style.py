"""How all figures look: one panel, one column of a journal wide, colours that any eye tells apart,
type of 7 points or more.

with rc_context(STYLE):
    figure, ax = panel(legend=handles)      # the legend stands below the panel, which makes room
                                            for it
    log_axes(ax, x_limits, y_limits)
    of_runs(ax.plot(x, y), run_ids)
render(figure, "pdf")                       # bytes, the same for the same figure
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

Ends = Sequence[float] | np.ndarray  # of an axis, two
Color = str | tuple[float, float, float, float]  # a name, or red, green, blue and opacity

# inches; a column of two-column journals is 3.25 to 3.5, so nothing is scaled and type keeps its
# size
COLUMN = 3.4
SMALL = 7
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.usetex": False,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
}
INK, SOFT, GUIDE, MUTED, MUTED_INK = "#222222", "#666666", "#9a9a9a", "#f0dcc0", "#8a5a14"
GUIDES = (
    4,
    2,
    1,
    0.5,
    # bits per parameter: about 4 of random data, 2 and 1 of facts after 1000 and 100 exposures,
    # half of that
)
# Okabe and Ito's colours, told apart with any colour vision (jfly.uni-koeln.de/color), but their
# yellow, too pale here
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHED = (4, 3)
LEFT, BOTTOM, TOP = 0.57, 0.38, 0.07  # inches around the panel
LINE = SMALL * 1.42 / 72  # inches of a line of the legend
MOST_LINES = 12  # of a legend; more arms than that are told by the table
LETTER = 0.56 * SMALL / 72  # inches, on average
FORMULA = re.compile(r"\\mathrm|[\\${}^]")  # what a name has and nobody sees


def panel(
    height: float = 2.25,
    *,
    legend: Iterable[Line2D] = (),
    left: float = LEFT,
    right: float = 0.09,
    title: bool = False,
) -> tuple[Figure, Axes]:
    """A figure one column wide with one panel of this height (inches) and, below it, a legend of
    these handles; left, right: inches kept free beside the panel."""
    handles, columns = _fitted(list(legend))
    lines = sum(
        1 + max(_name(handle).count("\n") for handle in handles[i :: _rows(handles, columns)])
        for i in range(_rows(handles, columns))
    )
    below, above = BOTTOM + (lines * LINE + 0.07 if handles else 0.0), TOP + 0.17 * title
    whole = below + height + above
    figure = Figure(figsize=(COLUMN, round(whole, 3)))
    ax = figure.subplots()
    figure.subplots_adjust(
        left=left / COLUMN, right=1 - right / COLUMN, bottom=below / whole, top=1 - above / whole
    )
    if handles:
        figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.06 / COLUMN, 0.0),
            ncols=columns,
            frameon=False,
            handletextpad=0.4,
            handlelength=1.7,
            columnspacing=1.2,
            borderaxespad=0.25,
            labelspacing=0.28,
            borderpad=0.1,
            alignment="left",
        )
    return figure, ax


def _name(handle: Line2D) -> str:
    return str(handle.get_label())


def _rows(handles: Sequence[Line2D], columns: int) -> int:
    return math.ceil(len(handles) / columns) if handles else 0


def _fitted(handles: Sequence[Line2D]) -> tuple[list[Line2D], int]:
    """Handles with names that fit, not more than MOST_LINES lines of them, and in how many columns
    they stand."""
    room = COLUMN - 0.15
    for handle in handles:
        handle.set_label(textwrap.fill(_name(handle), int((room - 0.35) / LETTER)))
    widest = (
        max(
            [
                0,
                *(
                    len(line)
                    for handle in handles
                    for line in FORMULA.sub("", _name(handle)).split("\n")
                ),
            ]
        )
        * LETTER
        + 0.42
    )
    columns = max(1, min(3, int(room / widest))) if handles else 1
    kept, used = [], 0
    for i in range(0, len(handles), columns):
        used += 1 + max(_name(handle).count("\n") for handle in handles[i : i + columns])
        if used > MOST_LINES:
            return [*kept, entry(f"and {len(handles) - len(kept)} more")], columns
        kept += handles[i : i + columns]
    return kept, columns


def entry(label: str, **look: Any) -> Line2D:
    """A handle of a legend; without a look it is a note."""
    look = {"ls": "none"} | look
    return Line2D([], [], label=label, **look)


def looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """A marker and a colour for every name, in order."""
    return {
        name: {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)]}
        for i, name in enumerate(names)
    }


def shades(labels: Sequence[str]) -> dict[str, Color]:
    """Colours that darken with the place in the list backwards, so that larger is lighter, never
    too light to be read as type."""
    return {
        label: colormaps["viridis"](0.62 * i / max(len(labels) - 1, 1))
        for i, label in enumerate(labels)
    }


def of_runs(
    lines: Sequence[Any], run_ids: Iterable[str] | None = None, names: Iterable[str] | None = None
) -> None:
    """Say whose points a line's are, or what they are called, for a page that shows it
    (`report/figure_data.py`)."""
    lines[0].run_ids, lines[0].point_names = (
        None if told is None else list(told) for told in (run_ids, names)
    )


def render(figure: Figure, kind: str) -> bytes:
    """The figure as bytes of one kind ("png", "pdf" or "svg"), the same bytes for the same figure:
    no dates inside."""
    dates = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}
    with (
        rc_context({**STYLE, "svg.fonttype": "none", "svg.hashsalt": "capacity"}),
        io.BytesIO() as buffer,
    ):
        figure.savefig(buffer, format=kind, metadata=dates[kind])
        return buffer.getvalue()


def log_axes(ax: Axes, x_limits: Ends, y_limits: Ends) -> None:
    """Logarithmic axes with 2 to 7 labels each, in k and M."""
    ax.set(xscale="log", yscale="log", xlim=widened(*x_limits), ylim=widened(*y_limits))
    for axis, ends in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        log_ticks(axis, *ends)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Labels of a logarithmic axis."""
    steps = (
        (1,) if high > 200 * low else (1, 3) if high > 15 * low else (1, 2, 5)
    )  # two labels or more, few enough
    axis.set_major_locator(LogLocator(subs=steps, numticks=20))
    axis.set_major_formatter(EngFormatter(sep=""))
    axis.set_minor_formatter(NullFormatter())


def plain_ticks(axis: Axis, low: float, high: float) -> None:
    """Labels of a logarithmic axis of small numbers, without k and M."""
    log_ticks(axis, low, high)
    axis.set_major_formatter("{x:g}")


def widened(low: float, high: float) -> tuple[float, float]:
    """Limits a factor of 8 apart at least: then 1, 2, 5 steps always give two labels or more."""
    extra = max(1.0, np.sqrt(8 * low / high))
    return low / extra, high * extra


def _inches(ax: Axes) -> tuple[float, float]:
    """Width and height of the figure of a panel."""
    figure: Any = ax.figure  # its type allows for a part of a figure, which has no size
    return tuple(figure.get_size_inches())


def along(ax: Axes) -> dict[str, Any]:
    """Text settings that lay a label along y = constant x, a line of slope 1 in log-log axes."""
    box, (width, height) = ax.get_position(), _inches(ax)
    decades = [np.log10(high / low) for low, high in (ax.get_xlim(), ax.get_ylim())]
    angle = np.degrees(np.arctan2(height * box.height / decades[1], width * box.width / decades[0]))
    return {"rotation": angle, "rotation_mode": "anchor", "fontsize": SMALL}


def points_across(ax: Axes) -> tuple[float, float]:
    """Width and height of a panel in points (1/72 inch)."""
    box, size = ax.get_position(), _inches(ax)
    return 72 * size[0] * box.width, 72 * size[1] * box.height


def guide_lines(
    ax: Axes, points: Sequence[tuple[float, float]] = (), levels: Sequence[float] = ()
) -> None:
    """Lines of GUIDES bits per parameter with their names along them, where these are farthest from
    the points [(x, y)] and levels [y]."""
    (x_low, x_high), (y_low, y_high) = ax.get_xlim(), ax.get_ylim()
    size = np.array(points_across(ax))
    low, span = np.log([x_low, y_low]), np.log([x_high / x_low, y_high / y_low])

    def place(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (np.log(np.stack([x, y], axis=-1)) - low) / span * size

    avoid = place(*np.array(points, float).T) if len(points) else np.zeros((0, 2))
    heights = (
        place(np.full(len(levels), x_low), np.asarray(levels, float))[:, 1]
        if len(levels)
        else np.zeros(0)
    )
    for guide in GUIDES:
        ends = np.array([max(x_low, y_low / guide), min(x_high, y_high / guide)])
        if ends[0] >= ends[1]:
            continue
        ax.plot(ends, guide * ends, color=GUIDE, lw=0.5, zorder=1, gid=f"guide {guide:g}")
        name = f"{guide:g} bit{'s' * (guide > 1)}/P"
        start, stop = place(ends, guide * ends)
        length, direction = (
            float(np.hypot(*(stop - start))),
            (stop - start) / np.hypot(*(stop - start)),
        )
        needed, up = 0.6 * SMALL * len(name) + 4, np.array([-direction[1], direction[0]])
        if length < needed + 6:
            continue
        best, free = None, -1.0
        for begin in np.arange(4, length - needed, 4.0):
            middle = start + np.outer(begin + np.linspace(0, needed, 7), direction) + 5 * up
            gaps = [
                np.inf,
                *np.hypot(*(middle[:, None] - avoid[None]).transpose(2, 0, 1)).ravel(),
                *(2 * np.abs(middle[:, None, 1] - heights)).ravel(),
                *(size - middle).ravel(),
                *middle.ravel(),
            ]
            clear = min(min(gaps), 11.0)
            if clear > free + 1e-6:
                best, free = begin, clear
        if free < 2.5:
            continue
        at = np.exp((start + best * direction) / size * span + low)
        ax.annotate(
            name,
            at,
            tuple(2.5 * up),
            color=SOFT,
            textcoords="offset points",
            gid=f"guide label {guide:g}",
            zorder=1,
            **along(ax),
        )


def end_labels(
    ax: Axes, ends: Mapping[str, tuple[float, float]], color: Mapping[str, Color]
) -> None:
    """Names at the right end of what they name ({name: (x, y)}), moved up or down by what keeps one
    line of type between two."""
    order = sorted(ends, key=lambda label: ends[label][1])
    low, high = np.log(ax.get_ylim())
    gap = (high - low) * (SMALL + 2) / points_across(ax)[1]
    y = np.log([ends[label][1] for label in order])
    for _ in range(200):  # push close neighbours apart, half each, until none is close
        for i in range(len(y) - 1):
            short = gap - (y[i + 1] - y[i])
            if short > 1e-9:
                y[i] -= short / 2
                y[i + 1] += short / 2
        y += max(0.0, low + gap / 2 - y[0]) if len(y) else 0.0
    for label, place in zip(order, np.exp(y), strict=True):
        ax.annotate(
            label,
            (ends[label][0] * 1.06, place),
            (3, 0),
            textcoords="offset points",
            color=color[label],
            fontsize=SMALL,
            va="center",
            annotation_clip=False,
            gid=f"label {label}",
        )
