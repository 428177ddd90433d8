"""The covariance of a fit by clusters, and the degrees of freedom that a standard error rests on.

Replicates are clusters (such as models, or models and seeds), never rows. Two things make few
clusters honest: residuals of each cluster are inflated for what it pulled the fit towards itself
(CR2: Bell & McCaffrey 2002, Surv. Methodol. 28, 169), and the t quantile has the degrees of freedom
that the variance of that very number rests on (Satterthwaite; Imbens & Kolesár 2016, Rev. Econ.
Stat. 98, 701, eq. 10, with the correlation within clusters as estimated).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capacity.fitting.fit import Fit

IDLE = 0.05  # curvature of a bound, as part of a measured point's, below which it is none
LARGE = 256  # rows of a cluster, above which its matrix is not formed
KERNEL = 0.6  # standard deviations; half the width of the window in which curvature is estimated


@dataclass(frozen=True)
class Spread:
    """Covariance of u by clusters [k, k], the inverse curvature [k, k] that the objective alone
    would give (the rows of parameters that lie on a bound: as if they were free), and what dof
    needs."""

    covariance: np.ndarray
    inverse: np.ndarray
    x: np.ndarray  # [n, k] derivatives of the residuals, weighted
    pull: np.ndarray  # [n, k] of residuals on u
    adjusted: np.ndarray  # [n, k] the same, inflated by cluster
    within: float  # correlation of residuals of one cluster
    codes: np.ndarray

    def error(self, gradient: np.ndarray) -> float:
        """Standard error of a number with this gradient by u."""
        return float(np.sqrt(max(gradient @ self.covariance @ gradient, 0.0)))

    def dof(self, gradient: np.ndarray) -> float:
        """Satterthwaite's degrees of freedom of that standard error."""
        a, count = self.adjusted @ gradient, int(self.codes.max()) + 1
        w = self._summed(a[:, None] * self.pull).T  # [k, C]
        # G [n, C] is what the residual of every point adds to the part of every cluster: a in its
        # own, minus what the fit to all took away
        own = self._summed(a[:, None] * self.x) @ w
        total = (1 - self.within) * (
            np.diag(np.bincount(self.codes, a * a, count))
            - own
            - own.T
            + w.T @ (self.x.T @ self.x) @ w
        )
        if self.within > 0:  # sums of G over the points of a cluster
            sums, x = np.bincount(self.codes, a, count), self._summed(self.x)
            shared = sums[:, None] * (x @ w)
            total += self.within * (np.diag(sums**2) - shared - shared.T + w.T @ (x.T @ x) @ w)
        # of a constant that the points hardly determine squares overflow, and no number comes out
        with np.errstate(over="ignore", invalid="ignore"):
            square = float((total**2).sum())
            return float(np.trace(total) ** 2 / square) if square > 0 else 0.0

    def _summed(self, rows: np.ndarray) -> np.ndarray:
        """Rows [n, k] summed by cluster [C, k]."""
        return np.stack(
            [np.bincount(self.codes, column, int(self.codes.max()) + 1) for column in rows.T],
            axis=1,
        )


def spread_of(fitted: Fit) -> Spread:
    """CR2 covariance of a fit by clusters. The scores are those of the loss, bounded under Huber,
    and so is the curvature, point by point: under-filled points have smaller residuals than full
    ones, so that an average would misjudge both. Where delta is far below the noise, the curvature
    is estimated with a wider window (Powell 1991; Koenker 2005, Quantile Regression, section
    3.4.2)."""
    p, free = fitted.problem, fitted.free
    e, jacobian = p.residuals(fitted.u[None])
    _, psi, curve, _ = (a[0] for a in p.loss(e))
    k = len(free)
    if (
        0 < p.delta < KERNEL * fitted.sigma
    ):  # a loss that is absolute almost everywhere: its curvature is a density of residuals at 0
        curve = np.where(
            p.censored,
            curve,
            (np.abs(e[0]) < KERNEL * fitted.sigma) * p.delta / (KERNEL * fitted.sigma),
        )
    moving = free & ~np.isin(
        np.arange(k), [fitted.form.index(name) for name in fitted.search["at_bound"]]
    )
    x = jacobian[0][:, moving] * np.sqrt(np.maximum(curve, 1e-12))[:, None]
    size = np.maximum(np.sqrt((x**2).sum(0)), 1e-150)  # of a parameter that no point determines
    inverse = np.linalg.pinv((x / size).T @ (x / size), rcond=1e-14) / np.outer(size, size)
    clusters = [np.flatnonzero(fitted.codes == c) for c in range(len(fitted.clusters))]
    r = psi / np.sqrt(np.maximum(curve, 1e-12))
    m = x @ inverse  # [n, k]: pull of a residual on the parameters
    adjusted, meat = np.empty_like(m), np.zeros((moving.sum(), moving.sum()))
    for rows in clusters:
        adjusted[rows] = _inflated(m[rows], x[rows], inverse)
        score = adjusted[rows].T @ r[rows]
        meat += np.outer(score, score)
    within = _within(r, clusters, int(moving.sum()))
    wide, whole = np.zeros((k, k)), np.zeros((k, k))
    wide[np.ix_(moving, moving)] = meat
    every = jacobian[0][:, free] * np.sqrt(np.maximum(curve, 1e-12))[:, None]
    size = np.maximum(np.sqrt((every**2).sum(0)), 1e-150)
    whole[np.ix_(free, free)] = np.linalg.pinv(
        (every / size).T @ (every / size), rcond=1e-14
    ) / np.outer(size, size)
    # a parameter on its bound holds the others' curvature, not the other way round
    whole[moving] = 0.0
    whole[np.ix_(moving, moving)] = inverse
    x, m, adjusted = (_widened(a, moving) for a in (x, m, adjusted))
    return Spread(wide, whole, x, m, adjusted, within, fitted.codes)


def _inflated(m: np.ndarray, x: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """(I - x inverse x')^(-1/2) m of the rows of a cluster, 0 where it has no inverse. What differs
    from I lies in the columns of x, so of a large cluster these are enough."""
    large = len(x) > LARGE
    basis, inner = np.linalg.qr(x) if large else (np.zeros((0, 0)), x)
    values, vectors = np.linalg.eigh(np.eye(len(inner)) - inner @ inverse @ inner.T)
    root = np.where(values > 1e-9, 1 / np.sqrt(np.maximum(values, 1e-9)), 0.0)
    if not large:
        return (vectors * root) @ (vectors.T @ m)
    vectors = basis @ vectors
    return m + (vectors * (root - 1)) @ (vectors.T @ m)


def _widened(columns: np.ndarray, moving: np.ndarray) -> np.ndarray:
    out = np.zeros((len(columns), len(moving)))
    out[:, moving] = columns
    return out


@dataclass(frozen=True)
class Pooled:
    """As `Spread`, from two variances that all clusters share. pull [n, k]: of residuals on u;
    codes [n]; within and between: the estimated variances of a point and of its cluster.

    Matrices [n, n] differ from I in d directions alone, the span of clusters and parameters, where
    I - H is `residual` [d, d] and the ones of each cluster are `ones` [d, C] (none where every
    point is its own cluster); on the other n - d a residual is that of its point."""

    pull: np.ndarray
    residual: np.ndarray
    ones: np.ndarray
    codes: np.ndarray
    within: float
    between: float

    def error(self, gradient: np.ndarray) -> float:
        """Standard error of a number with this gradient by u."""
        return float(
            np.sqrt(
                sum(
                    v * w
                    for v, w in zip(
                        (self.within, self.between), self._shares(gradient), strict=True
                    )
                )
            )
        )

    def dof(self, gradient: np.ndarray) -> float:
        """Satterthwaite's degrees of freedom (1946, Biometrics Bull. 2, 110) of that standard
        error, whose square is a quadratic form of residuals."""
        if self.between == 0:
            return float(np.trace(self.residual)) + self.others
        within, between = self.squares()
        parts = np.linalg.solve(self.expected().T, self._shares(gradient))
        form = parts[0] * within + parts[1] * between
        turned = form * self.within + self.between * (form @ self.ones) @ self.ones.T
        alone = float(parts[0] * self.within)
        square = float((turned * turned.T).sum()) + self.others * alone**2
        whole = float(np.trace(turned)) + self.others * alone
        return whole**2 / square if square > 0 else 0.0

    @property
    def others(self) -> int:
        """Directions in which residuals are those of points alone."""
        return len(self.codes) - len(self.residual)

    def _shares(self, gradient: np.ndarray) -> tuple[float, float]:
        """What a unit of either variance makes of the variance of the number."""
        pull = self.pull @ gradient
        return float(pull @ pull), float((np.bincount(self.codes, pull) ** 2).sum())

    def squares(self) -> tuple[np.ndarray, np.ndarray]:
        """Matrices [d, d] of the sums of squares of residuals within clusters and of their
        means."""
        sums = self.residual @ self.ones
        between = (sums / np.bincount(self.codes)) @ sums.T
        return self.residual @ self.residual - between, between

    def expected(self) -> np.ndarray:
        """[2, 2]: expectation of either sum of squares per unit of either variance."""
        within, between = self.squares()
        return np.array(
            [
                [np.trace(m) + others, float(((m @ self.ones) * self.ones).sum())]
                for m, others in ((within, self.others), (between, 0))
            ]
        )


def pooled_of(fitted: Fit) -> Pooled:
    """The variance of points and of clusters, the same for all in the transform of the fit, from
    the sums of squares of residuals within and between clusters and what leverage leaves of them
    (Henderson's third method, 1953, Biometrics 9, 226). Under Huber's loss residuals are those of
    the loss, stretched by 1 + k / C (1 - m) / m for the share m that it does not clip: which points
    are clipped follows the fit (Huber 1973, Ann. Stat. 1, 799, with the C clusters as his n
    observations)."""
    p, free = fitted.problem, fitted.free
    e, jacobian = p.residuals(fitted.u[None])
    _, psi, curve, _ = (a[0] for a in p.loss(e))
    kept = float(curve[~p.censored].mean())
    curve = np.where(p.censored, curve, kept)
    informative = curve > IDLE  # bounds far below the line say nothing, and have no residual
    x, r = (
        (jacobian[0] * np.sqrt(curve)[:, None])[informative][:, free],
        (psi / np.sqrt(np.maximum(curve, IDLE)))[informative],
    )
    r = r * (1 + free.sum() / len(fitted.clusters) * (1 - kept) / max(kept, IDLE))
    _, codes = np.unique(fitted.codes[informative], return_inverse=True)
    inverse, count = np.linalg.pinv(x.T @ x), int(codes.max()) + 1
    pull = np.zeros((len(r), len(free)))
    pull[:, free] = x @ inverse
    ones = np.zeros((len(r), 0 if count == len(r) else count))
    if ones.size:
        ones[np.arange(len(r)), codes] = 1.0
    # orthonormal also where x lies among the ones
    directions = np.linalg.qr(np.concatenate([ones, x], axis=1))[0]
    inner = directions.T @ x
    residual = np.eye(len(inner)) - inner @ inverse @ inner.T
    whole = float((r**2).sum() / max(len(r) - free.sum(), 1))
    inside = directions.T @ ones
    alone = Pooled(pull, residual, inside, codes, whole, 0.0)
    if count == len(r) or count <= free.sum():
        return alone
    seen = directions.T @ r
    found = [float(seen @ m @ seen) for m in alone.squares()]
    found[0] += float((r**2).sum()) - float((seen**2).sum())
    within, between = np.linalg.solve(alone.expected(), found)
    return (
        alone
        if between <= 0
        else Pooled(
            pull, residual, inside, codes, max(float(within), 1e-6 * float(between)), float(between)
        )
    )


def _within(r: np.ndarray, clusters: list[np.ndarray], k: int) -> float:
    """Correlation of residuals within clusters, from one-way analysis of variance, 0 where it is
    negative or there is one point per cluster."""
    sizes = np.array([len(rows) for rows in clusters])
    if sizes.max() < 2 or len(clusters) < 2:
        return 0.0
    n, means = len(r), np.array([r[rows].mean() for rows in clusters])
    inside = sum(((r[rows] - m) ** 2).sum() for rows, m in zip(clusters, means, strict=True)) / max(
        n - len(clusters), 1
    )
    between = float((sizes * means**2).sum()) / max(len(clusters) - min(k, len(clusters) - 1), 1)
    typical = (n - (sizes**2).sum() / n) / (len(clusters) - 1)
    extra = max(between - inside, 0.0) / typical
    return float(extra / (extra + inside)) if extra + inside > 0 else 0.0
