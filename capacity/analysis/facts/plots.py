"""Figures of studies of facts: bits against parameters and against exposures, and arm by arm.
Nothing here computes a result; runs are those of `reading.prepare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from capacity.analysis.facts.exposures import curve
from capacity.analysis.facts.schema import ExposureLaw, Fit, Frame
from capacity.analysis.finding import Finding
from capacity.analysis.thresholds import DATA_LIMITED
from capacity.base.words import count
from capacity.figures.style import (
    COLORS,
    DASHED,
    GUIDE,
    INK,
    SMALL,
    SOFT,
    STYLE,
    end_labels,
    entry,
    guide_lines,
    log_axes,
    looks,
    of_runs,
    panel,
    plain_ticks,
    widened,
)
from capacity.naming import listed

RC: Any = STYLE
R_MAX = "$R^\\mathrm{max}$"
# models, and arms, of which a row for each arm says more than a figure over parameters
FEW_SIZES, MOST_ROWS = 2, 14
SPREAD = 20  # R of arms that lie further apart is drawn on a logarithmic axis
ORDER = ["amount", "asked", "parameters_paper", "place"]


def figures(finding: Finding) -> dict[str, Figure]:
    """Every figure that says something about these runs, by name."""
    runs, fit = finding.data, cast(Fit, finding.numbers)
    chosen, out = runs[runs.chosen], {}
    over_exposures = chosen.groupby(["model", "series"]).asked.nunique()
    rows = chosen.groupby(["model", "curve_name"]).ngroups
    few = chosen.model.nunique() <= FEW_SIZES and 1 < rows <= MOST_ROWS
    if over_exposures.min() == 1 and few:
        out["arms"] = arms_figure(runs)
    if over_exposures.max() > 1:
        out["exposures"] = exposures_figure(runs, fit["exposure_laws"])
    return out | {"ratio": ratio_figure(runs)}


# --- bits against parameters
# --------------------------------------------------------------------------------------------------


def ratio_figure(runs: Frame) -> Figure:
    """Learned bits against parameters, log-log: a point per chosen run, a marker and colour per arm
    (whatever N), open where the model holds over 95% of its data; lines of 4, 2, 1 and 0.5 bits per
    parameter, and for each N the line of all its bits, dashed. Runs without positive bits are
    counted, not drawn."""
    with rc_context(RC):
        done = runs[runs.chosen]
        shown = done[done.bits > 0]
        if shown.empty:
            return _nothing_learned()
        style, ceilings = looks(_names(shown, "arm_name")), _ceilings(done)
        notes = []
        if ceilings:
            notes.append(entry("all bits of the data", **_dashed(GUIDE)))
        if (shown.fraction >= DATA_LIMITED).any():
            notes.append(entry(f"open: over {DATA_LIMITED:.0%} held"))
        names = {f"N = {count(n)}": bits for bits, n in ceilings}
        arms = [entry(name or "all runs", ms=4.2, **look) for name, look in style.items()]
        beside = 0.15 + 0.6 * SMALL / 72 * max([0, *map(len, names)])
        figure, ax = panel(2.5, legend=[*arms, *notes], right=beside)
        _draw_frame(ax, shown, ceilings, names)
        for name, rows in shown.groupby("arm_name"):
            for full, part in rows.groupby(rows.fraction >= DATA_LIMITED):
                look = style[name] | {"ms": 4.2, "fillstyle": "none" if full else "full"}
                _draw_runs(ax, part, "parameters_paper", "bits", name, look)
        hidden = len(done) - len(shown)
        left_out = f"; {hidden} with R <= 0 not drawn" if hidden else ""
        ax.set_xlabel(f"parameters P (used rows){left_out}")
        ax.set_ylabel("learned bits")
        return figure


def _nothing_learned() -> Figure:
    figure, ax = panel()
    ax.set_axis_off()
    words = "no run has learned a positive number of bits"
    ax.text(0.5, 0.5, words, ha="center", transform=ax.transAxes)
    return figure


def _ceilings(done: Frame) -> list[tuple[float, float]]:
    """(bits of the data, N), of every N."""
    known = {
        (bits, amount[1])
        for amount, rows in done.groupby("amount")
        for bits in set(rows.ceiling_bits.round())
        if amount[0] == "N"
    }
    return sorted(known)


def _draw_frame(
    ax: Axes, shown: Frame, ceilings: list[tuple[float, float]], names: dict[str, float]
) -> None:
    p, bits, levels = shown.parameters_paper, shown.bits, [level for level, _ in ceilings]
    highest = max([bits.max(), *levels])
    log_axes(ax, (p.min() / 1.6, p.max() * 1.6), (bits.min() / 1.7, highest * 1.5))
    low, high = ax.get_xlim()
    for level, n in ceilings:
        line = {"color": GUIDE, "lw": 0.8, "dashes": DASHED, "zorder": 1}
        ax.plot([low, high], [level, level], gid=f"ceiling {n:.0f}", **line)
    guide_lines(ax, list(zip(p, bits, strict=True)), levels)
    ends = {name: (high / 1.06, level) for name, level in names.items()}
    end_labels(ax, ends, dict.fromkeys(names, SOFT))


# --- arm by arm
# --------------------------------------------------------------------------------------------------


def arms_figure(runs: Frame) -> Figure:
    """R of every chosen run, a row per arm and model in the order of the report, with the mean over
    seeds and R^max; the axis is logarithmic where arms lie more than a factor of 20 apart. For
    studies of few sizes."""
    with rc_context(RC):
        shown = runs[runs.chosen].sort_values(ORDER)
        rows = _rows(shown)
        log = bool((shown.r > 0).all()) and shown.r.max() > SPREAD * shown.r.min()
        look = {
            "run": {"marker": "o", "color": COLORS[0], "ms": 4.0, "mew": 0.8},
            "mean over seeds": {"marker": "d", "color": INK, "ms": 5.0, "mew": 0.0},
            R_MAX: {"marker": "<", "color": GUIDE, "ms": 4.5, "mew": 0.8, "fillstyle": "none"},
        }
        legend = [entry(name, **style) for name, style in look.items()]
        figure, ax = panel(0.15 + 0.31 * len(rows), left=0.1, legend=legend)
        low, high = shown.r.min(), max(shown.r.max(), shown.r_max.max())
        limits = (low / 1.3, high * 1.3) if log else (min(0.0, 1.05 * low), 1.06 * high)
        scale = "log" if log else "linear"
        ax.set(xscale=scale, xlim=limits, ylim=(0.55 - len(rows), 0.75))
        for i, (name, part) in enumerate(rows):
            ax.axhline(-i, color=GUIDE, lw=0.4, zorder=1, gid="row")
            for gid, x, key, z in (
                (f"runs {name}", part.r, "run", 3),
                (f"mean of {name}", [part.r.mean()], "mean over seeds", 4),
                (f"R^max of {name}", [part.r_max.mean()], R_MAX, 2),
            ):
                line = ax.plot(x, [-i] * len(x), ls="none", zorder=z, gid=gid, **look[key])
                if key == "run":
                    of_runs(line, part.run_id)
            ax.annotate(
                name or "all runs",
                (ax.get_xlim()[0], -i),
                (3, 4),
                textcoords="offset points",
                color=INK,
                fontsize=SMALL,
                va="bottom",
                ha="left",
                gid=f"label {name}",
            )
        ax.set_yticks([])
        if log:
            plain_ticks(ax.xaxis, *ax.get_xlim())
        ax.set_xlabel("R (learned bits per parameter)")
        return figure


def _rows(shown: Frame) -> list[tuple[str, Frame]]:
    """Runs of an arm and model, with a name that leaves out the one model of a study."""
    one, out = shown.model.nunique() == 1, []
    for (model, name), part in shown.groupby(["model", "curve_name"], sort=False):
        out.append((listed([name] if one and name else [model, name]), part))
    return out


# --- against exposures
# --------------------------------------------------------------------------------------------------


def exposures_figure(runs: Frame, laws: Sequence[ExposureLaw] = ()) -> Figure:
    """R against exposures (counted, log axis): a point per chosen run, a line through the means of
    seeds or the fitted law where there is one, and R^max dashed. laws: of
    `analysis.exposure_laws`."""
    with rc_context(RC):
        shown = runs[runs.chosen].copy()
        shown["x"] = shown.exposures_mean.fillna(shown.exposures)
        pairs = zip(shown.model, shown.series, strict=True)
        shown["name"] = [listed(pair) for pair in pairs]
        shown = shown[shown.groupby("name").asked.transform("nunique") > 1]
        fitted = {listed([law["model"], law["series"]]): law for law in laws if not law["reason"]}
        style, r_max = looks(_names(shown, "name")), shown.groupby("name").r_max.mean()
        # a line far above would flatten all others
        near = set(r_max[r_max < 1.5 * shown.r.max()].index)
        legend = [
            entry(f"{name}, {R_MAX} {r_max[name]:.2f}", ms=4.2, **look)
            for name, look in style.items()
        ]
        words = "fitted law" if fitted else "mean of seeds"
        legend.append(entry(words, color=SOFT, lw=0.9, ls="-"))
        if near:
            legend.append(entry(R_MAX, **_dashed(SOFT)))
        figure, ax = panel(legend=legend)
        for name, rows in shown.groupby("name"):
            color = style[name]["color"]
            _draw_runs(ax, rows, "x", "r", name, style[name] | {"ms": 4.0})
            _draw_curve(ax, rows, fitted.get(name), name, color)
            if name in near:
                ends, line = [rows.x.min(), rows.x.max()], {"lw": 0.8, "dashes": DASHED}
                gid = f"R^max {name}"
                ax.plot(ends, [r_max[name]] * 2, color=color, zorder=1, gid=gid, **line)
        _exposure_axes(ax, shown)
        return figure


def _draw_curve(ax: Axes, rows: Frame, law: ExposureLaw | None, name: str, color: str) -> None:
    if law is None:
        mean = rows.groupby("asked")[["x", "r"]].mean()
        ax.plot(mean.x, mean.r, color=color, lw=0.9, zorder=2, gid=f"means {name}")
        return
    x = np.geomspace(rows.x.min(), rows.x.max(), 80)
    y = curve(law["form"], x, *(law[key]["value"] for key in ("r_inf", "e0", "b")))
    ax.plot(x, y, color=color, lw=0.9, zorder=2, gid=f"law {name}")


def _exposure_axes(ax: Axes, shown: Frame) -> None:
    low, high = widened(shown.x.min() / 1.25, shown.x.max() * 1.25)
    ax.set(xscale="log", xlim=(low, high))
    steps = (1, 2, 5) if high < 100 * low else (1,)
    ax.xaxis.set_major_locator(LogLocator(subs=steps, numticks=20))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.set_minor_formatter(NullFormatter())
    if shown.r.min() < 0:
        ax.axhline(0, color=GUIDE, lw=0.6, zorder=0, gid="zero")
    else:
        ax.set_ylim(bottom=0)
    ax.set_xlabel("exposures (mean times a person was shown)")
    ax.set_ylabel("R (learned bits per parameter)")


# --- parts of all
# --------------------------------------------------------------------------------------------------


def _draw_runs(ax: Axes, runs: Frame, x: str, y: str, name: Any, look: dict[str, Any]) -> None:
    """A point per run at these columns."""
    style = {"ls": "none", "mew": 0.8, "zorder": 3} | look
    of_runs(ax.plot(runs[x], runs[y], gid=f"runs {name}", **style), runs.run_id)


def _dashed(color: str) -> dict[str, Any]:
    return {"color": color, "lw": 0.8, "ls": "-", "dashes": DASHED}


def _names(runs: Frame, column: str) -> list[str]:
    """All names in a column, in the order of the runs' curves."""
    return list(dict.fromkeys(runs.sort_values(ORDER)[column]))
