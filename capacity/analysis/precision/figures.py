"""Figures of studies of precision. Nothing here computes a result.

Whiskers: 95% over shapes. What is below zero is drawn at zero, as an open mark.
"""

from matplotlib import rc_context

from capacity.figures.style import COLORS, GUIDE, INK, STYLE, entry, panel
from capacity.fitting import forms

NAMES = {
    "rtn": "rounded to nearest",
    "gptq": "GPTQ",
    "qat": "trained quantized",
}  # where all tensors are not quantized, ladders of maps
MARKS = {"rtn": ("s", COLORS[1]), "gptq": ("^", COLORS[0]), "qat": ("o", COLORS[2])}


def kept_figure(found):
    """What full models keep of fp32's bits against the bits of a code (log2 axis), with the form of
    least held-out error by ladder (dashed). found: of `precision_laws.judge`."""
    return _ladder(found, "kept", 1.0, "held bits, part of fp32's")


def ladder_figure(found):
    """The precision ladder: the most that a shape holds over data sizes, in bits per parameter,
    against the bits of a code; as `kept_figure`."""
    fp32 = next(
        (
            row["capacity"]
            for row in found["capacity"]
            if (row["way"], row["rung"]) == ("trained", "fp32")
        ),
        1.0,
    )
    return _ladder(found, "capacity", fp32, "capacity (bits per parameter)")


def stored_figure(found):
    """Bits held per stored bit, scales counted, against stored bits per weight. found: of
    `precision_laws.judge`."""
    with rc_context(STYLE):
        figure, ax = panel(
            legend=_legend(found, [row["per_stored_bit"] for row in found["capacity"]], law=False)
        )
        for row in found["capacity"]:
            way, mark, color = _mark(found, row)
            if way:
                _point(
                    ax,
                    row["stored"],
                    row["per_stored_bit"],
                    None,
                    mark,
                    color,
                    f"stored {row['way']} {row['rung']}",
                )
        return _finished(
            figure, ax, "stored bits per weight, with scales", "bits held per stored bit"
        )


def _ladder(found, question, unit, label):
    with rc_context(STYLE):
        figure, ax = panel(
            legend=_legend(found, [row[question] for row in found[question]], law=True)
        )
        for row in found[question]:
            way, mark, color = _mark(found, row)
            if way:
                ends = None if row["low"] is None else (row["low"], row["high"])
                _point(
                    ax,
                    row["code_bits"],
                    row[question],
                    ends,
                    mark,
                    color,
                    f"{question} {row['way']} {row['rung']}",
                )
        for way, (_, color) in MARKS.items():
            law = found["laws"].get(_way(found, way), {}).get(question)
            if law and law.get("preferred") and not law["poor"]:
                told = law["forms"][law["preferred"]]
                low, high = told["valid"]
                xs = [low * (high / low) ** (i / 200) for i in range(201)]
                theta = {key: entry["value"] for key, entry in told["parameters"].items()}
                ax.plot(
                    xs,
                    unit * forms.form(law["preferred"]).predict({"bits_per_weight": xs}, theta),
                    color=color,
                    ls="--",
                    lw=0.9,
                    zorder=2,
                    gid=f"law {question} {way}",
                )
        values = [row[question] for row in found[question]]
        ax.set_ylim(
            top=min(ax.get_ylim()[1], 1.6 * max(values))
        )  # whiskers of few shapes may be longer than the panel
        return _finished(figure, ax, "bits of a code", label)


def _finished(figure, ax, x, y):
    ax.set_xscale("log", base=2)
    ax.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
    ax.minorticks_off()
    ax.set(xlabel=x, ylabel=y)
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    ax.axhline(0.0, color=GUIDE, lw=0.6, zorder=1)
    return figure


def _legend(found, values, law):
    line = {"ls": "--", "lw": 0.9} if law else {}
    handles = [
        entry(NAMES[way], color=color, marker=mark, ms=4.2, **line)
        for way, (mark, color) in MARKS.items()
        if _way(found, way)
    ]
    handles.append(entry("32 and 16 bits", color=INK, marker="D", ms=3.4))
    if any(value <= 0 for value in values):
        handles.append(entry("0 or less", color=INK, marker="o", fillstyle="none", ms=4.2))
    return handles + ([entry("best form held out", color=INK, ls="--", lw=0.9)] if law else [])


def _way(found, way):
    """The ladder of all tensors, or where the study has none of maps only; None without either."""
    have = {row["way"] for row in found["capacity"]}
    return next((name for name in (way, f"{way} maps") if name in have), None)


def _mark(found, row):
    """Ladder, marker and colour of a row; None for a ladder that is not drawn."""
    way = next((way for way in MARKS if _way(found, way) == row["way"]), None)
    return (
        (way, *MARKS[way])
        if way
        else ("full" if row["way"] in ("trained", "cast") else None, "D", INK)
    )


def _point(ax, x, value, ends, mark, color, gid):
    if ends is not None and max(ends) > 0:
        ax.plot([x, x], [max(ends[0], 0.0), ends[1]], color=color, lw=0.8, zorder=2.5)
    ax.plot(
        [x],
        [max(value, 0.0)],
        marker=mark,
        color=color,
        ms=3.2 if mark == "D" else 4.2,
        mew=0.8,
        ls="none",
        fillstyle="none" if value <= 0 else "full",
        zorder=3,
        gid=gid,
    )
