"""Figures of studies of text: membership, losses, ROC curves, canaries, forgetting, double descent.
Nothing here computes a result."""

import numpy as np
from matplotlib import rc_context

from capacity.analysis.text import membership_law as law
from capacity.analysis.text.attacks import ATTACKS
from capacity.analysis.text.canaries import CHANCE_BITS, seen_by
from capacity.figures.style import (
    COLORS,
    GUIDE,
    INK,
    MARKERS,
    SMALL,
    STYLE,
    entry,
    looks,
    of_runs,
    panel,
    plain_ticks,
)

DASHES = ("-", "--", ":", "-.")
SHADOWED = ("loss", "lira", "lira_offline", "rmia")
NAMES = {
    "loss": "loss",
    "zlib": "zlib",
    "min_k": "Min-K%",
    "min_k_plus": "Min-K%++",
    "recall": "ReCaLL",
    "reference": "reference",
    "lira": "LiRA",
    "lira_offline": "LiRA offline",
    "rmia": "RMIA",
}
KINDS = {"random": "random", "pool": "passages"}


def membership_figure(runs, found):
    """F1 of the loss attack of each target against tokens per parameter, by shape, with the fitted
    laws, the published one and the printed one; chance as a line. runs: `laws.memory.joined`;
    found: `laws.memory.judge`."""
    with rc_context(STYLE):
        done, style, words = _targets(runs)
        t = np.geomspace(
            done.tokens_per_parameter.min() / 1.3, done.tokens_per_parameter.max() * 1.3, 200
        )
        curves, fitted, other = [], found["laws"]["f1_median"], found["logarithmic"]
        if "reason" not in fitted:
            curves += [
                (
                    "sigmoid in t",
                    law.repaired(t, fitted["c1"], fitted["c2"], fitted["c3"]),
                    {"color": INK, "lw": 1.2, "ls": "-"},
                ),
                (
                    "sigmoid in log t",
                    law.logarithmic(t, other["c1"], other["c2"], other["c3"]),
                    {"color": INK, "lw": 0.8, "ls": "-."},
                ),
            ]
        per_sequence = law.ALPHA * done.seq_len.iloc[0] / t
        curves += [
            (
                "published, repaired",
                law.repaired(t, **law.PUBLISHED),
                {"color": GUIDE, "lw": 1.1, "ls": "--"},
            ),
            (
                "published, as printed",
                law.printed(per_sequence, **law.PRINTED),
                {"color": GUIDE, "lw": 1.1, "ls": ":"},
            ),
        ]
        figure, ax = panel(
            legend=[
                *(entry(words[label], ms=4.2, **look) for label, look in style.items()),
                *(entry(name, **look) for name, _, look in curves),
            ]
        )
        for label, look in style.items():
            group = done[done.label == label]
            of_runs(
                ax.plot(
                    group.tokens_per_parameter,
                    group.loss_f1_median,
                    label=words[label],
                    ls="none",
                    ms=4.2,
                    **look,
                ),
                group.run_id,
            )
        for name, values, look in curves:
            ax.plot(t, values, label=name, **look)
        ax.axhline(0.5, color=GUIDE, lw=0.6, gid="chance")
        ax.set(
            xscale="log",
            ylim=(0.45, 1.03),
            xlabel="tokens per parameter",
            ylabel="membership F1, loss attack",
        )
        plain_ticks(ax.xaxis, *ax.get_xlim())
        return figure


def losses_figure(runs):
    """Bits per token of trained (filled) and held-out (open, dashed) sequences against tokens per
    parameter, by shape, means over seeds. runs: `laws.memory.joined`."""
    with rc_context(STYLE):
        done, style, words = _targets(runs)
        figure, ax = panel(
            legend=[
                entry(words[label], ms=4, lw=1.1, ls="-", **look) for label, look in style.items()
            ]
            + [
                entry("trained on", color=INK, lw=1.1, ls="-"),
                entry("held out, open", color=INK, lw=1.1, ls="--"),
            ]
        )
        columns = {
            "trained on": "members_loss_bits_per_token",
            "held out": "held_out_loss_bits_per_token",
        }
        for label, look in style.items():
            means = (
                done[done.label == label]
                .groupby("tokens_per_parameter")[list(columns.values())]
                .mean()
            )
            for name, column in columns.items():
                open_ones = {"ls": "--", "markerfacecolor": "white"} if name == "held out" else {}
                ax.plot(
                    means.index,
                    means[column],
                    ms=4,
                    lw=1.1,
                    gid=f"{label}, {name}",
                    **look,
                    **open_ones,
                )
        ax.set(xscale="log", xlabel="tokens per parameter", ylabel="bits per token")
        plain_ticks(ax.xaxis, *ax.get_xlim())
        return figure


def canary_figure(runs, found):
    """Exposure of canaries (bits) against how often they were seen, by shape and number of passes
    over the data, means over runs; chance, and the most that can be told, as lines. runs:
    `laws.memory.joined`; found: `laws.memory.judge` of a study with canaries."""
    with rc_context(STYLE):
        figure, ax, done = _canaries(
            runs,
            found,
            "exposure",
            [entry("chance; most that can be told", color=GUIDE, lw=0.8, ls="-")],
        )
        ax.axhline(CHANCE_BITS, color=GUIDE, lw=0.7, gid="chance")
        ax.axhline(done.exposure_at_most.max(), color=GUIDE, lw=0.7, gid="most that can be told")
        ax.set_ylabel("exposure (bits)")
        return figure


def extraction_figure(runs, found):
    """The part of the canaries that greedy decoding writes out of their first half, against how
    often they were seen; as `canary_figure`."""
    with rc_context(STYLE):
        figure, ax, _ = _canaries(runs, found, "extractable", [])
        ax.set_ylabel("extractable from a half")
        return figure


def _canaries(runs, found, column, notes):
    done, style, _ = _targets(runs)
    levels = [int(level) for level in found["canaries"]["levels"] if int(level)]
    lines = []
    for label, look in style.items():
        group = done[done.label == label]
        for j, (seen, part) in enumerate(group.assign(factor=seen_by(group)).groupby("factor")):
            lines.append(
                (
                    f"P = {group.parameters_total.iloc[0]:,.0f}, {seen:.0f} passes",
                    [level * seen for level in levels],
                    [part[f"{column}_{level}"].mean() for level in levels],
                    {
                        **look,
                        "ms": 4,
                        "lw": 1.0,
                        "ls": DASHES[j % 4],
                        "markerfacecolor": "white" if j % 2 else look["color"],
                    },
                )
            )
    figure, ax = panel(legend=[*(entry(name, **look) for name, _, _, look in lines), *notes])
    for name, x, y, look in lines:
        ax.plot(x, y, label=name, **look)
    ax.set_xscale("log", base=2)
    ax.set_xlabel("times seen")
    ax.xaxis.set_major_formatter("{x:g}")
    return figure, ax, done


def roc_figure(roc, done, kind):
    """True against false positive rates, log-log, of attacks on targets (kind "members", at the
    size of the data where the loss attack is nearest to an AUC of 0.75) or with shadow models
    ("half"). Means over models, bands their range.

    roc: `laws.attacks.over_curves`; done: finished runs."""
    with rc_context(STYLE):
        some = done[done.trained_on == kind]
        label, tokens = (
            some.groupby(["label", "tokens_per_parameter"]).loss_auc.mean().sub(0.75).abs().idxmin()
        )
        part = roc[
            (roc.trained_on == kind) & (roc.label == label) & (roc.tokens_per_parameter == tokens)
        ]
        shown = {
            attack: {"color": COLORS[i % len(COLORS)], "lw": 1.2, "ls": DASHES[i // len(COLORS)]}
            for i, attack in enumerate(
                a for a in ATTACKS if a in set(part.attack) and (kind == "members" or a in SHADOWED)
            )
        }
        figure, ax = panel(
            2.6,
            right=0.17,
            title=True,
            legend=[
                *(entry(NAMES.get(attack, attack), **look) for attack, look in shown.items()),
                entry("chance", color=GUIDE, lw=0.8, ls="-"),
                *[entry("bands: range over models")] * bool(part.models.max() > 1),
            ],
        )
        for attack, look in shown.items():
            line = part[part.attack == attack]
            ax.plot(line.fpr, line.tpr, label=NAMES.get(attack, attack), **look)
            if line.models.iloc[0] > 1:
                ax.fill_between(
                    line.fpr, line.tpr_low, line.tpr_high, color=look["color"], alpha=0.12, lw=0
                )
        least = float(part.fpr.min())
        ax.plot([least, 1], [least, 1], color=GUIDE, lw=0.8, gid="chance")
        ax.set(
            xscale="log",
            yscale="log",
            xlim=(least, 1),
            ylim=(least, 1.05),
            xlabel="false positive rate",
            ylabel="true positive rate",
        )
        models = int(part.models.max())
        ax.set_title(
            f"{label}, {tokens:.2g} tokens per parameter, {models} model{'s' * (models > 1)}",
            fontsize=SMALL,
            loc="left",
        )
        return figure


def descent_figure(found):
    """Double descent: bits per token of trained (filled) and held-out (open, dashed) sequences
    against data bits per parameter, log-log, by shape, with the place of the highest loss where it
    is clear. found: `laws.descent.judge`."""
    with rc_context(STYLE):
        style = looks(sorted(found, key=lambda label: found[label]["parameters"]))
        peaks = (
            [entry("highest loss", color=INK, lw=0.8, ls=":")]
            if any(shape["clear"] for shape in found.values())
            else []
        )
        figure, ax = panel(
            legend=[
                *(
                    entry(
                        f"{label}, P = {found[label]['parameters']:,}", ms=4, lw=1.1, ls="-", **look
                    )
                    for label, look in style.items()
                ),
                entry("trained on", color=INK, lw=1.1, ls="-"),
                entry("held out, open", color=INK, lw=1.1, ls="--"),
                *peaks,
            ]
        )
        for label, look in style.items():
            s = found[label]["sizes"]
            ax.plot(s["data"], s["train"], ms=4, lw=1.1, gid=f"{label}, trained on", **look)
            ax.plot(
                s["data"],
                s["held_out"],
                ms=4,
                lw=1.1,
                ls="--",
                markerfacecolor="white",
                gid=f"{label}, held out",
                **look,
            )
            if found[label]["clear"]:
                ax.axvline(
                    found[label]["peak"]["value"],
                    color=look["color"],
                    lw=0.8,
                    ls=":",
                    gid=f"highest loss of {label}",
                )
        _data_axes(ax, "bits per token")
        return figure


def generalised_figure(found):
    """Memorized (filled) and generalised (open, dashed) bits per parameter against data bits per
    parameter, log-log, by shape; all of the data, and the most that was memorized, as lines. found:
    `laws.descent.judge`."""
    with rc_context(STYLE):
        style = looks(sorted(found, key=lambda label: found[label]["parameters"]))
        figure, ax = panel(
            legend=[
                *(
                    entry(
                        f"{label}, P = {found[label]['parameters']:,}", ms=4, lw=1.1, ls="-", **look
                    )
                    for label, look in style.items()
                ),
                entry("memorized", color=INK, lw=1.1, ls="-"),
                entry("generalised, open", color=INK, lw=1.1, ls="--"),
                entry("all of the data", color=GUIDE, lw=0.8, ls="-"),
                entry("most that was memorized", color=INK, lw=0.6, ls=":"),
            ]
        )
        for label, look in style.items():
            s = found[label]["sizes"]
            ax.plot(s["data"], s["memorized"], ms=4, lw=1.1, gid=f"{label}, memorized", **look)
            ax.plot(
                s["data"],
                s["generalised"],
                ms=4,
                lw=1.1,
                ls="--",
                markerfacecolor="white",
                gid=f"{label}, generalised",
                **look,
            )
            ax.axhline(
                found[label]["alpha"]["value"],
                color=look["color"],
                lw=0.6,
                ls=":",
                gid=f"most that {label} memorized",
            )
        every = [bits for shape in found.values() for bits in shape["sizes"]["data"]]
        ax.plot(
            [min(every), max(every)],
            [min(every), max(every)],
            color=GUIDE,
            lw=0.8,
            gid="all of the data",
        )
        _data_axes(ax, "bits per parameter")
        return figure


def _data_axes(ax, label):
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set(xlabel="data bits per parameter", ylabel=label)
    ax.xaxis.set_major_formatter("{x:g}")
    plain_ticks(ax.yaxis, *ax.get_ylim())


def forgetting_figures(found) -> dict:
    """Figures by name: for each kind of canary bits above controls against updates since the last
    view, of the level seen most by shape and batch (forgetting_random, forgetting_passages), and of
    the middle shape by level (..._views). found: `laws.forgetting.judge`."""
    cells = found["cells"]
    return {
        f"forgetting_{KINDS[kind]}{'_views' * (by == 'views')}": forgetting_figure(cells, kind, by)
        for kind in sorted({cell["text"] for cell in cells})
        for by in ("shape", "views")
    }


def forgetting_figure(cells, kind, by):
    """One of `forgetting_figures`; kind: "random" or "pool", by: "shape" or "views". Forms are left
    to the table."""
    with rc_context(STYLE):
        some = [cell for cell in cells if cell["text"] == kind]
        points = [cell["point"] for cell in some]
        some = [cell for cell in some if cell["point"] == max(points, key=points.count)]
        common = max(
            sorted({cell["batch"] for cell in some}),
            key=lambda b: len({c["label"] for c in some if c["batch"] == b}),
        )
        sizes = sorted({cell["parameters"] for cell in some if cell["batch"] == common})
        if by == "shape":
            shown = [c for c in some if c["views"] == max(cell["views"] for cell in some)]
        else:
            shown = [
                c
                for c in some
                if c["batch"] == common and c["parameters"] == sizes[len(sizes) // 2]
            ]
        shown = sorted(shown, key=lambda c: (c["parameters"], c["batch"], c["views"]))
        names = [
            f"{c['label']}, batch {c['batch']}"
            if by == "shape"
            else f"seen {c['views']} time{'s' * (c['views'] > 1)}"
            for c in shown
        ]
        style = [
            {
                "color": COLORS[i % len(COLORS)],
                "marker": MARKERS[i % len(MARKERS)],
                "ms": 3,
                "lw": 1.1,
                "ls": "-",
            }
            for i in range(len(shown))
        ]
        figure, ax = panel(
            title=True, legend=[entry(name, **look) for name, look in zip(names, style)]
        )
        for cell, name, look in zip(shown, names, style):
            ax.plot(np.add(cell["lags"], 1), cell["bits"], label=name, **look)
        where = (
            f"seen {shown[0]['views']} times"
            if by == "shape"
            else f"{shown[0]['label']}, batch {common}"
        )
        ax.set_title(
            f"{ {'random': 'random tokens', 'pool': 'passages of the text'}[kind] }, {where}",
            fontsize=SMALL,
            loc="left",
        )
        ax.axhline(0.0, color=GUIDE, lw=0.7, gid="controls")
        ax.set(
            xscale="log", xlabel="updates since the last view, plus 1", ylabel="bits above controls"
        )
        return figure


def _targets(runs):
    """Finished targets, a look by shape, and what the legend calls a shape."""
    done = runs[(runs.status == "finished") & (runs.trained_on == "members")]
    labels = list(dict.fromkeys(done.sort_values("parameters_total").label))
    return (
        done,
        looks(labels),
        {
            label: f"{label}, P = {done.parameters_total[done.label == label].iloc[0]:,.0f}"
            for label in labels
        },
    )
