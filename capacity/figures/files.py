"""Figures as files: pictures that are the same bytes for the same figure, and the numbers that are
drawn, as CSV."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import Collection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from capacity.base.errors import ConfigError, one_line
from capacity.figures.look import current
from capacity.figures.marks import PART
from capacity.figures.style import drawing

# lines that only guide the eye; the table leaves them out
GUIDING = ("guide", "row", "zero", "no error")
COLUMNS = ("panel", "series", "drawn", "x", "y", "low", "high", "mark", "run_id", "point")
Row = dict[str, Any]


def render(figure: Figure, kind: str) -> bytes:
    """The figure as bytes of one kind ("png", "pdf" or "svg"), the same bytes for the same figure:
    no dates inside, and no name of a program's version."""
    dates = {
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
    }
    fixed: Any = {"svg.fonttype": "none", "svg.hashsalt": "capacity"}
    with drawing(), rc_context(fixed), io.BytesIO() as buffer:
        try:
            figure.savefig(buffer, format=kind, metadata=dates[kind])
        except RuntimeError as error:
            if not current().rc.get("text.usetex"):
                raise
            why = f"--style: latex failed ({one_line(error)}); set text.usetex: False"
            raise ConfigError(why) from None
        return buffer.getvalue()


def table(name: str, figure: Figure) -> bytes:
    """What a figure draws, as CSV: comments that say what x and y are, and a row for each point of
    each line, mean or band; columns without a value are left out.

    panel: number of the panel, from 1. series: what is drawn; drawn: points, line, mean or band.
    low, high: ends of an interval or a band (of x where `along` says so). x, y: as measured, to
    the last digit; what is drawn beside its place has that place.
    """
    lines = [f"# figure: {name}"]
    for i, ax in enumerate(figure.axes, 1):
        lines += [f"# {_about(i, ax, len(figure.axes))}"]
    notes = [text.get_text() for text in figure.texts if text.get_gid() == "note"]
    # written from the bottom up
    lines += [f"# note: {' '.join(reversed(notes))}"] if notes else []
    table_rows = rows(figure)
    used = [c for c in COLUMNS if any(row.get(c) not in (None, "") for row in table_rows)]
    if len(figure.axes) < 2 and "panel" in used:
        used.remove("panel")
    lines += [",".join(used)]
    lines += [",".join(_cell(row.get(c)) for c in used) for row in table_rows]
    return ("\n".join(lines) + "\n").encode()


def _about(i: int, ax: Axes, n: int) -> str:
    title = (ax.get_title(loc="left") or ax.get_title()).replace("\n", " ")
    axes = [
        f"{axis}: {label.replace(chr(10), ' ') or 'no unit'}"
        + (", log axis" if scale == "log" else "")
        for axis, label, scale in (
            ("x", ax.get_xlabel(), ax.get_xscale()),
            ("y", ax.get_ylabel(), ax.get_yscale()),
        )
    ]
    head = f"panel {i}" if n > 1 else ""
    return "; ".join(part for part in (": ".join(filter(None, [head, title])), *axes) if part)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (float, np.floating)):
        return repr(float(value))
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n#') else text


def rows(figure: Figure) -> list[Row]:
    """What is drawn, a dict per row of `table`, in the order of panels and of what was drawn."""
    out: list[Row] = []
    for i, ax in enumerate(figure.axes, 1):
        marks: list[Any] = [*ax.lines, *ax.collections]
        for mark in marks:
            if mark.get_visible() and not _guides(mark):
                mark_rows = _of_line(mark, ax) if isinstance(mark, Line2D) else _of_area(mark)
                out += [{"panel": i, **row} for row in mark_rows]
    return out


def _guides(mark: Any) -> bool:
    gid = str(mark.get_gid() or "")
    return gid == PART or any(gid == word or gid.startswith(f"{word} ") for word in GUIDING)


def _name(mark: Any) -> str:
    label = str(mark.get_label())
    return str(mark.get_gid() or ("" if label.startswith("_") else label)).replace("\n", " ")


def _of_line(line: Line2D, ax: Axes) -> Iterator[Row]:
    x, y = (np.asarray(v, float) for v in line.get_data(orig=False))
    across = line.get_transform().contains_branch_seperately(ax.transData)
    ends = getattr(line, "ends", None)
    plain = line.get_linestyle() in ("None", "", " ")
    drawn = "mean" if ends else "points" if plain else "line"
    attached = {
        key: getattr(line, name, None)
        for key, name in (("run_id", "run_ids"), ("point", "point_names"), ("at", "at"))
    }
    look = str(line.get_fillstyle())
    mark = {"none": "open", "left": "half"}.get(look, "")
    if line.get_marker() not in ("None", None, "", " ") and line.get_markerfacecolor() == "white":
        mark = "open"
    for i in np.flatnonzero(np.isfinite(x) & np.isfinite(y)):
        row: Row = {"series": _name(line), "drawn": drawn, "mark": mark}
        row["x"] = float(x[i]) if across[0] else None
        row["y"] = float(y[i]) if across[1] else None
        row |= {key: values[i] for key, values in attached.items() if values and key != "at"}
        if attached["at"]:
            row["x"] = attached["at"][i]
        if values := getattr(line, "values", None):
            row["y"] = values[i]
        if ends and ends[i] is not None:
            row |= dict(zip(("low", "high"), ends[i], strict=True))
        yield row


def _of_area(area: Collection) -> Iterator[Row]:
    """Ends of a band at every x."""
    if not isinstance(area, PolyCollection):
        return
    for path in area.get_paths():
        corners = np.asarray(path.vertices, float)
        for x in dict.fromkeys(corners[:, 0]):
            y = corners[corners[:, 0] == x, 1]
            yield {"series": _name(area), "drawn": "band", "x": float(x)} | {
                "low": float(y.min()),
                "high": float(y.max()),
            }
