"""Groups of points by a number that was counted or computed, such as tokens per parameter: values
that are a rounding of each other are one group.

Sizes are whole (sequences, layers, steps), so what was meant to be one value comes as several:
half a token per parameter is 0.4993 for one model and 0.5029 for another. Where the groups are
left out in turn, exact floats leave the twin of what is predicted in the fit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

STEP = 0.05  # relative; values of one group are less than this apart, the largest from the smallest


def rounded(values: ArrayLike) -> tuple[list[float], np.ndarray]:
    """The names of the groups [g], ascending, and the group of each value [n].

    Values of one sign whose largest is less than STEP above the smallest can be one group; the
    nearest neighbours are joined first (complete linkage of logarithms), so that a narrow group is
    never cut by a wider one, and no chain of small steps joins what is far apart. A group is called
    by its value where that is one, else by the geometric mean of its different values. Zeros are a
    group of their own."""
    different, places = np.unique(np.asarray(values, float), return_inverse=True)
    groups: list[list[float]] = []
    for sign in (-1.0, 0.0, 1.0):
        part = different[np.sign(different) == sign]
        groups += [[float(x) for x in part]] if sign == 0.0 and len(part) else []
        groups += _joined(part) if sign else []
    codes = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return [_middle(group) for group in groups], codes[places.reshape(-1)]


def number(values: ArrayLike) -> int:
    """How many groups there are."""
    return len(rounded(values)[0])


def _joined(ascending: np.ndarray) -> list[list[float]]:
    """Different numbers of one sign, joined from the narrowest pair of neighbours on."""
    groups = [[float(x)] for x in ascending]
    logs = np.log(np.abs(ascending))
    low, high = logs.copy(), logs.copy()
    most = math.log1p(STEP) * (1 - 1e-9)
    while len(groups) > 1:
        spans = np.abs(high[1:] - low[:-1])
        i = int(np.argmin(spans))
        if spans[i] >= most:
            break
        groups[i : i + 2] = [groups[i] + groups[i + 1]]
        low, high = np.delete(low, i + 1), np.delete(high, i)
    return groups


def _middle(group: list[float]) -> float:
    if len(group) == 1:
        return group[0]
    mean = math.fsum(math.log(abs(x)) for x in group) / len(group)
    return math.copysign(math.exp(mean), group[0])
