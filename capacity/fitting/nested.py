"""Levels of blocks and the scatter of places within them, from the sums of each place: the case of
`random_effects` whose matrices need not be formed.

    y = level of the block + a draw of the place + noise of the point

Every place lies in one block. All that the restricted likelihood asks of n points is then how many
each place has, their mean, and the squares about it (Searle, Casella & McCulloch 1992, Variance
Components, section 3.7): V is a on what differs within a place of n_j points, and a + n_j b on its
mean. Sums over places take the place of matrices [n, n], so that tens of thousands of points cost
no more than their places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from capacity.fitting import random_effects


@dataclass(frozen=True)
class Nested:
    """points, places: variance of a point's own noise, and of the draws that points of a place
    share; uncertainty [2, 2]: covariance of these two as estimated; place [n]: of every point."""

    points: float
    places: float
    uncertainty: np.ndarray
    place: np.ndarray

    def of(self, pull: np.ndarray) -> tuple[float, float]:
        """Variance of pull @ y, pull [n], and Satterthwaite's degrees of freedom."""
        shared = np.bincount(self.place, pull)
        slope = np.array([float(pull @ pull), float(shared @ shared)])
        variance = float(slope @ [self.points, self.places])
        return variance, random_effects.degrees(slope, variance, self.uncertainty)


@dataclass(frozen=True)
class _Sums:
    """What is asked of the points. By place: size and mean; block [places]; inside: squares about
    means; spare: points beyond one of each place."""

    size: np.ndarray
    mean: np.ndarray
    block: np.ndarray
    inside: float
    spare: int

    def of_blocks(self, by_place: np.ndarray) -> np.ndarray:
        return np.bincount(self.block, by_place)


def fit(y: ArrayLike, blocks: Sequence[Any] | np.ndarray, places: Any) -> Nested:
    """The variances of the largest restricted likelihood, searched as `random_effects.effects`
    does. y, blocks, places [n]; places of one name lie in one block. ValueError where nothing is
    left to learn a variance from: one point in each place, or one place in each block."""
    y = np.asarray(y, float)
    place = np.unique(np.asarray(places), return_inverse=True)[1]
    block = np.unique(np.asarray(blocks), return_inverse=True)[1]
    size = np.bincount(place)
    mean = np.bincount(place, y) / size
    of_place = np.zeros(len(size), int)
    of_place[place] = block
    if (of_place[place] != block).any():
        raise ValueError("a place lies in several blocks")
    sums = _Sums(size, mean, of_place, float(((y - mean[place]) ** 2).sum()), len(y) - len(size))
    dof = len(y) - len(set(block.tolist()))
    level = sums.of_blocks(size * mean) / sums.of_blocks(size)
    unit = (sums.inside + float(size @ (mean - level[of_place]) ** 2)) / dof if dof else 0.0
    if sums.spare < 1 or len(size) <= len(level):
        raise ValueError("one point in each place or one place in each block: nothing to tell")
    if unit <= (1e-12 * max(1.0, np.abs(y).max())) ** 2:
        raise ValueError("no residual is left: no noise to learn from")
    floor = 1e-10 * unit  # keeps V regular on the way

    def cost(part: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = _likelihood(sums, float(part[0] * unit + floor), float(part[1] * unit))
        return value, slope * unit

    a, b = random_effects.search(cost, 2) * unit
    if a <= (a + size.max() * b) * len(y) * np.finfo(float).eps:
        raise ValueError("no noise of single points: give a source that every point has for itself")
    return Nested(float(a), float(b), _uncertainty(sums, float(a), float(b)), place)


def _likelihood(sums: _Sums, a: float, b: float) -> tuple[float, np.ndarray]:
    """-2 log of the restricted likelihood, but for constants, and its slopes by both variances."""
    n, of = sums.size, a + sums.size * b
    weight = sums.of_blocks(n / of)
    rest = sums.mean - (sums.of_blocks(n / of * sums.mean) / weight)[sums.block]
    value = sums.spare * np.log(a) + np.log(of).sum() + np.log(weight).sum()
    value += sums.inside / a + float(n / of @ rest**2)
    pulled = n / of**2 @ rest**2
    trace = sums.spare / a + (1 / of).sum() - (sums.of_blocks(n / of**2) / weight).sum()
    by_a = trace - sums.inside / a**2 - pulled
    of_places = (n / of).sum() - (sums.of_blocks(n**2 / of**2) / weight).sum()
    by_b = of_places - float((n / of) ** 2 @ rest**2)
    return float(value), np.array([by_a, by_b])


def _uncertainty(sums: _Sums, a: float, b: float) -> np.ndarray:
    """Inverse of the expected information tr(P K_k P K_l) / 2."""
    n, of = sums.size, a + sums.size * b
    weight, kernels = sums.of_blocks(n / of), [np.ones(len(n)), n.astype(float)]
    seen = [sums.of_blocks(n * kernel / of**2) / weight for kernel in kernels]
    information = np.zeros((2, 2))
    for k, one in enumerate(kernels):
        for m, other in enumerate(kernels):
            both = one * other
            crossed = (sums.of_blocks(n * both / of**3) / weight).sum()
            information[k, m] = (both / of**2).sum() - 2 * crossed + float(seen[k] @ seen[m])
    information[0, 0] += sums.spare / a**2
    return np.linalg.inv(0.5 * information)
