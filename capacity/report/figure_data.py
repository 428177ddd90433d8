"""A matplotlib figure as data for `figures.js`, which draws it again with axes that zoom.

Whatever a function of `capacity.figures` draws is read off the Figure: lines, markers, areas,
texts, legends, and, where the function says so (`style.of_runs`), whose point is whose. So a page
shows the printed figure and nothing is drawn by two programs from two sources.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import Collection, LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedLocator
from matplotlib.transforms import Transform

DASHES = {"-": "", "--": "5 3", ":": "1.5 2.5", "-.": "6 2.5 1.5 2.5"}
SUPERSCRIPTS = str.maketrans(
    "abcdefghijklmnoprstuvwxyz0123456789+-", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻"
)
FILLS = {"full": "full", "none": "none", "left": "left"}


class Undrawable(ValueError):
    """An artist that `figures.js` cannot draw; the figure is then shown as a picture."""


def still(figure: Figure) -> str:
    """The figure as a picture that scales, a data: URI."""
    from capacity.figures.files import render

    return "data:image/svg+xml;base64," + base64.b64encode(render(figure, "svg")).decode()


def data(figure: Figure) -> dict[str, Any]:
    """Panels in reading order, the figure's own legends, and outlines of markers by name; ready for
    JSON. Undrawable for what has no form here."""
    panels = [_panel(ax) for ax in figure.axes]
    legends = [_legend(legend) for legend in figure.legends]
    with_legend = [panel for panel in panels if panel["legend"]]
    if len(with_legend) == 1 and len(panels) > 1:  # it speaks for all
        legends.append(with_legend[0]["legend"])
        with_legend[0]["legend"] = []
    notes = [text for text in figure.texts if text.get_gid() == "note"]
    if notes:  # written from the bottom up
        note_text = " ".join(text.get_text() for text in reversed(notes))
        legends.append([{"name": note_text, "color": to_hex(notes[0].get_color()), "opacity": 1}])
    styles = [
        entry for part in (*legends, *(panel["legend"] for panel in panels)) for entry in part
    ]
    used = {
        mark["marker"]
        for mark in [*styles, *(mark for panel in panels for mark in panel["marks"])]
        if mark.get("marker")
    }
    return {
        "panels": panels,
        "legend": [entry for legend in legends for entry in legend],
        "markers": {name: _outline(name) for name in sorted(used)},
    }


def _panel(ax: Axes) -> dict[str, Any]:
    figure: Any = ax.figure  # no subfigures are drawn here
    box, (width, height) = ax.get_position(), figure.get_size_inches()
    lines = [_line(line, ax) for line in ax.lines]
    areas = [_collection(artist, ax) for artist in ax.collections]
    texts = [_text(text, ax) for text in ax.texts]
    if ax.patches or ax.images or ax.tables or ax.child_axes:
        raise Undrawable(
            f"{type([*ax.patches, *ax.images, *ax.tables, *ax.child_axes][0]).__name__} in "
            f"{ax.get_ylabel()!r}"
        )
    marks = [
        mark
        for _, mark in sorted(
            (pair for pair in [*areas, *lines, *texts] if pair), key=lambda pair: pair[0]
        )
    ]
    legend = ax.get_legend()
    return {
        "title": plain((ax.get_title(loc="left") or ax.get_title()).replace("\n", " ")),
        "aspect": float(width * box.width / (height * box.height)),
        "axes": bool(ax.axison),
        "x": _axis(ax.xaxis, ax.get_xscale(), ax.get_xlim()),
        "y": _axis(ax.yaxis, ax.get_yscale(), ax.get_ylim()),
        "marks": marks,
        "legend": _legend(legend) if legend else [],
    }


def _axis(axis: Axis, scale: str, ends: tuple[float, float]) -> dict[str, Any]:
    if scale not in ("linear", "log"):
        raise Undrawable(f"a {scale} axis")
    locator: Any = axis.get_major_locator()
    fixed = isinstance(axis.get_major_locator(), FixedLocator)  # its type lacks `locs`
    transform: Any = axis.get_transform()  # of a log axis it has a base
    base = transform.base if scale == "log" else None
    return {
        "scale": scale,
        "base": base,
        "ends": _numbers(ends),
        "label": plain(axis.get_label_text().replace("\n", " ")),
        "ticks": _numbers(locator.locs) if fixed else None,
    }


def _line(line: Line2D, ax: Axes) -> tuple[float, dict] | None:
    if not line.get_visible():
        return None
    x, y = (
        np.asarray(values, float)
        for values in (line.get_xdata(orig=False), line.get_ydata(orig=False))
    )
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return None
    mark = {
        "kind": "line",
        "x": _numbers(x[known]),
        "y": _numbers(y[known]),
        "name": _name(line),
        **_look(line),
        **dict(zip(("xIn", "yIn"), _inside(line.get_transform(), ax), strict=True)),
    }
    for key, labels in (
        ("runs", getattr(line, "run_ids", None)),
        ("names", getattr(line, "point_names", None)),
    ):
        if labels is not None:
            mark[key] = [each for each, keep in zip(labels, known, strict=True) if keep]
    return line.get_zorder(), mark


def _look(line: Line2D) -> dict[str, Any]:
    """Stroke and marker of a line, or of a legend's handle."""
    look: dict[str, Any] = {"color": to_hex(line.get_color()), "opacity": line.get_alpha() or 1}
    if line.get_linestyle() not in ("None", "", " ") and line.get_linewidth():
        look |= {"width": line.get_linewidth(), "dash": DASHES[str(line.get_linestyle())]}
    if (marker := line.get_marker()) not in ("None", None, "", " "):
        if marker not in MarkerStyle.markers or line.get_fillstyle() not in FILLS:
            raise Undrawable(f"marker {marker!r}, {line.get_fillstyle()}")
        open_inside = line.get_fillstyle() == "none"
        face = "#ffffff" if open_inside else _hex(line.get_markerfacecolor())
        look |= {
            "marker": str(marker),
            "size": line.get_markersize(),
            "face": face,
            "edge": _hex(line.get_markeredgecolor()),
            "edgeWidth": line.get_markeredgewidth(),
            "half": line.get_fillstyle() == "left",
        }
    return look


def _collection(artist: Collection, ax: Axes) -> tuple[float, dict] | None:
    if not artist.get_visible():
        return None
    mark = {"name": _name(artist), "xIn": "data", "yIn": "data"}
    at = (
        artist.get_offset_transform()
        if isinstance(artist, PathCollection)
        else artist.get_transform()
    )
    if _inside(at, ax) != ["data", "data"]:
        raise Undrawable(f"{type(artist).__name__} that is not in data")
    if isinstance(artist, PolyCollection):
        face = _first(artist.get_facecolor())
        return artist.get_zorder(), mark | {
            "kind": "area",
            "parts": [_numbers(path.vertices) for path in artist.get_paths()],
            "color": to_hex(face),
            "opacity": float(face[3]),
        }
    if isinstance(artist, LineCollection):
        return artist.get_zorder(), mark | {
            "kind": "segments",
            "parts": [_numbers(part) for part in artist.get_segments()],
            "color": to_hex(_first(artist.get_color())),
            "width": float(_first(artist.get_linewidth())),
        }
    if isinstance(artist, PathCollection) and len(artist.get_facecolor()) <= 1:
        xy = np.asarray(artist.get_offsets(), float)
        color = to_hex(_first(artist.get_facecolor()))
        return artist.get_zorder(), mark | {
            "kind": "line",
            "x": _numbers(xy[:, 0]),
            "y": _numbers(xy[:, 1]),
            "color": color,
            "opacity": 1,
            "marker": "o",
            "size": float(artist.get_sizes()[0]) ** 0.5,
            "face": color,
            "edge": color,
            "edgeWidth": 0.0,
            "half": False,
        }
    raise Undrawable(type(artist).__name__)


def _first(values: Any) -> Any:
    """The first of a collection's colours or widths; matplotlib's types speak of a single one."""
    return values[0]


def _text(text: Text, ax: Axes) -> tuple[float, dict] | None:
    words = plain(text.get_text())
    mark: dict[str, Any] = {
        "kind": "text",
        "text": words.split("\n"),
        "color": to_hex(text.get_color()),
        "size": text.get_fontsize(),
        "ha": text.get_horizontalalignment(),
        "va": text.get_verticalalignment(),
        "dx": 0.0,
        "dy": 0.0,
        "halo": bool(text.get_path_effects()),
        "along": _along(text, ax),
    }
    if isinstance(text, Annotation):
        if text.xycoords != "data" or text.anncoords not in ("data", "offset points"):
            raise Undrawable(f"a note in {text.xycoords} and {text.anncoords}")
        if text.arrow_patch is not None and not words:
            (x1, y1), (x0, y0) = text.xy, text.xyann
            color = to_hex(text.arrow_patch.get_edgecolor())
            return text.get_zorder(), {
                "kind": "arrow",
                "x": _numbers([x0, x1]),
                "y": _numbers([y0, y1]),
                "color": color,
                "xIn": "data",
                "yIn": "data",
            }
        offset = text.anncoords == "offset points"
        (mark["x"], mark["y"]), inside = (
            _numbers(text.xy if offset else text.xyann),
            ("data", "data"),
        )
        if offset:
            mark["dx"], mark["dy"] = map(float, text.xyann)
    else:
        (mark["x"], mark["y"]), inside = (
            _numbers(text.get_position()),
            _inside(text.get_transform(), ax),
        )
    return (
        (text.get_zorder(), mark | dict(zip(("xIn", "yIn"), inside, strict=True)))
        if words.strip()
        else None
    )


def _along(text: Text, ax: Axes) -> list[float] | None:
    """The direction of a turned text in units of the axes (of log10 where they are logarithmic), so
    that it follows its line in a panel of another shape."""
    if not text.get_rotation():
        return None
    figure: Any = ax.figure
    box, (width, height) = ax.get_position(), figure.get_size_inches()
    angle = np.radians(text.get_rotation())
    spans = [
        abs(float(np.diff(np.log10(ends) if scale == "log" else ends)[0]))
        for scale, ends in ((ax.get_xscale(), ax.get_xlim()), (ax.get_yscale(), ax.get_ylim()))
    ]
    return _numbers(
        [
            np.cos(angle) / (width * box.width) * spans[0],
            np.sin(angle) / (height * box.height) * spans[1],
        ]
    )


def _legend(legend: Legend) -> list[dict]:
    """Entries as name and look; a handle without line and marker is a note."""
    out = []
    for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
        if not isinstance(handle, Line2D):
            raise Undrawable(f"{type(handle).__name__} in a legend")
        out.append({"name": plain(text.get_text()).replace("\n", " "), **_look(handle)})
    return out


def _inside(transform: Transform, ax: Axes) -> list[str]:
    """For x and y: data, or axes, parts of the panel from its lower left corner."""
    across = [
        ("data" if part else "axes") for part in transform.contains_branch_seperately(ax.transData)
    ]
    if "axes" in across and transform not in (
        ax.transAxes,
        ax.get_xaxis_transform(which="grid"),
        ax.get_yaxis_transform(which="grid"),
    ):
        raise Undrawable("a transform of its own")
    return across


def _name(artist: Artist) -> str:
    label = str(artist.get_label())
    name = label if not label.startswith("_") else artist.get_gid() or ""
    return plain(re.sub(r"^(runs|unit|mean of) ", "", name))


def _outline(marker: str) -> list[list[float]]:
    """Corners of a marker of size 1, y upwards."""
    style: Any = MarkerStyle(marker)
    return [
        [round(float(x), 3), round(float(y), 3)]
        for part in style.get_path().transformed(style.get_transform()).to_polygons()
        for x, y in part
    ]


def _hex(color: Any) -> str:
    return "none" if to_rgba(color)[3] == 0 else to_hex(color)


def _numbers(values: Any) -> Any:
    """Seven significant digits, as lists."""
    if np.ndim(values):
        return [_numbers(value) for value in values]
    return float(f"{float(values):.7g}")


def plain(text: str) -> str:
    """matplotlib's mathematics as plain characters: $R^\\mathrm{max}$ as Rᵐᵃˣ."""

    def formula(match: re.Match) -> str:
        inside = (
            re.sub(r"\\(mathrm|mathit|text)\{([^{}]*)\}", r"{\2}", match[1])
            .replace(r"\alpha", "α")
            .replace(r"\gamma", "γ")
        )
        inside = re.sub(
            r"\^\{*([^{}\s])([^{}]*)\}*", lambda m: (m[1] + m[2]).translate(SUPERSCRIPTS), inside
        )
        return inside.replace("{", "").replace("}", "").replace("\\", "")

    return re.sub(r"\$([^$]+)\$", formula, text)
