"""Figures of compression over runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from capacity.analysis.compression.constancy import COMMON
from capacity.analysis.compression.knowledge import X
from capacity.base.frames import Frame
from capacity.figures.marks import of_runs
from capacity.figures.style import drawing, entry, looks, panel
from capacity.figures.ticks import log_ticks


def figures(numbers: Mapping[str, Any], tables: Mapping[str, Frame]) -> dict[str, Figure]:
    """The figures that these numbers have: capacity, knowledge."""
    out = {}
    if numbers["families"]:
        out["capacity"] = capacity_figure(numbers["families"])
    if "people.csv" in tables:
        out["knowledge"] = knowledge_figure(tables["people.csv"])
    return out


def capacity_figure(families: Sequence[Mapping[str, Any]]) -> Figure:
    """IC over parameters: a line per family, a color per kind of data."""
    kinds: dict[str, list[tuple[list[float], list[float], str]]] = {}
    for one in families:
        at = f"{one['study']} {one['variant']} {one['amount']} {one['exposures']:g}".strip()
        if one["data"] == "random data":
            kinds.setdefault("random, equal load", []).append((one["parameters"], one["ic"], at))
            shared = one["common"]["ic"]
            kinds.setdefault(COMMON.replace(" data", "", 1), []).append(
                (one["parameters"], shared, at)
            )
        elif one["side"] == "held_out":
            kinds.setdefault("text, held out", []).append((one["parameters"], one["ic"], at))
    with drawing():
        style = looks(list(kinds))
        legend = [entry(name, ms=4, lw=0.8, ls="-", **look) for name, look in style.items()]
        figure, ax = panel(("parameters", "Information Capacity, bits"), legend=legend)
        for name, lines in kinds.items():
            for p, ic, at in lines:
                ax.plot(p, ic, gid=f"{name} {at}", lw=0.6, ms=3, **style[name])
        ax.set_xscale("log")
        log_ticks(ax.xaxis)
        ax.set_ylim(bottom=0)
        return figure


def knowledge_figure(people: Frame) -> Figure:
    """Accuracy of each run over the code length of its values, by size, with the line through
    all."""
    with drawing():
        sizes = people.groupby("size").parameters.mean().sort_values().index.tolist()
        style = looks(sizes)
        legend = [entry(name, ms=4, ls="none", **look) for name, look in style.items()]
        axes = ("code length of values, bits per bit", "accuracy")
        figure, ax = panel(axes, legend=legend)
        for name, look in style.items():
            mine = people[people["size"] == name]
            points: dict[str, Any] = {"ls": "none", "ms": 3.2, "mew": 0.6, **look}
            of_runs(ax.plot(mine[X], mine.accuracy, gid=name, **points), mine.run_id)
        x = people[X].to_numpy(float)
        if len(people) > 2 and np.ptp(x) > 0:
            line = np.poly1d(np.polyfit(x, people.accuracy.to_numpy(float), 1))
            reach = np.array([x.min(), x.max()])
            ax.plot(reach, line(reach), gid="line through all runs", lw=1, ls="--", color="#444444")
        ax.set_ylim(-0.03, 1.05)
        return figure
