"""Figures of studies of text: membership, losses, ROC curves, canaries, forgetting, double descent.
Nothing here computes a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib import rc_context

from capacity.analysis.text import membership_law as law
from capacity.analysis.text.analysis import Drawn, targets_of
from capacity.analysis.text.attacks import ATTACKS, NAMES, SHADOWED
from capacity.analysis.text.canaries import CHANCE_BITS, seen_by
from capacity.analysis.text.schema import (
    Canaries,
    Descent,
    ForgettingCell,
    Frame,
    Memory,
)
from capacity.analysis.text.tables import KINDS, SHORT_KINDS
from capacity.base.words import digits, plural
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding

Look = dict[str, Any]

DASHES = ("-", "--", ":", "-.")


def _style() -> AbstractContextManager[None]:
    return rc_context(cast(Any, STYLE))


def draw(finding: Finding) -> dict[str, Figure]:
    """All figures that a study has data for, by name."""
    found, runs = cast(Memory, finding.numbers), finding.tables["runs.csv"]
    roc, done = cast(Drawn, finding.data).roc, runs[runs.status == "finished"]
    figures = {
        name: roc_figure(roc, done, kind)
        for name, kind in (("roc", "members"), ("roc_shadows", "half"))
        if kind in set(roc.trained_on)
    }
    if "reason" not in found["laws"]["f1_median"]:
        figures["membership"] = membership_figure(runs, found)
    if targets_of(runs).groupby("model").tokens_per_parameter.nunique().max() > 1:
        figures["losses"] = losses_figure(runs)
    if found["forgetting"] is not None:
        figures |= forgetting_figures(found["forgetting"]["cells"])
    elif found["canaries"] is not None:
        figures["canaries"] = canary_figure(runs, found["canaries"])
        figures["extraction"] = extraction_figure(runs, found["canaries"])
    if found["descent"]:
        figures["descent"] = descent_figure(found["descent"])
        figures["generalised"] = generalised_figure(found["descent"])
    return figures


def membership_figure(runs: Frame, found: Memory) -> Figure:
    """F1 of the loss attack of each target against tokens per parameter, by model, with the fitted
    laws, the published one and the printed one; chance as a line."""
    with _style():
        done, style, words = _targets(runs)
        t = np.geomspace(
            done.tokens_per_parameter.min() / 1.3, done.tokens_per_parameter.max() * 1.3, 200
        )
        curves = [*_fitted(found, t), *_published(t, int(done.seq_len.iloc[0]))]
        figure, ax = panel(
            legend=[
                *(entry(words[model], ms=4.2, **look) for model, look in style.items()),
                *(entry(name, **look) for name, _, look in curves),
            ]
        )
        for model, look in style.items():
            group = done[done.model == model]
            x, y = group.tokens_per_parameter, group.loss_f1_median
            of_runs(ax.plot(x, y, label=words[model], ls="none", ms=4.2, **look), group.run_id)
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


def _fitted(found: Memory, t: np.ndarray) -> list[tuple[str, np.ndarray, Look]]:
    curves = []
    fitted, other = found["laws"]["f1_median"], found["logarithmic"]
    if "reason" not in fitted:
        y = law.repaired(t, *law.constants_of(fitted))
        curves.append(("sigmoid in t", y, {"color": INK, "lw": 1.2, "ls": "-"}))
    if other is not None and "reason" not in other:
        y = law.logarithmic(t, *law.constants_of(other))
        curves.append(("sigmoid in log t", y, {"color": INK, "lw": 0.8, "ls": "-."}))
    return curves


def _published(t: np.ndarray, seq_len: int) -> list[tuple[str, np.ndarray, Look]]:
    repaired = law.repaired(t, **law.PUBLISHED)
    printed = law.printed(law.ALPHA * seq_len / t, **law.PRINTED)
    return [
        ("published, repaired", repaired, {"color": GUIDE, "lw": 1.1, "ls": "--"}),
        ("published, as printed", printed, {"color": GUIDE, "lw": 1.1, "ls": ":"}),
    ]


def losses_figure(runs: Frame) -> Figure:
    """Bits per token of trained (filled) and held-out (open, dashed) sequences against tokens per
    parameter, by model, means over seeds."""
    with _style():
        done, style, words = _targets(runs)
        figure, ax = panel(
            legend=[
                entry(words[model], ms=4, lw=1.1, ls="-", **look) for model, look in style.items()
            ]
            + [
                entry("trained on", color=INK, lw=1.1, ls="-"),
                entry("held-out, open", color=INK, lw=1.1, ls="--"),
            ]
        )
        columns = {
            "trained on": "members_loss_bits_per_token",
            "held-out": "held_out_loss_bits_per_token",
        }
        for model, look in style.items():
            means = (
                done[done.model == model]
                .groupby("tokens_per_parameter")[list(columns.values())]
                .mean()
            )
            for name, column in columns.items():
                open_ones: Look = (
                    {"ls": "--", "markerfacecolor": "white"} if name == "held-out" else {}
                )
                ax.plot(
                    means.index,
                    means[column],
                    ms=4,
                    lw=1.1,
                    gid=f"{model}, {name}",
                    **look,
                    **open_ones,
                )
        ax.set(xscale="log", xlabel="tokens per parameter", ylabel="bits per token")
        plain_ticks(ax.xaxis, *ax.get_xlim())
        return figure


def canary_figure(runs: Frame, found: Canaries) -> Figure:
    """Exposure of canaries (bits) against how often they were seen, by model and number of passes
    over the data, means over runs; chance and the largest measurable exposure as lines."""
    with _style():
        limits = entry("chance; largest measurable", color=GUIDE, lw=0.8, ls="-")
        figure, ax, done = _canaries(runs, found, "exposure", [limits])
        ax.axhline(CHANCE_BITS, color=GUIDE, lw=0.7, gid="chance")
        ax.axhline(done.exposure_at_most.max(), color=GUIDE, lw=0.7, gid="largest measurable")
        ax.set_ylabel("exposure (bits)")
        return figure


def extraction_figure(runs: Frame, found: Canaries) -> Figure:
    """The part of the canaries that greedy decoding writes out of their first half, against how
    often they were seen; as `canary_figure`."""
    with _style():
        figure, ax, _ = _canaries(runs, found, "extractable", [])
        ax.set_ylabel("extractable from a half")
        return figure


def _canaries(
    runs: Frame, found: Canaries, column: str, notes: Sequence[Any]
) -> tuple[Figure, Axes, Frame]:
    done, style, _ = _targets(runs)
    levels = [int(level) for level in found["levels"] if int(level)]
    lines = []
    for model, look in style.items():
        group = done[done.model == model]
        for j, (seen, part) in enumerate(group.assign(factor=seen_by(group)).groupby("factor")):
            name = f"P = {group.parameters_total.iloc[0]:,.0f}, {seen:.0f} passes"
            x = [level * seen for level in levels]
            y = [part[f"{column}_{level}"].mean() for level in levels]
            face = "white" if j % 2 else look["color"]
            more = {"ms": 4, "lw": 1.0, "ls": DASHES[j % 4], "markerfacecolor": face}
            lines.append((name, x, y, look | more))
    figure, ax = panel(legend=[*(entry(name, **look) for name, _, _, look in lines), *notes])
    for name, x, y, look in lines:
        ax.plot(x, y, label=name, **look)
    ax.set_xscale("log", base=2)
    ax.set_xlabel("times seen")
    ax.xaxis.set_major_formatter("{x:g}")
    return figure, ax, done


def roc_figure(roc: Frame, done: Frame, kind: str) -> Figure:
    """True against false positive rates, log-log, of attacks on targets (kind "members", at the
    size of the data where the loss attack is nearest to an AUC of 0.75) or with shadow models
    ("half"). Means over models, bands their range.

    roc: of `attacks.over_curves`; done: finished runs."""
    with _style():
        some = done[done.trained_on == kind]
        model, tokens = (
            some.groupby(["model", "tokens_per_parameter"]).loss_auc.mean().sub(0.75).abs().idxmin()
        )
        part = roc[
            (roc.trained_on == kind) & (roc.model == model) & (roc.tokens_per_parameter == tokens)
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
                *(entry(NAMES[attack], **look) for attack, look in shown.items()),
                entry("chance", color=GUIDE, lw=0.8, ls="-"),
                *[entry("bands: range over models")] * bool(part.models.max() > 1),
            ],
        )
        for attack, look in shown.items():
            line = part[part.attack == attack]
            ax.plot(line.fpr, line.tpr, label=NAMES[attack], **look)
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
            f"{model}, {digits(tokens)} tokens per parameter, {plural(models, 'model')}",
            fontsize=SMALL,
            loc="left",
        )
        return figure


def descent_figure(found: Mapping[str, Descent]) -> Figure:
    """Double descent: bits per token of trained (filled) and held-out (open, dashed) sequences
    against data bits per parameter, log-log, by model, with the place of the highest loss where it
    is clear."""
    with _style():
        style = looks(sorted(found, key=lambda model: found[model]["parameters"]))
        peaks = (
            [entry("highest loss", color=INK, lw=0.8, ls=":")]
            if any(one["clear"] for one in found.values())
            else []
        )
        figure, ax = panel(
            legend=[
                *(
                    entry(
                        f"{model}, P = {found[model]['parameters']:,}", ms=4, lw=1.1, ls="-", **look
                    )
                    for model, look in style.items()
                ),
                entry("trained on", color=INK, lw=1.1, ls="-"),
                entry("held-out, open", color=INK, lw=1.1, ls="--"),
                *peaks,
            ]
        )
        for model, look in style.items():
            s = found[model]["sizes"]
            ax.plot(s["data"], s["train"], ms=4, lw=1.1, gid=f"{model}, trained on", **look)
            ax.plot(
                s["data"],
                s["held_out"],
                ms=4,
                lw=1.1,
                ls="--",
                markerfacecolor="white",
                gid=f"{model}, held-out",
                **look,
            )
            if found[model]["clear"]:
                ax.axvline(
                    found[model]["peak"]["value"],
                    color=look["color"],
                    lw=0.8,
                    ls=":",
                    gid=f"highest loss of {model}",
                )
        _data_axes(ax, "bits per token")
        return figure


def generalised_figure(found: Mapping[str, Descent]) -> Figure:
    """Memorized (filled) and generalised (open, dashed) bits per parameter against data bits per
    parameter, log-log, by model; all of the data, and the most that was memorized, as lines."""
    with _style():
        style = looks(sorted(found, key=lambda model: found[model]["parameters"]))
        figure, ax = panel(
            legend=[
                *(
                    entry(
                        f"{model}, P = {found[model]['parameters']:,}", ms=4, lw=1.1, ls="-", **look
                    )
                    for model, look in style.items()
                ),
                entry("memorized", color=INK, lw=1.1, ls="-"),
                entry("generalised, open", color=INK, lw=1.1, ls="--"),
                entry("all of the data", color=GUIDE, lw=0.8, ls="-"),
                entry("most that was memorized", color=INK, lw=0.6, ls=":"),
            ]
        )
        for model, look in style.items():
            s = found[model]["sizes"]
            ax.plot(s["data"], s["memorized"], ms=4, lw=1.1, gid=f"{model}, memorized", **look)
            ax.plot(
                s["data"],
                s["generalised"],
                ms=4,
                lw=1.1,
                ls="--",
                markerfacecolor="white",
                gid=f"{model}, generalised",
                **look,
            )
            ax.axhline(
                found[model]["alpha"]["value"],
                color=look["color"],
                lw=0.6,
                ls=":",
                gid=f"most that {model} memorized",
            )
        every = [bits for one in found.values() for bits in one["sizes"]["data"]]
        ax.plot(
            [min(every), max(every)],
            [min(every), max(every)],
            color=GUIDE,
            lw=0.8,
            gid="all of the data",
        )
        _data_axes(ax, "bits per parameter")
        return figure


def _data_axes(ax: Axes, label: str) -> None:
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set(xlabel="data bits per parameter", ylabel=label)
    ax.xaxis.set_major_formatter("{x:g}")
    plain_ticks(ax.yaxis, *ax.get_ylim())


def forgetting_figures(cells: Sequence[ForgettingCell]) -> dict[str, Figure]:
    """Figures by name: for each kind of canary bits above controls against updates since the last
    view, of the level seen most by model and batch (forgetting_random, forgetting_passages), and of
    the middle model by level (..._views)."""
    figures = {}
    for kind in sorted({cell["text"] for cell in cells}):
        name = f"forgetting_{SHORT_KINDS[kind]}"
        figures[name] = forgetting_figure(cells, kind, "model")
        figures[f"{name}_views"] = forgetting_figure(cells, kind, "views")
    return figures


def forgetting_figure(cells: Sequence[ForgettingCell], kind: str, by: str) -> Figure:
    """One of `forgetting_figures`; kind: "random" or "pool", by: "model" or "views". Forms are left
    to the table."""
    with _style():
        shown, where = _shown([cell for cell in cells if cell["text"] == kind], by)
        names = [
            f"{c['model']}, batch {c['batch']}"
            if by == "model"
            else f"seen {plural(c['views'], 'time')}"
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
            title=True,
            legend=[entry(name, **look) for name, look in zip(names, style, strict=True)],
        )
        for cell, name, look in zip(shown, names, style, strict=True):
            ax.plot(np.add(cell["lags"], 1), cell["bits"], label=name, **look)
        ax.set_title(f"{KINDS[kind]}, {where}", fontsize=SMALL, loc="left")
        ax.axhline(0.0, color=GUIDE, lw=0.7, gid="controls")
        ax.set(
            xscale="log", xlabel="updates since the last view, plus 1", ylabel="bits above controls"
        )
        return figure


def _shown(some: list[ForgettingCell], by: str) -> tuple[list[ForgettingCell], str]:
    """Of the cells of one kind those that a figure shows, and what they have in common. Of several
    points of training the one with most cells."""
    points = [cell["point"] for cell in some]
    some = [cell for cell in some if cell["point"] == max(points, key=points.count)]
    if by == "model":
        views = max(cell["views"] for cell in some)
        shown, where = [c for c in some if c["views"] == views], f"seen {plural(views, 'time')}"
    else:
        batches = sorted({cell["batch"] for cell in some})
        batch = max(batches, key=lambda b: len({c["model"] for c in some if c["batch"] == b}))
        sizes = sorted({cell["parameters"] for cell in some if cell["batch"] == batch})
        size = sizes[len(sizes) // 2]
        shown = [c for c in some if (c["batch"], c["parameters"]) == (batch, size)]
        where = f"{shown[0]['model']}, batch {batch}"
    return sorted(shown, key=lambda c: (c["parameters"], c["batch"], c["views"])), where


def _targets(runs: Frame) -> tuple[Frame, dict[str, Look], dict[str, str]]:
    """Finished targets, a look by model, and what the legend calls a model."""
    done = targets_of(runs)
    models = [str(model) for model in done.sort_values("parameters_total").model.unique()]
    sizes = {model: done.parameters_total[done.model == model].iloc[0] for model in models}
    return done, looks(models), {model: f"{model}, P = {p:,.0f}" for model, p in sizes.items()}
