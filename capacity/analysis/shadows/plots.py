"""The figures of a study of shadow models of people: AUC by how often people were seen, and ROC
curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from capacity.analysis.shadows.analysis import ATTACKS
from capacity.analysis.shadows.reading import ALL
from capacity.analysis.shadows.wording import NAMES
from capacity.figures.marks import means
from capacity.figures.style import DASHES, SOFT, drawing, entry, looks, panel

BESIDE = 1.12  # factor of texts, by which attacks on one tier stand apart


def auc_figure(numbers: Mapping[str, Any]) -> Figure:
    """AUC of each attack against the texts of a person that were shown, mean over sets with 95% by
    t; of the largest model where there are several; dashed: guessing. numbers: of a finding of
    `shadows.analyse`."""
    with drawing():
        largest = max(row["parameters"] for row in numbers["cells"])
        here = [row for row in numbers["cells"] if row["parameters"] == largest]
        cells = [row for row in here if row["tier"] != ALL] or here
        style = looks([NAMES[attack] for attack in ATTACKS])
        legend = [entry(name, ms=4.2, **look) for name, look in style.items()]
        labels = ("texts of a person that were shown", "AUC of whom the model saw")
        figure, ax = panel(labels, legend=legend)
        seen = [row["seen"] for row in cells]
        low = min(
            [0.5]
            + [
                end
                for row in cells
                for one in row["attacks"].values()
                for end in (one["auc_interval"] or [one["auc"]])
            ]
        )
        ax.set_xscale("log")
        ax.set_xlim(min(seen) / 1.5, max(seen) * 1.5)
        ax.set_ylim(max(0.0, low - 0.03), 1.03)
        ax.axhline(0.5, color=SOFT, lw=0.8, ls="--", gid="guessing")
        for i, attack in enumerate(ATTACKS):
            name, off = NAMES[attack], BESIDE ** (i - (len(ATTACKS) - 1) / 2)
            found = [row["attacks"][attack] for row in cells]
            line = means(
                ax,
                [x * off for x in seen],
                [one["auc"] for one in found],
                [one["auc_interval"] for one in found],
                name=name,
                ms=4.2,
                **style[name],
            )
            line[0].at = seen
        return figure


def roc_figure(numbers: Mapping[str, Any]) -> Figure:
    """ROC of each attack over all runs and people, a curve each; dashed: guessing. numbers: of a
    finding of `shadows.analyse`."""
    with drawing():
        sizes = {row["size"]: row["parameters"] for row in numbers["cells"]}
        largest = max(sizes, key=lambda size: sizes[size])
        curves = [row for row in numbers["curves"] if row["size"] == largest]
        style = looks([NAMES[attack] for attack in ATTACKS])
        shown = {
            name: {"color": look["color"], "ls": DASHES[i % len(DASHES)]}
            for i, (name, look) in enumerate(style.items())
        }
        legend = [entry(name, **look) for name, look in shown.items()]
        figure, ax = panel(("false positive rate", "true positive rate"), legend=legend)
        ax.set_xscale("log")
        ax.set_yscale("log")
        first = min(row["fpr"][0] for row in curves)
        ax.set_xlim(first, 1.0)
        ax.set_ylim(first, 1.2)
        ax.plot([first, 1.0], [first, 1.0], color=SOFT, lw=0.8, ls="--", gid="guessing")
        for row in curves:
            name = NAMES[row["attack"]]
            points = [(x, y) for x, y in zip(row["fpr"], row["tpr"], strict=True) if y > 0]
            ax.plot(*zip(*points, strict=True), lw=1.2, gid=name, **shown[name])
        return figure
