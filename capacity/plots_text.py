"""Figures of studies of text: membership, ROC curves, canaries, forgetting, double descent. Nothing here computes a result."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from capacity.laws import membership as law
from capacity.laws.attacks import ATTACKS
from capacity.laws.canaries import CHANCE_BITS, seen_by
from capacity.plots import COLORS, GUIDE, INK, MARKERS, SMALL, STYLE, of_runs


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
            of_runs(left.plot(group.tokens_per_parameter, group.loss_f1_median, label=f"{label}, {group.parameters_total.iloc[0]:,.0f} parameters", **style),
                    group.run_id)
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
        per_sequence = law.ALPHA * done.seq_len.iloc[0] / t
        left.plot(t, law.printed(per_sequence, **law.PRINTED), color=GUIDE, linewidth=1.1, linestyle=":", label="published, as printed")
        left.axhline(0.5, color=GUIDE, linewidth=0.6, gid="chance")
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
            for j, (seen, part) in enumerate(group.assign(factor=seen_by(group)).groupby("factor")):
                style = {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)], "markersize": 4, "linewidth": 1.0,
                         "linestyle": ("-", "--", ":", "-.")[j % 4], "markerfacecolor": "white" if j % 2 else None}
                for ax, column in ((left, "exposure"), (right, "extractable")):
                    ax.plot([level * seen for level in levels], [part[f"{column}_{level}"].mean() for level in levels], **style,
                            label=f"{group.parameters_total.iloc[0]:,.0f} parameters, {seen:.0f} passes")
        left.axhline(CHANCE_BITS, color=GUIDE, linewidth=0.7, gid="chance")
        left.text(1.0, CHANCE_BITS + 0.12, "chance", fontsize=SMALL, color=INK, transform=left.get_yaxis_transform(), ha="right")
        left.axhline(done.exposure_at_most.max(), color=GUIDE, linewidth=0.7, gid="most that can be told")
        left.set_ylabel("exposure (bits)")
        right.set_ylabel("extractable from a half")
        for ax in (left, right):
            ax.set_xscale("log", base=2)
            ax.set_xlabel("times seen")
            ax.xaxis.set_major_formatter("{x:g}")
        right.legend(fontsize=SMALL - 0.5, frameon=False, loc="upper left", labelspacing=0.3)
        return figure


def roc_figure(roc, done):
    """Panels of 3.6 x 3.3 inches, log-log: true against false positive rates of attacks on targets, at the size of the data where the loss attack is
    nearest to an AUC of 0.75, and of attacks with shadow models, if there are any. Means over models, bands their range.

    roc: `laws.attacks.over_curves`; done: finished runs.
    """
    with rc_context(STYLE):
        kinds = [kind for kind in ("members", "half") if kind in set(roc.trained_on)]
        figure = Figure(figsize=(3.6 * len(kinds), 3.3))
        panels = figure.subplots(1, len(kinds), squeeze=False)[0]
        figure.subplots_adjust(left=0.17 / len(kinds), right=0.985, bottom=0.15, top=0.92, wspace=0.22)
        least = 1.0
        for ax, kind in zip(panels, kinds):
            some = done[done.trained_on == kind]
            near = some.groupby(["label", "tokens_per_parameter"]).loss_auc.mean().sub(0.75).abs().idxmin()
            part = roc[(roc.trained_on == kind) & (roc.label == near[0]) & (roc.tokens_per_parameter == near[1])]
            shown = [a for a in ATTACKS if a in set(part.attack) and (kind == "members" or a in ("loss", "lira", "lira_offline", "rmia"))]
            for i, attack in enumerate(shown):
                line = part[part.attack == attack]
                ax.plot(line.fpr, line.tpr, color=COLORS[i % len(COLORS)], linewidth=1.2, linestyle=("-", "--", ":", "-.")[i // len(COLORS)],
                        label=attack.replace("_", " "))
                if line.models.iloc[0] > 1:
                    ax.fill_between(line.fpr, line.tpr_low, line.tpr_high, color=COLORS[i % len(COLORS)], alpha=0.12, linewidth=0)
                least = min(least, line.fpr.min())
            ax.set_title(f"{ {'members': 'one model', 'half': 'shadow models'}[kind]}: {near[0]}, {near[1]:.2g} tokens per parameter, "
                         f"{int(part.models.max())} models", fontsize=SMALL, loc="left")
            ax.legend(fontsize=SMALL - 0.5, frameon=False, loc="lower right", labelspacing=0.3)
        for ax in panels:
            ax.plot([least, 1], [least, 1], color=GUIDE, linewidth=0.8, gid="chance")
            ax.set(xscale="log", yscale="log", xlim=(least, 1), ylim=(least, 1.05), xlabel="false positive rate", ylabel="true positive rate")
        return figure


def descent_figure(found):
    """Two panels, 7 x 3.1 inches, over data bits per parameter. Left: loss on held-out and on trained sequences, with the peak. Right: memorized and
    generalised bits per parameter, their sum over what a uniform code needs; all data memorized, and the most that was, as guide lines.

    found: `laws.descent.judge`.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, 3.1))
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.075, right=0.985, bottom=0.165, top=0.95, wspace=0.2)
        for i, (label, shape) in enumerate(found.items()):
            s, color, marker = shape["sizes"], COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
            style = {"color": color, "marker": marker, "markersize": 4, "linewidth": 1.1}
            name = f"{label}, {shape['parameters']:,} parameters"
            left.plot(s["data"], s["held_out"], **style, label=f"{name}, held out")
            left.plot(s["data"], s["train"], **style, linestyle=":", markerfacecolor="white", gid=f"{name}, trained on")
            right.plot(s["data"], s["memorized"], **style, label=f"{name}, memorized")
            right.plot(s["data"], s["generalised"], **style, linestyle="--", markerfacecolor="white", label="generalised")
            if shape["clear"]:
                left.axvline(shape["peak"]["value"], color=color, linewidth=0.8, linestyle="--", gid=f"highest loss of {label}")
            right.axhline(shape["alpha"]["value"], color=color, linewidth=0.6, linestyle=":", gid=f"most that {label} memorized")
        every = [bits for shape in found.values() for bits in shape["sizes"]["data"]]
        right.plot([min(every), max(every)], [min(every), max(every)], color=GUIDE, linewidth=0.8, gid="all of the data")
        left.set_ylabel("bits per token (dotted: trained on)")
        right.set_ylabel("bits per parameter")
        for ax in (left, right):
            ax.set_xscale("log", base=2)
            ax.set_yscale("log")
            ax.set_xlabel("data bits per parameter")
            ax.xaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_major_formatter("{x:g}")
            ax.legend(fontsize=SMALL - 0.5, frameon=False, labelspacing=0.3)
        return figure


def forgetting_figure(found):
    """Panels by kind of canary, up to three columns of 2.4 x 2.9 inches: bits above controls against updates since the last view, for the level seen
    most by shape and batch, and for the middle shape by level, dashed. Forms are left to the table.

    found: `laws.forgetting.judge`.
    """
    with rc_context(STYLE):
        cells = found["cells"]
        kinds = sorted({cell["text"] for cell in cells})
        panels = [(kind, by) for kind in kinds for by in ("shape", "views")]
        figure = Figure(figsize=(max(7.0, 3.2 * len(panels) / 2), 2.8 * (1 + (len(panels) > 2))))
        axes = figure.subplots(1 + (len(panels) > 2), 2, squeeze=False).ravel()
        figure.subplots_adjust(left=0.08, right=0.985, bottom=0.1 if len(panels) > 2 else 0.17, top=0.95, wspace=0.18, hspace=0.32)
        for ax, (kind, by) in zip(axes, panels):
            some = [cell for cell in cells if cell["text"] == kind]
            batches = sorted({cell["batch"] for cell in some})
            points = [cell["point"] for cell in some]
            some = [cell for cell in some if cell["point"] == max(points, key=points.count)]
            common = max(batches, key=lambda b: len({c["label"] for c in some if c["batch"] == b}))
            sizes = sorted({cell["parameters"] for cell in some if cell["batch"] == common})
            if by == "shape":
                shown = [c for c in some if c["views"] == max(cell["views"] for cell in some)]
            else:
                shown = [c for c in some if c["batch"] == common and c["parameters"] == sizes[len(sizes) // 2]]
            for i, cell in enumerate(sorted(shown, key=lambda c: (c["parameters"], c["batch"], c["views"]))):
                name = f"{cell['label']}, batch {cell['batch']}" if by == "shape" else f"seen {cell['views']} times"
                ax.plot(np.add(cell["lags"], 1), cell["bits"], color=COLORS[i % len(COLORS)], marker=MARKERS[i % len(MARKERS)], markersize=3, linewidth=1.1,
                        label=name)
            where = f"seen {shown[0]['views']} times" if by == "shape" else f"{shown[0]['label']}, batch {common}"
            ax.set_title(f"{ {'random': 'random tokens', 'pool': 'passages of the text'}[kind]}, {where}", fontsize=SMALL + 0.5, loc="left")
            ax.axhline(0.0, color=GUIDE, linewidth=0.7, gid="controls")
            ax.set_xscale("log")
            ax.set_xlabel("updates since the last view, plus 1")
            ax.set_ylabel("bits above controls")
            ax.legend(fontsize=SMALL - 0.5, frameon=False, labelspacing=0.3)
        return figure
