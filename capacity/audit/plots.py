"""Figures of an audit: who is told apart, scores of both files, who is flagged by copies. Nothing
here computes a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from capacity.audit import curves
from capacity.audit.schema import Numbers
from capacity.audit.sections import ATTACKS, cautioned
from capacity.base.frames import Frame
from capacity.base.words import plural
from capacity.figures.look import Look, using
from capacity.figures.marks import means
from capacity.figures.style import DASHES, GUIDE, color, drawing, entry, ink, panel
from capacity.figures.ticks import doubling_ticks, log_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(numbers: Numbers, documents: Frame, look: Look | None = None) -> dict[str, Figure]:
    """All figures by name, in the order of a reader."""
    with using(look):
        figures = {
            "roc": roc_figure(numbers, documents),
            "scores": scores_figure(numbers, documents),
        }
        if numbers["models"][0]["resolves"]:
            figures["copies"] = copies_figure(numbers)
    return figures


def _notes(numbers: Numbers, *more: str) -> list[str]:
    caution = cautioned(numbers)
    return [*more, *([caution] if caution else [])]


def roc_figure(numbers: Numbers, documents: Frame) -> Figure:
    """True against false positive rates, log-log, of every score; the one that decides with its 95%
    band."""
    with drawing():
        model = numbers["models"][0]
        names = [model["primary"], *(n for n in model["attacks"] if n != model["primary"])]
        shown: dict[str, dict[str, Any]] = {
            name: {"color": color(i), "lw": 1.6 if i == 0 else 0.9, "ls": DASHES[i % len(DASHES)]}
            for i, name in enumerate(names)
        }
        over = "groups" if numbers["about"]["group"] else "documents"
        figure, ax = panel(
            ("false positive rate", "true positive rate"),
            right=0.06,
            legend=[
                *(entry(ATTACKS.get(name, name), **look) for name, look in shown.items()),
                entry("chance", color=GUIDE, lw=0.8, ls="-"),
            ],
            notes=_notes(numbers, f"band: 95% over {over}"),
        )
        least = 1.0
        for name, look in reversed(shown.items()):
            line = curves.roc(documents, name, band=name == model["primary"])
            words = ATTACKS.get(name, name)
            ax.plot(line.fpr, line.tpr, gid=words, **look)
            if line.low is not None and line.high is not None:
                ax.fill_between(
                    line.fpr, line.low, line.high, color=look["color"], alpha=0.15, lw=0,
                    gid=f"95% of {words}",
                )  # fmt: skip
            least = float(line.fpr.min())
        ax.plot([least, 1], [least, 1], color=GUIDE, lw=0.8, gid="chance")
        ax.set(xscale="log", yscale="log", xlim=(least, 1), ylim=(0.5 * least, 1.1))
        for axis in (ax.xaxis, ax.yaxis):
            log_ticks(axis)
        return figure


def scores_figure(numbers: Numbers, documents: Frame) -> Figure:
    """Parts of members and of others by the score that decides, and the score from which on a
    document is flagged."""
    with drawing():
        name = numbers["models"][0]["primary"]
        found = curves.histogram(documents, name)
        sides = {"members": found.members, "others": found.others}
        looks: dict[str, dict[str, Any]] = {
            side: {"color": color(i), "lw": 1.1, "ls": DASHES[i]} for i, side in enumerate(sides)
        }
        sizes = numbers["sizes"]
        flagged = [entry("flagged from here on", color=ink(), lw=0.9, ls=":")]
        figure, ax = panel(
            (f"score: {ATTACKS.get(name, name)}", "part of the documents"),
            legend=[
                *(
                    entry(f"{side}, {plural(sizes[side]['documents'], 'document')}", **look)
                    for side, look in looks.items()
                ),
                *(flagged if found.threshold is not None else []),
            ],
            notes=_notes(numbers),
        )
        for side, parts in sides.items():
            x, y = np.repeat(found.edges, 2)[1:-1], np.repeat(parts, 2)
            ax.fill_between(
                x, 0, y, color=looks[side]["color"], alpha=0.18, lw=0, gid=f"{side}: area"
            )
            ax.plot(x, y, gid=side, **looks[side])
        if found.threshold is not None:
            ax.axvline(found.threshold, color=ink(), lw=0.9, ls=":", gid="flagged from here on")
        ax.set(xlim=(found.edges[0], found.edges[-1]), ylim=(0, None))
        ax.xaxis.set_major_locator(MaxNLocator(5))
        return figure


def copies_figure(numbers: Numbers) -> Figure:
    """The part of the members that is flagged at a false positive rate of 1%, by copies, with 95%
    intervals, at the largest number of a level; of the others as a band."""
    with drawing():
        rows = numbers["models"][0]["at_risk"]
        levels = [row for row in rows if row["level"] != "others"]
        others = [row["share"] for row in rows if row["level"] == "others"]
        copies = [int(row["level"].split()[-1]) for row in levels]
        shares, ends = (
            [row["share"]["value"] for row in levels],
            [row["share"]["interval"] for row in levels],
        )
        figure, ax = panel(
            ("copies of a document (most of the level)", "part that is flagged"),
            legend=[
                entry("members", color=color(0), marker="o", ms=4.6),
                entry("others", color=color(1), lw=1.1, ls="--"),
                entry("chance, 1%", color=GUIDE, lw=0.8, ls="-"),
            ],
            notes=_notes(numbers, "bars and band: 95%"),
        )
        most = max([*shares, *(one[1] for one in ends if one is not None), 0.05])
        reach = (min(copies) / 1.4, max(max(copies), 2) * 1.4)
        ax.set(xscale="log", xlim=reach, ylim=(0, min(1.03, 1.08 * most)))
        ax.axhline(0.01, color=GUIDE, lw=0.8, gid="chance")
        for share in others:
            ax.plot(reach, [share["value"]] * 2, color=color(1), lw=1.1, ls="--", gid="others")
            if share["interval"] is not None:
                low, high = share["interval"]
                ax.fill_between(
                    reach, low, high, color=color(1), alpha=0.12, lw=0, gid="95% of others"
                )
        means(ax, copies, shares, ends, name="members", color=color(0), marker="o", ms=4.6)
        doubling_ticks(ax.xaxis, sorted({1, *copies}))
        return figure
