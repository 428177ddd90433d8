"""The figures of a study of frequency: what is known of a person against the times it was seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from capacity.analysis.frequency.fit_errors import predicted
from capacity.analysis.frequency.reading import EVEN
from capacity.base.frames import Frame
from capacity.figures.marks import of_runs
from capacity.figures.style import DASHED, SOFT, drawing, entry, looks, panel
from capacity.figures.ticks import log_ticks
from capacity.naming import listed

WORDS = {"accuracy": "accuracy", "bits": "bits learned of a person"}


def rate_figure(classes: Frame, numbers: Mapping[str, Any], what: str) -> Figure:
    """Accuracy, or bits of a person, of every class of every run against the times its people were
    seen, a colour and a marker per size: filled where people are seen at different rates, hollow
    where evenly; a line through the means of skewed runs; of accuracy dashed what the law says.

    classes, numbers: points.csv and numbers of a finding of `frequency.analyse`.
    """
    with drawing():
        drawn = classes[(classes.tier > 0) & classes[what].notna()]
        called = [listed(pair) for pair in zip(drawn["size"], drawn.system, strict=True)]
        drawn = drawn.assign(series=called).sort_values("parameters")
        style = looks(list(dict.fromkeys(drawn.series)))
        law_words = (
            [entry("law, beyond guessing", color=SOFT, lw=0.9, dashes=DASHED)]
            if what == "accuracy"
            else []
        )
        legend = [entry(name, ms=4.2, **look) for name, look in style.items()]
        legend += [entry("seen evenly", ms=4.2, ls="none", marker="o", mfc="none", color=SOFT)]
        figure, ax = panel(("times seen", WORDS[what]), legend=[*legend, *law_words])
        ax.set_xscale("log")
        x = drawn.seen.astype(float)
        ax.set_xlim(x.min() / 1.2, x.max() * 1.2)
        log_ticks(ax.xaxis)
        for name, look in style.items():
            mine = drawn[drawn.series == name]
            for even, part in ((False, mine[mine.rates != EVEN]), (True, mine[mine.rates == EVEN])):
                dots: dict[str, Any] = {"ls": "none", "ms": 3.6, "mew": 0.0, "zorder": 4, **look}
                if even:
                    dots |= {"mew": 0.8, "mfc": "none"}
                gid = f"{'even' if even else 'runs'} {name}"
                line = ax.plot(part.seen, part[what], gid=gid, **dots)
                of_runs(line, part.run_id)
            for _, skew in mine[mine.rates != EVEN].groupby("rates"):
                means = skew.groupby("tier")[["seen", what]].mean().sort_values("seen")
                ax.plot(means.seen, means[what], color=look["color"], lw=0.9, zorder=2)
        if what == "accuracy":
            ends = np.geomspace(x.min(), x.max(), 60)
            for law in numbers["laws"]:
                if law["reason"]:
                    continue
                for size, mine in drawn[drawn.system == law["system"]].groupby("size"):
                    said = predicted(law, ends, np.full(60, mine.parameters.iloc[0]))
                    hue = style[listed([str(size), law["system"]])]["color"]
                    gid = f"law {size}"
                    ax.plot(ends, said, color=hue, lw=0.9, dashes=DASHED, zorder=1, gid=gid)
            ax.set_ylim(-0.02, 1.02)
        return figure
