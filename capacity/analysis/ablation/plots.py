"""The figure of a study over vocabularies or lengths: one alpha against what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from capacity.analysis.ablation.analysis import CELL, VARIED
from capacity.analysis.random.plateaus import CONVENTIONS, Frame
from capacity.figures.marks import of_runs
from capacity.figures.style import (
    DASHED,
    GUIDE,
    MARKERS,
    color,
    drawing,
    entry,
    ink,
    panel,
)
from capacity.figures.ticks import doubling_ticks, log_axes


def ablation_figure(runs: Frame, numbers: Mapping[str, Any], convention: str) -> Figure:
    """Measured bits of each run in one convention against V (or S, where only S differs), log-log,
    with min(alpha P, ceiling), its smooth form, the ceiling, and alpha P; a colour and marker per
    model, other length or vocabulary, and N.

    runs, numbers: runs.csv and numbers of a finding of `ablation.analyse`; convention: "strict" or
    "paper".
    """
    with drawing():
        x = numbers["varied"][0]
        others, part, bits = (
            [name for name in CELL if name != x],
            numbers[convention],
            CONVENTIONS[convention][0],
        )
        frame: Frame = pd.DataFrame(part["cells"])
        fitted = not part["reason"]
        if fitted:
            frame["min"] = part["hard"]["expected"]
            if not part["smooth"]["reason"]:
                frame["smooth"] = part["smooth"]["expected"]
        done = runs[(runs.status == "finished") & (runs[bits] > 0)]
        names = {}
        for key, _ in frame.groupby(others):
            parts = {
                other: f"{VARIED.get(other, 'N')} {value}"
                for other, value in zip(others, key, strict=True)
            } | {"model": key[0]}
            names[key] = ", ".join(
                parts[other]
                for other in others
                if frame[others].drop_duplicates().shape[0] == 1 or frame[other].nunique() > 1
            )
        look = {
            "ceiling": {"color": GUIDE, "lw": 0.9, "dashes": DASHED},
            "alpha P": {"color": GUIDE, "lw": 0.9, "ls": ":"},
            "min": {"color": ink(), "lw": 1.0},
            "smooth": {"color": color(1), "lw": 1.0, "dashes": (6, 1.5)},
        }
        words = {"ceiling": "ceiling of the data"}
        if fitted:
            words |= {
                "alpha P": "α P",
                "min": f"min(α P, ceiling), α = {part['hard']['alpha']:.2f}",
            } | ({"smooth": "smooth corner"} if "smooth" in frame else {})
        dots = {
            key: {
                "color": color(i),
                "marker": MARKERS[i % len(MARKERS)],
                "ms": 4.2,
                "mec": "white",
                "mew": 0.4,
            }
            for i, key in enumerate(names)
        }
        legend = [
            *(entry(word, **({"ls": "-"} | look[key])) for key, word in words.items()),
            *(entry(name, **dots[key]) for key, name in names.items()),
        ]
        axes = (
            {"vocab_size": "vocabulary V", "seq_len": "sequence length S (tokens)"}[x]
            + ("" if fitted else "; all data fit"),
            f"bits, {convention} convention",
        )
        figure, ax = panel(axes, legend=legend)
        log_axes(
            ax,
            (frame[x].min() / 1.3, frame[x].max() * 1.3),
            (0.6 * done[bits].min(), 1.8 * frame.ceiling.max()),
        )
        for key, rows in frame.groupby(others):
            rows = rows.sort_values(x)
            if fitted:
                rows["alpha P"] = part["hard"]["alpha"] * rows.parameters
            of = f" {names[key]}" if len(names) > 1 else ""
            for z, name in enumerate(words):
                ax.plot(rows[x], rows[name], zorder=1 + 0.5 * z, gid=name + of, **look[name])
            mine = done[(done[others] == list(key)).all(axis=1)]
            of_runs(
                ax.plot(mine[x], mine[bits], ls="none", zorder=4, gid=f"runs{of}", **dots[key]),
                mine.run_id,
            )
        doubling_ticks(ax.xaxis, sorted(frame[x].unique()))
        ax.tick_params(axis="x", which="minor", length=0)
        return figure
