"""Which runs tell most per hour: a c-optimal design, found greedily and polished by exchanges.

The estimate of the asked parameter is, to first order, a weighted sum of what the runs measure
(least squares in the form's transform, every run one point, as `laws.estimate` has it). For n_j
runs in cell j, A = sum n_j x_j x_j' + prior, and w_j = x_j' A^-1 c,

    variance = scatter^2 sum over models (sum n_j w_j s_j)^2 + sum n_j w_j^2 noise_j^2
    bias     = sum n_j w_j b_j                                       what the corner takes away
    trend    = sum n_j w_j z_j                                       what a bend that the form lacks
             would add

x: exact slopes by the parameters; c: the asked one; s: how a model's own scatter enters; z: a
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
FORCED = 40  # cells, the best to have one run more of, for which others are given up
WORTH = 0.05  # a run has to lower the log criterion by this part of its share of the budget


@dataclass(frozen=True)
class Effects:
    """What one run of each cell tells, by truth [T] and cell [J]. slope [T, J, k]; usable [T, J]:
    the chance that it measures rather than bounds; bias, noise, own (s above) [T, J]; trend [T, J];
    scatter [T]; bend: sd; cluster [J], None where every run is a replicate of its own; asked [T,
    k]: c; prior [k]: sd of u; pooled: whether all models give the degrees of freedom of the
    interval, also where few of them carry its variance."""

    slope: np.ndarray
    usable: np.ndarray
    bias: np.ndarray
    noise: np.ndarray
    own: np.ndarray
    trend: np.ndarray
    scatter: np.ndarray
    bend: float
    cluster: np.ndarray | None
    asked: np.ndarray
    prior: np.ndarray
    pooled: bool = False

    def completed(self, trials, done, most):
        """Designs [B, J] with what their runs need beside them; nothing here."""
        return trials

    def starts(self, done, most) -> list[np.ndarray]:
        """Designs [J] that a search begins with beside nothing, of which those within the budget
        are tried."""
        return []

    def predict(self, number):
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


def weigh(e: Effects, n, typical) -> Weights:
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
        np.linalg.solve(a / (size[..., :, None] * size[..., None, :]), (e.asked / size)[..., None])[
            ..., 0
        ]
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


def by_models(slope, n, models, inverse) -> tuple[np.ndarray, np.ndarray]:
    """Which models have points [B, T, C], and their leverages [B, T, C, C]; models [J, C]."""
    runs = n @ models
    x = (
        np.einsum("btj,tjk,jc->btck", n, slope, models, optimize=True)
        / np.maximum(runs, 1e-9)[..., None]
    )
    return np.minimum(runs, 1.0), np.einsum(
        "btck,btkl,btdl,btc,btd->btcd", x, inverse, x, np.sqrt(runs), np.sqrt(runs), optimize=True
    )


def orthogonal(trend, slope) -> np.ndarray:
    """A trend [T, J] without what the form can take up, over all cells equally."""
    out = np.empty(slope.shape[:2])
    for t in range(len(slope)):
        z = np.broadcast_to(trend, out.shape)[t]
        out[t] = z - slope[t] @ np.linalg.lstsq(slope[t], z, rcond=None)[0]
    return out


def predicted(effects: Effects, number) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half-width, bias with trend, and degrees of freedom, each [B, T], of designs [B, J] (runs by
    cell)."""
    number = np.atleast_2d(np.asarray(number, float))
    parts = [effects.predict(number[i : i + CHUNK]) for i in range(0, len(number), CHUNK)]
    return tuple(np.concatenate(columns) for columns in zip(*parts))


def degrees(each, count, hat):
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


def criterion(effects: Effects, number) -> np.ndarray:
    """[B]: mean over truths of the squared half-width with its bias."""
    half, off, _ = predicted(effects, number)
    return (half**2 + (1.96 * off) ** 2).mean(1)


def best(
    effects: Effects, cost, budget: float, most, done=None, exchanges: int = 40, polish: bool = True
) -> np.ndarray:
    """Runs to add by cell [J] for at most `budget` hours. cost: designs [B, J] -> hours [B]; most
    [J]: of each cell, or (limit, cluster [J]) of each model; done [J]: usable runs that are there,
    which cost nothing.

    Greedy by the fall of the log criterion per hour, then exchanges of one run for another wherever
    the budget allows; polish: then also of one run for several, which budgets of a few runs need.
    """
    done = np.zeros(effects.usable.shape[1]) if done is None else np.asarray(done, float)
    asked = effects.usable.mean(0) >= USABLE
    begin = [np.zeros(len(done))] + [
        n for n in effects.starts(done, most) if cost(n[None])[0] <= budget
    ]
    tried = np.array([_filled(effects, cost, budget, most, done, start, asked) for start in begin])
    new = tried[np.argmin(criterion(effects, done + tried))]
    for _ in range(exchanges):
        value = criterion(effects, done + new)[0]
        trials = np.array(
            [
                _moved(new, i, j)
                for i in np.flatnonzero(new)
                for j in np.flatnonzero(asked)
                if i != j
            ]
        )
        trials = effects.completed(trials, done, most) if len(trials) else trials
        trials = trials[_allowed(trials, most)] if len(trials) else trials
        trials = trials[cost(trials) <= budget] if len(trials) else trials
        better = trials[[np.argmin(criterion(effects, done + trials))]] if len(trials) else trials
        if (
            not len(better) or criterion(effects, done + better)[0] >= value * (1 - 1e-4)
        ) and polish:
            wanted = np.flatnonzero(asked)
            if len(wanted) > FORCED:
                wanted = wanted[
                    np.argsort(criterion(effects, done + new + np.eye(len(new))[wanted]))[:FORCED]
                ]
            better = np.array(
                [_forced(effects, cost, budget, most, done, new, j, asked) for j in wanted]
            )
            better = (
                better[[np.argmin(criterion(effects, done + better))]] if len(better) else better
            )
        if not len(better) or criterion(effects, done + better)[0] >= value * (1 - 1e-4):
            break
        new = _filled(effects, cost, budget, most, done, better[0], asked)
    return new


def _forced(effects, cost, budget, most, done, new, j, asked):
    """One run of cell j more, and for it fewer of those that are missed least for their hours."""
    tried = effects.completed(new + np.eye(len(new))[[j]], done, most)[0]
    while cost(tried[None])[0] > budget or not _allowed(tried[None], most)[0]:
        used = np.array([i for i in np.flatnonzero(tried) if i != j], int)
        if not len(used):
            return new
        fewer = tried - np.eye(len(tried))[used]
        saved = np.maximum(cost(tried[None])[0] - cost(fewer), 1e-12)
        tried = fewer[
            np.argmin(
                np.log(criterion(effects, done + fewer) / criterion(effects, done + tried)[0])
                / saved
            )
        ]
    return _filled(effects, cost, budget, most, done, tried, asked)


def _moved(number, i, j):
    out = number.copy()
    out[i] -= 1
    out[j] += 1
    return out


def _allowed(number, most):
    if isinstance(most, tuple):
        limit, cluster = most
        return (number @ np.eye(cluster.max() + 1)[cluster] <= limit).all(-1)
    return (number <= most).all(-1)


def _filled(effects, cost, budget, most, done, new, asked):
    """More runs, one by one, while the budget lasts and they are worth their cost."""
    step = np.eye(len(new))[asked]
    while True:
        trials = effects.completed(new + step, done, most)
        price = cost(trials)
        fits = (price <= budget) & _allowed(trials, most)
        if not fits.any():
            return new
        trials, price = trials[fits], price[fits]
        gain = np.log(criterion(effects, done + new)[0]) - np.log(criterion(effects, done + trials))
        # runs that share their stack's steps may cost next to nothing
        rate = gain / np.maximum(price - cost(new[None])[0], 1e-3 * price)
        if rate.max() * budget <= WORTH:
            return new
        new = trials[np.argmax(rate)]


def cheapest(
    effects: Effects, cost, budget: float, most, half: float, done=None, turns: int = 7
) -> np.ndarray | None:
    """The cheapest design within the budget whose predicted half-width (median over truths) is at
    most `half`; None where there is none."""

    def width(number):
        return np.median(predicted(effects, (0 if done is None else done) + number)[0])

    found = best(effects, cost, budget, most, done, polish=False)
    if width(found) > half:
        return None
    low, high = 0.0, float(cost(found[None])[0])
    for _ in range(turns):
        middle = np.sqrt(low * high) if low > 0 else high / 3
        tried = best(effects, cost, middle, most, done, polish=False)
        if width(tried) <= half:
            found, high = tried, float(cost(tried[None])[0])
        else:
            low = middle
        if low > 0.93 * high:
            break
    return found
