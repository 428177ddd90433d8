"""Figures of studies of precision. Nothing here computes a result."""

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from capacity.laws import forms, precision
from capacity.plots import COLORS, GUIDE, INK, SMALL, STYLE

DRAWN = ("rtn", "gptq", "qat")  # ladders of the figure; where all tensors are not quantized, those of maps
NAMES = {"rtn": "rounded to nearest", "gptq": "GPTQ", "qat": "trained quantized"}
MARKS = {"rtn": ("s", COLORS[1]), "gptq": ("^", COLORS[0]), "qat": ("o", COLORS[2])}


def ladder_figure(found):
    """Two panels, 7 x 3.3 inches, against stored bits per weight on a log axis: what full models keep of fp32, and the most that a shape holds,
    in bits per parameter, with the preferred law of each ladder (dashed) and the lines of 1, 1/2 and 1/4 bit per stored bit.

    found: of `precision_laws.judge`. Whiskers: 95% over shapes. Means below zero are drawn at zero, as open marks."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, 3.3))
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.075, right=0.985, bottom=0.235, top=0.92, wspace=0.2)
        _panel(left, found, "kept", 1.0)
        fp32 = next((row["capacity"] for row in found["capacity"] if (row["way"], row["rung"]) == ("trained", "fp32")), 1.0)
        _panel(right, found, "capacity", fp32)
        low, high = right.get_xlim()
        top = right.get_ylim()[1]
        for guide, words in ((1.0, "1 bit per stored bit"), (0.5, "1/2"), (0.25, "1/4")):
            xs = [low * (high / low) ** (i / 60) for i in range(61)]
            xs = [x for x in xs if guide * x <= top]
            right.plot(xs, [guide * x for x in xs], color=GUIDE, lw=0.6, zorder=1, gid=f"guide {guide}")
            right.annotate(words, (xs[0], guide * xs[0]), (1, 3), textcoords="offset points", fontsize=SMALL - 1, color="#666666")
        left.set(ylabel="held bits, part of fp32's")
        left.set_title("Kept by full models", loc="left")
        right.set(ylabel="bits per parameter")
        right.set_title("Most that a shape holds, over data sizes", loc="left")
        handles = [Line2D([], [], color=color, marker=mark, ls="--", lw=0.9, ms=4.2, label=NAMES[way]) for way, (mark, color) in MARKS.items()
                   if _way(found, way)]
        handles += [Line2D([], [], color=INK, marker="D", ls="none", ms=3.6, label="fp32, bf16, fp16: trained or cast"),
                    Line2D([], [], color=INK, marker="o", fillstyle="none", ls="none", ms=4.2, label="0 or less"),
                    Line2D([], [], color=INK, ls="--", lw=0.9, label="law with the least held-out error")]
        figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.06, -0.01), ncols=3, fontsize=SMALL, frameon=False, handletextpad=0.5,
                      columnspacing=1.6, borderaxespad=0.3)
        return figure


def _way(found, way):
    """The ladder of all tensors, or where the study has none of maps only; None without either."""
    have = {row["way"] for row in found["capacity"]}
    return next((name for name in (way, f"{way} maps") if name in have), None)


def _panel(ax, found, question, unit):
    rows = found[question]
    for way, (mark, color) in MARKS.items():
        name = _way(found, way)
        part = [row for row in rows if row["way"] == name]
        for row in part:
            _point(ax, row, question, mark, color, f"{name} {row['rung']}")
        law = found["laws"].get(name, {}).get(question)
        if part and law and law.get("preferred"):
            told = law["forms"][law["preferred"]]
            low, high = told["valid"]
            xs = [low * (high / low) ** (i / 200) for i in range(201)]
            theta = {key: entry["value"] for key, entry in told["parameters"].items()}
            ax.plot(xs, unit * forms.form(law["preferred"]).predict({"bits_per_weight": xs}, theta), color=color, ls="--", lw=0.9, zorder=2,
                    gid=f"law {name}")
    for row in rows:
        if row["way"] in ("trained", "cast"):
            _point(ax, row, question, "D", INK, f"{row['way']} {row['rung']}", 3.2)
    ax.set_xscale("log", base=2)
    ticks = [1, 2, 4, 8, 16, 32]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel("stored bits per weight")
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    ax.axhline(0.0, color=GUIDE, lw=0.6, zorder=1)


def _point(ax, row, question, mark, color, gid, size=4.2):
    value, low, high = row[question], row["low"], row["high"]
    at = max(value, 0.0)
    hollow = value <= 0
    if low is not None:
        ax.plot([row["stored"]] * 2, [max(low, 0.0), max(high, 0.0)], color=color, lw=0.8, zorder=2.5)
    ax.plot([row["stored"]], [at], marker=mark, color=color, ms=size, mew=0.8, ls="none", fillstyle="none" if hollow else "full", zorder=3, gid=gid)
