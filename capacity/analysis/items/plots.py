"""Figures of a study of items: what is held of a sequence against its copies, and what a fuzzy copy
is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from capacity.analysis.finding import Finding
from capacity.analysis.items.orders import SAYS
from capacity.analysis.items.retention import behind_all, by_spacing
from capacity.base.frames import Frame
from capacity.base.words import count, plural
from capacity.figures.marks import beside, means
from capacity.figures.style import DASHES, drawing, entry, looks, panel
from capacity.figures.ticks import doubling_ticks

KINDS = ("window", "length", "noise_share", "replaced_share", "tokens")


def draw(finding: Finding) -> dict[str, Figure]:
    """Figures by name: held; worth, where copies are fuzzy; forecasts, with snapshots."""
    groups = finding.tables["groups.csv"]
    if by_spacing(finding.numbers):  # at one number of copies
        return {"retention": spacing_figure(finding.tables["retention.csv"])}
    out = {"held": held_figure(groups)}
    if any(row["rho"] for row in finding.numbers["worth"]):
        out["worth"] = worth_figure(finding.numbers)
    if finding.numbers["retention"]:
        out["retention"] = retention_figure(finding.tables["retention.csv"])
    if finding.numbers["earlier"]:
        out["forecasts"] = forecasts_figure(finding.numbers)
    return out


def called(row: Any, varied: list[str]) -> str:
    """A kind of canaries by what varies among kinds."""
    words = {
        "window": str(row["window"]),
        "length": f"{row['length']} tokens",
        "noise_share": f"{row['noise_share']:.0%} random",
        "replaced_share": f"{row['replaced_share']:.0%} replaced",
        "tokens": f"{count(row['tokens'])} tokens of training",
    }
    return ", ".join(words[name] for name in varied) or "all"


def held_figure(groups: Frame) -> Figure:
    """Share of the code length that is held against copies, means over replicates: a colour for
    each kind, a line for each model and system."""
    with drawing():
        some = groups[groups.repeats > 0]
        varied = [name for name in KINDS if some[name].nunique() > 1]
        if "length" in varied and "noise_share" in varied:
            varied.remove("noise_share")  # a mean over it; the table has every one
        some = some.assign(kind=[called(row, varied) for _, row in some.iterrows()])
        kinds = list(dict.fromkeys(some.sort_values(varied or ["repeats"]).kind))
        some = some.assign(line=_lines(some))
        lines = sorted(set(some.line))
        style = looks(kinds)
        dashes = {name: DASHES[i % len(DASHES)] for i, name in enumerate(lines)}
        legend = [entry(kind, ms=4, lw=1.0, ls="-", **look) for kind, look in style.items()]
        if len(lines) > 1:
            legend += [entry(name, color="#444444", lw=1.0, ls=ls) for name, ls in dashes.items()]
        figure, ax = panel(("copies", "share of the code length that is held"), legend=legend)
        for (kind, line), part in some.groupby(["kind", "line"], sort=False):
            mean = part.groupby("repeats").share.mean()
            look: Mapping[str, Any] = style[str(kind)]
            name = f"{kind}, {line}" if len(lines) > 1 else str(kind)
            ax.plot(mean.index, mean, gid=name, ms=3.6, lw=0.9, ls=dashes[str(line)], **look)
        ax.set_xscale("log", base=2)
        doubling_ticks(ax.xaxis, sorted(set(some.repeats)))
        ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        return figure


def _lines(some: Frame) -> pd.Series:
    """What a line stands for: size of the model where several are there, and system."""
    several = some.parameters.nunique() > 1
    size = [f"{count(p)} parameters" * several for p in some.parameters]
    system = ["" if s == "all runs" else s for s in some.system]
    words = [", ".join(filter(None, pair)) for pair in zip(system, size, strict=True)]
    return pd.Series(words, index=some.index)


def worth_figure(numbers: Mapping[str, Any]) -> Figure:
    """rho against the share of replaced tokens, with intervals over replicates, by outcome."""
    with drawing():
        rows = [row for row in numbers["worth"] if row["rho"]]
        names = list(dict.fromkeys((row["system"], row["outcome"]) for row in rows))
        called_ = {
            (system, outcome): SAYS[outcome] + ("" if system == "all runs" else f", {system}")
            for system, outcome in names
        }
        style = looks(called_.values())
        legend = [entry(name, ms=4.2, **look) for name, look in style.items()]
        figure, ax = panel(
            ("share of tokens replaced in a copy", "worth of an exact copy"), legend=legend
        )
        shares = sorted({row["replaced"] for row in rows})
        limits = (0.0, 1.15 * shares[-1])
        ends = [row["rho"]["interval"] or [row["rho"]["value"]] * 2 for row in rows]
        ax.set_xlim(*limits)
        ax.set_ylim(min(0.0, *(e[0] for e in ends)) - 0.03, max(1.0, *(e[1] for e in ends)) + 0.05)
        for i, (key, name) in enumerate(called_.items()):
            mine = [row for row in rows if (row["system"], row["outcome"]) == key]
            x = [beside(row["replaced"], i, len(called_), limits, log=False) for row in mine]
            y = [row["rho"]["value"] for row in mine]
            intervals = [row["rho"]["interval"] for row in mine]
            line = means(ax, x, y, intervals, name=name, ms=4.2, **style[name])
            line[0].at = [row["replaced"] for row in mine]
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5]))
        return figure


def forecasts_figure(numbers: Mapping[str, Any]) -> Figure:
    """Recall of forecasts of the largest model against their cost, with intervals over replicates:
    of smaller models, and of its own earlier steps, those of each system."""
    with drawing():
        largest = max(row["parameters"] for row in numbers["earlier"])
        sides = {
            "smaller models": [r for r in numbers["forecasts"] if r["large"] == largest],
            "earlier steps": [r for r in numbers["earlier"] if r["parameters"] == largest],
        }
        lines: dict[str, list[Mapping[str, Any]]] = {}
        for side, rows in sides.items():
            for row in rows:
                system = "" if row["system"] == "all runs" else f", {row['system']}"
                if row["recall"] is not None:
                    lines.setdefault(f"{side}{system}", []).append(row)
        style = looks(lines)
        legend = [entry(name, ms=4, lw=1.0, ls="-", **look) for name, look in style.items()]
        labels = ("cost of the predictor / of the target", "recall")
        figure, ax = panel(labels, legend=legend)
        ax.set_xscale("log")
        every = [row for rows in lines.values() for row in rows]
        ends = [x for row in every for x in row["recall"]["interval"] or [row["recall"]["value"]]]
        ax.set_xlim(min(row["cost"] for row in every) / 1.5, 1.5)
        ax.set_ylim(min(0.0, *ends) - 0.03, max(1.0, *ends) + 0.03)
        for name, rows in lines.items():
            some = sorted(rows, key=lambda row: row["cost"])
            x = [row["cost"] for row in some]
            y = [row["recall"]["value"] for row in some]
            look: Mapping[str, Any] = style[name]
            ax.plot(x, y, gid=name, lw=0.9, ls="-", color=look["color"])
            means(ax, x, y, [row["recall"]["interval"] for row in some], name=name, ms=4.2, **look)
        ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        return figure


def retention_figure(found: Frame) -> Figure:
    """Recognition beyond guessing (twice the AUC - 1) and the part recalled against the updates
    after the window, means over groups and replicates: a colour for each, a dash for each system
    and share of random tokens."""
    with drawing():
        behind = found[found.lag >= 0].copy()
        behind["recognition"] = 2 * behind.recognition - 1
        several = behind.noise_share.nunique() > 1
        names = [f"{share:.0%} random" * several for share in behind.noise_share]
        systems = ["" if s == "all runs" else s for s in behind.system]
        behind["line"] = [", ".join(filter(None, p)) for p in zip(systems, names, strict=True)]
        lines = sorted(set(behind.line))
        style = looks(["recognition beyond guessing", "recall"])
        dashes = {name: DASHES[i % len(DASHES)] for i, name in enumerate(lines)}
        legend = [entry(name, ms=4, lw=1.0, ls="-", **look) for name, look in style.items()]
        if len(lines) > 1:
            legend += [entry(name, color="#444444", lw=1.0, ls=ls) for name, ls in dashes.items()]
        figure, ax = panel(("updates after the window of views", "part"), legend=legend)
        for name, column in zip(style, ("recognition", "recalled"), strict=True):
            for line, part in behind.groupby("line", sort=True):
                mean = part.groupby("lag")[column].mean()
                look: Mapping[str, Any] = style[name]
                gid = f"{name}, {line}" if line else name
                ax.plot(mean.index, mean, gid=gid, ms=3.6, lw=0.9, ls=dashes[str(line)], **look)
        ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        return figure


def spacing_figure(found: Frame) -> Figure:
    """Bits that never seen canaries cost more, against the updates of training, from the first
    snapshot behind all windows on, means over groups and replicates: a colour for each number of
    steps between views, a dash for each system."""
    with drawing():
        behind = behind_all(found)
        systems = sorted(set(behind.system))
        dashes = {name: DASHES[i % len(DASHES)] for i, name in enumerate(systems)}
        style = looks([_apart(k) for k in sorted(set(behind.spacing))])
        legend = [entry(name, ms=4, lw=1.0, ls="-", **look) for name, look in style.items()]
        if len(systems) > 1:
            legend += [entry(name, color="#444444", lw=1.0, ls=ls) for name, ls in dashes.items()]
        figure, ax = panel(("updates of training", "bits held of a sequence"), legend=legend)
        for spacing, mine in behind.groupby("spacing", sort=True):
            name = _apart(float(str(spacing)))
            look: Mapping[str, Any] = style[name]
            for system, part in mine.groupby("system", sort=True):
                mean = part.groupby("step").bits.mean()
                ls = dashes[str(system)]
                ax.plot(mean.index, mean, gid=f"{name}, {system}", ms=3.6, lw=0.9, ls=ls, **look)
        ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        return figure


def _apart(spacing: float) -> str:
    return f"{plural(int(spacing), 'step')} between views"
