"""Figures of studies of random data: the table of runs and a fit in, a matplotlib Figure out.
Nothing here computes a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from capacity.analysis.random import forms as capacity_forms
from capacity.analysis.random.plateaus import CONVENTIONS, Frame, classify
from capacity.analysis.table_checks import rising
from capacity.figures.labels import GUIDES, along, end_labels, points_across
from capacity.figures.marks import of_runs
from capacity.figures.style import (
    DASHED,
    GUIDE,
    MUTED,
    MUTED_INK,
    SOFT,
    color,
    drawing,
    entry,
    ink,
    panel,
    shades,
    small,
    width_of,
)
from capacity.figures.ticks import log_axes, widened
from capacity.fitting import forms
from capacity.published import values as published

PUBLISHED = tuple(
    float(published.get(f"morris/mean_{precision}").value or np.nan)
    for precision in ("bf16", "fp32")
)


def memorized_figure(table: Frame, fit: Mapping[str, Any]) -> Figure:
    """Memorized bits of each run against the bits of its data, log-log, in colours by model size,
    with the line bits = data and each model's plateau.

    table: one row per run, as for `fit_laws`. fit: what `fit_laws` returned for that table; its
    convention and parameter count are the ones drawn. Runs that did not finish or hold no positive
    number of bits are not drawn."""
    with drawing():
        runs, hue = _drawn_runs(table, fit["convention"]), _colors(fit)
        hidden = int((table.status == "finished").sum()) - len(runs)
        left_out = f"; {hidden} finished without positive bits" if hidden else ""
        axes = (f"data H (bits){left_out}", f"memorized (bits, {fit['convention']} convention)")
        figure, ax = panel(axes, legend=_key(runs))
        data, bits = runs.data, runs.bits
        x_low, x_high = data.min() / 1.5, data.max() * 1.15
        y_low, y_high = min(bits.min(), data.min()) / 1.5, max(bits.max() * 1.7, data.min())
        # points of width to the right of the last run
        names = 72 * max(width_of(model, small()) for model in set(runs.model)) + 12
        share = min(0.6, names / points_across(ax)[0])
        log_axes(ax, (x_low, x_low * (x_high / x_low) ** (1 / (1 - share))), (y_low, y_high))
        ends, top = np.array(ax.get_xlim()), 0.8 * ax.get_ylim()[1]
        ax.plot(ends, ends, color=GUIDE, lw=0.9, dashes=DASHED, zorder=1, gid="ceiling")
        ax.annotate(
            "bits = data",
            (top, top),
            (-4, 4),
            textcoords="offset points",
            color=SOFT,
            ha="right",
            va="bottom",
            gid="ceiling label",
            **along(ax),
        )
        places = {}
        for row in fit["plateaus"]:
            mine, shade = runs[runs.model == row["model"]], hue[row["model"]]
            if mine.empty:
                continue
            for (kind, up), part in mine.groupby(["kind", "up"]):
                of_runs(
                    ax.plot(
                        part.data,
                        part.bits,
                        gid=f"runs {row['model']}",
                        zorder=4,
                        **_marker(kind, up, shade),
                    ),
                    part.run_id,
                )
            end = mine.data.max()
            if not row["lower_bound"]:
                ax.plot(
                    [row["bits"], end * 1.06],
                    [row["bits"]] * 2,
                    color=shade,
                    lw=1.0,
                    zorder=2,
                    solid_capstyle="butt",
                    gid=f"plateau {row['model']}",
                )
            places[row["model"]] = (end, row["bits"])
        end_labels(ax, places, hue)
        return figure


def capacity_figure(fit: Mapping[str, Any]) -> Figure:
    """The plateau of each (model, seed) against parameters, log-log, with the law alpha P, its
    quoted 95% band, the published values and lines of 4, 2, 1 and 0.5 bits per parameter. fit: what
    `fit_laws` returned."""
    with drawing():
        best = capacity_forms.best(fit)
        legend = [entry("C = α P, 95%", color=ink(), lw=1.0, ls="-")] if fit["alpha"] else []
        if best:
            formula = capacity_forms.SHOWN[best["form"]][0].replace("alpha", "α")
            legend.append(entry(f"{formula}, predicts best", **({"ls": "-"} | _form())))
        axes = (
            f"parameters P ({fit['parameters'].replace('_', '-')} count)",
            f"capacity (bits, {fit['convention']} convention)",
        )
        right = width_of("0.5 bits/P", small())
        figure, ax = panel(axes, right=right, legend=legend)
        hue, units = _colors(fit), fit["units"]
        p, c = (np.array([u[name] for u in units], float) for name in ("parameters", "bits"))
        names = [72 * width_of(u["model"], small()) + 8 for u in units]
        share = np.minimum(0.5, np.array(names) / points_across(ax)[0])
        low = p.min() / 1.6
        needed = low * (p / low) ** (1 / (1 - share))  # for the name at the right of its point
        x = np.array(widened(low, max(p.max() * 2.0, needed.max())))
        log_axes(ax, x, (min(0.4 * x[0], c.min() / 1.5), max(5.4 * x[1], c.max() * 1.5)))
        _draw_guides(ax, x)
        if fit["alpha"]:
            _draw_law(ax, x, fit["alpha"])
        if best:
            # not beyond the points: an intercept would bend away
            at = np.geomspace(p.min() / 1.15, p.max() * 1.15, 100)
            bits = forms.FORMS[best["form"]].predict({"parameters": at}, best["values"])
            ax.plot(at, bits, zorder=3.5, gid="best form", **_form())
        for replicate in units:
            _draw_replicate(ax, replicate, hue[replicate["model"]])
        _point_labels(ax, units, hue)
        return figure


def _form() -> dict[str, Any]:
    """The look of the best other form."""
    return {"color": color(1), "lw": 1.0, "dashes": (6, 1.5)}


def _draw_guides(ax: Axes, x: np.ndarray) -> None:
    """The published values as a band and lines of equal bits per parameter. x: both ends."""
    ax.fill_between(
        x, PUBLISHED[0] * x, PUBLISHED[1] * x, color=MUTED, lw=0, zorder=0, gid="published"
    )
    for guide in GUIDES:
        ax.plot(x, guide * x, color=GUIDE, lw=0.5, zorder=1, gid=f"guide {guide:g}")
        ax.annotate(
            f"{guide:g} {'bits' if guide > 1 else 'bit'}/P",
            (x[1], guide * x[1]),
            (3, 0),
            textcoords="offset points",
            color=SOFT,
            va="center",
            fontsize=small(),
            annotation_clip=False,
            gid=f"guide label {guide:g}",
        )
    name = f"Morris et al. {PUBLISHED[0]}–{PUBLISHED[1]}"
    whole = f"{name}, paper convention"
    # along the line, whose panel is about as high as it is wide
    fits = 72 * width_of(whole, small()) < 1.1 * points_across(ax)[0]
    ax.annotate(
        whole if fits else name,
        (x[0], GUIDES[0] * x[0]),
        (3, 5),
        textcoords="offset points",
        color=MUTED_INK,
        ha="left",
        va="bottom",
        gid="published label",
        **along(ax),
    )


def _draw_law(ax: Axes, x: np.ndarray, alpha: Mapping[str, Any]) -> None:
    """alpha P with the band of its quoted interval. x: both ends."""
    text = f"α = {alpha['value']:.2f} bits per parameter"
    if alpha["quote"]:
        low, high = alpha[alpha["quote"]]["ends"]
        ax.fill_between(
            x, low * x, high * x, color="#3b6fb6", alpha=0.22, lw=0, zorder=2, gid="band"
        )
        text += f"\n95% [{low:.2f}, {high:.2f}] over {alpha['quote'].removeprefix('interval_')}"
    else:
        text += "\nno interval from these runs"
    ax.plot(x, alpha["value"] * x, color=ink(), lw=1.0, zorder=3, gid="law")
    ax.text(
        0.99,
        0.02,
        text,
        transform=ax.transAxes,
        va="bottom",
        ha="right",
        color=ink(),
        linespacing=1.3,
        gid="alpha",
    )


def _draw_replicate(ax: Axes, replicate: Mapping[str, Any], shade: Any) -> None:
    """A model and seed as a point, with an arrow up where it is a lower bound."""
    kind = "data_limited" if replicate["lower_bound"] else "capacity_limited"
    look = _marker(kind, False, shade)
    line = ax.plot(
        replicate["parameters"],
        replicate["bits"],
        gid=f"unit {replicate['model']}",
        zorder=5,
        **look,
    )
    of_runs(
        line, names=[f"{replicate['model']}, seed {replicate['seed']}, {replicate['runs']} runs"]
    )
    if replicate["lower_bound"]:
        ax.annotate(
            "",
            (replicate["parameters"], replicate["bits"] * 1.45),
            (replicate["parameters"], replicate["bits"]),
            zorder=4,
            arrowprops={"arrowstyle": "->", "color": shade, "lw": 0.8, "shrinkA": 2.5},
        )


def _colors(fit: Mapping[str, Any]) -> dict[str, Any]:
    return shades([row["model"] for row in fit["plateaus"]])


def _drawn_runs(table: Frame, convention: str) -> Frame:
    bits = table[CONVENTIONS[convention][0]].astype(float)
    drawn = (table.status == "finished") & (bits > 0)
    return pd.DataFrame(
        {
            "run_id": table.run_id,
            "model": table.model,
            "data": table.entropy_bits.astype(float),
            "bits": bits,
            "kind": classify(table, convention),
            "up": rising(table),
        }
    )[drawn]


def _key(runs: Frame) -> list[Line2D]:
    """Legend entries for the marks that occur, in grey, since colour is model size."""
    names = {
        "capacity_limited": "capacity-limited",
        "corner": "near the corner",
        "data_limited": "data-limited (a bound)",
    }
    keys = [
        entry(name, **_marker(kind, False, "#555555"))
        for kind, name in names.items()
        if kind in set(runs.kind)
    ]
    if runs.up.any():
        keys.append(entry("triangle: still rising", **_marker("capacity_limited", True, "#555555")))
    return keys


def _marker(kind: str, up: bool, shade: Any) -> dict[str, Any]:
    """Filled where the run measures capacity, half-filled near the corner, open for a lower bound;
    triangle: rising."""
    fill = {"capacity_limited": "full", "corner": "left", "data_limited": "none"}[kind]
    edge = {"mec": "white", "mew": 0.4} if kind == "capacity_limited" else {"mew": 0.8}
    return {
        "marker": "^" if up else "o",
        "fillstyle": fill,
        "color": shade,
        "markerfacecoloralt": "white",
        "ls": "none",
        "ms": 4.4,
    } | edge


def _point_labels(ax: Axes, units: Sequence[Mapping[str, Any]], hue: Mapping[str, Any]) -> None:
    """Shape names below and right of their lowest point, or a line or two further down, under the
    name of another variant of that size, where there is room; the figure of runs has them all."""
    lowest = {}
    for replicate in units:
        lowest[replicate["model"]] = (
            min(replicate["bits"], lowest.get(replicate["model"], (np.inf,))[0]),
            replicate["parameters"],
        )
    across, scale = points_across(ax), 72 / ax.figure.dpi
    corner = ax.transAxes.transform((0, 0)) * scale
    line = small() + 4.0
    marks = [ax.transData.transform((u["parameters"], u["bits"])) * scale for u in units]
    taken: list[tuple[float, float, float]] = [
        (corner[0] + across[0] - 118, corner[1] + 16, 118),
        (corner[0] + across[0] - 118, corner[1] + 6, 118),
    ]  # the value of alpha

    def place(x: float, y: float, width: float) -> float | None:
        """Where a name of this width can stand, at y or below the names that are in its way."""
        top = y
        while True:
            over = [
                v for u, v, w in taken if x < u + w + 3 and u < x + width + 3 and v > top - line
            ]
            over = [v for v in over if v < top + line]
            if not over:
                break
            top = min(over) - line
        on_points = top < y and any(
            x - 1 < u < x + width + 6 and -line < v - top < 0 for u, v in marks
        )
        low = top < y - 2.5 * line or (top < y and top - 3 - line < corner[1])
        return None if on_points or low or x + width > corner[0] + across[0] else top

    for model, (bits, parameters) in lowest.items():
        x, y = ax.transData.transform((parameters, bits)) * scale
        width = 72 * width_of(model, small())
        top = place(x, y, width)
        if top is None:
            continue
        taken.append((x, top, width))
        ax.annotate(
            model,
            (parameters, bits),
            (3, top - y - 3),
            textcoords="offset points",
            color=hue[model],
            fontsize=small(),
            va="top",
            gid=f"point label {model}",
            path_effects=[withStroke(linewidth=1.6, foreground="white")],
        )
