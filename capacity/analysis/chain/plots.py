"""The figure of a chain of families: bits per parameter by family and size."""

from __future__ import annotations

from matplotlib.figure import Figure

from capacity.analysis.families import FAMILIES
from capacity.base.frames import Frame
from capacity.figures.marks import of_runs
from capacity.figures.style import drawing, entry, looks, panel


def chain_figure(runs: Frame) -> Figure:
    """Bits per parameter of each finished run of a family's recipe by family, in the order of the
    chain, a colour and a marker per size and exposures, and lines through means over seeds; runs:
    runs.csv of a finding."""
    with drawing():
        drawn = runs[(runs.status == "finished") & runs.chosen.astype(bool)]
        drawn = drawn.sort_values(["parameters", "exposures_planned"])
        called = [
            f"{size}, {exposures:g} exposures"
            for size, exposures in zip(drawn["size"], drawn.exposures_planned, strict=True)
        ]
        present = [f for f in FAMILIES if (drawn.family == f.key).any()]
        place = {family.key: i for i, family in enumerate(present)}
        drawn = drawn.assign(series=called, x=drawn.family.map(place))
        style = looks(list(dict.fromkeys(drawn.series)))
        legend = [entry(name, ms=4.2, lw=0.8, ls="-", **look) for name, look in style.items()]
        figure, ax = panel(("", "bits per parameter"), legend=legend)
        for name, look in style.items():
            mine = drawn[drawn.series == name]
            mean = mine.groupby("x").per_parameter.mean()
            ax.plot(mean.index, mean, gid=f"mean {name}", lw=0.8, color=look["color"], zorder=2)
            points = {"ls": "none", "ms": 3.6, "mew": 0.0, "zorder": 4, **look}
            of_runs(ax.plot(mine.x, mine.per_parameter, gid=f"runs {name}", **points), mine.run_id)
        ax.set_xticks(range(len(present)), [f.called for f in present], rotation=35, ha="right")
        ax.set_xlim(-0.4, len(present) - 0.6)
        held = drawn.per_parameter.astype(float)
        ax.set_ylim(1.1 * min(0.0, float(held.min())), 1.1 * float(held.max()))
        return figure
