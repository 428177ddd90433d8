"""Words inside panels: names along lines of equal bits per parameter, and at the ends of curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from capacity.figures.style import GUIDE, SOFT, Color, small

GUIDES = (
    4,
    2,
    1,
    0.5,
    # bits per parameter: about 4 of random data, 2 and 1 of facts after 1000 and 100 exposures,
    # half of that
)


def _inches(ax: Axes) -> tuple[float, float]:
    """Width and height of the figure of a panel."""
    figure: Any = ax.figure  # its type allows for a part of a figure, which has no size
    return tuple(figure.get_size_inches())


def along(ax: Axes) -> dict[str, Any]:
    """Text settings that lay a label along y = constant x, a line of slope 1 in log-log axes."""
    box, (width, height) = ax.get_position(), _inches(ax)
    decades = [np.log10(high / low) for low, high in (ax.get_xlim(), ax.get_ylim())]
    angle = np.degrees(np.arctan2(height * box.height / decades[1], width * box.width / decades[0]))
    return {"rotation": angle, "rotation_mode": "anchor", "fontsize": small()}


def points_across(ax: Axes) -> tuple[float, float]:
    """Width and height of a panel in points (1/72 inch)."""
    box, size = ax.get_position(), _inches(ax)
    return 72 * size[0] * box.width, 72 * size[1] * box.height


def guide_lines(
    ax: Axes, points: Sequence[tuple[float, float]] = (), levels: Sequence[float] = ()
) -> None:
    """Lines of GUIDES bits per parameter with their names along them, where these are farthest from
    the points [(x, y)] and levels [y]."""
    (x_low, x_high), (y_low, y_high) = ax.get_xlim(), ax.get_ylim()
    size = np.array(points_across(ax))
    low, span = np.log([x_low, y_low]), np.log([x_high / x_low, y_high / y_low])

    def place(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (np.log(np.stack([x, y], axis=-1)) - low) / span * size

    avoid = place(*np.array(points, float).T) if len(points) else np.zeros((0, 2))
    heights = (
        place(np.full(len(levels), x_low), np.asarray(levels, float))[:, 1]
        if len(levels)
        else np.zeros(0)
    )
    for guide in GUIDES:
        ends = np.array([max(x_low, y_low / guide), min(x_high, y_high / guide)])
        if ends[0] >= ends[1]:
            continue
        ax.plot(ends, guide * ends, color=GUIDE, lw=0.5, zorder=1, gid=f"guide {guide:g}")
        name = f"{guide:g} {'bits' if guide > 1 else 'bit'}/P"
        start, stop = place(ends, guide * ends)
        length, direction = (
            float(np.hypot(*(stop - start))),
            (stop - start) / np.hypot(*(stop - start)),
        )
        needed, up = 0.6 * small() * len(name) + 4, np.array([-direction[1], direction[0]])
        if length < needed + 6:
            continue
        best, free = None, -1.0
        for begin in np.arange(4, length - needed, 4.0):
            middle = start + np.outer(begin + np.linspace(0, needed, 7), direction) + 5 * up
            gaps = [
                np.inf,
                *np.hypot(*(middle[:, None] - avoid[None]).transpose(2, 0, 1)).ravel(),
                *(2 * np.abs(middle[:, None, 1] - heights)).ravel(),
                *(size - middle).ravel(),
                *middle.ravel(),
            ]
            clear = min(min(gaps), 11.0)
            if clear > free + 1e-6:
                best, free = begin, clear
        if free < 2.5:
            continue
        at = np.exp((start + best * direction) / size * span + low)
        ax.annotate(
            name,
            at,
            tuple(2.5 * up),
            color=SOFT,
            textcoords="offset points",
            gid=f"guide label {guide:g}",
            zorder=1,
            **along(ax),
        )


def end_labels(
    ax: Axes, ends: Mapping[str, tuple[float, float]], color: Mapping[str, Color]
) -> None:
    """Names at the right end of what they name ({name: (x, y)}), moved up or down by what keeps one
    line of type between two."""
    order = sorted(ends, key=lambda label: ends[label][1])
    low, high = np.log(ax.get_ylim())
    gap = (high - low) * (small() + 2) / points_across(ax)[1]
    y = np.log([ends[label][1] for label in order])
    for _ in range(200):  # push close neighbours apart, half each, until none is close
        for i in range(len(y) - 1):
            short = gap - (y[i + 1] - y[i])
            if short > 1e-9:
                y[i] -= short / 2
                y[i + 1] += short / 2
        y += max(0.0, low + gap / 2 - y[0]) if len(y) else 0.0
    for label, place in zip(order, np.exp(y), strict=True):
        ax.annotate(
            label,
            (ends[label][0] * 1.06, place),
            (3, 0),
            textcoords="offset points",
            color=color[label],
            fontsize=small(),
            va="center",
            annotation_clip=False,
            gid=f"label {label}",
        )
