"""Figures of studies of precision. Nothing here computes a result.

Bars: 95% over models; where one would leave the panel it ends in an arrow. What is below zero is
drawn at zero, as an open mark. Methods that share a number of bits stand beside one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from capacity.figures.marks import belongs, beside, means
from capacity.figures.style import GUIDE, color, drawing, entry, ink, panel
from capacity.figures.ticks import doubling_ticks
from capacity.fitting import forms

Fit = Mapping[str, Any]  # what precision.json holds
Row = Mapping[str, Any]

NAMES = {
    "rtn": "rounded to nearest",
    "gptq": "GPTQ",
    "qat": "trained quantized",
}  # where all tensors are not quantized, methods of maps
MARKS = {"rtn": ("s", 1, "--"), "gptq": ("^", 0, "-."), "qat": ("o", 2, ":")}
FULL = "full"  # formats of 32 and 16 bits
BARS = "bars: 95% over models; an arrow: the interval goes on"
CODES = (1, 2, 4, 8, 16, 32)
ROOM = 1.35  # how far above the largest value a bar may reach


def retained_figure(fit: Fit) -> Figure:
    """What full models retain of fp32's bits against the bits of a code (log2 axis), with the form
    of least held-out error by method."""
    return _by_bits(fit, "retained", 1.0, "held bits, part of fp32's")


def capacity_figure(fit: Fit) -> Figure:
    """The most that a model holds over data sizes, in bits per parameter,
    against the bits of a code; as `retained_figure`."""
    at = {(row["method"], row["format"]): row["capacity"] for row in fit["capacity"]}
    return _by_bits(
        fit, "capacity", at.get(("trained", "fp32"), 1.0), "capacity (bits per parameter)"
    )


def stored_figure(fit: Fit) -> Figure:
    """Bits held per stored bit, scales counted, against stored bits per weight; the interval of the
    capacity divided by the same stored bits."""
    with drawing():
        points = []
        for row in fit["capacity"]:
            if (method := _method(fit, row)) is not None:
                ends = None if row["low"] is None else (row["low"], row["high"])
                scale = row["capacity"] and row["per_stored_bit"] / row["capacity"]
                ends = ends and scale and tuple(end * scale for end in ends)
                name = f"stored {row['method']} {row['format']}"
                points.append((row["stored"], row["per_stored_bit"], ends, method, name))
        axes = ("stored bits per weight, with scales", "bits held per stored bit")
        figure, ax = panel(axes, legend=_legend(fit, points, law=False), notes=_notes(points))
        _draw(ax, points)
        return figure


def _by_bits(fit: Fit, question: str, unit: float, label: str) -> Figure:
    with drawing():
        points = []
        for row in fit[question]:
            if (method := _method(fit, row)) is not None:
                ends = None if row["low"] is None else (row["low"], row["high"])
                name = f"{question} {row['method']} {row['format']}"
                points.append((row["code_bits"], row[question], ends, method, name))
        legend = _legend(fit, points, law=True)
        figure, ax = panel(("bits of a code", label), legend=legend, notes=_notes(points))
        _draw(ax, points)
        for method, (_, i, dash) in MARKS.items():
            law = fit["laws"].get(_drawn(fit, method), {}).get(question)
            if law and law.get("preferred") and not law["poor"]:
                xs, ys = _curve(law["preferred"], law["forms"][law["preferred"]])
                name = f"law {question} {method}"
                ax.plot(xs, unit * ys, color=color(i), ls=dash, lw=0.9, zorder=2, gid=name)
        return figure


def _curve(name: str, law: Mapping[str, Any]) -> tuple[list[float], Any]:
    """A fitted form over the bits that it was fitted to."""
    low, high = law["valid"]
    xs = [low * (high / low) ** (i / 200) for i in range(201)]
    theta = {key: entry["value"] for key, entry in law["parameters"].items()}
    return xs, forms.form(name).predict({"bits_per_weight": xs}, theta)


def _draw(ax: Axes, points: Sequence[tuple]) -> None:
    """Limits, and all points, those at one number of bits beside one another."""
    _limits(ax, points)
    for at in sorted({round(p[0], 2) for p in points}):
        mine = [p for p in points if round(p[0], 2) == at]
        for i, (x, y, ends, method, name) in enumerate(mine):
            drawn = beside(x, i, len(mine), ax.get_xlim(), log=True)
            _point(ax, (x, drawn), (y, ends), method, name)


def _limits(ax: Axes, points: Sequence[tuple]) -> None:
    """Axes that hold every value, and bars as far as they do not flatten the values."""
    x = [p[0] for p in points]
    largest = max([p[1] for p in points] or [1.0])
    highest = max([largest, *(p[2][1] for p in points if p[2])])
    top = 1.06 * min(highest, ROOM * largest)
    ax.set_xscale("log", base=2)
    shown = [code for code in CODES if min(x) / 1.4 <= code <= 1.4 * max(x)]
    doubling_ticks(ax.xaxis, shown)
    ax.minorticks_off()
    ax.set(xlim=(min(x) / 1.3, max(x) * 1.3), ylim=(-0.06 * top, top))
    ax.axhline(0.0, color=GUIDE, lw=0.6, zorder=1, gid="zero")


def _legend(fit: Fit, points: Sequence[tuple], law: bool) -> list[Line2D]:
    handles = []
    for method, (mark, i, dash) in MARKS.items():
        if _drawn(fit, method):
            line: dict[str, Any] = {"ls": dash, "lw": 0.9} if law else {}
            handles.append(entry(NAMES[method], color=color(i), marker=mark, ms=4.2, **line))
    handles.append(entry("32 and 16 bits", color=ink(), marker="D", ms=3.4))
    if any(p[1] <= 0 for p in points):
        handles.append(entry("0 or less", color=ink(), marker="o", fillstyle="none", ms=4.2))
    return handles


def _notes(points: Sequence[tuple]) -> list[str]:
    lines = ["lines: the form of least error held out"] if "stored" not in points[0][4] else []
    return [*lines, BARS] if any(p[2] for p in points) else lines


def _drawn(fit: Fit, method: str) -> str | None:
    """The method of all tensors, or where the study has none of maps only; None without either."""
    have = {row["method"] for row in fit["capacity"]}
    return next((name for name in (method, f"{method} maps") if name in have), None)


def _method(fit: Fit, row: Row) -> str | None:
    """The method whose look a row has; None for one that is not drawn."""
    if row["method"] in ("trained", "cast"):
        return FULL
    return next((name for name in MARKS if _drawn(fit, name) == row["method"]), None)


def _point(
    ax: Axes,
    x: tuple[float, float],
    value: tuple[float, Sequence[float] | None],
    method: str,
    name: str,
) -> None:
    """x: where it belongs, and where it is drawn; value: with its interval."""
    mark, hue = ("D", ink()) if method == FULL else (MARKS[method][0], color(MARKS[method][1]))
    y, ends = value
    drawn = None if ends is None else [max(float(end), 0.0) for end in ends]
    line = means(
        ax, [x[1]], [max(y, 0.0)], [drawn], name=name, marker=mark, color=hue, mew=0.8, zorder=3,
        ms=3.2 if method == FULL else 4.2, fillstyle="none" if y <= 0 else "full",
    )  # fmt: skip
    line[0].ends = [None if ends is None else (float(ends[0]), float(ends[1]))]
    line[0].values = [float(y)]
    belongs(line, [x[0]])
