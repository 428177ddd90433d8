"""Labels of axes as people write numbers: 0.01, 1, 10, 5k, 1M."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

Ends = Sequence[float] | np.ndarray  # of an axis, two
LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(x: float, _place: Any = None) -> str:
    """A number of an axis: 0.003, 1, 50, 2.5k, 1M."""
    for size, letter in LARGE:
        if abs(x) >= size * 0.9995:
            return f"{x / size:.4g}{letter}"
    return f"{x:.4g}".replace("e-0", "e-")


def log_axes(ax: Axes, x_limits: Ends, y_limits: Ends) -> None:
    """Logarithmic axes with 2 to 7 labels each, in k and M."""
    ax.set(xscale="log", yscale="log", xlim=widened(*x_limits), ylim=widened(*y_limits))
    for axis in (ax.xaxis, ax.yaxis):
        log_ticks(axis)


def log_ticks(axis: Axis) -> None:
    """Labels of a logarithmic axis whose ends are set: decades, 1 and 3, or 1, 2 and 5; plain steps
    where fewer than two of these lie within."""
    low, high = sorted(axis.get_view_interval())
    many = high > 200 * low
    steps = (1,) if many else (1, 3) if high > 15 * low else (1, 2, 5)
    inside = [
        m * 10.0**e
        for e in range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        for m in steps
        if low <= m * 10.0**e <= high
    ]
    if len(inside) < 2:
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    else:
        axis.set_major_locator(LogLocator(subs=steps, numticks=8 if many else 20))
    axis.set_major_formatter(FuncFormatter(short))
    axis.set_minor_formatter(NullFormatter())


def doubling_ticks(axis: Axis, ticks: Sequence[float] = ()) -> None:
    """Labels of an axis of doublings, at these values or at powers of 2."""
    if len(ticks):
        axis.set_ticks(list(ticks), [f"{x:g}" for x in ticks])
    else:
        axis.set_major_locator(LogLocator(base=2, numticks=9))
        axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def widened(low: float, high: float) -> tuple[float, float]:
    """Limits a factor of 8 apart at least: then 1, 2, 5 steps always give two labels or more."""
    extra = max(1.0, float(np.sqrt(8 * low / high)))
    return low / extra, high * extra
