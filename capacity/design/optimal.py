"""How good a design is, to first order: the criterion of c-optimality (`search` minimises it).

The estimate of the wanted parameter is, to first order, a weighted sum of what the runs measure
(least squares in the form's transform, every run one point, as `fitting.fit` has it). For n_j
runs in cell j, A = sum n_j x_j x_j' + prior, and w_j = x_j' A^-1 c,

    variance = scatter^2 sum over models (sum n_j w_j s_j)^2 + sum n_j w_j^2 noise_j^2
    bias     = sum n_j w_j b_j                                       what the corner takes away
    trend    = sum n_j w_j z_j                                       what a bend that the form lacks
             would add

x: exact slopes by the parameters; c: the wanted one; s: how a model's own scatter enters; z: a
trend, orthogonal to the form over the whole space, so that a design without it estimates what the
whole space would. It is a potential term of DuMouchel & Jones (1994, Technometrics 36, 37), and
keeps a plan from sitting in the cheapest corner of the space. The criterion is the squared
half-width t^2 variance + 1.96^2 (bias^2 + bend^2 trend^2), averaged over plausible truths, with t
of as many degrees of freedom as models (or runs) carry the variance, by Satterthwaite's formula.
c-optimality: Elfving (1952, Ann. Math. Stat. 23, 255); exchanges: Fedorov (1972), Theory of Optimal
Experiments, chapter 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capacity.fitting.statistics import student

LEAST_DOF = 0.2  # below one nothing is known; the criterion still has to fall with every model
CHUNK = 200  # designs at a time
# what the prior is widened by: a fit does not know it, a design with few runs has to be compared
# all the same
VAGUE = 20.0
USABLE = 0.9  # cells that measure less often than this are not asked


Most = (
    np.ndarray | tuple[np.ndarray, np.ndarray]
)  # of each cell [J]; of each model, and cluster [J]


@dataclass(frozen=True, kw_only=True)
class Effects:
    """What one run of each cell contributes, by truth [T] and cell [J].

    slope [T, J, k]; usable [T, J]: the chance that it measures rather than bounds; bias, noise, own
    (s above) [T, J]; trend [T, J]; scatter [T]; bend: sd; cluster [J], None where every run is a
    replicate of its own; contrast [T, k]: c; prior [k]: sd of u; pooled: whether all models give
    the degrees of freedom of the interval, also where few of them carry its variance.
    """

    slope: np.ndarray
    usable: np.ndarray
    bias: np.ndarray
    noise: np.ndarray
    own: np.ndarray
    trend: np.ndarray
    scatter: np.ndarray
    bend: float
    cluster: np.ndarray | None
    contrast: np.ndarray
    prior: np.ndarray
    pooled: bool = False

    @property
    def models(self) -> np.ndarray:
        """[J] model of each cell; ValueError where every run is a replicate of its own."""
        if self.cluster is None:
            raise ValueError("runs of these effects have no models")
        return self.cluster

    def completed(self, trials: np.ndarray, done: np.ndarray, most: Most) -> np.ndarray:
        """Designs [B, J] with what their runs need beside them; nothing here."""
        return trials

    def starts(self, done: np.ndarray, most: Most) -> list[np.ndarray]:
        """Designs [J] that a search begins with beside nothing, of which those within the budget
        are tried."""
        return []

    def predict(self, number: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Half-width, bias with trend, and degrees of freedom, each [B, T], of designs [B, J] (runs
        by cell)."""
        n = number[:, None, :] * self.usable  # [B, T, J]
        k = self.slope.shape[-1]
        typical = np.sqrt(np.median(self.noise**2, axis=1) + self.scatter**2)  # [T]
        weights = weigh(self, n, typical)
        w, inverse = weights.of_runs, weights.inverse
        single = w**2 * self.noise**2
        if self.cluster is None:
            each, count, x = single, n, self.slope
            hat = np.einsum("tjk,btkl,til->btji", x, inverse, x, optimize=True)
        else:
            models = np.eye(self.cluster.max() + 1)[self.cluster]  # [J, C]
            each = (
                self.scatter[:, None] ** 2 * ((n * w * self.own) @ models) ** 2
                + (n * single) @ models
            )
            count, hat = by_models(self.slope, n, models, inverse)
        variance = (count * each if self.cluster is None else each).sum(-1) + weights.assumed
        most = np.maximum(count.sum(-1) - k, LEAST_DOF)
        dof = most if self.pooled else np.clip(degrees(each, count, hat), LEAST_DOF, most)
        off = np.hypot((n * w * self.bias).sum(-1), self.bend * (n * w * self.trend).sum(-1))
        return student(dof) * np.sqrt(variance), off, dof


@dataclass(frozen=True)
class Weights:
    """Of least squares with runs n: what each adds to the estimate [B, T, J], A^-1 [B, T, k, k],
    and the variance that the prior adds [B, T]."""

    of_runs: np.ndarray
    inverse: np.ndarray
    assumed: np.ndarray


def weigh(e: Effects, n: np.ndarray, typical: np.ndarray) -> Weights:
    """Weights for points n [B, T, J]; typical [T]: noise of one, with which the widened prior is
    weighed."""
    k = e.slope.shape[-1]
    pseudo = typical[:, None] / (
        VAGUE * e.prior
    )  # [T, k] rows of the prior, with the noise of a run
    a = np.einsum("btj,tjk,tjl->btkl", n, e.slope, e.slope, optimize=True)
    a[..., np.arange(k), np.arange(k)] += pseudo**2
    size = np.sqrt(np.einsum("btkk->btk", a))
    scaled = (
        np.linalg.solve(
            a / (size[..., :, None] * size[..., None, :]), (e.contrast / size)[..., None]
        )[..., 0]
        / size
    )
    inverse = np.linalg.inv(a / (size[..., :, None] * size[..., None, :])) / (
        size[..., :, None] * size[..., None, :]
    )
    return Weights(
        np.einsum("btk,tjk->btj", scaled, e.slope),
        inverse,
        ((scaled * pseudo) ** 2).sum(-1) * typical**2,
    )


def by_models(
    slope: np.ndarray, n: np.ndarray, models: np.ndarray, inverse: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which models have points [B, T, C], and their leverages [B, T, C, C]; models [J, C]."""
    runs = n @ models
    x = (
        np.einsum("btj,tjk,jc->btck", n, slope, models, optimize=True)
        / np.maximum(runs, 1e-9)[..., None]
    )
    return np.minimum(runs, 1.0), np.einsum(
        "btck,btkl,btdl,btc,btd->btcd", x, inverse, x, np.sqrt(runs), np.sqrt(runs), optimize=True
    )


def orthogonal(trend: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """A trend [T, J] without what the form can take up, over all cells equally."""
    out = np.empty(slope.shape[:2])
    for t in range(len(slope)):
        z = np.broadcast_to(trend, out.shape)[t]
        out[t] = z - slope[t] @ np.linalg.lstsq(slope[t], z, rcond=None)[0]
    return out


def predicted(effects: Effects, number: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half-width, bias with trend, and degrees of freedom, each [B, T], of designs [B, J] (runs by
    cell)."""
    number = np.atleast_2d(np.asarray(number, float))
    parts = [effects.predict(number[i : i + CHUNK]) for i in range(0, len(number), CHUNK)]
    half, off, dof = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return half, off, dof


def degrees(each: np.ndarray, count: np.ndarray, hat: np.ndarray) -> np.ndarray:
    """Satterthwaite's degrees of freedom of a sum of squared residuals of replicates with these
    variances [..., R], `count` of each kind, whose leverages are the diagonal of hat [..., R, R]:
    (sum v)^2 / sum v_r v_s (1[r = s] - h_rs)^2 / ((1 - h_rr) (1 - h_ss)) (Imbens & Kolesar 2016,
    eq. 10, with CR2)."""
    free = np.maximum(1 - np.einsum("...rr->...r", hat), 1e-3)
    part = count * each / free
    cross = np.einsum("btr,bts,btrs->bt", part, part, hat**2, optimize=True)
    own = np.einsum("...rr->...r", hat)
    same = (count * each**2 * (1 - (own / free) ** 2)).sum(
        -1
    )  # a replicate with itself has (1 - h)^2 instead of h^2
    total = (count * each).sum(-1) ** 2
    return total / np.maximum(same + cross, 1e-12 * total + 1e-300)


def criterion(effects: Effects, number: np.ndarray) -> np.ndarray:
    """[B]: mean over truths of the squared half-width with its bias."""
    half, off, _ = predicted(effects, number)
    return (half**2 + (1.96 * off) ** 2).mean(1)
