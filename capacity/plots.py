"""Figures of a study: the table of runs and a fit in, a matplotlib Figure out. Nothing here computes a result."""

import io
import textwrap

import numpy as np
import pandas as pd
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from capacity.laws import published
from capacity.laws.ablations import CELL, VARIED
from capacity.laws.arms import SATURATED, short
from capacity.laws.exposures import curve
from capacity.laws.fit import CONVENTIONS, classify, rising

# Two journal columns wide; type of 7 points stays legible in print and at 900 pixels on a page.
STYLE = {"font.size": 7.5, "axes.labelsize": 7.5, "axes.titlesize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
         "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4,
         "ytick.minor.width": 0.4, "axes.spines.top": False, "axes.spines.right": False, "text.usetex": False,
         "figure.dpi": 100, "savefig.dpi": 260, "pdf.fonttype": 42, "font.family": "DejaVu Sans"}
SMALL = 7
INK, GUIDE, MUTED, MUTED_INK = "#222222", "#9a9a9a", "#f0dcc0", "#8a5a14"
GUIDES = (1, 2, 4)  # bits per parameter
KNOWLEDGE_GUIDES = (2, 1, 0.5)  # bits per parameter; 3.3 (arXiv 2404.05405) finds about 2 and about 1
# Okabe and Ito's colours, told apart with any colour vision (jfly.uni-koeln.de/color), but their yellow, too pale here
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
R_MAX = "$R^\\mathrm{max}$"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
PUBLISHED = tuple(published.get(f"morris/mean_{precision}").value for precision in ("bf16", "fp32"))


def capacity_figure(table, fit):
    """Two log-log panels, 7 x 3.2 inches. Left: memorized bits of each run against the bits of its data, in colours by
    model size, with the line bits = data and each shape's plateau. Right: the plateau of each (shape, seed) against
    parameters, with the law alpha P, its quoted 95% band and lines of constant bits per parameter.

    table: one row per run, as for `fit_laws`. fit: what `fit_laws` returned for that table; its convention and
    parameter count are the ones drawn. Runs that did not finish or hold no positive number of bits are not drawn.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, 3.2))
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.085, right=0.935, bottom=0.2, top=0.925, wspace=0.27)
        labels = [row["label"] for row in fit["plateaus"]]
        color = {label: colormaps["viridis"](0.78 * i / max(len(labels) - 1, 1)) for i, label in enumerate(labels)}
        runs = _drawn_runs(table, fit["convention"])
        _runs_panel(left, runs, fit, color)
        _law_panel(right, fit, color)
        hidden = int((table.status == "finished").sum()) - len(runs)
        if hidden:
            left.set_xlabel(f"{left.get_xlabel()}; {hidden} finished without positive bits, not drawn")
        figure.legend(handles=_key(runs), loc="lower left", bbox_to_anchor=(0.07, -0.01), ncols=4, fontsize=SMALL,
                      frameon=False, handletextpad=0.1, columnspacing=1.6, borderaxespad=0.3)
        return figure


def ratio_figure(runs):
    """Learned bits against parameters, log-log, 7 x 3.6 inches: a point per chosen run, a marker and colour per arm
    (whatever N), open where the model holds over 95% of its data; lines of 2, 1 and 0.5 bits per parameter, and for
    each N the line of all its bits. runs: of `laws.arms.prepare`. Runs without positive bits are counted, not drawn."""
    with rc_context(STYLE):
        figure, ax = _one_panel(3.6)
        done = runs[runs.chosen]
        shown = done[done.bits > 0]
        if shown.empty:
            ax.set_axis_off()
            ax.text(0.5, 0.5, "no run has learned a positive number of bits", ha="center", transform=ax.transAxes)
            return figure
        p, bits = shown.parameters_paper, shown.bits
        ceilings = {amount: set(rows.ceiling_bits.round()) for amount, rows in done.groupby("amount")}
        lines = sorted({(c, amount) for amount, all_c in ceilings.items() if amount[0] == "N" for c in all_c})
        top = max([bits.max(), *(c for c, _ in lines)])
        _log_axes(ax, (p.min() / 1.6, p.max() * 1.6), (bits.min() / 1.7, top * 1.5))
        (x_low, x_high), (y_low, y_high) = ax.get_xlim(), ax.get_ylim()
        for guide in KNOWLEDGE_GUIDES:
            ends = np.array([max(x_low, y_low / guide), min(x_high, y_high / guide)])
            if ends[0] < ends[1]:
                ax.plot(ends, guide * ends, color=GUIDE, lw=0.6, zorder=1, gid=f"guide {guide}")
                start = ends[0] * (x_high / x_low) ** 0.015
                if guide * start > y_high / (y_high / y_low) ** 0.1:
                    continue  # no room for a word between here and the title
                ax.annotate(f"{guide:g} bit{'s' * (guide > 1)}/P", (start, guide * start), (-1, 3), color="#666666",
                            textcoords="offset points", gid=f"guide label {guide}", zorder=1, **_along(ax))
        for c, amount in lines:
            ax.plot([x_low, x_high], [c, c], color=GUIDE, lw=0.8, dashes=(4, 3), zorder=1,
                    gid=f"ceiling {amount[1]:.0f}")
        heights = {f"N = {short(n)}": c for c, (_, n) in lines}
        _end_labels(ax, {name: (x_high / 1.06, c) for name, c in heights.items()}, dict.fromkeys(heights, "#666666"))
        style = _styles(shown, "arm_name")
        for name, rows in shown.groupby("arm_name"):
            for full, part in rows.groupby(rows.fraction >= SATURATED):
                of_runs(ax.plot(part.parameters_paper, part.bits, ls="none", ms=4.2, mew=0.8, zorder=3, gid=f"runs {name}",
                                fillstyle="none" if full else "full", **style[name]), part.run_id)
        hidden = len(done) - len(shown)
        ax.set_xlabel("parameters P (without rows of unused tokens)"
                      + (f"; {hidden} with R <= 0 not drawn" * (hidden > 0)))
        ax.set_ylabel("learned bits")
        ax.set_title("Learned bits against parameters; dashed: all bits of the data", loc="left")
        open_ones = bool((shown.fraction >= SATURATED).any())
        _side_legend(figure, style, f"open: holds over {SATURATED:.0%}\nof its data" if open_ones else "")
        return figure


def exposures_figure(runs, laws=()):
    """R against exposures (counted, log axis), 7 x 3.6 inches: a point per chosen run, a line through the means of
    seeds or the fitted law where there is one, and R^max dashed. runs: of `laws.arms.prepare`; laws: of
    `laws.knowledge`."""
    with rc_context(STYLE):
        figure, ax = _one_panel(3.6)
        shown = runs[runs.chosen].copy()
        shown["x"] = shown.exposures_mean.fillna(shown.exposures)
        shown["name"] = [", ".join(filter(None, row)) for row in zip(shown.label, shown.series)]
        shown = shown[shown.groupby("name").asked.transform("nunique") > 1]
        fitted = {", ".join(filter(None, (law["label"], law["series"]))): law for law in laws if not law["reason"]}
        style, labels, highest = _styles(shown, "name"), {}, shown.r.max()
        for name, rows in shown.groupby("name"):
            color = style[name]["color"]
            of_runs(ax.plot(rows.x, rows.r, ls="none", ms=4.0, mew=0.8, zorder=3, gid=f"runs {name}", **style[name]), rows.run_id)
            if name in fitted:
                law, x = fitted[name], np.geomspace(rows.x.min(), rows.x.max(), 80)
                y = curve(law["form"], x, *(law[key]["value"] for key in ("r_inf", "e0", "b")))
                ax.plot(x, y, color=color, lw=0.9, zorder=2, gid=f"law {name}")
            else:
                mean = rows.groupby("asked")[["x", "r"]].mean()
                ax.plot(mean.x, mean.r, color=color, lw=0.9, zorder=2, gid=f"means {name}")
            r_max = rows.r_max.mean()
            labels[name] = f"{name}, {R_MAX} {r_max:.2f}"
            if r_max < 1.5 * highest:  # a line far above would flatten all others
                ax.plot([rows.x.min(), rows.x.max()], [r_max] * 2, color=color, lw=0.8, dashes=(4, 3), zorder=1,
                        gid=f"R^max {name}")
        low, high = _widened(shown.x.min() / 1.25, shown.x.max() * 1.25)
        ax.set(xscale="log", xlim=(low, high))
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=20))
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.xaxis.set_minor_formatter(NullFormatter())
        if shown.r.min() < 0:
            ax.axhline(0, color=GUIDE, lw=0.6, zorder=0, gid="zero")
        else:
            ax.set_ylim(bottom=0)
        ax.set_xlabel("exposures (mean times a person was shown)")
        ax.set_ylabel("R (learned bits per parameter)")
        ax.set_title("Bits per parameter against exposures; dashed: " + R_MAX, loc="left")
        _side_legend(figure, {labels[name]: look for name, look in style.items()},
                     "line: fitted law" if fitted else "line: mean of seeds")
        return figure


def ablation_figure(runs, found):
    """Two log-log panels, 7 x 3.1 inches, strict and paper bits: measured bits of each run against V (or S, where only S differs), with
    min(alpha P, ceiling), its smooth form, the ceiling, and alpha P; a colour and marker per shape, other length or vocabulary, and N.

    runs, found: of `laws.ablations.judge`.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, 3.1))
        figure.subplots_adjust(left=0.085, right=0.985, bottom=0.245, top=0.925, wspace=0.2)
        x = found["varied"][0]
        others, handles = [name for name in CELL if name != x], {}
        for ax, convention in zip(figure.subplots(1, 2), CONVENTIONS):
            part, bits = found[convention], CONVENTIONS[convention][0]
            frame = pd.DataFrame(part["cells"])
            fitted = not part["reason"]
            if fitted:
                frame["min"] = part["hard"]["expected"]
                if not part["smooth"]["reason"]:
                    frame["smooth"] = part["smooth"]["expected"]
            done = runs[(runs.status == "finished") & (runs[bits] > 0)]
            low, high = frame[x].min() / 1.3, frame[x].max() * 1.3
            _log_axes(ax, (low, high), (0.6 * done[bits].min(), 1.8 * frame.ceiling.max()))
            for i, (key, rows) in enumerate(frame.groupby(others)):
                rows, color = rows.sort_values(x), COLORS[i % len(COLORS)]
                names = {other: f"{VARIED.get(other, 'N')} {value}" for other, value in zip(others, key)} | {"label": key[0]}
                name = ", ".join(names[other] for other in others if frame[others].drop_duplicates().shape[0] == 1 or frame[other].nunique() > 1)
                handles["ceiling of the data"] = ax.plot(rows[x], rows.ceiling, color=GUIDE, lw=0.9, dashes=(4, 3), zorder=1, gid="ceiling")[0]
                if fitted:
                    flat = part["hard"]["alpha"] * rows.parameters
                    handles["α P"] = ax.plot(rows[x], flat, color=GUIDE, lw=0.9, ls=":", zorder=1, gid="alpha P")[0]
                    handles["min(α P, ceiling)"] = ax.plot(rows[x], rows["min"], color=INK, lw=1.0, zorder=2, gid="min")[0]
                if "smooth" in rows:
                    handles["smooth corner"] = ax.plot(rows[x], rows.smooth, color=COLORS[1], lw=1.0, dashes=(6, 1.5), zorder=3, gid="smooth")[0]
                mine = done[(done[others] == list(key)).all(axis=1)]
                dots = ax.plot(mine[x], mine[bits], ls="none", ms=4.2, mec="white", mew=0.4, zorder=4, gid="runs", color=color,
                               marker=MARKERS[i % len(MARKERS)])
                of_runs(dots, mine.run_id)
                handles[f"measured: {name}"] = dots[0]
            values = sorted(frame[x].unique())
            ax.set_xticks(values, [str(value) for value in values])
            ax.tick_params(axis="x", which="minor", length=0)
            ax.set_xlabel({"vocab_size": "vocabulary V", "seq_len": "sequence length S (tokens)"}[x])
            ax.set_ylabel(f"bits, {convention} convention")
            ax.set_title("all data fit" if not fitted else f"α = {part['hard']['alpha']:.2f} bits per parameter, mean error "
                         f"{part['hard']['mean_absolute_error_percent']:.1f}%", loc="left")
        figure.legend(handles=list(handles.values()), labels=list(handles), loc="lower left", bbox_to_anchor=(0.07, -0.01), fontsize=SMALL,
                      ncols=5 if len(handles) < 6 else 4, frameon=False, handletextpad=0.5, columnspacing=1.6, borderaxespad=0.3)
        return figure


def of_runs(lines, run_ids=None, names=None):
    """Say whose points a line's are, or what they are called, for a page that shows it (`report/figures.py`)."""
    lines[0].run_ids, lines[0].point_names = (None if told is None else list(told) for told in (run_ids, names))


def render(figure, kind):
    """The figure as bytes of one kind ("png", "pdf" or "svg"), the same bytes for the same figure: no dates inside."""
    dates = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}
    with rc_context(STYLE | {"svg.fonttype": "none", "svg.hashsalt": "capacity"}), io.BytesIO() as buffer:
        figure.savefig(buffer, format=kind, metadata=dates[kind])
        return buffer.getvalue()


def _one_panel(height):
    """A figure 7 inches wide with one panel and room for names on its right."""
    figure = Figure(figsize=(7.0, height))
    ax = figure.subplots()
    figure.subplots_adjust(left=0.085, right=0.585, bottom=0.13, top=0.93)
    return figure, ax


def _styles(runs, column):
    """A marker and a colour for every name in a column, in the order of the runs' curves."""
    names = list(dict.fromkeys(runs.sort_values(["amount", "asked", "parameters_paper", "arm_name"])[column]))
    return {name: {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)]}
            for i, name in enumerate(names)}


def _side_legend(figure, style, note):
    """Names beside the panel, as many as its height has room for, and a note on marks below them."""
    room = int(figure.get_figheight() * 72 * 0.86 / (SMALL * 1.5)) - 3
    handles, used = [], 0
    for name, look in style.items():
        text = textwrap.fill(name or "all runs", 33)
        used += text.count("\n") + 1
        if used > room:
            handles.append(Line2D([], [], ls="none", label=f"and {len(style) - len(handles)} more"))
            break
        handles.append(Line2D([], [], ls="none", ms=4.2, label=text, **look))
    if note:
        handles.append(Line2D([], [], ls="none", label=note))
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.665, 0.95), fontsize=SMALL, frameon=False,
                  handletextpad=0.3, borderaxespad=0.2, labelspacing=0.45, alignment="left")


def _drawn_runs(table, convention):
    bits = table[CONVENTIONS[convention][0]].astype(float)
    drawn = (table.status == "finished") & (bits > 0)
    return pd.DataFrame({"run_id": table.run_id, "label": table.label, "data": table.entropy_bits.astype(float), "bits": bits,
                         "kind": classify(table, convention), "up": rising(table)})[drawn]


def _key(runs):
    """Legend entries for the marks that occur, in grey, since colour is model size."""
    names = {"saturated": "over-filled", "corner": "near the corner", "underfilled": "under-filled (a lower bound)"}
    keys = [Line2D([], [], label=name, **_marker(kind, False, "#555555"))
            for kind, name in names.items() if kind in set(runs.kind)]
    if runs.up.any():
        keys.append(Line2D([], [], label="triangle: still rising at the end", **_marker("saturated", True, "#555555")))
    return keys


def _runs_panel(ax, runs, fit, color):
    data, bits = runs.data, runs.bits
    x_low, x_high = data.min() / 1.5, data.max() * 1.15
    y_low, y_high = min(bits.min(), data.min()) / 1.5, max(bits.max() * 1.7, data.min())
    names = max(map(len, runs.label)) * 0.62 * SMALL + 8  # points of width to the right of the last run
    share = min(0.6, names / (72 * ax.figure.get_figwidth() * ax.get_position().width))
    _log_axes(ax, (x_low, x_low * (x_high / x_low) ** (1 / (1 - share))), (y_low, y_high))

    ends, top = np.array(ax.get_xlim()), 0.8 * ax.get_ylim()[1]
    ax.plot(ends, ends, color=GUIDE, lw=0.9, dashes=(4, 3), zorder=1, gid="ceiling")
    ax.annotate("bits = data", (top, top), (-4, 4), textcoords="offset points", color="#666666", ha="right",
                va="bottom", gid="ceiling label", **_along(ax))
    ends = {}
    for row in fit["plateaus"]:
        mine, shade = runs[runs.label == row["label"]], color[row["label"]]
        if mine.empty:
            continue
        for (kind, up), part in mine.groupby(["kind", "up"]):
            of_runs(ax.plot(part.data, part.bits, gid=f"runs {row['label']}", zorder=4, **_marker(kind, up, shade)), part.run_id)
        end = mine.data.max()
        if not row["lower_bound"]:
            ax.plot([row["bits"], end * 1.06], [row["bits"]] * 2, color=shade, lw=1.0, zorder=2, solid_capstyle="butt",
                    gid=f"plateau {row['label']}")
        ends[row["label"]] = (end, row["bits"])
    _end_labels(ax, ends, color)

    ax.set_xlabel("data H (bits)")
    ax.set_ylabel(f"memorized (bits, {fit['convention']} convention)")
    ax.set_title("Memorized bits against data", loc="left")


def _law_panel(ax, fit, color):
    units = fit["units"]
    p, c = (np.array([u[name] for u in units], float) for name in ("parameters", "bits"))
    x = np.array(_widened(p.min() / 1.6, p.max() * 2.0))
    _log_axes(ax, x, (min(0.8 * x[0], c.min() / 1.5), max(5.2 * x[1], c.max() * 1.5)))

    ax.fill_between(x, PUBLISHED[0] * x, PUBLISHED[1] * x, color=MUTED, lw=0, zorder=0, gid="published")
    for guide in GUIDES:
        ax.plot(x, guide * x, color=GUIDE, lw=0.5, zorder=1, gid=f"guide {guide}")
        ax.annotate(f"{guide} bit{'s' * (guide > 1)}/P", (x[1], guide * x[1]), (3, 0), textcoords="offset points",
                    color="#666666", va="center", fontsize=SMALL, annotation_clip=False, gid=f"guide label {guide}")
    ax.annotate(f"Morris et al. {PUBLISHED[0]}–{PUBLISHED[1]}, paper convention", (x[0], GUIDES[-1] * x[0]), (4, 5),
                textcoords="offset points", color=MUTED_INK, ha="left", va="bottom", gid="published label",
                **_along(ax))
    if fit["alpha"]:
        alpha = fit["alpha"]
        text = f"α = {alpha['value']:.2f} bits per parameter"
        if alpha["quote"]:
            low, high = alpha[alpha["quote"]]["ends"]
            ax.fill_between(x, low * x, high * x, color="#3b6fb6", alpha=0.22, lw=0, zorder=2, gid="band")
            text += f"\n95% [{low:.2f}, {high:.2f}] over {alpha['quote'].removeprefix('interval_')}"
        else:
            text += "\nno interval from these runs"
        ax.plot(x, alpha["value"] * x, color=INK, lw=1.0, zorder=3, gid="law")
        ax.text(0.03, 0.985, text, transform=ax.transAxes, va="top", ha="left", color=INK, linespacing=1.3, gid="alpha")
    for unit in units:
        kind = "underfilled" if unit["lower_bound"] else "saturated"
        of_runs(ax.plot(unit["parameters"], unit["bits"], gid=f"unit {unit['label']}", zorder=5, **_marker(kind, False, color[unit["label"]])),
                names=[f"{unit['label']}, seed {unit['seed']}, {unit['runs']} runs"])
        if unit["lower_bound"]:
            ax.annotate("", (unit["parameters"], unit["bits"] * 1.45), (unit["parameters"], unit["bits"]), zorder=4,
                        arrowprops={"arrowstyle": "->", "color": color[unit["label"]], "lw": 0.8, "shrinkA": 2.5})
    _point_labels(ax, units, color)
    ax.set_xlabel(f"parameters P ({fit['parameters'].replace('_', '-')} count)")
    ax.set_ylabel(f"capacity (bits, {fit['convention']} convention)")
    ax.set_title("Capacity against parameters", loc="left")


def _marker(kind, up, shade):
    """Filled where the run measures capacity, half-filled near the corner, open for a lower bound; triangle: rising."""
    fill = {"saturated": "full", "corner": "left", "underfilled": "none"}[kind]
    edge = {"mec": "white", "mew": 0.4} if kind == "saturated" else {"mew": 0.8}
    return {"marker": "^" if up else "o", "fillstyle": fill, "color": shade, "markerfacecoloralt": "white",
            "ls": "none", "ms": 4.4} | edge


def _log_axes(ax, x_limits, y_limits):
    x_limits, y_limits = (_widened(*limits) for limits in (x_limits, y_limits))
    ax.set(xscale="log", yscale="log", xlim=x_limits, ylim=y_limits)
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        steps = (1,) if high > 100 * low else (1, 3) if high > 15 * low else (1, 2, 5)  # two labels or more, few enough
        axis.set_major_locator(LogLocator(subs=steps, numticks=20))
        axis.set_major_formatter(EngFormatter(sep=""))
        axis.set_minor_formatter(NullFormatter())


def _widened(low, high):
    """Limits a factor of 8 apart at least: then 1, 2, 5 steps always give two labels or more."""
    extra = max(1.0, np.sqrt(8 * low / high))
    return low / extra, high * extra


def _along(ax):
    """Text settings that lay a label along bits = constant x, a line of slope 1 in both panels."""
    box, width, height = ax.get_position(), *ax.figure.get_size_inches()
    decades = [np.log10(high / low) for low, high in (ax.get_xlim(), ax.get_ylim())]
    angle = np.degrees(np.arctan2(height * box.height / decades[1], width * box.width / decades[0]))
    return {"rotation": angle, "rotation_mode": "anchor", "fontsize": SMALL}


def _end_labels(ax, ends, color):
    """Each shape's name at the right end of its runs, moved up or down by what keeps one line of type between two."""
    order = sorted(ends, key=lambda label: ends[label][1])
    height = ax.figure.get_figheight() * ax.get_position().height * 72
    low, high = np.log(ax.get_ylim())
    gap = (high - low) * (SMALL + 2) / height
    y = np.log([ends[label][1] for label in order])
    for _ in range(200):  # push close neighbours apart, half each, until none is close
        for i in range(len(y) - 1):
            short = gap - (y[i + 1] - y[i])
            if short > 1e-9:
                y[i] -= short / 2
                y[i + 1] += short / 2
        y += max(0.0, low + gap / 2 - y[0]) if len(y) else 0.0
    for label, place in zip(order, np.exp(y), strict=True):
        ax.annotate(label, (ends[label][0] * 1.06, place), (3, 0), textcoords="offset points", color=color[label],
                    fontsize=SMALL, va="center", annotation_clip=False, gid=f"label {label}")


def _point_labels(ax, units, color):
    """Shape names below and right of their lowest point, where there is room; the left panel has them all."""
    lowest = {}
    for unit in units:
        lowest[unit["label"]] = min(unit["bits"], lowest.get(unit["label"], (np.inf,))[0]), unit["parameters"]
    taken, edge = [], ax.transAxes.transform((1, 0))[0] * 72 / ax.figure.dpi
    for label, (bits, parameters) in lowest.items():
        x, y = ax.transData.transform((parameters, bits)) * 72 / ax.figure.dpi
        width = 0.65 * SMALL * len(label)
        crowded = any(abs(y - v) < SMALL + 3 and x < u + w + 3 and u < x + width + 3 for u, v, w in taken)
        if crowded or x + width > edge:
            continue
        taken.append((x, y, width))
        ax.annotate(label, (parameters, bits), (3, -3), textcoords="offset points", color=color[label], fontsize=SMALL,
                    va="top", gid=f"point label {label}",
                    path_effects=[withStroke(linewidth=1.6, foreground="white")])
