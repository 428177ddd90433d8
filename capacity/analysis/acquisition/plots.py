"""Figures of a study of acquisition: what the value of a fact costs along the training, and what is
held of it behind its last view."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from capacity.analysis.acquisition.analysis import RANK
from capacity.analysis.acquisition.reading import shown
from capacity.analysis.finding import Finding
from capacity.base.frames import Frame
from capacity.figures.style import DASHES, GUIDE, drawing, entry, looks, panel
from capacity.figures.ticks import log_ticks


def draw(finding: Finding) -> dict[str, Figure]:
    """Figures by name: cost along the training; held, where lags are."""
    out = {"cost": cost_figure(finding.tables["probes.csv"])}
    later = finding.tables["retained.csv"]
    if len(later):
        out["held"] = held_figure(later)
    return out


def _drawn(ax: Any, mine: Frame, x: str, y: str) -> None:
    arms, kinds = _looks(mine)
    for (arm, kind), part in mine.groupby(["arm", "kind"], sort=False):
        mean = part.groupby(x)[y].mean()
        look: dict[str, Any] = {"color": arms[str(arm)]["color"], "ls": kinds[str(kind)]}
        ax.plot(mean.index, mean, gid=f"{arm}, {kind}", lw=0.9, **look)


def _looks(mine: Frame) -> tuple[dict[str, Any], dict[str, str]]:
    arms = sorted(set(mine.arm), key=RANK.__getitem__)
    kinds = sorted(set(mine.kind), key=RANK.__getitem__)
    return dict(looks(arms)), {kind: DASHES[i] for i, kind in enumerate(kinds)}


def _legend(mine: Frame) -> list[Any]:
    arms, kinds = _looks(mine)
    out = [entry(arm, lw=1.2, ls="-", color=look["color"]) for arm, look in arms.items()]
    return out + [entry(kind, lw=1.0, ls=ls, color="#444444") for kind, ls in kinds.items()]


def cost_figure(probes: Frame) -> Figure:
    """Bits of a value's tokens along the training, means over facts and runs: a colour per arm, a
    dash per kind of probe; of the largest model at its smallest batch."""
    with drawing():
        mine, words = shown(probes)
        mine = mine[mine.kind != "composition"]
        figure, ax = panel(
            ("steps", "bits of the value's tokens"), legend=_legend(mine), notes=[words]
        )
        _drawn(ax, mine, "step", "bits")
        ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        return figure


def held_figure(later: Frame) -> Figure:
    """Bits held above never shown facts against the lag behind the last local maximum."""
    with drawing():
        mine, words = shown(later)
        figure, ax = panel(
            ("steps behind the last view's maximum", "bits above facts never shown"),
            legend=_legend(mine),
            notes=[words],
        )
        _drawn(ax, mine, "lag", "held")
        ax.axhline(0, color=GUIDE, lw=0.6, zorder=0)
        ax.set_xscale("log")
        log_ticks(ax.xaxis)
        ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        return figure
