"""Figures of studies of people: bits against parameters and against exposures. Nothing here
computes a result."""

import numpy as np
from matplotlib import rc_context
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from capacity.analysis.facts.arms import SATURATED, short
from capacity.analysis.facts.exposures import curve
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

R_MAX = "$R^\\mathrm{max}$"


def ratio_figure(runs):
    """Learned bits against parameters, log-log: a point per chosen run, a marker and colour per arm
    (whatever N), open where the model holds over 95% of its data; lines of 4, 2, 1 and 0.5 bits per
    parameter, and for each N the line of all its bits, dashed.

    runs: of `laws.arms.prepare`. Runs without positive bits are counted, not drawn."""
    with rc_context(STYLE):
        done = runs[runs.chosen]
        shown = done[done.bits > 0]
        if shown.empty:
            figure, ax = panel()
            ax.set_axis_off()
            ax.text(
                0.5,
                0.5,
                "no run has learned a positive number of bits",
                ha="center",
                transform=ax.transAxes,
            )
            return figure
        style = looks(_names(shown, "arm_name"))
        notes = (
            [entry(f"open: over {SATURATED:.0%} held")]
            if (shown.fraction >= SATURATED).any()
            else []
        )
        p, bits = shown.parameters_paper, shown.bits
        ceilings = {
            amount: set(rows.ceiling_bits.round()) for amount, rows in done.groupby("amount")
        }
        lines = sorted(
            {(c, amount) for amount, all_c in ceilings.items() if amount[0] == "N" for c in all_c}
        )
        if lines:
            notes.insert(
                0, entry("all bits of the data", color=GUIDE, lw=0.8, ls="-", dashes=DASHED)
            )
        named = {f"N = {short(n)}": c for c, (_, n) in lines}
        figure, ax = panel(
            2.5,
            legend=[
                *(entry(name or "all runs", ms=4.2, **look) for name, look in style.items()),
                *notes,
            ],
            right=0.15 + 0.6 * SMALL / 72 * max([0, *map(len, named)]),
        )
        log_axes(
            ax,
            (p.min() / 1.6, p.max() * 1.6),
            (bits.min() / 1.7, max([bits.max(), *(c for c, _ in lines)]) * 1.5),
        )
        x_low, x_high = ax.get_xlim()
        for c, amount in lines:
            ax.plot(
                [x_low, x_high],
                [c, c],
                color=GUIDE,
                lw=0.8,
                dashes=DASHED,
                zorder=1,
                gid=f"ceiling {amount[1]:.0f}",
            )
        guide_lines(ax, list(zip(p, bits)), [c for c, _ in lines])
        end_labels(
            ax, {name: (x_high / 1.06, c) for name, c in named.items()}, dict.fromkeys(named, SOFT)
        )
        for name, rows in shown.groupby("arm_name"):
            for full, part in rows.groupby(rows.fraction >= SATURATED):
                of_runs(
                    ax.plot(
                        part.parameters_paper,
                        part.bits,
                        ls="none",
                        ms=4.2,
                        mew=0.8,
                        zorder=3,
                        gid=f"runs {name}",
                        fillstyle="none" if full else "full",
                        **style[name],
                    ),
                    part.run_id,
                )
        hidden = len(done) - len(shown)
        ax.set_xlabel(
            "parameters P (used rows)" + (f"; {hidden} with R <= 0 not drawn" * (hidden > 0))
        )
        ax.set_ylabel("learned bits")
        return figure


def arms_figure(runs):
    """R of every chosen run, a row per arm and model in the order of the report, with the mean over
    seeds and R^max; the axis is logarithmic where arms lie more than a factor of 20 apart. What
    studies of few sizes are told by. runs: of `laws.arms.prepare`."""
    with rc_context(STYLE):
        shown = runs[runs.chosen].sort_values(["amount", "asked", "parameters_paper", "arm_name"])
        one = shown.label.nunique() == 1
        rows = [
            (", ".join(filter(None, key[one and bool(key[1]) :])), part)
            for key, part in shown.groupby(["label", "curve_name"], sort=False)
        ]
        log = bool((shown.r > 0).all()) and shown.r.max() > 20 * shown.r.min()
        look = {
            "run": {"marker": "o", "color": COLORS[0], "ms": 4.0, "mew": 0.8},
            "mean over seeds": {"marker": "d", "color": INK, "ms": 5.0, "mew": 0.0},
            R_MAX: {"marker": "<", "color": GUIDE, "ms": 4.5, "mew": 0.8, "fillstyle": "none"},
        }
        figure, ax = panel(
            0.15 + 0.31 * len(rows),
            left=0.1,
            legend=[entry(name, **style) for name, style in look.items()],
        )
        low, high = shown.r.min(), max(shown.r.max(), shown.r_max.max())
        ax.set(
            xscale="log" if log else "linear",
            xlim=(low / 1.3, high * 1.3) if log else (min(0.0, 1.05 * low), 1.06 * high),
            ylim=(0.55 - len(rows), 0.75),
        )
        for i, (name, part) in enumerate(rows):
            ax.axhline(-i, color=GUIDE, lw=0.4, zorder=1, gid="row")
            of_runs(
                ax.plot(
                    part.r, [-i] * len(part), ls="none", zorder=3, gid=f"runs {name}", **look["run"]
                ),
                part.run_id,
            )
            ax.plot(
                [part.r.mean()],
                [-i],
                ls="none",
                zorder=4,
                gid=f"mean of {name}",
                **look["mean over seeds"],
            )
            ax.plot(
                [part.r_max.mean()],
                [-i],
                ls="none",
                zorder=2,
                gid=f"R^max of {name}",
                **look[R_MAX],
            )
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


def exposures_figure(runs, laws=()):
    """R against exposures (counted, log axis): a point per chosen run, a line through the means of
    seeds or the fitted law where there is one, and R^max dashed. runs: of `laws.arms.prepare`;
    laws: of `laws.knowledge`."""
    with rc_context(STYLE):
        shown = runs[runs.chosen].copy()
        shown["x"] = shown.exposures_mean.fillna(shown.exposures)
        shown["name"] = [", ".join(filter(None, row)) for row in zip(shown.label, shown.series)]
        shown = shown[shown.groupby("name").asked.transform("nunique") > 1]
        fitted = {
            ", ".join(filter(None, (law["label"], law["series"]))): law
            for law in laws
            if not law["reason"]
        }
        style, highest = looks(_names(shown, "name")), shown.r.max()
        r_max = shown.groupby("name").r_max.mean()
        figure, ax = panel(
            legend=[
                *(
                    entry(f"{name}, {R_MAX} {r_max[name]:.2f}", ms=4.2, **look)
                    for name, look in style.items()
                ),
                entry("fitted law" if fitted else "mean of seeds", color=SOFT, lw=0.9, ls="-"),
                *[entry(R_MAX, color=SOFT, lw=0.8, ls="-", dashes=DASHED)]
                * bool((r_max < 1.5 * highest).any()),
            ]
        )
        for name, rows in shown.groupby("name"):
            color = style[name]["color"]
            of_runs(
                ax.plot(
                    rows.x,
                    rows.r,
                    ls="none",
                    ms=4.0,
                    mew=0.8,
                    zorder=3,
                    gid=f"runs {name}",
                    **style[name],
                ),
                rows.run_id,
            )
            if name in fitted:
                law, x = fitted[name], np.geomspace(rows.x.min(), rows.x.max(), 80)
                y = curve(law["form"], x, *(law[key]["value"] for key in ("r_inf", "e0", "b")))
                ax.plot(x, y, color=color, lw=0.9, zorder=2, gid=f"law {name}")
            else:
                mean = rows.groupby("asked")[["x", "r"]].mean()
                ax.plot(mean.x, mean.r, color=color, lw=0.9, zorder=2, gid=f"means {name}")
            if r_max[name] < 1.5 * highest:  # a line far above would flatten all others
                ax.plot(
                    [rows.x.min(), rows.x.max()],
                    [r_max[name]] * 2,
                    color=color,
                    lw=0.8,
                    dashes=DASHED,
                    zorder=1,
                    gid=f"R^max {name}",
                )
        low, high = widened(shown.x.min() / 1.25, shown.x.max() * 1.25)
        ax.set(xscale="log", xlim=(low, high))
        ax.xaxis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=20)
        )
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.xaxis.set_minor_formatter(NullFormatter())
        if shown.r.min() < 0:
            ax.axhline(0, color=GUIDE, lw=0.6, zorder=0, gid="zero")
        else:
            ax.set_ylim(bottom=0)
        ax.set_xlabel("exposures (mean times a person was shown)")
        ax.set_ylabel("R (learned bits per parameter)")
        return figure


def _names(runs, column):
    """All names in a column, in the order of the runs' curves."""
    return list(
        dict.fromkeys(runs.sort_values(["amount", "asked", "parameters_paper", "arm_name"])[column])
    )
