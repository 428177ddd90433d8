"""The figure of a chain of families: bits per parameter by family and size."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from capacity.analysis.families import FAMILIES
from capacity.base.frames import Frame
from capacity.figures.marks import of_runs
from capacity.figures.style import drawing, entry, ink, looks, panel


def chain_figure(runs: Frame) -> Figure:
    """A row per family, in the order of the chain, with each finished run of its recipe, a colour
    and a marker per size and exposures, and lines through means over seeds of families that follow
    each other; runs: runs.csv of a finding."""
    with drawing():
        drawn = runs[(runs.status == "finished") & runs.chosen.astype(bool)]
        drawn = drawn.sort_values(["parameters", "exposures_planned"])
        called = [
            f"{size}, {exposures:g} exposures"
            for size, exposures in zip(drawn["size"], drawn.exposures_planned, strict=True)
        ]
        present = [f for f in FAMILIES if (drawn.family == f.key).any()]
        place = {family.key: i for i, family in enumerate(present)}
        drawn = drawn.assign(series=called, row=drawn.family.map(place))
        style = looks(list(dict.fromkeys(drawn.series)))
        legend = [entry(name, ms=4.2, lw=0.8, ls="-", **look) for name, look in style.items()]
        axes = ("bits per parameter", "")
        figure, ax = panel(axes, legend=legend, tall=0.2 * len(present) + 0.2)
        held = drawn.per_parameter.astype(float)
        ax.set_xlim(1.1 * min(0.0, float(held.min())), 1.06 * float(held.max()))
        ax.set_ylim(len(present) - 0.4, -0.6)
        ax.set_yticks(range(len(present)), [f.called for f in present])
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_color(ink())
        for name, look in style.items():
            mine = drawn[drawn.series == name]
            mean = mine.groupby("row").per_parameter.mean().reindex(range(len(present)))
            line = {"lw": 0.8, "color": look["color"], "zorder": 2}
            ax.plot(mean.to_numpy(float), np.arange(len(mean)), gid=f"mean {name}", **line)
            points = {"ls": "none", "ms": 3.6, "mew": 0.0, "zorder": 4, **look}
            dots = ax.plot(mine.per_parameter, mine.row, gid=f"runs {name}", **points)
            of_runs(dots, mine.run_id)
        return figure
