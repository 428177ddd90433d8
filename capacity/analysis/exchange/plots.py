"""The figure of a study of an exchange rate: bits of random rows against bits of facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from capacity.base.frames import Frame
from capacity.figures.marks import of_runs
from capacity.figures.style import drawing, entry, looks, panel
from capacity.naming import listed


def frontier_figure(runs: Frame, numbers: Mapping[str, Any]) -> Figure:
    """Each finished run with what it holds of both families per parameter, filled where it is a
    mixture that counts, and lines through means over seeds, by size; dashed the fitted frontier of
    the mean alpha. runs: runs.csv of a finding, numbers: its fit.json."""
    with drawing():
        drawn = runs[(runs.status == "finished") & ~runs.tried.astype(bool)]
        drawn = drawn.sort_values(["system", "parameters", "share"])
        called = [listed(pair) for pair in zip(drawn["size"], drawn.system, strict=True)]
        drawn = drawn.assign(series=called)
        style = looks(list(dict.fromkeys(drawn.series)))
        fitted = [row for row in numbers["rates"] if row["alpha"]]
        legend = [entry(name, ms=4.2, lw=0.8, ls="-", **look) for name, look in style.items()]
        legend.append(entry("not counted", ms=4.2, ls="none", marker="o", mfc="none"))
        legend += [entry("y = alpha - pi x", lw=1.0, ls="--", color="#444444")] * bool(fitted)
        axes = ("bits of facts per parameter", "bits of random rows per parameter")
        figure, ax = panel(axes, legend=legend)
        x, y = drawn.x.astype(float), drawn.y.astype(float)
        for name, look in style.items():
            mine = drawn[drawn.series == name]
            mean = mine.groupby("share")[["x", "y"]].mean()
            ax.plot(mean.x, mean.y, gid=f"mean {name}", lw=0.8, color=look["color"], zorder=2)
            for counted, part in mine.groupby(mine.counts.astype(bool)):
                points: dict[str, Any] = {"ls": "none", "ms": 3.8, "mew": 0.8, "zorder": 4, **look}
                if not counted:
                    points |= {"mfc": "none"}
                which = f"{'counted' if counted else 'not counted'} {name}"
                of_runs(ax.plot(part.x, part.y, gid=which, **points), part.run_id)
        low, high = min(0.0, float(x.min())), float(x.max())
        ax.set_xlim(1.08 * low - 0.02 * high, 1.08 * high)
        ax.set_ylim(1.08 * min(0.0, float(y.min())) - 0.02 * float(y.max()), 1.1 * float(y.max()))
        for row in fitted:
            alpha, pi = float(np.mean(list(row["alpha"].values()))), row["pi"]["value"]
            ends = np.array(ax.get_xlim())
            label = f"fitted {row['system']}".strip()
            line = {"lw": 1.0, "ls": "--", "color": "#444444", "zorder": 1}
            ax.plot(ends, alpha - pi * ends, gid=label, **line)
        return figure
