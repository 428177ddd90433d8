"""Linear regression whose target is known only between limits, by maximum likelihood.

A target at or beyond a limit says that the line is somewhere beyond it, and is neither left out
(which selects on the outcome and flattens slopes) nor taken at its value (Tobin, "Estimation of
relationships for limited dependent variables", Econometrica 26, 1958). In the scale-free
parameters beta / sigma and 1 / sigma the likelihood is concave, so Newton's iteration finds its
one maximum (Olsen, "Note on the uniqueness of the maximum likelihood estimator for the Tobit
model", Econometrica 46, 1978).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import log_ndtr
from scipy.stats import t as student

STEPS = 60  # of Newton's iteration; a dozen do
HALVINGS = 30  # of one step
CONVERGED = 1e-9  # largest move of a parameter, in units of sigma and of standardised columns


@dataclass(frozen=True)
class Fit:
    """The line y = x beta + noise of standard deviation sigma.

    beta [k] in units of the target per unit of each column; sigma in units of the target;
    covariance [k, k] of beta by clusters; dof of its t intervals; below, between, above: how many
    targets lie at or below their lower limit, between both, at or above their upper one.
    """

    beta: np.ndarray
    sigma: float
    covariance: np.ndarray
    dof: int
    below: int
    between: int
    above: int

    def interval(self, i: int, level: float = 0.95) -> list[float]:
        """Of coefficient i: estimate -+ t(dof) standard errors."""
        half = student.ppf((1 + level) / 2, self.dof) * np.sqrt(self.covariance[i, i])
        return [float(self.beta[i] - half), float(self.beta[i] + half)]


def fit(
    x: np.ndarray,
    y: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    clusters: Sequence[np.ndarray],
) -> Fit | None:
    """The line, where y <= low says only that the noisy line is at most low and y >= high that it
    is at least high.

    x: [n, k], its first column ones; y, low, high: [n]; clusters: one or more [n], names of what
    rows share noise by, such as the model and the sequence. None where the points do not determine
    a line: as few points between the limits as coefficients, or as few clusters of a kind, or a
    likelihood that rises without end.

    Covariance: of scores that share any cluster (`crossed`), times G / (G - k), G - k degrees of
    freedom, for the kind with the fewest clusters G.
    """
    n, k = x.shape
    between = (y > low) & (y < high)
    fewest = min(len(np.unique(names)) for names in clusters)
    if between.sum() <= k or fewest <= k or np.linalg.matrix_rank(x[between]) < k:
        return None
    middle, scale = standard(x)
    centre, unit = float(y[between].mean()), float(y[between].std()) or 1.0
    z = (x - middle) / scale
    target = (np.clip(y, low, high) - centre) / unit
    # [n, k + 1]; rows @ theta is the standardised error, or how far beyond a limit the line lies
    rows = np.column_stack([-z, target]) * np.where(y >= high, -1.0, 1.0)[:, None]
    theta = _maximum(_start(z, target), rows, between)
    if theta is None:
        return None
    slope, curvature = _derivatives(theta, rows, between)
    bread = np.linalg.inv(curvature)
    sandwich = crossed(slope @ bread, clusters) * fewest / (fewest - k)
    # to beta of the columns as given by the chain rule: theta -> beta of z -> units and middles
    gamma = theta[-1]
    of_z = theta[:-1] / gamma
    back = unit * np.diag(1 / scale)
    back[0] -= unit * middle / scale
    back[0, 0] = unit
    spread = back @ np.column_stack([np.eye(k) / gamma, -of_z / gamma])
    beta = back @ of_z
    beta[0] += centre
    return Fit(
        beta,
        float(unit / gamma),
        spread @ sandwich @ spread.T,
        fewest - k,
        int((y <= low).sum()),
        int(between.sum()),
        int((y >= high).sum()),
    )


def standard(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle and scale of columns [k], the first of ones left as it is."""
    middle, scale = x.mean(axis=0), x.std(axis=0)
    middle[0], scale[0] = 0.0, 1.0
    return middle, scale


def crossed(pull: np.ndarray, clusters: Sequence[np.ndarray]) -> np.ndarray:
    """Covariance [k, k] of sums of rows of pull [n, k] if rows are independent that share no
    cluster of any kind: the sum of outer products of all that do (Cameron, Gelbach and Miller,
    "Robust inference with multiway clustering", J. Bus. Econ. Stat. 29, 2011).

    By their section 2.3 negative eigenvalues are set to zero. With few clusters one kind can hide
    another, so no variance is below that of some of the kinds alone.
    """
    codes = [np.unique(names, return_inverse=True)[1].reshape(-1) for names in clusters]
    parts: dict[tuple[int, ...], np.ndarray] = {}  # by kinds that a cluster is of all of
    for some in _subsets(len(codes)):
        together = np.stack([codes[i] for i in some])
        shared = np.unique(together, axis=1, return_inverse=True)[1].reshape(-1)
        summed = np.stack([np.bincount(shared, column) for column in pull.T], axis=1)
        parts[some] = -((-1) ** len(some)) * (summed.T @ summed)
    covariances = {
        some: sum((parts[few] for few in parts if set(few) <= set(some)), np.zeros(()))
        for some in parts
    }
    total = covariances[tuple(range(len(codes)))]
    values, vectors = np.linalg.eigh((total + total.T) / 2)
    total = (vectors * np.maximum(values, 0.0)) @ vectors.T
    least = np.max([np.diag(one) for one in covariances.values()], axis=0)
    grown = np.sqrt(np.maximum(1.0, least / np.maximum(np.diag(total), 1e-300)))
    return total * np.outer(grown, grown)


def _subsets(n: int) -> list[tuple[int, ...]]:
    return [some for size in range(1, n + 1) for some in combinations(range(n), size)]


def _maximum(theta: np.ndarray, rows: np.ndarray, between: np.ndarray) -> np.ndarray | None:
    """Newton's iteration from theta; None where it does not settle."""
    for _ in range(STEPS):
        slope, curvature = _derivatives(theta, rows, between)
        try:
            move = np.linalg.solve(curvature, slope.sum(axis=0))
        except np.linalg.LinAlgError:
            return None
        now, step = _likelihood(theta, rows, between), 1.0
        for _ in range(HALVINGS):
            there = theta + step * move
            if there[-1] > 0 and _likelihood(there, rows, between) >= now - 1e-12 * abs(now):
                break
            step /= 2
        theta = theta + step * move
        if np.abs(step * move).max() < CONVERGED * max(1.0, np.abs(theta).max()):
            return theta
    return None


def _start(z: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least squares with targets beyond a limit at that limit."""
    beta = np.linalg.lstsq(z, target, rcond=None)[0]
    sigma = max(float(np.std(target - z @ beta)), 1e-3)
    return np.append(beta, 1.0) / sigma


def _likelihood(theta: np.ndarray, rows: np.ndarray, between: np.ndarray) -> float:
    """Logarithm, but for constants."""
    u = rows @ theta
    inside = np.log(theta[-1]) - u[between] ** 2 / 2
    return float(np.sum(inside) + np.sum(log_ndtr(u[~between])))


def _derivatives(
    theta: np.ndarray, rows: np.ndarray, between: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slope of each row's part of the log-likelihood [n, k + 1], and minus its summed second
    derivative [k + 1, k + 1]."""
    u = rows @ theta
    mills = np.exp(-(u**2) / 2 - log_ndtr(u)) / np.sqrt(2 * np.pi)
    slope = rows * np.where(between, -u, mills)[:, None]
    slope[between, -1] += 1 / theta[-1]
    row_curvature = np.where(between, 1.0, mills * (u + mills))
    curvature = (rows * row_curvature[:, None]).T @ rows
    curvature[-1, -1] += between.sum() / theta[-1] ** 2
    return slope, curvature
