"""Figures of studies of facts: bits against parameters and against exposures, and arm by arm.
Nothing here computes a result; runs are those of `reading.prepare`.

A colour is a variant. Dots are runs; a larger mark is the mean of an arm, its bar the interval that
`fit-laws` quotes (`arms.quoted`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from capacity.analysis.facts.arms import quoted
from capacity.analysis.facts.exposures import curve
from capacity.analysis.facts.schema import Arm, ExposureLaw, Fit, Frame
from capacity.analysis.finding import Finding
from capacity.analysis.thresholds import DATA_LIMITED
from capacity.base.words import count
from capacity.figures.labels import end_labels, guide_lines
from capacity.figures.look import current
from capacity.figures.marks import belongs, beside, means, of_runs, rows_of_means
from capacity.figures.style import (
    DASHED,
    GUIDE,
    MARKERS,
    SOFT,
    color,
    drawing,
    entry,
    ink,
    looks,
    panel,
    small,
    width_of,
    wrapped,
)
from capacity.figures.ticks import log_axes, log_ticks, widened
from capacity.naming import listed

R_MAX = "$R^\\mathrm{max}$"
# shapes, and arms, of which a row for each arm says more than a figure over parameters
FEW_SIZES, MOST_ROWS = 2, 14
SPREAD = 20  # R of arms that lie further apart is drawn on a logarithmic axis
ORDER = ["amount", "asked", "parameters_paper", "place"]
BARS = "dots: runs; bars: 95% of the mean of an arm, by the noise of arms"
APART = 1.3  # parameters of models that a figure over parameters sets apart
LEAST = 10  # times below its mean: what a logarithmic axis shows of an interval
ROW, LINE = 0.3, 0.1  # inches of a row of `arms_figure`, and of each further line of its name


def figures(finding: Finding) -> dict[str, Figure]:
    """Every figure that says something about these runs, by name."""
    runs, fit = finding.data, cast(Fit, finding.numbers)
    chosen, out = runs[runs.chosen], {}
    over_exposures = chosen.groupby(["model", "series"]).asked.nunique()
    rows = chosen.groupby(["model", "curve_name"]).ngroups
    few = chosen.model.nunique() <= FEW_SIZES and 1 < rows <= MOST_ROWS
    if over_exposures.min() == 1 and few:
        out["arms"] = arms_figure(runs, fit["arms"])
    if over_exposures.max() > 1:
        out["exposures"] = exposures_figure(runs, fit["arms"], fit["exposure_laws"])
    sizes = chosen.parameters_paper
    if not out or sizes.max() > APART * sizes.min():
        out["ratio"] = ratio_figure(runs, fit["arms"])
    return out


# --- bits against parameters
# --------------------------------------------------------------------------------------------------


def ratio_figure(runs: Frame, arms: Sequence[Arm]) -> Figure:
    """Learned bits against parameters, log-log: a dot per chosen run, the mean of each arm with its
    interval; a colour per variant, a marker per number of exposures and N, open where an arm holds
    over 95% of its data; lines of 4, 2, 1 and 0.5 bits per parameter, and for each N the line of
    all its bits, dashed. Runs without positive bits are counted, not drawn."""
    with drawing():
        done = runs[runs.chosen]
        shown = done[done.bits > 0]
        if shown.empty:
            return _nothing_learned()
        look, legend = _looks(shown)
        ceilings, notes = _ceilings(done), [BARS]
        if ceilings:
            legend.append(entry("all bits of the data", **_dashed(GUIDE)))
        if (shown.groupby("arm").fraction.mean() >= DATA_LIMITED).any():
            notes.append(f"open: over {DATA_LIMITED:.0%} of the data held")
        names = {f"N = {count(n)}": bits for bits, n in ceilings}
        hidden = len(done) - len(shown)
        left_out = f"; {hidden} with R <= 0 not drawn" if hidden else ""
        figure, ax = panel(
            (f"parameters P (used rows){left_out}", "learned bits"),
            legend=legend,
            notes=notes,
            right=max([0.0, *(0.08 + width_of(name, small()) for name in names)]),
        )
        mean_of = {int(arm["arm"]): arm for arm in arms}
        _draw_frame(ax, shown, ceilings, names, [mean_of[a] for a in dict.fromkeys(shown.arm)])
        for p, mine in shown.groupby("parameters_paper"):
            order = [arm for arm in look if arm in set(mine.arm)]
            for i, arm in enumerate(order):
                x = beside(float(p), i, len(order), ax.get_xlim(), log=True)
                _draw_arm(ax, x, mine[mine.arm == arm], mean_of[arm], look[arm])
        return figure


def _draw_arm(ax: Axes, x: float, runs: Frame, arm: Arm, look: dict[str, Any]) -> None:
    """The runs of an arm and its mean in bits, at x instead of at its parameters."""
    p, name = float(runs.parameters_paper.iloc[0]), listed([arm["model"], arm["arm_name"]])
    dots = {"ls": "none", "marker": "o", "ms": 2.4, "mew": 0.0, "zorder": 3}
    line = ax.plot(
        [x] * len(runs),
        runs.bits,
        gid=f"runs {name}",
        alpha=0.55,
        color=look["color"],
        **dots,
        label=look.get("label"),
    )
    of_runs(line, runs.run_id)
    belongs(line, [p] * len(runs))
    if arm["bits"] is not None and arm["bits"] > 0:
        ends = quoted(arm)
        scaled = None if ends is None else [end * p for end in ends]
        face = {"markerfacecolor": "white"} if (arm["fraction"] or 0) >= DATA_LIMITED else {}
        mean = means(
            ax, [x], [arm["bits"]], [scaled], name=f"mean of {name}", zorder=4, mew=0.8,
            **(look | {"ms": 4.6} | face),
        )  # fmt: skip
        belongs(mean, [p])


def _nothing_learned() -> Figure:
    figure, ax = panel(("", ""))
    ax.set_axis_off()
    words = "no run has learned a positive number of bits"
    ax.text(0.5, 0.5, words, ha="center", transform=ax.transAxes)
    return figure


def _looks(runs: Frame) -> tuple[dict[int, dict[str, Any]], list[Line2D]]:
    """Of every arm a colour (its variant) and a marker (its exposures and N); handles that say
    which is which. What does not vary takes no part."""
    runs = runs.sort_values(ORDER)
    variant = {arm: str(name) for arm, name in zip(runs.arm, runs.variant, strict=True)}
    seen = {
        arm: tuple(
            word
            for word, column in (
                (f"{asked:g} exposures", runs.asked),
                (f"{amount[0]} = {count(amount[1])}", runs.amount),
            )
            if column.nunique() > 1
        )
        for arm, asked, amount in zip(runs.arm, runs.asked, runs.amount, strict=True)
    }
    variants = list(dict.fromkeys(variant.values()))
    conditions = list(dict.fromkeys(seen.values()))
    if len(variants) == 1:  # then a colour is free to tell the conditions
        style = looks(listed(one) for one in conditions)
        handles = [entry(name or "all runs", ms=4.6, **look) for name, look in style.items()]
        named = {arm: listed(seen[arm]) for arm in seen}
        return _named(named, style), handles
    hue = {name: color(i) for i, name in enumerate(variants)}
    if len(conditions) == 1:
        style = looks(variants)
        handles = [entry(name or "all others", ms=4.6, **look) for name, look in style.items()]
        return _named(variant, style), handles
    marker = {one: MARKERS[i % len(MARKERS)] for i, one in enumerate(conditions)}
    handles = [
        *(entry(name or "all others", color=hue[name], ls="-", lw=3) for name in variants),
        *(entry(listed(one), color=SOFT, marker=marker[one], ms=4.6) for one in conditions),
    ]
    style = {arm: {"color": hue[variant[arm]], "marker": marker[seen[arm]]} for arm in seen}
    return style, handles


def _named(names: Mapping[int, str], style: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Looks with the name in the legend, by which a page shows and hides them."""
    return {arm: style[name] | ({"label": name} if name else {}) for arm, name in names.items()}


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
    ax: Axes,
    shown: Frame,
    ceilings: list[tuple[float, float]],
    names: dict[str, float],
    arms: Sequence[Arm],
) -> None:
    p, bits, levels = shown.parameters_paper, shown.bits, [level for level, _ in ceilings]
    highest, lowest = max([bits.max(), *levels]), bits.min()
    for arm in arms:
        if arm["bits"] and arm["bits"] > 0 and (ends := quoted(arm)) is not None:
            highest = max(highest, ends[1] * arm["parameters_paper"])
            # an end near zero has no place on a logarithmic axis: its bar ends in an arrow
            lowest = min(lowest, max(ends[0] * arm["parameters_paper"], arm["bits"] / LEAST))
    log_axes(ax, (p.min() / 1.6, p.max() * 1.6), (lowest / 1.3, highest * 1.5))
    low, high = ax.get_xlim()
    for level, n in ceilings:
        line = {"color": GUIDE, "lw": 0.8, "dashes": DASHED, "zorder": 1}
        ax.plot([low, high], [level, level], gid=f"ceiling {n:.0f}", **line)
    guide_lines(ax, list(zip(p, bits, strict=True)), levels)
    ends = {name: (high / 1.06, level) for name, level in names.items()}
    end_labels(ax, ends, dict.fromkeys(names, SOFT))


# --- arm by arm
# --------------------------------------------------------------------------------------------------


def arms_figure(runs: Frame, arms: Sequence[Arm]) -> Figure:
    """R of every chosen run, a row per arm and model in the order of the report, with the mean over
    seeds and its interval, and R^max; a colour per variant; the axis is logarithmic where arms lie
    more than a factor of 20 apart. For studies of few sizes."""
    with drawing():
        shown = runs[runs.chosen].sort_values(ORDER)
        rows, mean_of = _rows(shown), {int(arm["arm"]): arm for arm in arms}
        log = bool((shown.r > 0).all()) and shown.r.max() > SPREAD * shown.r.min()
        room = current().inches - 0.35  # of a name, which may take several lines
        names = [wrapped(name or "all runs", room, small()) for name, _, _ in rows]
        lines = max(name.count("\n") for name in names)
        bar = {"color": ink(), "lw": 1.0, "ls": "-"}
        most = {"marker": "<", "color": SOFT, "ms": 4.0, "mew": 0.8, "fillstyle": "none"}
        figure, ax = panel(
            ("R (learned bits per parameter)", ""),
            legend=[
                entry("run", marker="o", color=ink(), ms=2.6, mew=0.0, alpha=0.55),
                entry("mean, 95% by the noise of arms", marker="d", ms=4.6, **bar),
                entry(R_MAX, **most),
            ],
            right=0.06,
            tall=(ROW + LINE * lines) * len(rows),
        )  # fmt: skip
        ends = [quoted(mean_of[arm]) or (np.nan, np.nan) for _, _, arm in rows]
        low = np.nanmin([shown.r.min(), *(e[0] for e in ends)])
        high = np.nanmax([shown.r.max(), shown.r_max.max(), *(e[1] for e in ends)])
        if log:
            low = max(low, shown.r.min() / LEAST)
        limits = (low / 1.3, high * 1.3) if log else (min(0.0, 1.05 * low), 1.06 * high)
        scale = "log" if log else "linear"
        ax.set(xscale=scale, xlim=limits, ylim=(0.6 - len(rows), 0.75))
        hue = {v: color(i) for i, v in enumerate(dict.fromkeys(shown.variant))}
        for i, (name, part, arm) in enumerate(rows):
            _draw_row(ax, -i, names[i], part, (mean_of[arm], hue[part.variant.iloc[0]]))
            ax.plot(
                [part.r_max.mean()], [-i], ls="none", zorder=2, gid=f"R^max of {name}", **most
            )  # fmt: skip
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        if log:
            log_ticks(ax.xaxis)
        return figure


def _draw_row(ax: Axes, y: int, name: str, part: Frame, of: tuple[Arm, Any]) -> None:
    arm, hue = of
    words, name = name, name.replace("\n", " ")
    ax.axhline(y, color=GUIDE, lw=0.3, zorder=1, gid="row")
    dots = {"ls": "none", "marker": "o", "ms": 3.0, "mew": 0.0, "alpha": 0.6, "zorder": 3}
    of_runs(
        ax.plot(part.r, [y - 0.17] * len(part), gid=f"runs {name}", color=hue, **dots), part.run_id
    )
    rows_of_means(
        ax, part.r.mean(), y, quoted(arm), name=f"mean of {name}", marker="d", color=hue,
        ms=4.6, mew=0.0, zorder=4,
    )  # fmt: skip
    ax.annotate(
        words,
        (ax.get_xlim()[0], y),
        (2, 3.5),
        textcoords="offset points",
        color=ink(),
        fontsize=small(),
        va="bottom",
        ha="left",
        gid=f"label {name}",
    )


def _rows(shown: Frame) -> list[tuple[str, Frame, int]]:
    """Runs of an arm and model, with a name that leaves out the one model of a study, and the
    number of the arm."""
    one, out = shown.model.nunique() == 1, []
    for (model, name), part in shown.groupby(["model", "curve_name"], sort=False):
        label = listed([name] if one and name else [model, name])
        out.append((label, part, int(part.arm.iloc[0])))
    return out


# --- against exposures
# --------------------------------------------------------------------------------------------------


def exposures_figure(runs: Frame, arms: Sequence[Arm], laws: Sequence[ExposureLaw] = ()) -> Figure:
    """R against exposures (counted, log axis): a dot per chosen run, the mean of each arm with its
    interval, a line through the means or the fitted law where there is one, and R^max dashed.
    laws: of `analysis.exposure_laws`."""
    with drawing():
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
        words = "fitted law" if fitted else "means"
        legend.append(entry(words, color=SOFT, lw=0.9, ls="-"))
        if near:
            legend.append(entry(R_MAX, **_dashed(SOFT)))
        axes = ("exposures (mean times a person was shown)", "R (learned bits per parameter)")
        figure, ax = panel(axes, legend=legend, notes=[BARS])
        mean_of = {int(arm["arm"]): arm for arm in arms}
        _exposure_axes(ax, shown, [mean_of[a] for a in set(shown.arm)], r_max[list(near)])
        for i, (name, rows) in enumerate(shown.groupby("name", sort=False)):
            _draw_series(ax, rows, mean_of, style[name], (i, len(style)))
            _draw_curve(ax, rows, fitted.get(name), name, style[name]["color"])
            if name in near:
                ends, line = [rows.x.min(), rows.x.max()], {"lw": 0.8, "dashes": DASHED}
                hue, gid = style[name]["color"], f"R^max {name}"
                ax.plot(ends, [r_max[name]] * 2, color=hue, zorder=1, gid=gid, **line)
        return figure


def _draw_series(
    ax: Axes,
    rows: Frame,
    mean_of: Mapping[int, Arm],
    look: dict[str, Any],
    place: tuple[int, int],
) -> None:
    """Runs and means of one variant of one model; place: the which of how many that share x."""
    name = str(rows["name"].iloc[0])
    for _, mine in rows.groupby("asked"):
        arm = mean_of[int(mine.arm.iloc[0])]
        x = beside(float(mine.x.mean()), *place, ax.get_xlim(), log=True)
        dots = {"ls": "none", "marker": "o", "ms": 2.4, "mew": 0.0, "alpha": 0.55, "zorder": 3}
        line = ax.plot([x] * len(mine), mine.r, gid=f"runs {name}", color=look["color"], **dots)
        of_runs(line, mine.run_id)
        belongs(line, mine.x)
        mean = means(
            ax, [x], [mine.r.mean()], [quoted(arm)], name=f"mean of {name}", zorder=4,
            **(look | {"ms": 4.2, "mew": 0.0}),
        )  # fmt: skip
        belongs(mean, [mine.x.mean()])


def _draw_curve(ax: Axes, rows: Frame, law: ExposureLaw | None, name: str, hue: Any) -> None:
    if law is None:
        mean = rows.groupby("asked")[["x", "r"]].mean()
        ax.plot(mean.x, mean.r, color=hue, lw=0.7, zorder=2, gid=f"means {name}")
        return
    x = np.geomspace(rows.x.min(), rows.x.max(), 80)
    y = curve(law["form"], x, *(law[key]["value"] for key in ("r_inf", "e0", "b")))
    ax.plot(x, y, color=hue, lw=0.9, zorder=2, gid=f"law {name}")


def _exposure_axes(ax: Axes, shown: Frame, arms: Sequence[Arm], near: Any) -> None:
    low, high = widened(shown.x.min() / 1.25, shown.x.max() * 1.25)
    ax.set(xscale="log", xlim=(low, high))
    log_ticks(ax.xaxis)
    ends = [end for arm in arms if (one := quoted(arm)) is not None for end in one]
    top = max([shown.r.max(), *near, *ends])
    bottom = min([shown.r.min(), 0.0])
    ax.set_ylim(1.05 * bottom, 1.05 * top)
    if bottom < 0:
        ax.axhline(0, color=GUIDE, lw=0.6, zorder=0, gid="zero")


# --- parts of all
# --------------------------------------------------------------------------------------------------


def _dashed(hue: str) -> dict[str, Any]:
    return {"color": hue, "lw": 0.8, "ls": "-", "dashes": DASHED}


def _names(runs: Frame, column: str) -> list[str]:
    """All names in a column, in the order of the runs' curves."""
    return list(dict.fromkeys(runs.sort_values(ORDER)[column]))
