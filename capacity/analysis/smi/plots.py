"""The figures of a study of what counts of facts predict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from capacity.analysis.smi.analysis import WAYS
from capacity.analysis.smi.reading import OUTCOMES, PREDICTORS
from capacity.figures.marks import means
from capacity.figures.style import GUIDE, drawing, entry, looks, panel

BESIDE = 0.14  # of the place between two predictors, by which ways stand apart


def draw(numbers: Mapping[str, Any]) -> dict[str, Figure]:
    """Figures by outcome of which anything is explained; numbers: of a finding of
    `smi.analyse`."""
    told = {row["outcome"] for row in numbers["explained"] if row["value"] is not None}
    return {figure_name(one): explained_figure(numbers, one) for one in OUTCOMES if one in told}


def figure_name(outcome: str) -> str:
    """Of the figure of an outcome."""
    return outcome.replace(" ", "_")


def explained_figure(numbers: Mapping[str, Any], outcome: str) -> Figure:
    """R^2 by predictor, mean over sizes and seeds with 95% over seeds: a colour and a marker for
    each way of counting (and system)."""
    with drawing():
        rows = [
            row
            for row in numbers["explained"]
            if row["outcome"] == outcome
            and row["predictor"] in PREDICTORS
            and row["value"] is not None
        ]
        series: dict[str, list[Mapping[str, Any]]] = {}
        for row in sorted(rows, key=lambda one: WAYS.index(one["way"])):
            name = f"{row['way']}, {row['system']}" if row["system"] else str(row["way"])
            series.setdefault(name, []).append(row)
        style = looks(list(series))
        legend = [entry(name, ms=4.2, **look) for name, look in style.items()]
        figure, ax = panel(("predictor", f"$R^2$ of {outcome}"), legend=legend)
        ends = [end for row in rows for end in (row["interval"] or [row["value"]])]
        low, high = min([0.0, *ends]), max([0.1, *ends])
        ax.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
        ax.set_xlim(-0.5, len(PREDICTORS) - 0.5)
        ax.set_xticks(range(len(PREDICTORS)), PREDICTORS)
        ax.axhline(0.0, color=GUIDE, lw=0.7, zorder=0, gid="the mean does as well")
        for k, (name, mine) in enumerate(series.items()):
            off = BESIDE * (k - (len(series) - 1) / 2)
            x = [PREDICTORS.index(row["predictor"]) + off for row in mine]
            y = [row["value"] for row in mine]
            means(ax, x, y, [row["interval"] for row in mine], name=name, ms=4.0, **style[name])
        return figure
