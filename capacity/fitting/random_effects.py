"""Several sources of variation at once: a linear model whose noise has a known part and parts that
groups have in common, their sizes by restricted maximum likelihood.

    y = X b + sum over sources of (a draw of each group) + noise of variance `known`

V = diag(known) + sum_k variance_k kernel_k. The variances maximize the restricted likelihood
(Patterson & Thompson 1971, Biometrika 58, 545), none below 0; standard errors are those of
generalized least squares, and intervals are Student's with the degrees of freedom that the variance
of that very number rests on (Satterthwaite, from the expected information of the variances: Fai &
Cornelius 1996, J. Stat. Comput. Simul. 54, 363). With few groups these are few: two groups
leave one, however many runs stand behind each. A random-effects meta-analysis (one column of ones,
known variances of studies) and its regression (Berkey et al. 1995, Stat. Med. 14, 395) are cases.

Without the sources the known variances say how far points should lie from X b: `lack_of_fit` is
that chi-square (Cochran's Q for one column).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from capacity.fitting.statistics import LEVEL, student

STARTS = (0.1, 1.0)  # variances, in parts of the scatter of y about least squares
MOST_DOF = 1e6  # above, the normal quantile


@dataclass(frozen=True)
class Effects:
    """beta [k] and its covariance [k, k]; variances by source; what `dof` needs: derivatives of V
    [sources, n, n], inverse of the expected information of the variances [sources, sources], and
    the map from y to beta [k, n]."""

    beta: np.ndarray
    covariance: np.ndarray
    variances: dict[str, float]
    kernels: np.ndarray
    uncertainty: np.ndarray
    weights: np.ndarray

    def error(self, contrast: ArrayLike) -> float:
        """Standard error of contrast @ beta."""
        c = np.asarray(contrast, float)
        return float(np.sqrt(max(c @ self.covariance @ c, 0.0)))

    def dof(self, contrast: ArrayLike) -> float:
        """Satterthwaite's degrees of freedom of that standard error."""
        c = np.asarray(contrast, float)
        return satterthwaite(
            c @ self.weights, float(c @ self.covariance @ c), self.kernels, self.uncertainty
        )

    def interval(self, contrast: ArrayLike, level: float = LEVEL) -> tuple[float, float, float]:
        """Low and high end of contrast @ beta, and the degrees of freedom."""
        c = np.asarray(contrast, float)
        dof = self.dof(c)
        reach = student(dof, level) * self.error(c)
        middle = float(c @ self.beta)
        return middle - float(reach), middle + float(reach), dof


def satterthwaite(
    pull: np.ndarray, variance: float, kernels: np.ndarray, uncertainty: np.ndarray
) -> float:
    """Degrees of freedom of the variance of pull @ y: 2 variance^2 / the variance of its estimate.
    pull [n]; kernels [sources, n, n]; uncertainty: covariance of the estimated variances."""
    return degrees(np.einsum("i,kij,j->k", pull, kernels, pull), variance, uncertainty)


def degrees(slope: np.ndarray, variance: float, uncertainty: np.ndarray) -> float:
    """`satterthwaite` of a variance whose derivatives by those of the sources are slope."""
    spread = float(slope @ uncertainty @ slope)
    if spread <= 2 * variance**2 / MOST_DOF:
        return MOST_DOF
    return max(1.0, 2 * variance**2 / spread)


def shared(codes: Sequence[Any] | np.ndarray, scale: ArrayLike = 1.0) -> np.ndarray:
    """Kernel [n, n] of draws that points of one group have in common, each times `scale` of the
    point."""
    index = np.unique(np.asarray(codes), return_inverse=True)[1]
    size = np.broadcast_to(np.asarray(scale, float), index.shape)
    return np.where(index[:, None] == index, np.outer(size, size), 0.0)


def effects(
    y: ArrayLike,
    x: ArrayLike,
    kernels: Mapping[str, np.ndarray],
    known: ArrayLike = 0.0,
    bound: ArrayLike | None = None,
    begin: Mapping[str, float] | None = None,
) -> Effects:
    """Fit. y [n]; x [n, k] of full rank, k < n; kernels by source, each [n, n], of which those
    count that the points can tell apart (`apart`, the first ones first); known: variances that are
    known [n]; bound: bool [n], True where y is a lower bound. Bounds pull on beta by the censored
    normal likelihood, as if they shared nothing with others, and not on the variances. begin:
    variances to search from alone, such as those of nearly the same points. ValueError where
    nothing is left to learn a variance from."""
    y, x = np.asarray(y, float), np.asarray(x, float)
    (n, k), fixed = x.shape, np.broadcast_to(np.asarray(known, float), (len(y),)).copy()
    censored = np.zeros(n, bool) if bound is None else np.asarray(bound, bool)
    m = ~censored
    if m.sum() <= k or np.linalg.matrix_rank(x[m]) < k:
        raise ValueError(f"{m.sum()} points do not determine {k} numbers and a scatter")
    unit = _scatter(y[m], x[m])
    if not unit:
        raise ValueError("no residual is left: no noise to learn from")
    names = apart({name: part[np.ix_(m, m)] for name, part in kernels.items()}, x[m])
    all_parts = np.array([kernels[name] for name in names]).reshape(len(names), n, n)
    parts = all_parts[:, m][:, :, m]
    first = None if begin is None else np.array([begin.get(name, 0.0) for name in names])
    variances = _variances(y[m], x[m], parts, fixed[m], unit=unit, begin=first)
    v = np.diag(fixed[m]) + np.tensordot(variances, parts, 1)
    if np.linalg.matrix_rank(v) < m.sum():
        raise ValueError("no noise of single points: give a source that every point has for itself")
    inverse, covariance, p = _projected(v, x[m])
    beta, uncertainty = covariance @ x[m].T @ inverse @ y[m], _uncertainty(p, parts)
    if censored.any():
        own = np.sqrt(fixed + np.einsum("k,kii->i", variances, all_parts))[censored]
        all_parts[:, censored] = all_parts[:, :, censored] = 0.0
        y, fixed = y.copy(), fixed.copy()
        y[censored], fixed[censored] = _working(beta, x, y, own=own, censored=censored, v=v)
        v = np.diag(fixed) + np.tensordot(variances, all_parts, 1)
        inverse, covariance, _ = _projected(v, x)
        beta = covariance @ x.T @ inverse @ y
        parts = all_parts
    weights = covariance @ (x if censored.any() else x[m]).T @ inverse
    named = dict(zip(names, variances.tolist(), strict=True))
    return Effects(beta, covariance, named, parts, uncertainty, weights)


def apart(kernels: Mapping[str, np.ndarray], x: np.ndarray) -> list[str]:
    """Of these sources, in their order, those that residuals about x see and can tell from the ones
    before."""
    left = np.eye(len(x)) - x @ np.linalg.pinv(x)
    names: list[str] = []
    seen = np.zeros((0, len(x) ** 2))
    for name, part in kernels.items():
        one = (left @ part @ left).ravel()
        size = np.linalg.norm(one)
        if size <= 1e-9 * np.linalg.norm(part):
            continue
        more = np.concatenate([seen, one[None] / size])
        if np.linalg.matrix_rank(more, tol=1e-6) == len(more):
            names, seen = [*names, name], more
    return names


def _working(
    beta: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    own: np.ndarray,
    censored: np.ndarray,
    v: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Values and variances that make a least-squares step of the bounds the Newton step of their
    likelihood P(Y > y), at its solution. own: their standard deviation."""
    from scipy.special import log_ndtr

    m, c, limit = ~censored, x[censored], y[censored]
    inverse = np.linalg.inv(v)
    value, variance = limit, own**2
    for _ in range(200):
        z = (limit - c @ beta) / own
        hazard = np.exp(-0.5 * z * z - 0.5 * np.log(2 * np.pi) - log_ndtr(-z))
        curve = np.maximum(hazard * (hazard - z), 1e-12)
        value, variance = c @ beta + own * hazard / curve, own**2 / curve
        normal = x[m].T @ inverse @ x[m] + (c.T / variance) @ c
        last = beta
        beta = np.linalg.solve(normal, x[m].T @ inverse @ y[m] + (c.T / variance) @ value)
        if np.abs(beta - last).max() <= 1e-12 * max(1.0, np.abs(beta).max()):
            break
    return value, variance


def lack_of_fit(y: ArrayLike, x: ArrayLike, known: ArrayLike) -> dict[str, float]:
    """Of the fit weighted by known variances alone: chi2, dof, and the chance p of a larger chi2 if
    points scattered by these variances only."""
    from scipy.special import chdtrc

    y, x = np.asarray(y, float), np.asarray(x, float)
    root = 1 / np.sqrt(np.asarray(known, float))
    beta = np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0]
    value = float((((y - x @ beta) * root) ** 2).sum())
    dof = len(y) - x.shape[1]
    return {"chi2": value, "dof": dof, "p": float(chdtrc(dof, value))}


def _scatter(y: np.ndarray, x: np.ndarray) -> float:
    """Variance of y about least squares; 0 where that is rounding."""
    rest = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    value = float(rest @ rest) / (len(y) - x.shape[1])
    return value if value > (1e-12 * max(1.0, np.abs(y).max())) ** 2 else 0.0


def _projected(v: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inverse of V, (X' V^-1 X)^-1, and P = V^-1 - V^-1 X (X' V^-1 X)^-1 X' V^-1."""
    inverse = np.linalg.inv(v)
    covariance = np.linalg.inv(x.T @ inverse @ x)
    half = inverse @ x
    return inverse, covariance, inverse - half @ covariance @ half.T


def _uncertainty(p: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Inverse of the expected information tr(P K_k P K_l) / 2 of the variances."""
    if not len(parts):
        return np.zeros((0, 0))
    half = p @ parts
    return np.linalg.inv(0.5 * np.einsum("kij,lji->kl", half, half))


def _variances(
    y: np.ndarray,
    x: np.ndarray,
    parts: np.ndarray,
    fixed: np.ndarray,
    *,
    unit: float,
    begin: np.ndarray | None,
) -> np.ndarray:
    """Those of the largest restricted likelihood, from several starts, or from one."""
    if not len(parts):
        return np.zeros(0)
    size = np.array([np.trace(part) / len(y) for part in parts])
    floor = 1e-10 * unit  # keeps V regular on the way

    def cost(part: np.ndarray) -> tuple[float, np.ndarray]:
        v = np.diag(fixed + floor) + np.tensordot(part * unit / size, parts, 1)
        inverse, covariance, p = _projected(v, x)
        pulled = p @ y
        value = np.linalg.slogdet(v)[1] - np.linalg.slogdet(covariance)[1] + y @ pulled
        slope = np.einsum("ij,kji->k", p, parts) - np.einsum("i,kij,j->k", pulled, parts, pulled)
        return float(value), slope * unit / size

    first = None if begin is None else np.maximum(begin * size / unit, 1e-3)
    return search(cost, len(parts), first) * unit / size


def search(
    cost: Callable[[np.ndarray], tuple[float, np.ndarray]],
    sources: int,
    begin: np.ndarray | None = None,
) -> np.ndarray:
    """Variances [sources], none below 0, in parts of the scatter about least squares, that minimize
    a cost (value and slopes): from several starts, or from `begin` alone."""
    from scipy.optimize import minimize

    if begin is None:
        starts = [np.full(sources, s) for s in STARTS]
        starts += [np.where(np.arange(sources) == i, 1.0, 0.01) for i in range(sources)]
    else:
        starts = [begin]
    ends = [
        minimize(cost, s, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * sources)
        for s in starts
    ]
    best = min(ends, key=lambda end: end.fun)
    return np.where(best.x < 1e-8, 0.0, best.x)
