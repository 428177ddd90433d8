"""Figures of a study of repeated data: the effective size against the number of repeats, and the
clean loss against size with the losses of runs that had repeats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from capacity.analysis.finding import Finding
from capacity.analysis.repeated.wording import named
from capacity.figures.marks import means
from capacity.figures.style import GUIDE, SOFT, drawing, entry, looks, panel
from capacity.figures.ticks import doubling_ticks, log_ticks, widened


def draw(finding: Finding) -> dict[str, Figure]:
    """Figures by name: effective, held, where a run with repeats finished; clean."""
    fit = finding.numbers
    curves = [curve for curve in fit["curves"] if curve["levels"]]
    out = {}
    if curves:
        out = {"effective": effective_figure(curves), "held": held_figure(curves)}
    if any(len(clean["sizes"]) > 1 for clean in fit["clean"]):
        out["clean"] = clean_figure(fit)
    return out


def _shown(curves: list[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    names = [named(curve, curves) for curve in curves]
    return looks(names), names


def effective_figure(curves: list[Mapping[str, Any]]) -> Figure:
    """P_eff / P against repeats, a colour for each share and size; a triangle at its end where it
    lies beyond the sizes that were trained without repeats."""
    with drawing():
        style, names = _shown(curves)
        legend = [entry(name, ms=4.2, ls="-", lw=0.9, **look) for name, look in style.items()]
        figure, ax = panel(("repeats", "effective size / size"), legend=legend)
        levels = [level for curve in curves for level in curve["levels"]]
        values = [_height(level) for level in levels]
        _repeats(ax, levels)
        ax.set(yscale="log", ylim=widened(0.9 * min(values), 1.15 * max(1.0, *values)))
        log_ticks(ax.yaxis)
        ax.axhline(1.0, color=GUIDE, lw=0.7, zorder=0, gid="no damage")
        for curve, name in zip(curves, names, strict=True):
            told = [level for level in curve["levels"] if level["effective"] is not None]
            bound = [level for level in curve["levels"] if level["effective"] is None
                     and level["bound"]]  # fmt: skip
            look = style[name]
            if told:
                x = [level["repeats"] for level in told]
                y = [level["effective"] for level in told]
                ends = [level["effective_interval"] for level in told]
                means(ax, x, y, ends, name=name, ms=4.0, **look)
                ax.plot(x, y, lw=0.9, color=look["color"], gid=f"line {name}", zorder=2)
            for level in bound:
                marker = "v" if level["bound"]["side"] == "below" else "^"
                ax.plot([level["repeats"]], [level["bound"]["end"]], ls="none", ms=4.4, mew=0.9,
                        mfc="white", marker=marker, color=look["color"], zorder=3,
                        gid=f"{name}, {level['bound']['side']}")  # fmt: skip
        return figure


def _height(level: Mapping[str, Any]) -> float:
    if level["effective"] is not None:
        return float(level["effective"])
    return float(level["bound"]["end"]) if level["bound"] else 1.0


def _repeats(ax: Any, levels: list[Mapping[str, Any]]) -> None:
    x = [level["repeats"] for level in levels]
    ax.set_xscale("log", base=2)
    ax.set_xlim(min(x) / 1.4, max(x) * 1.4)
    doubling_ticks(ax.xaxis, sorted(set(x)))


def held_figure(curves: list[Mapping[str, Any]]) -> Figure:
    """Share of the subset's bits that is held, against repeats."""
    with drawing():
        style, names = _shown(curves)
        legend = [entry(name, ms=4.2, ls="-", lw=0.9, **look) for name, look in style.items()]
        figure, ax = panel(("repeats", "share of the subset's bits that is held"), legend=legend)
        _repeats(ax, [level for curve in curves for level in curve["levels"]])
        ax.axhline(1.0, color=GUIDE, lw=0.7, zorder=0, gid="all of it")
        for curve, name in zip(curves, names, strict=True):
            x = [level["repeats"] for level in curve["levels"]]
            y = [level["held_share"] for level in curve["levels"]]
            ax.plot(x, y, ms=4.0, lw=0.9, ls="-", gid=name, zorder=3, **style[name])
        return figure


def clean_figure(fit: Mapping[str, Any]) -> Figure:
    """Loss on held-out text against P of clean runs, and that of the worst number of repeats at
    each share."""
    with drawing():
        rows = [clean for clean in fit["clean"] if len(clean["sizes"]) > 1]
        curves = [curve for curve in fit["curves"] if curve["levels"]]
        style, names = _shown(curves)
        dots = {f"most damage, {name}": look for name, look in style.items()}
        legend = [entry("without repeats", color=SOFT, ls="-", lw=1.0, marker="o", ms=3.6)]
        legend += [entry(name, ms=4.2, **look) for name, look in dots.items()]
        axes = ("parameters", "loss on other text, bits per token")
        figure, ax = panel(axes, legend=legend)
        sizes = [one["size"] for clean in rows for one in clean["sizes"]]
        worst = [max(curve["levels"], key=lambda level: level["loss"]) for curve in curves]
        ax.set(xscale="log", xlim=widened(min(sizes) / 1.2, max(sizes) * 1.2))
        log_ticks(ax.xaxis)
        for clean in rows:
            x = [one["size"] for one in clean["sizes"]]
            y = [one["loss"] for one in clean["sizes"]]
            ax.plot(x, y, color=SOFT, lw=1.0, marker="o", ms=3.6, gid=f"clean {clean['system']}")
        for curve, name, level in zip(curves, names, worst, strict=True):
            ax.plot([curve["size"]], [level["loss"]], ls="none", ms=4.4, zorder=3,
                    gid=f"most damage, {name}", **style[name])  # fmt: skip
        return figure
