"""Figures of studies of text: membership against tokens per parameter, and ROC curves. Nothing here computes a result."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from capacity.laws import membership as law
from capacity.laws.memory import CEILING_BITS, CHANCE_BITS
from capacity.plots import COLORS, GUIDE, INK, MARKERS, SMALL, STYLE


def membership_figure(runs, found):
    """Two panels, 7 x 3.1 inches. Left: F1 of the loss attack of each target against tokens per parameter, by shape, with the fitted
    law, the published one and the printed one. Right: bits per token on trained and held-out sequences.

    runs: `laws.memory.joined`; found: `laws.memory.judge`.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, 3.1))
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.075, right=0.985, bottom=0.165, top=0.93, wspace=0.22)
        done = runs[(runs.status == "finished") & (runs.trained_on == "members")]
        labels = list(dict.fromkeys(done.sort_values("parameters_total").label))
        t = np.geomspace(done.tokens_per_parameter.min() / 1.3, done.tokens_per_parameter.max() * 1.3, 200)
        for i, label in enumerate(labels):
            group = done[done.label == label]
            style = {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)], "linestyle": "none", "markersize": 4.5}
            left.plot(group.tokens_per_parameter, group.loss_f1_median, label=f"{label}, {group.parameters_total.iloc[0]:,.0f} parameters", **style)
            means = group.groupby("tokens_per_parameter")[["members_loss_bits_per_token", "held_out_loss_bits_per_token"]].mean()
            right.plot(means.index, means.members_loss_bits_per_token, color=style["color"], marker=style["marker"], markersize=4, linewidth=1.2,
                       label=f"{label}, trained on")
            right.plot(means.index, means.held_out_loss_bits_per_token, color=style["color"], marker=style["marker"], markersize=4,
                       markerfacecolor="white", linewidth=1.2, linestyle="--", label=f"{label}, held out")
        fitted = found["laws"]["f1_median"]
        if "reason" not in fitted:
            left.plot(t, law.repaired(t, fitted["c1"], fitted["c2"], fitted["c3"]), color=INK, linewidth=1.3, label="fitted, sigmoid in t")
            other = found["logarithmic"]
            left.plot(t, law.logarithmic(t, other["c1"], other["c2"], other["c3"]), color=INK, linewidth=0.8, linestyle="-.", label="fitted, in log t")
        left.plot(t, law.repaired(t, **law.PUBLISHED), color=GUIDE, linewidth=1.1, linestyle="--", label="published, repaired")
        per_sequence = 3.64 * done.seq_len.iloc[0] / t
        left.plot(t, law.printed(per_sequence, **law.PRINTED), color=GUIDE, linewidth=1.1, linestyle=":", label="published, as printed")
        left.axhline(0.5, color=GUIDE, linewidth=0.6)
        left.set_ylim(0.45, 1.03)
        left.set_ylabel("membership F1, loss attack")
        right.set_ylabel("bits per token")
        for ax in (left, right):
            ax.set_xscale("log")
            ax.set_xlabel("tokens per parameter")
            place = {"loc": "lower left", "bbox_to_anchor": (0.0, 0.11)} if ax is left else {"loc": "upper right"}
            ax.legend(fontsize=SMALL - 0.5, frameon=True, framealpha=0.9, edgecolor="none", handlelength=1.8, labelspacing=0.35, **place)
            ax.xaxis.set_major_formatter("{x:g}")
        return figure


def canary_figure(runs, found):
    """Two panels, 7 x 2.9 inches: exposure of canaries, and the part of them that greedy decoding writes, against how often they were
    seen, by shape and number of passes over the data. Means over runs; chance and the ceiling of exposure as lines.

    runs: `laws.memory.joined`; found: `laws.memory.judge` of a study with canaries.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, 2.9))
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.07, right=0.985, bottom=0.175, top=0.95, wspace=0.2)
        done = runs[(runs.status == "finished") & (runs.trained_on == "members")]
        levels = [int(level) for level in found["canaries"]["levels"] if int(level)]
        for i, label in enumerate(dict.fromkeys(done.sort_values("parameters_total").label)):
            group = done[done.label == label]
            for j, (seen, part) in enumerate(group.groupby("exposures")):
                style = {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)], "markersize": 4, "linewidth": 1.0,
                         "linestyle": ("-", "--", ":", "-.")[j % 4], "markerfacecolor": "white" if j % 2 else None}
                for ax, column in ((left, "exposure"), (right, "extractable")):
                    ax.plot([level * seen for level in levels], [part[f"{column}_{level}"].mean() for level in levels], **style,
                            label=f"{group.parameters_total.iloc[0]:,.0f} parameters, {seen:.0f} passes")
        left.axhline(CHANCE_BITS, color=GUIDE, linewidth=0.7)
        left.text(1.0, CHANCE_BITS + 0.12, "chance", fontsize=SMALL, color=INK, transform=left.get_yaxis_transform(), ha="right")
        left.axhline(CEILING_BITS, color=GUIDE, linewidth=0.7)
        left.set_ylabel("exposure (bits)")
        right.set_ylabel("extractable from a half")
        for ax in (left, right):
            ax.set_xscale("log", base=2)
            ax.set_xlabel("times seen")
            ax.xaxis.set_major_formatter("{x:g}")
        right.legend(fontsize=SMALL - 0.5, frameon=False, loc="upper left", labelspacing=0.3)
        return figure
