"""The standard deviation of residuals, robustly: what Huber's delta and the standard errors are in
units of."""

from __future__ import annotations

import math

import numpy as np

from capacity.fitting.solve import Problem

# Huber's delta in standard deviations: 95% as efficient as least squares on normal residuals (Huber
# 1964)
TUNING = 1.345
SETTLED = 1e-11  # relative change of sigma at which sigma and the parameters have settled


def rough_sd(problem: Problem, u: np.ndarray) -> float:
    """Robust standard deviation of the residuals of the best of some u [S, k]: 1.4826 times their
    median size."""
    e = problem.errors(u)[:, ~problem.censored]
    return float(1.4826 * np.median(np.abs(e), axis=1).min())


def residual_sd(problem: Problem, u: np.ndarray, free: np.ndarray, tuning: float = TUNING) -> float:
    """Standard deviation of residuals given the parameters u [k]: the root of sum v psi^2 = beta
    sum v (1 - h) sigma^2 (Huber's proposal 2; with least squares, tuning inf). h is a point's
    leverage, as n - k has it on average; v leaves out points that say little about the parameters
    (v = h n / k, at most 1), such as under-filled ones under a corner, whose residuals are small
    for another reason. A bound counts as the part of an observation that the Tobit likelihood gives
    it."""
    e, jacobian = problem.residuals(u[None])
    e = e[0]
    free_columns = jacobian[0][:, free]
    j = free_columns / np.sqrt((free_columns**2).sum(0) + 1e-300)
    lever = np.einsum("ik,kl,il->i", j, np.linalg.pinv(j.T @ j, rcond=1e-12), j)
    v = np.minimum(1.0, lever * len(e) / max(free.sum(), 1))
    if not v[~problem.censored].any():
        v = np.ones(len(e))  # no measured point moves a parameter: all say alike much of the noise
    measured, bound = ~problem.censored, e[problem.censored]
    tuning, beta = (np.inf, 1.0) if np.isinf(problem.delta) else (tuning, 1.0)
    if np.isfinite(tuning):
        inside = math.erf(tuning / math.sqrt(2))
        beta = (
            inside
            - 2 * tuning * math.exp(-(tuning**2) / 2) / math.sqrt(2 * math.pi)
            + tuning**2 * (1 - inside)
        )
    size = float(np.sqrt((v[measured] * e[measured] ** 2).sum() / v[measured].sum()))
    for _ in range(200):
        if size <= 1e-14:
            return 0.0
        degrees = float((v * (1 - lever))[measured].sum())
        if len(bound):
            degrees -= float((v[problem.censored] * _tobit_part(bound / size)).sum())
        new = math.sqrt(
            float((v[measured] * np.clip(e[measured], -tuning * size, tuning * size) ** 2).sum())
            / (beta * max(degrees, 0.5 / len(e)))
        )
        if abs(new - size) <= 0.01 * SETTLED * size:
            return new
        size = new
    return size


def _tobit_part(z: np.ndarray) -> np.ndarray:
    """z density(z) / P(Z > z): what bounds take from the degrees of freedom."""
    from scipy.special import log_ndtr

    z = np.clip(z, -40, 40)
    return z * np.exp(-0.5 * z * z - 0.5 * math.log(2 * math.pi) - log_ndtr(-z))
