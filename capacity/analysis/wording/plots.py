"""The figure of a study of wording: bits of facts and of wording per parameter, by size."""

from __future__ import annotations

from matplotlib.figure import Figure

from capacity.base.frames import Frame
from capacity.figures.marks import of_runs
from capacity.figures.style import drawing, entry, looks, panel
from capacity.figures.ticks import log_ticks
from capacity.naming import listed


def total_figure(runs: Frame) -> Figure:
    """Bits per parameter of each finished run against parameters, a colour and a marker per arm:
    filled the total of facts and wording, hollow the facts alone; runs: runs.csv of a finding."""
    with drawing():
        drawn = runs[runs.status == "finished"].sort_values(["texts", "parameters"])
        called = [listed(pair) for pair in zip(drawn.arm, drawn.system, strict=True)]
        drawn = drawn.assign(series=called)
        style = looks(list(dict.fromkeys(drawn.series)))
        legend = [entry(name, ms=4.2, **look) for name, look in style.items()]
        legend.append(entry("facts alone", ms=4.2, ls="none", marker="o", mfc="none"))
        figure, ax = panel(("parameters", "bits per parameter"), legend=legend)
        ax.set_xscale("log")
        p = drawn.parameters.astype(float)
        ax.set_xlim(p.min() / 1.2, p.max() * 1.2)
        log_ticks(ax.xaxis)
        for name, look in style.items():
            mine = drawn[drawn.series == name]
            full = {"ls": "none", "ms": 3.6, "mew": 0.0, "zorder": 4, **look}
            of_runs(ax.plot(mine.parameters, mine.total, gid=f"total {name}", **full), mine.run_id)
            hollow = {**full, "mfc": "none", "mew": 0.8}
            of_runs(ax.plot(mine.parameters, mine.r, gid=f"facts {name}", **hollow), mine.run_id)
        low = min(0.0, float(drawn[["r", "total"]].min().min()))
        ax.set_ylim(1.1 * low, 1.1 * max(float(drawn.total.max()), float(drawn.r.max())))
        return figure
