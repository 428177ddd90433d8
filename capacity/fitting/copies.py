"""What a fuzzy copy is worth of an exact one (Mosaic Memory, arXiv 2405.15523, section 2).

A sequence whose first copy is exact and whose other n - 1 are fuzzy is remembered as one with n_eq
exact copies would be, by the curve of exact ones:

    rho = (n_eq - 1) / (n - 1)

rho = 1: a fuzzy copy counts as an exact one, 0: not at all. One rho of several numbers of copies is
that by which the curve comes nearest to all of them, in least squares; of a single number it is the
published one wherever this lies on the curve.

The published code measures every number of copies and draws lines between neighbours. Where numbers
double, lines lie below a curve that bends, and rho comes out up to 0.08 too large; so the curve is
a monotone cubic here (Fritsch & Carlson 1980, SIAM J. Numer. Anal. 17, 238), which is the line
where points lie on one. No curve is continued beyond its last number of copies, and a curve that
noise makes fall is levelled (isotonic regression) instead of averaged over three neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

MOST = 1.5  # largest rho that is looked for
STEPS = 1501  # of the first search, thousandths
SAME = 1e-12  # relative, of two sums of squares that are one


@dataclass(frozen=True)
class Curve:
    """What exact and fuzzy copies leave behind in one model: copies and values of the exact ones
    (from 1 copy on, rising), and numbers of copies and values of the fuzzy ones."""

    copies: np.ndarray
    exact: np.ndarray
    fuzzy_copies: np.ndarray
    fuzzy: np.ndarray

    def level(self) -> np.ndarray:
        """The exact values without falls: neighbours that fall are pooled (Ayer et al. 1955, Ann.
        Math. Stat. 26, 641)."""
        blocks: list[tuple[float, int]] = []
        for value in np.asarray(self.exact, float):
            mean, count = float(value), 1
            while blocks and blocks[-1][0] > mean:
                before, n = blocks.pop()
                mean, count = (before * n + mean * count) / (n + count), n + count
            blocks.append((mean, count))
        return np.repeat([mean for mean, _ in blocks], [n for _, n in blocks])


def worth(curves: Sequence[Curve]) -> float | None:
    """One rho of curves of equal kind, between 0 and MOST; None where the exact copies leave no
    trace that rises, or no fuzzy sequence has a second copy. Of equally good ones the middle."""
    curves = [c for c in curves if (np.asarray(c.fuzzy_copies) > 1).any()]
    if not curves or not any(np.ptp(c.level()) > 0 for c in curves):
        return None
    tried = np.linspace(0.0, MOST, STEPS)
    errors = _errors(curves, tried)
    best = np.flatnonzero(errors <= errors.min() * (1 + SAME) + np.finfo(float).tiny)
    if len(best) > 1:
        return float(tried[best].mean())
    low, high = tried[max(best[0] - 1, 0)], tried[min(best[0] + 1, STEPS - 1)]
    fine = np.linspace(low, high, STEPS)
    return float(fine[_errors(curves, fine).argmin()])


def _errors(curves: Sequence[Curve], rho_R: np.ndarray) -> np.ndarray:
    """Sum of squares at each rho."""
    out = np.zeros(len(rho_R))
    for curve in curves:
        between = PchipInterpolator(curve.copies, curve.level())
        for n, value in zip(curve.fuzzy_copies, curve.fuzzy, strict=True):
            if n > 1:
                at = np.minimum(1 + rho_R * (n - 1), curve.copies[-1])
                out += (between(at) - value) ** 2
    return out
