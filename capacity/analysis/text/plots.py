"""Figures of studies of text: membership, losses, ROC curves, canaries, forgetting, double descent.
Nothing here computes a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib.ticker import MaxNLocator

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
    SubsetEffects,
)
from capacity.analysis.text.tables import KINDS
from capacity.analysis.text.tables_forgetting import SHORT_KINDS
from capacity.base.words import digits, plural
from capacity.figures.marks import of_runs
from capacity.figures.style import (
    DASHES,
    GUIDE,
    MARKERS,
    color,
    drawing,
    entry,
    ink,
    looks,
    panel,
)
from capacity.figures.ticks import doubling_ticks, log_ticks
from capacity.fitting.membership import RESOLVABLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from capacity.analysis.finding import Finding

Look = dict[str, Any]

# of a run, what follows from the size of its data, and what makes replicates of it
SIZES = ("data.n_sequences", "data.tokens_per_parameter", "data.documents", "train.steps")
REPLICATES = ("data.split_seed",)
APART = 1.1  # sizes of data of one curve, by this factor at least


def draw(finding: Finding) -> dict[str, Figure]:
    """All figures that a study has data for, by name."""
    memory, runs = cast(Memory, finding.numbers), finding.tables["runs.csv"]
    roc, done = cast(Drawn, finding.data).roc, runs[runs.status == "finished"]
    figures = {
        name: roc_figure(roc, done, kind)
        for name, kind in (("roc", "members"), ("roc_shadows", "half"))
        if kind in set(roc.trained_on)
    }
    if "reason" not in memory["laws"]["f1_median"]:
        figures["membership"] = membership_figure(runs, memory)
    if _over_sizes(runs):
        figures["losses"] = losses_figure(runs)
    if memory["forgetting"] is not None:
        figures |= forgetting_figures(memory["forgetting"]["cells"])
    elif memory["canaries"] is not None:
        figures["canaries"] = canary_figure(runs, memory["canaries"])
        figures["extraction"] = extraction_figure(runs, memory["canaries"])
    if found := [one for one in memory.get("subsets", []) if one["tenths"]]:
        figures["subsets"] = subsets_figure(found)
    if memory["descent"]:
        figures["descent"] = descent_figure(memory["descent"])
        figures["generalised"] = generalised_figure(memory["descent"])
    return figures


def membership_figure(runs: Frame, memory: Memory) -> Figure:
    """F1 of the loss attack of each target against tokens per parameter, by model, with the fitted
    laws, the published one and the printed one; chance as a line."""
    with drawing():
        done, style, words = _targets(runs)
        t = np.geomspace(
            done.tokens_per_parameter.min() / 1.3, done.tokens_per_parameter.max() * 1.3, 200
        )
        curves = [*_fitted(memory, t), *_published(t, int(done.seq_len.iloc[0]))]
        figure, ax = panel(
            ("tokens per parameter", "membership F1, loss attack"),
            legend=[
                *(entry(words[model], ms=4.2, **look) for model, look in style.items()),
                *(entry(name, **look) for name, _, look in curves),
            ],
        )
        for model, look in style.items():
            group = done[done.model == model]
            x, y = group.tokens_per_parameter, group.loss_f1_median
            of_runs(ax.plot(x, y, gid=words[model], ls="none", ms=4.2, **look), group.run_id)
        for name, values, look in curves:
            ax.plot(t, values, gid=name, **look)
        ax.axhline(0.5, color=GUIDE, lw=0.6, gid="chance")
        ax.set(xscale="log", ylim=(0.45, 1.03), xlim=(t.min(), t.max()))
        log_ticks(ax.xaxis)
        return figure


def _fitted(memory: Memory, t: np.ndarray) -> list[tuple[str, np.ndarray, Look]]:
    curves = []
    fitted, other = memory["laws"]["f1_median"], memory["logarithmic"]
    if "reason" not in fitted:
        y = law.repaired(t, *law.constants_of(fitted))
        curves.append(("sigmoid in t", y, {"color": ink(), "lw": 1.2, "ls": "-"}))
    if other is not None and "reason" not in other:
        y = law.logarithmic(t, *law.constants_of(other))
        curves.append(("sigmoid in log t", y, {"color": ink(), "lw": 0.8, "ls": "-."}))
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
    parameter, by model, means over seeds and splits. A line joins runs that differ in the size of
    their data alone, not those of another text or budget."""
    with drawing():
        done, style, words = _targets(runs)
        columns = {
            "trained on": "members_loss_bits_per_token",
            "held-out": "held_out_loss_bits_per_token",
        }
        figure, ax = panel(
            ("tokens per parameter", "bits per token"),
            legend=[
                *(
                    entry(words[model], ms=4, lw=1.1, ls="-", **look)
                    for model, look in style.items()
                ),
                entry("trained on", color=ink(), lw=1.1, ls="-"),
                entry("held-out, open", color=ink(), lw=1.1, ls="--"),
            ],
        )
        for (model, _), mine in done.groupby(["model", _recipe(done)], sort=False):
            look = {"ms": 4, "lw": 1.1} | style[str(model)]
            means = mine.groupby("tokens_per_parameter")[list(columns.values())].mean()
            for name, column in columns.items():
                more: Look = {"ls": "--", "markerfacecolor": "white"} if name == "held-out" else {}
                ax.plot(means.index, means[column], gid=f"{model}, {name}", **look, **more)
        ax.set(xscale="log")
        log_ticks(ax.xaxis)
        return figure


def _recipe(runs: Frame) -> Any:
    """A name for the settings by which runs differ besides model, seed, split and size of data."""
    varied = [
        name
        for name in runs
        if name.startswith(("data.", "train."))
        and name not in (*SIZES, *REPLICATES)
        and runs[name].map(repr).nunique() > 1
    ]
    return runs[varied].map(repr).agg(", ".join, axis=1) if varied else runs.kind


def _over_sizes(runs: Frame) -> bool:
    """Whether some model was trained in one way on data of several sizes."""
    done = targets_of(runs)
    if done.empty:
        return False
    sizes = done.groupby(["model", _recipe(done)]).tokens_per_parameter
    return bool((sizes.max() > APART * sizes.min()).any())


def canary_figure(runs: Frame, numbers: Canaries) -> Figure:
    """Exposure of canaries (bits) against how often they were seen, by model and number of passes
    over the data, means over runs; chance and the largest measurable exposure as lines."""
    with drawing():
        limits = entry("chance; largest measurable", color=GUIDE, lw=0.8, ls="-")
        figure, ax, done = _canaries(runs, numbers, ("exposure", "exposure (bits)"), [limits])
        ax.axhline(CHANCE_BITS, color=GUIDE, lw=0.7, gid="chance")
        ax.axhline(done.exposure_at_most.max(), color=GUIDE, lw=0.7, gid="largest measurable")
        return figure


def extraction_figure(runs: Frame, numbers: Canaries) -> Figure:
    """The part of the canaries that greedy decoding writes out of their first half, against how
    often they were seen; as `canary_figure`."""
    with drawing():
        return _canaries(runs, numbers, ("extractable", "extractable from a half (part)"), [])[0]


def _canaries(
    runs: Frame, numbers: Canaries, of: tuple[str, str], notes: Sequence[Any]
) -> tuple[Figure, Axes, Frame]:
    """of: the beginning of a column's name, and what it is."""
    done, style, words = _targets(runs)
    done = done.assign(factor=seen_by(done).round())
    levels = [int(level) for level in numbers["levels"] if int(level)]
    passes = sorted(done.factor.unique())
    lines: list[Look] = [
        {"ls": DASHES[j % 4], "lw": 1.0} | ({"markerfacecolor": "white"} if j % 2 else {})
        for j in range(len(passes))
    ]
    legend = [entry(words[model], ms=4, lw=1.0, ls="-", **look) for model, look in style.items()]
    grey: Look = {"color": ink(), "marker": "o", "ms": 4}
    legend += [
        entry(f"{plural(int(seen), 'pass', 'passes')} over the data", **grey, **line)
        for seen, line in zip(passes, lines, strict=True)
    ]
    figure, ax = panel(("times seen", of[1]), legend=[*legend, *notes])
    for model, look in style.items():
        for seen, part in done[done.model == model].groupby("factor"):
            x = [level * seen for level in levels]
            y = [part[f"{of[0]}_{level}"].mean() for level in levels]
            name = f"{model}, {plural(int(seen), 'pass', 'passes')}"
            ax.plot(x, y, gid=name, ms=4, **look, **lines[passes.index(seen)])
    ax.set_xscale("log", base=2)
    doubling_ticks(ax.xaxis)
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    return figure, ax, done


def roc_figure(roc: Frame, done: Frame, kind: str) -> Figure:
    """True against false positive rates, log-log, of attacks on targets (kind "members", at the
    size of the data where the loss attack is nearest to an AUC of 0.75) or with shadow models
    ("half"). Means over models, bands their range. The curves begin where the non-members of each
    model allow `RESOLVABLE` false positives, as the rates that are told do (`membership.tpr_at`).

    roc: of `attacks.over_curves`; done: finished runs."""
    with drawing():
        some = done[done.trained_on == kind]
        model, tokens = (
            some.groupby(["model", "tokens_per_parameter"]).loss_auc.mean().sub(0.75).abs().idxmin()
        )
        mine = some[(some.model == model) & (some.tokens_per_parameter == tokens)]
        part = roc[
            (roc.trained_on == kind) & (roc.model == model) & (roc.tokens_per_parameter == tokens)
        ]
        least, part = _resolved(part, mine)
        shown = {
            attack: {"color": color(i), "lw": 1.2, "ls": DASHES[i % len(DASHES)]}
            for i, attack in enumerate(
                a for a in ATTACKS if a in set(part.attack) and (kind == "members" or a in SHADOWED)
            )
        }
        models = int(part.models.max())
        begins = f"from {RESOLVABLE} false positives on"
        figure, ax = panel(
            ("false positive rate", "true positive rate"),
            right=0.06,
            title=f"{model}, {digits(tokens)} tokens per parameter, {plural(models, 'model')}",
            legend=[
                *(entry(NAMES[attack], **look) for attack, look in shown.items()),
                entry("chance", color=GUIDE, lw=0.8, ls="-"),
            ],
            notes=[f"{begins}; bands: range over models" if models > 1 else begins],
        )
        for attack, look in shown.items():
            line = part[part.attack == attack]
            ax.plot(line.fpr, line.tpr, gid=NAMES[attack], **look)
            if line.models.iloc[0] > 1:
                ax.fill_between(
                    line.fpr, line.tpr_low, line.tpr_high, color=look["color"], alpha=0.12, lw=0,
                    gid=f"range of {NAMES[attack]}",
                )  # fmt: skip
        ax.plot([least, 1], [least, 1], color=GUIDE, lw=0.8, gid="chance")
        drawn = part[part.attack.isin(shown)]
        lowest = min(least, float(drawn.tpr_low[drawn.tpr_low > 0].min()))
        ax.set(xscale="log", yscale="log", xlim=(least, 1), ylim=(lowest, 1.05))
        for axis in (ax.xaxis, ax.yaxis):
            log_ticks(axis)
        return figure


def _resolved(roc: Frame, runs: Frame) -> tuple[float, Frame]:
    """The false positive rate at which curves of these runs begin, and the curves from there on;
    all of them where the runs have too few non-members for any."""
    least = RESOLVABLE / float(runs.n_others.min())
    kept = roc[roc.fpr >= least * (1 - 1e-9)]
    if kept.fpr.nunique() < 2:
        return float(roc.fpr.min()), roc
    return float(kept.fpr.min()), kept


def subsets_figure(found: Sequence[SubsetEffects]) -> Figure:
    """Memorized bits, means of tenths of the sequences by their code length in models that have not
    seen them, 95% over sequences, by family of models."""
    with drawing():
        names = [f"{one['model']}, {digits(one['tokens_per_parameter'])} tokens/P" for one in found]
        style = looks(names)
        figure, ax = panel(
            ("bits of code, unseen", "memorized bits"),
            legend=[entry(name, ms=4, **style[name]) for name in names],
        )
        for name, one in zip(names, found, strict=True):
            x, y, se = np.array(one["tenths"]).T
            look = style[name]
            band = {"color": look["color"], "alpha": 0.18, "lw": 0}
            ax.fill_between(x, y - 1.96 * se, y + 1.96 * se, gid=f"95% of {name}", **band)
            ax.plot(x, y, ms=4, lw=1.1, gid=name, **look)
        ax.axhline(0, color=GUIDE, lw=0.6, gid="nothing memorized")
        return figure


def descent_figure(descents: Mapping[str, Descent]) -> Figure:
    """Double descent: bits per token of trained (filled) and held-out (open, dashed) sequences
    against data bits per parameter, log-log, by model, with the place of the highest loss where it
    is clear."""
    with drawing():
        style = looks(sorted(descents, key=lambda model: descents[model]["parameters"]))
        peaks = (
            [entry("highest loss", color=ink(), lw=0.8, ls=":")]
            if any(shape["clear"] for shape in descents.values())
            else []
        )
        figure, ax = panel(
            ("data bits per parameter", "bits per token"),
            legend=[
                *_sizes(descents, style),
                entry("trained on", color=ink(), lw=1.1, ls="-"),
                entry("held-out, open", color=ink(), lw=1.1, ls="--"),
                *peaks,
            ],
        )
        for model, look in style.items():
            s = descents[model]["sizes"]
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
            if descents[model]["clear"]:
                ax.axvline(
                    descents[model]["peak"]["value"],
                    color=look["color"],
                    lw=0.8,
                    ls=":",
                    gid=f"highest loss of {model}",
                )
        _data_axes(ax)
        return figure


def generalised_figure(descents: Mapping[str, Descent]) -> Figure:
    """Memorized (filled) and generalised (open, dashed) bits per parameter against data bits per
    parameter, log-log, by model; all of the data, and the most that was memorized, as lines."""
    with drawing():
        style = looks(sorted(descents, key=lambda model: descents[model]["parameters"]))
        figure, ax = panel(
            ("data bits per parameter", "bits per parameter"),
            legend=[
                *_sizes(descents, style),
                entry("memorized", color=ink(), lw=1.1, ls="-"),
                entry("generalised, open", color=ink(), lw=1.1, ls="--"),
                entry("all of the data", color=GUIDE, lw=0.8, ls="-"),
                entry("most that was memorized", color=ink(), lw=0.6, ls=":"),
            ],
        )
        for model, look in style.items():
            s = descents[model]["sizes"]
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
                descents[model]["alpha"]["value"],
                color=look["color"],
                lw=0.6,
                ls=":",
                gid=f"most that {model} memorized",
            )
        every = [bits for shape in descents.values() for bits in shape["sizes"]["data"]]
        ax.plot(
            [min(every), max(every)],
            [min(every), max(every)],
            color=GUIDE,
            lw=0.8,
            gid="all of the data",
        )
        _data_axes(ax)
        return figure


def _sizes(descents: Mapping[str, Descent], style: Mapping[str, Look]) -> list[Any]:
    """Handles of models by size."""
    names = {model: f"{model}, P = {descents[model]['parameters']:,}" for model in style}
    return [entry(names[model], ms=4, lw=1.1, ls="-", **look) for model, look in style.items()]


def _data_axes(ax: Axes) -> None:
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    doubling_ticks(ax.xaxis)
    log_ticks(ax.yaxis)


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
    with drawing():
        shown, where = _shown([cell for cell in cells if cell["text"] == kind], by)
        names = [
            f"{c['model']}, batch {c['batch']}"
            if by == "model"
            else f"seen {plural(c['views'], 'time')}"
            for c in shown
        ]
        style = [
            {
                "color": color(i),
                "marker": MARKERS[i % len(MARKERS)],
                "ms": 3,
                "lw": 1.1,
                "ls": "-",
            }
            for i in range(len(shown))
        ]
        figure, ax = panel(
            ("updates since the last view, plus 1", "bits above controls"),
            title=f"{KINDS[kind]}, {where}",
            legend=[entry(name, **look) for name, look in zip(names, style, strict=True)],
        )
        for cell, name, look in zip(shown, names, style, strict=True):
            ax.plot(np.add(cell["lags"], 1), cell["bits"], gid=name, **look)
        ax.axhline(0.0, color=GUIDE, lw=0.7, gid="controls")
        ax.set(xscale="log")
        log_ticks(ax.xaxis)
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
    labels = [str(model) for model in done.sort_values("parameters_total").model.unique()]
    sizes = {model: done.parameters_total[done.model == model].iloc[0] for model in labels}
    return done, looks(labels), {model: f"{model}, P = {p:,.0f}" for model, p in sizes.items()}
