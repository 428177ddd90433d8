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
    """Three panels, 7 x 2.9 inches. Against the bits of a code, log2 axis: what full models keep of fp32, and the most that a shape holds in bits per
    parameter, each with the form of least held-out error by ladder (dashed). Against stored bits per weight: bits held per stored bit.

    found: of `precision_laws.judge`. Whiskers: 95% over shapes. What is below zero is drawn at zero, as an open mark."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, 2.9))
        kept, most, stored = figure.subplots(1, 3)
        figure.subplots_adjust(left=0.065, right=0.99, bottom=0.27, top=0.91, wspace=0.27)
        fp32 = next((row["capacity"] for row in found["capacity"] if (row["way"], row["rung"]) == ("trained", "fp32")), 1.0)
        _panel(kept, found, "kept", 1.0)
        _panel(most, found, "capacity", fp32)
        for row in found["capacity"]:
            way = next((way for way in MARKS if _way(found, way) == row["way"]), None)
            if way or row["way"] in ("trained", "cast"):
                mark, color = MARKS.get(way, ("D", INK))
                _point(stored, row["stored"], row["per_stored_bit"], None, mark, color, f"stored {row['way']} {row['rung']}", 4.2 if way else 3.2)
        for ax, x, y, title in ((kept, "bits of a code", "held bits, part of fp32's", "Kept by full models"),
                                (most, "bits of a code", "bits per parameter", "Capacity: most over data sizes"),
                                (stored, "stored bits per weight, with scales", "bits held per stored bit", "Capacity per stored bit")):
            ax.set_xscale("log", base=2)
            ax.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
            ax.minorticks_off()
            ax.set(xlabel=x, ylabel=y)
            ax.set_title(title, loc="left")
            ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
            ax.axhline(0.0, color=GUIDE, lw=0.6, zorder=1)
        handles = [Line2D([], [], color=color, marker=mark, ls="--", lw=0.9, ms=4.2, label=NAMES[way]) for way, (mark, color) in MARKS.items()
                   if _way(found, way)]
        handles += [Line2D([], [], color=INK, marker="D", ls="none", ms=3.6, label="32 and 16 bits: trained or cast"),
                    Line2D([], [], color=INK, marker="o", fillstyle="none", ls="none", ms=4.2, label="0 or less"),
                    Line2D([], [], color=INK, ls="--", lw=0.9, label="form with the least held-out error")]
        figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.05, -0.015), ncols=3, fontsize=SMALL, frameon=False, handletextpad=0.5,
                      columnspacing=1.6, borderaxespad=0.3)
        return figure


def _way(found, way):
    """The ladder of all tensors, or where the study has none of maps only; None without either."""
    have = {row["way"] for row in found["capacity"]}
    return next((name for name in (way, f"{way} maps") if name in have), None)


def _panel(ax, found, question, unit):
    for row in found[question]:
        way = next((way for way in MARKS if _way(found, way) == row["way"]), None)
        if way or row["way"] in ("trained", "cast"):
            mark, color = MARKS.get(way, ("D", INK))
            ends = None if row["low"] is None else (row["low"], row["high"])
            _point(ax, row["code_bits"], row[question], ends, mark, color, f"{question} {row['way']} {row['rung']}", 4.2 if way else 3.2)
    for way, (_, color) in MARKS.items():
        law = found["laws"].get(_way(found, way), {}).get(question)
        if law and law.get("preferred"):
            told = law["forms"][law["preferred"]]
            low, high = told["valid"]
            xs = [low * (high / low) ** (i / 200) for i in range(201)]
            theta = {key: entry["value"] for key, entry in told["parameters"].items()}
            ax.plot(xs, unit * forms.form(law["preferred"]).predict({"bits_per_weight": xs}, theta), color=color, ls="--", lw=0.9, zorder=2,
                    gid=f"law {question} {way}")


def _point(ax, x, value, ends, mark, color, gid, size):
    if ends is not None and max(ends) > 0:
        ax.plot([x, x], [max(ends[0], 0.0), ends[1]], color=color, lw=0.8, zorder=2.5)
    ax.plot([x], [max(value, 0.0)], marker=mark, color=color, ms=size, mew=0.8, ls="none", fillstyle="none" if value <= 0 else "full", zorder=3, gid=gid)
