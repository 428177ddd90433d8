"""The figures of a study of parts: bits against total and against active parameters, and over the
division of idle parameters between two parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from capacity.analysis.idle.fit_errors import fitted
from capacity.analysis.idle.reading import PLAIN
from capacity.base.frames import Frame
from capacity.base.words import joined
from capacity.figures.marks import of_runs
from capacity.figures.style import DASHED, SOFT, drawing, entry, looks, panel
from capacity.figures.ticks import log_axes
from capacity.naming import listed

COUNTS = {"total": ("p", "total parameters"), "active": ("p_active", "active parameters")}


def bits_figure(runs: Frame, numbers: Mapping[str, Any], count: str) -> Figure:
    """Bits of each run of the chosen recipes, log-log, a marker and a colour per system; dashed the
    line alpha P of the laws' plain models, drawn what each law says of the models it was fitted to.

    runs, numbers: runs.csv and numbers of a finding of `idle.analyse`; count: "total" or "active"
    parameters.
    """
    with drawing():
        column, words = COUNTS[count]
        drawn = runs[runs.chosen.astype(bool) & (runs.status == "finished") & (runs.held > 0)]
        called = [listed(p) for p in zip(drawn.system, drawn.called.fillna(""), strict=True)]
        drawn = drawn.assign(series=called)
        names = sorted(set(drawn.series), key=lambda name: (not name.startswith(PLAIN), name))
        style = looks(names)
        laws = [law for law in numbers["laws"] if not law["reason"]]
        legend = [entry(name, ms=4.2, **look) for name, look in style.items()]
        if laws:
            legend += [
                entry("law", color=SOFT, lw=0.9, ls="-"),
                entry("α P", color=SOFT, lw=0.9, dashes=DASHED),
            ]
        kind = "strict bits" if numbers["family"] == "random data" else "bits learned"
        figure, ax = panel((words, f"{kind}"), legend=legend)
        x, y = drawn[column].astype(float), drawn.held.astype(float)
        log_axes(ax, (x.min() / 1.2, x.max() * 1.2), (y.min() / 1.2, y.max() * 1.2))
        for name, look in style.items():
            mine = drawn[drawn.series == name]
            dots = {"ls": "none", "ms": 3.6, "mew": 0.0, "zorder": 4, **look}
            line = ax.plot(mine[column], mine.held, gid=f"runs {name}", **dots)
            of_runs(line, mine.run_id)
        for law in laws:
            name = listed([law["system"], law["condition"]])
            mine = drawn[(drawn.series == name) & drawn.model.isin(law["models"])]
            mine = mine.drop_duplicates("model").sort_values(column)
            if mine.empty:
                continue
            hue = style[name]["color"]
            bits = fitted(law, mine.p_active, mine.p_idle)
            ax.plot(mine[column], bits, color=hue, lw=0.9, zorder=2, gid=f"law {name}")
        for condition in dict.fromkeys(law["condition"] for law in laws):
            alpha = np.median([w["alpha"]["value"] for w in laws if w["condition"] == condition])
            ends = np.array(ax.get_xlim())
            ax.plot(ends, alpha * ends, color=SOFT, lw=0.9, dashes=DASHED, zorder=1,
                    gid=listed(["alpha P", condition]))  # fmt: skip
        return figure


def allocation_figure(numbers: Mapping[str, Any]) -> Figure:
    """Bits per parameter over the share of idle parameters that the first part has: a point per
    seed, a line through means, a colour per curve; numbers: of a finding of `idle.analyse`."""
    with drawing():
        curves = numbers["allocation"]
        names = [listed([c["size"], " + ".join(c["kinds"]), c["condition"]]) for c in curves]
        style = looks(names)
        firsts = sorted({curve["kinds"][0] for curve in curves})
        kind = "strict bits" if numbers["family"] == "random data" else "bits learned"
        figure, ax = panel(
            (f"share of idle parameters in {joined(firsts)}", f"{kind} per parameter"),
            legend=[entry(name, ms=4.2, **look) for name, look in style.items()],
        )
        for name, curve in zip(names, curves, strict=True):
            dots = {"ls": "none", "ms": 3.6, "mew": 0.0, "zorder": 4, **style[name]}
            every = [
                (p["share"], b / p["p"]) for p in curve["points"] for b in p["by_seed"].values()
            ]
            ax.plot(*zip(*every, strict=True), gid=f"runs {name}", **dots)
            means = [(p["share"], p["bits"] / p["p"]) for p in curve["points"]]
            hue = style[name]["color"]
            ax.plot(*zip(*means, strict=True), color=hue, lw=0.9, zorder=2, gid=f"means {name}")
        ax.set_xlim(-0.05, 1.05)
        return figure
