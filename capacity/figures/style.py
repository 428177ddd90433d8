"""How all figures look: panels of equal height, colours that any eye tells apart, each with a mark
of its own, type of 7 points or more, legends and notes below the panel.

with drawing():                            # the style, and what a person asked over it
    figure, ax = panel(("P", "bits"), legend=handles, notes=["bars: 95% of the mean"])
    log_axes(ax, x_limits, y_limits)       # `ticks`
    of_runs(ax.plot(x, y), run_ids)        # `marks`
render(figure, "pdf")                      # `files`: bytes, the same for the same figure
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from matplotlib import colormaps, rc_context, rcParams, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from capacity.figures.look import BESIDES, WIDTHS, current

Color = str | tuple[float, float, float, float]  # a name, or red, green, blue and opacity

COLUMN = WIDTHS["single"]
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
SIZES = ("axes.labelsize", "axes.titlesize", "xtick.labelsize", "ytick.labelsize")
SIZES = (*SIZES, "legend.fontsize")
# what a style may not change: margins are ours, a width that was asked for is kept to the hair
FIXED: dict[Any, Any] = {
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    "savefig.bbox": None,
    "interactive": False,
}
INK, SOFT, GUIDE, MUTED, MUTED_INK = "#222222", "#666666", "#9a9a9a", "#f0dcc0", "#8a5a14"
# Okabe and Ito's colours, told apart with any colour vision (jfly.uni-koeln.de/color), but their
# yellow, too pale here
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")
DASHED = (4, 3)
EDGE = 0.06  # inches that stay free at each edge
LEAST = 1.35  # inches of height of a panel
MOST_COLUMNS, MOST_LINES = 5, 12  # of a legend; more arms than that are told by the table


@contextmanager
def drawing() -> Iterator[None]:
    """matplotlib's own defaults, STYLE over them, and over it the style that a person asked for
    (`look.current`): a matplotlibrc of this machine has no part in it."""
    asked = dict(current().rc)
    own = {k: v for k, v in rcParamsDefault.items() if not k.startswith(BESIDES)}
    scale = float(asked.get("font.size", STYLE["font.size"])) / STYLE["font.size"]
    scaled = {key: STYLE[key] * scale for key in SIZES}
    settings: Any = {**own, **STYLE, **scaled, **asked, **FIXED}
    with rc_context(settings):
        yield


def color(i: int) -> Color:
    """The colour of the i-th of several things."""
    cycle = current().rc.get("axes.prop_cycle")
    own = cycle.by_key().get("color") if cycle is not None else None
    known = own or COLORS
    return known[i % len(known)]


def ink() -> Color:
    """Of lines and words that have no colour of their own."""
    return current().rc.get("text.color", INK)


def small() -> float:
    """Points of the smallest type."""
    return points("xtick.labelsize")


def points(key: str) -> float:
    """A size of type in points, such as that of "axes.labelsize"."""
    return float(FontProperties(size=_rc(key)).get_size_in_points())


def _rc(key: Any) -> Any:
    """A setting of matplotlib; its type would name every key."""
    return rcParams[key]


def width_of(text: str, size: float) -> float:
    """Inches that a line of text takes at a size in points."""
    font = FontProperties(family=_rc("font.family"), size=size)
    ismath = "TeX" if _rc("text.usetex") else is_math_text(text)
    return text_to_path.get_text_width_height_descent(text, font, ismath)[0] / 72


def wrapped(text: str, room: float, size: float) -> str:
    """Text in lines that are at most `room` inches wide, where its words allow it."""
    lines: list[str] = []
    for word in _words(text):
        if lines and width_of(f"{lines[-1]} {word}", size) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def _words(text: str) -> list[str]:
    """Words; what stands between two dollars is never divided."""
    out: list[str] = []
    for word in text.split():
        if out and out[-1].count("$") % 2:
            out[-1] += f" {word}"
        else:
            out.append(word)
    return out


# --- panels
# --------------------------------------------------------------------------------------------------


def panel(
    axes: tuple[str, str] | None = None,
    *,
    legend: Iterable[Line2D] = (),
    notes: Iterable[str] = (),
    right: float = 0.0,
    title: str = "",
    tall: float = 0.0,
) -> tuple[Figure, Axes]:
    """A figure with one panel and, below it, a legend of these handles and notes.

    axes: what x and y are; empty where an axis has no name, None where both are named later.
    right: inches kept free beside the panel. tall: inches that the panel needs. All figures of one
    width are equally high, unless legend or `tall` need more.
    """
    x, y = axes or (" ", " ")
    figure, (ax,) = panels([(x, y, title)], legend=legend, notes=notes, right=right, tall=tall)
    return figure, ax


def panels(
    parts: Sequence[tuple[str, str, str]],
    *,
    legend: Iterable[Line2D] = (),
    notes: Iterable[str] = (),
    right: float = 0.0,
    tall: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """Panels of these x labels, y labels and titles, two abreast where there is room; one legend
    for all."""
    width = current().inches
    columns = 1 if width < 1.5 * COLUMN else min(len(parts), 2)
    rows, cell = math.ceil(len(parts) / columns), width / columns
    handles, abreast, note_lines, block = _below(list(legend), list(notes), width)
    high = height(width if columns == 1 else cell) * (1.0 if rows == 1 else 0.8)
    boxes = [_margins(part, cell, high - block, right) for part in parts]
    above, below = max(b[1] for b in boxes), max(b[2] for b in boxes)
    inner = max(high - block / rows - above - below, tall, LEAST)
    whole = rows * (above + inner + below) + block
    figure = Figure(figsize=(width, round(whole, 3)))
    whole = float(figure.get_size_inches()[1])
    out = []
    for i, ((x, y, title), (left, _, _)) in enumerate(zip(parts, boxes, strict=True)):
        row, column = divmod(i, columns)
        low = block + (rows - 1 - row) * (above + inner + below) + below
        inside = cell - left - right - 0.09
        ax = figure.add_axes(
            ((column * cell + left) / width, low / whole, inside / width, inner / whole)
        )
        room = inside + 2 * (0.09 + right - EDGE)
        ax.set_xlabel(wrapped(x, room, points("axes.labelsize")))
        ax.set_ylabel(wrapped(y, inner + 2 * (above - EDGE), points("axes.labelsize")))
        if title:
            size = points("axes.titlesize")
            ax.set_title(wrapped(title, cell - left - EDGE, size), loc="left", fontsize=size)
        out.append(ax)
    _write_below(figure, handles, abreast, note_lines)
    return figure, out


def settle(figure: Figure) -> None:
    """Make room where labels of ticks turned out wider than the margins that were kept for them."""
    with drawing():
        figure.draw_without_rendering()
    width = 72.0 * figure.get_size_inches()[0]
    dots: Any = figure.dpi
    for ax in figure.axes:
        if not ax.axison:
            continue
        box, extent = ax.get_position(), ax.get_tightbbox()
        if extent is None:
            continue
        left, right = (edge * 72 / dots for edge in (extent.x0, extent.x1))
        column = int(box.x0 > 0.5)  # of two abreast
        more_left = max(0.0, 72 * EDGE / 2 - (left - column * width / 2)) / width
        more_right = max(0.0, right - (width - 72 * EDGE / 2)) / width
        if more_left or more_right:
            inside = box.width - more_left - more_right
            ax.set_position((box.x0 + more_left, box.y0, inside, box.height))


def height(width: float) -> float:
    """Inches of a figure of this width."""
    return min(0.8 * width, 3.4)


def _margins(
    part: tuple[str, str, str], width: float, high: float, right: float
) -> tuple[float, float, float]:
    """Inches left of a panel, above and below it."""
    x, y, title = part
    label, tick = points("axes.labelsize"), small()
    heads = wrapped(title, width - 0.6, points("axes.titlesize")).count("\n") + 1 if title else 0
    above = 0.09 + heads * points("axes.titlesize") * 1.25 / 72
    below = (1.2 * tick + 6) / 72 + EDGE
    left = EDGE + 0.05
    lines = 0
    if y:
        lines = wrapped(y, high - above - below - 0.15, label).count("\n") + 1
        left = (1.25 * label * lines + 3.2 * tick + 7) / 72 + EDGE
    inside = width - left - right - 0.09
    names = 0
    if x:
        names = wrapped(x, inside + 2 * (0.09 + right - EDGE), label).count("\n") + 1
    return left, above, below + 1.25 * label * names / 72


# --- legends and notes
# --------------------------------------------------------------------------------------------------


def _below(
    handles: list[Line2D], notes: list[str], width: float
) -> tuple[list[Line2D], int, list[str], float]:
    """Handles and lines of notes that fit, in how many columns the handles stand, and inches that
    all take."""
    size = points("legend.fontsize")
    room, line = width - 2 * EDGE, size * 1.42 / 72
    for handle in handles:
        handle.set_label(wrapped(_name(handle), room - _before(size), size))
    columns = next((n for n in range(MOST_COLUMNS, 1, -1) if _fits(handles, n, room, size)), 1)
    columns = min(columns, len(handles)) or 1
    if _lines(handles, columns) > MOST_LINES:
        handles = _cut(handles, columns)
    note_lines = [part for note in notes for part in wrapped(note, room, size).split("\n")]
    lines = _lines(handles, columns) + len(note_lines)
    return (
        handles,
        columns,
        note_lines,
        lines * line + 0.05 + 0.03 * bool(note_lines) if lines else 0.0,
    )


def _name(handle: Line2D) -> str:
    return str(handle.get_label())


def _before(size: float) -> float:
    """Inches of a handle and of what keeps it from its name."""
    return 2.2 * size / 72


def _columns(handles: list[Line2D], n: int) -> list[list[Line2D]]:
    """As matplotlib divides them: the first columns are the longer ones."""
    each, more = divmod(len(handles), n)
    out, start = [], 0
    for i in range(n):
        stop = start + each + (i < more)
        out.append(handles[start:stop])
        start = stop
    return out


def _lines(handles: list[Line2D], n: int) -> int:
    return max(sum(1 + _name(h).count("\n") for h in part) for part in _columns(handles, n))


def _fits(handles: list[Line2D], n: int, room: float, size: float) -> bool:
    if n > len(handles):
        return False
    used = 1.2 * size / 72 * (n - 1)
    for part in _columns(handles, n):
        lines = [line for handle in part for line in _name(handle).split("\n")]
        used += _before(size) + max(width_of(line, size) for line in lines)
    return used <= room


def _cut(handles: list[Line2D], columns: int) -> list[Line2D]:
    """As many as fit, and how many do not."""
    kept = list(handles)
    while _lines([*kept, entry("more")], columns) > MOST_LINES:
        kept.pop()
    return [*kept, entry(f"and {len(handles) - len(kept)} more")]


def _write_below(
    figure: Figure, handles: list[Line2D], columns: int, note_lines: Sequence[str]
) -> None:
    """Notes at the bottom, the legend above them."""
    size = points("legend.fontsize")
    width, whole = figure.get_size_inches()
    for i, text in enumerate(reversed(note_lines)):
        y = (0.035 + i * size * 1.42 / 72) / whole
        figure.text(EDGE / width, y, text, fontsize=size, color=SOFT, va="bottom", gid="note")
    if handles:
        figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(
                EDGE / width,
                (0.02 + 0.03 * bool(note_lines) + len(note_lines) * size * 1.42 / 72) / whole,
            ),
            ncols=columns,
            frameon=False,
            handletextpad=0.5,
            handlelength=1.7,
            columnspacing=1.2,
            borderaxespad=0.0,
            labelspacing=0.28,
            borderpad=0.0,
            alignment="left",
        )


def entry(label: str, **look: Any) -> Line2D:
    """A handle of a legend."""
    look = {"ls": "none"} | look
    return Line2D([], [], label=label, **look)


def looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """A marker and a colour for every name, in order."""
    return {
        name: {"color": color(i), "marker": MARKERS[i % len(MARKERS)]}
        for i, name in enumerate(names)
    }


def shades(labels: Sequence[str]) -> dict[str, Color]:
    """Colours that darken with the place in the list backwards, so that larger is lighter, never
    too light to be read as type."""
    return {
        label: colormaps["viridis"](0.62 * i / max(len(labels) - 1, 1))
        for i, label in enumerate(labels)
    }
