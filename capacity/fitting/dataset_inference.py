"""Dataset inference: was a set of documents trained on, as a whole? (Maini et al., arXiv
2406.06443, section 5)

Scores of single documents that each say next to nothing are put together: weights of a linear model
that tells the suspected documents from others of the same pool are fitted on one half of the units,
and on the other half, which no weight has seen, a one-sided t-test asks whether the suspected ones
score higher. Nothing of the second half decides anything: clipping, normalisation and weights are
of the first. What the test needs is that the others are of one pool with the suspected documents
(`blind`); it cannot see whether they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from capacity.fitting.separation import Units

CLIP = 0.025  # of each feature at each side, as in the authors' code
FEWEST = 8  # units of each side and half; a t-test of fewer says too little of what it rests on
RIDGE = 1e-3  # of standardised features, whose columns are often nearly equal


@dataclass(frozen=True)
class Inference:
    """p: one-sided, None where there is no test, and why; units: of the tested half, of members and
    of others."""

    p: float | None
    units: tuple[int, int]
    reason: str = ""


def infer(
    features_MF: np.ndarray, features_OF: np.ndarray, units: Units | None = None, seed: int = 0
) -> Inference:
    """The test. features: scores of M suspected documents and of O others, NaN where a document has
    none (it gets the middle of the first half); units: what stays together, such as the documents
    of an author; a unit on both sides is in one half."""
    members, others = np.asarray(features_MF, float), np.asarray(features_OF, float)
    if units is None:
        units = np.arange(len(members)), len(members) + np.arange(len(others))
    first = _halves(units, np.random.default_rng(seed))
    tested = [len(np.unique(of[~half])) for of, half in zip(units, first, strict=True)]
    seen = [len(np.unique(of[half])) for of, half in zip(units, first, strict=True)]
    if min(*tested, *seen) < FEWEST:
        of = min(len(np.unique(unit)) for unit in units)
        return Inference(None, (tested[0], tested[1]), f"{of} units; it needs {2 * FEWEST}")
    y = np.repeat([1.0, 0.0], [first[0].sum(), first[1].sum()])
    begun = np.concatenate([members[first[0]], others[first[1]]])
    known = np.isfinite(begun).any(axis=0)
    low, middle, high = np.nanquantile(begun[:, known], (CLIP, 0.5, 1 - CLIP), axis=0)

    def prepared(table: np.ndarray) -> np.ndarray:
        clipped = np.clip(table[:, known], low, high)
        return np.where(np.isfinite(clipped), clipped, middle)

    begun = prepared(begun)
    mean, sd = begun.mean(axis=0), begun.std(axis=0)
    sd[sd == 0] = 1.0
    weights = _weights((begun - mean) / sd, y)
    score = [
        _by_unit((prepared(table[~half]) - mean) / sd @ weights, of[~half])
        for table, half, of in zip((members, others), first, units, strict=True)
    ]
    return Inference(_higher(*score), (tested[0], tested[1]))


def _halves(units: Units, rng: np.random.Generator) -> list[np.ndarray]:
    """Of both sides which documents are in the first half: half of the units of each, at random."""
    names, place = np.unique(np.concatenate(units), return_inverse=True)
    place = place.reshape(-1)
    sides = np.zeros((len(names), 2), bool)
    sides[place[: len(units[0])], 0] = True
    sides[place[len(units[0]) :], 1] = True
    chosen = np.zeros(len(names), bool)
    for kind in ([True, False], [False, True], [True, True]):
        of = rng.permutation(np.flatnonzero((sides == kind).all(axis=1)))
        chosen[of[: len(of) // 2]] = True
    return [chosen[place[: len(units[0])]], chosen[place[len(units[0]) :]]]


def _weights(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of least squares with both sides of equal weight."""
    weight = np.where(y > 0, 0.5 / y.sum(), 0.5 / (len(y) - y.sum()))
    middle, target = weight @ x, y - 0.5
    x = x - middle
    square = (x * weight[:, None]).T @ x
    return np.linalg.solve(square + RIDGE * np.eye(x.shape[1]), (x * weight[:, None]).T @ target)


def _by_unit(score: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Means over the documents of each unit."""
    _, place = np.unique(units, return_inverse=True)
    place = place.reshape(-1)
    return np.bincount(place, score) / np.bincount(place)


def _higher(members: np.ndarray, others: np.ndarray) -> float:
    """One-sided p of Welch's t-test that members score higher; 0.5 where nothing varies."""
    from scipy.special import stdtr

    parts = [x.var(ddof=1) / len(x) for x in (members, others)]
    if sum(parts) == 0:
        return 0.5
    dof = sum(parts) ** 2 / sum(
        v**2 / (len(x) - 1) for v, x in zip(parts, (members, others), strict=True)
    )
    return float(stdtr(dof, -(members.mean() - others.mean()) / math.sqrt(sum(parts))))
