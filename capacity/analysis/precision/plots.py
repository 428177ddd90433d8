"""Figures of studies of precision. Nothing here computes a result.

Whiskers: 95% over models. What is below zero is drawn at zero, as an open mark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from capacity.figures.style import COLORS, GUIDE, INK, STYLE, entry, panel
from capacity.fitting import forms

Fit = Mapping[str, Any]  # what precision.json holds
Row = Mapping[str, Any]
Look = tuple[str, str]  # marker and colour

RC: Any = STYLE
NAMES = {
    "rtn": "rounded to nearest",
    "gptq": "GPTQ",
    "qat": "trained quantized",
}  # where all tensors are not quantized, methods of maps
MARKS: dict[str, Look] = {
    "rtn": ("s", COLORS[1]),
    "gptq": ("^", COLORS[0]),
    "qat": ("o", COLORS[2]),
}
FULL: Look = ("D", INK)  # formats of 32 and 16 bits
CODES = (1, 2, 4, 8, 16, 32)


def retained_figure(fit: Fit) -> Figure:
    """What full models retain of fp32's bits against the bits of a code (log2 axis), with the form
    of least held-out error by method (dashed)."""
    return _by_bits(fit, "retained", 1.0, "held bits, part of fp32's")


def capacity_figure(fit: Fit) -> Figure:
    """The most that a model holds over data sizes, in bits per parameter,
    against the bits of a code; as `retained_figure`."""
    at = {(row["method"], row["format"]): row["capacity"] for row in fit["capacity"]}
    return _by_bits(
        fit, "capacity", at.get(("trained", "fp32"), 1.0), "capacity (bits per parameter)"
    )


def stored_figure(fit: Fit) -> Figure:
    """Bits held per stored bit, scales counted, against stored bits per weight."""
    with rc_context(RC):
        values = [row["per_stored_bit"] for row in fit["capacity"]]
        figure, ax = panel(legend=_legend(fit, values, law=False))
        for row in fit["capacity"]:
            if look := _look(fit, row):
                name = f"stored {row['method']} {row['format']}"
                _point(ax, (row["stored"], row["per_stored_bit"]), None, look, name)
        _finish(ax, "stored bits per weight, with scales", "bits held per stored bit")
        return figure


def _by_bits(fit: Fit, question: str, unit: float, label: str) -> Figure:
    with rc_context(RC):
        values = [row[question] for row in fit[question]]
        figure, ax = panel(legend=_legend(fit, values, law=True))
        for row in fit[question]:
            if look := _look(fit, row):
                ends = None if row["low"] is None else (row["low"], row["high"])
                name = f"{question} {row['method']} {row['format']}"
                _point(ax, (row["code_bits"], row[question]), ends, look, name)
        for method, (_, color) in MARKS.items():
            law = fit["laws"].get(_drawn(fit, method), {}).get(question)
            if law and law.get("preferred") and not law["poor"]:
                xs, ys = _curve(law["preferred"], law["forms"][law["preferred"]])
                name = f"law {question} {method}"
                ax.plot(xs, unit * ys, color=color, ls="--", lw=0.9, zorder=2, gid=name)
        # whiskers of few models may be longer than the panel
        ax.set_ylim(top=min(ax.get_ylim()[1], 1.6 * max(values)))
        _finish(ax, "bits of a code", label)
        return figure


def _curve(name: str, law: Mapping[str, Any]) -> tuple[list[float], Any]:
    """A fitted form over the bits that it was fitted to."""
    low, high = law["valid"]
    xs = [low * (high / low) ** (i / 200) for i in range(201)]
    theta = {key: entry["value"] for key, entry in law["parameters"].items()}
    return xs, forms.form(name).predict({"bits_per_weight": xs}, theta)


def _finish(ax: Axes, x: str, y: str) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xticks(CODES, [str(bits) for bits in CODES])
    ax.minorticks_off()
    ax.set(xlabel=x, ylabel=y)
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    ax.axhline(0.0, color=GUIDE, lw=0.6, zorder=1)


def _legend(fit: Fit, values: Sequence[float], law: bool) -> list[Line2D]:
    line: dict[str, Any] = {"ls": "--", "lw": 0.9} if law else {}
    handles = [
        entry(NAMES[method], color=color, marker=mark, ms=4.2, **line)
        for method, (mark, color) in MARKS.items()
        if _drawn(fit, method)
    ]
    handles.append(entry("32 and 16 bits", color=INK, marker="D", ms=3.4))
    if any(value <= 0 for value in values):
        handles.append(entry("0 or less", color=INK, marker="o", fillstyle="none", ms=4.2))
    return handles + ([entry("best form held out", color=INK, ls="--", lw=0.9)] if law else [])


def _drawn(fit: Fit, method: str) -> str | None:
    """The method of all tensors, or where the study has none of maps only; None without either."""
    have = {row["method"] for row in fit["capacity"]}
    return next((name for name in (method, f"{method} maps") if name in have), None)


def _look(fit: Fit, row: Row) -> Look | None:
    """Marker and colour of a row; None for a method that is not drawn."""
    if row["method"] in ("trained", "cast"):
        return FULL
    return next(
        (look for method, look in MARKS.items() if _drawn(fit, method) == row["method"]), None
    )


def _point(
    ax: Axes, at: tuple[float, float], ends: tuple[float, float] | None, look: Look, gid: str
) -> None:
    x, value = at
    mark, color = look
    if ends is not None and max(ends) > 0:
        ax.plot([x, x], [max(ends[0], 0.0), ends[1]], color=color, lw=0.8, zorder=2.5)
    ax.plot(
        [x],
        [max(value, 0.0)],
        marker=mark,
        color=color,
        ms=3.2 if look is FULL else 4.2,
        mew=0.8,
        ls="none",
        fillstyle="none" if value <= 0 else "full",
        zorder=3,
        gid=gid,
    )
