"""How far to trust a fit: covariance by clusters, profile likelihood and Student intervals that hold with few clusters.

    intervals.of(found)                                    parameters, by the method that the form states
    intervals.of(found, at={"parameters": [1e6], ...})     and predictions at these points, keys "at 0", "at 1", ...

Replicates are clusters (model shapes, or models and seeds), never rows. Two things make few clusters honest: residuals of each
cluster are inflated for what it pulled the fit towards itself (CR2: Bell & McCaffrey 2002, Surv. Methodol. 28, 169), and the t quantile
has the degrees of freedom that the variance of that very number rests on (Satterthwaite; Imbens & Kolesár 2016, Rev. Econ. Stat. 98, 701,
eq. 10, with the correlation within clusters as estimated). Methods:

    wald      estimate -+ t standard errors, in the coordinate of the parameter (its logarithm where scale is "log")
    profile   all values whose best fit is worse by less than t^2 / 2 times what one standard error is worth in the objective: a profile
              likelihood with the vertical scale of the clusters (Chandler & Bate 2007, Biometrika 94, 167). It follows curvature and ends at bounds.
    percentile, studentized, bca    cluster bootstraps, see `bootstrap`
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from capacity.laws import forms
from capacity.laws.estimate import Fit
from capacity.laws.solve import Problem, normal, solve

FEWEST_CLUSTERS = 3
KERNEL = 0.6  # standard deviations; half the width of that window
FEWEST_DOF = 1.0  # below, the t quantile is in the hundreds


@dataclass(frozen=True)
class Spread:
    """Covariance of u by clusters [k, k], the inverse curvature [k, k] that the objective alone would give, and what dof needs."""

    covariance: np.ndarray
    inverse: np.ndarray
    pull: np.ndarray  # [n, C, k]: residuals of the fit that a cluster's part of each parameter is a sum of
    within: float  # correlation of residuals of one cluster
    codes: np.ndarray

    def error(self, gradient) -> float:
        """Standard error of a number with this gradient by u."""
        return float(np.sqrt(max(gradient @ self.covariance @ gradient, 0.0)))

    def dof(self, gradient) -> float:
        """Satterthwaite's degrees of freedom of that standard error."""
        g = self.pull @ gradient  # [n, C]
        total = (1 - self.within) * g.T @ g
        if self.within > 0:
            sums = np.zeros((g.shape[1], g.shape[1]))
            np.add.at(sums, self.codes, g)
            total = total + self.within * sums.T @ sums
        square = float((total**2).sum())
        return float(np.trace(total) ** 2 / square) if square > 0 else 0.0


def spread_of(found: Fit) -> Spread:
    """CR2 covariance of a fit by clusters. The scores are those of the loss, bounded under Huber, and so is the curvature, point by point: under-filled
    points have smaller residuals than full ones, so that an average would misjudge both. Where delta is far below the noise, the curvature is
    estimated with a wider window (Powell 1991; Koenker 2005, Quantile Regression, section 3.4.2)."""
    p, free = found.problem, found.free
    e, jacobian = p.residuals(found.u[None])
    _, psi, curve, _ = (a[0] for a in p.loss(e))
    n, k = len(psi), len(free)
    if 0 < p.delta < KERNEL * found.sigma:  # a loss that is absolute almost everywhere: its curvature is a density of residuals at 0
        curve = np.where(p.censored, curve, (np.abs(e[0]) < KERNEL * found.sigma) * p.delta / (KERNEL * found.sigma))
    moving = free & ~np.isin(np.arange(k), [found.form.place(name) for name in found.search["at_bound"]])
    x = jacobian[0][:, moving] * np.sqrt(np.maximum(curve, 1e-12))[:, None]
    size = np.sqrt((x**2).sum(0)) + 1e-300
    inverse = np.linalg.pinv((x / size).T @ (x / size), rcond=1e-14) / np.outer(size, size)
    clusters = [np.flatnonzero(found.codes == c) for c in range(len(found.clusters))]
    r = psi / np.sqrt(np.maximum(curve, 1e-12))
    m = x @ inverse  # [n, k]: pull of a residual on the parameters
    pull, meat = np.zeros((n, len(clusters), moving.sum())), np.zeros((moving.sum(), moving.sum()))
    for c, rows in enumerate(clusters):
        values, vectors = np.linalg.eigh(np.eye(len(rows)) - x[rows] @ inverse @ x[rows].T)
        adjusted = (vectors * np.where(values > 1e-9, 1 / np.sqrt(np.maximum(values, 1e-9)), 0.0)) @ vectors.T @ m[rows]
        score = adjusted.T @ r[rows]
        meat += np.outer(score, score)
        pull[rows, c] = adjusted
        pull[:, c] -= x @ (m[rows].T @ adjusted)
    within = _within(r, clusters, int(moving.sum()))
    wide, whole, wide_pull = np.zeros((k, k)), np.zeros((k, k)), np.zeros((n, len(clusters), k))
    wide[np.ix_(moving, moving)], whole[np.ix_(moving, moving)], wide_pull[:, :, moving] = meat, inverse, pull
    return Spread(wide, whole, wide_pull, within, found.codes)


def _within(r, clusters, k) -> float:
    """Correlation of residuals within clusters, from one-way analysis of variance, 0 where it is negative or there is one point per cluster."""
    sizes = np.array([len(rows) for rows in clusters])
    if sizes.max() < 2 or len(clusters) < 2:
        return 0.0
    n, means = len(r), np.array([r[rows].mean() for rows in clusters])
    inside = sum(((r[rows] - m) ** 2).sum() for rows, m in zip(clusters, means)) / max(n - len(clusters), 1)
    between = float((sizes * means**2).sum()) / max(len(clusters) - min(k, len(clusters) - 1), 1)
    typical = (n - (sizes**2).sum() / n) / (len(clusters) - 1)
    extra = max(between - inside, 0.0) / typical
    return float(extra / (extra + inside)) if extra + inside > 0 else 0.0


def of(found: Fit, *, at: dict | None = None, method: str | None = None, level: float = forms.LEVEL, names=None) -> dict[str, dict]:
    """Intervals of parameters (all fitted ones, or those in names) and of predictions at points `at`, by key.

    Each is a dict: value, low, high (None where the interval has no end inside of the bounds), unit, method, dof, error (standard error in the
    coordinate of the search), reason (None, or why there is no interval). method: wald or profile, None: as the form states."""
    method = method or found.form.interval
    if method not in ("wald", "profile"):
        raise ValueError(f"unknown method {method!r}: use one of wald, profile (bootstraps: see bootstrap.intervals)")
    chosen = [n for n in (names or found.form.names) if found.free[found.form.place(n)]]
    out = {n: {"value": found.values[n], "unit": found.form.parameters[found.form.place(n)].unit} for n in chosen}
    points = {} if at is None else found.form.inputs(at)
    said = found.form.slopes(points, found.theta)[0] if points else np.zeros(0)
    out |= {f"at {i}": {"value": float(v), "unit": found.form.target.unit} for i, v in enumerate(said)}
    if (few := len(found.clusters)) < max(FEWEST_CLUSTERS, 2):
        reason = f"{few} cluster(s), an interval needs {FEWEST_CLUSTERS}"
    elif found.sigma <= 1e-9:
        reason = "no residual is left: no noise to learn from (is the seed in use?)"
    else:
        return _intervals(found, out, points, method, level)
    return {key: entry | {"low": None, "high": None, "method": method, "dof": None, "error": None, "reason": reason} for key, entry in out.items()}


def _intervals(found: Fit, out: dict, points: dict, method: str, level: float) -> dict:
    from scipy.special import stdtrit

    spread, k = spread_of(found), len(found.free)
    keys, gradients = list(out), []
    slopes = replace(found.problem, x=points).model(found.u[None])[1][0] if points else np.zeros((0, k))
    for key in keys:
        gradients.append(slopes[int(key[3:])] if key.startswith("at ") else np.eye(k)[found.form.place(key)])
    errors = np.array([spread.error(g) for g in gradients])
    degrees = np.array([spread.dof(g) for g in gradients])
    quantile = np.array([stdtrit(max(d, 1e-3), 0.5 + level / 2) for d in degrees])
    middle = np.array([found.u[found.form.place(key)] if not key.startswith("at ") else _said(found, points, int(key[3:])) for key in keys])
    reach = quantile * errors
    if method == "wald":
        ends = np.column_stack([middle - reach, middle + reach])
    else:
        ends = _profile(found, spread, points, keys, gradients, middle, reach)
    for i, key in enumerate(keys):
        entry = out[key] | {"method": method, "dof": float(degrees[i]), "error": float(errors[i]), "reason": None}
        outward = found.problem
        if key.startswith("at "):
            limits = [_outward_target(found, e) for e in ends[i]]
        else:
            j = found.form.place(key)
            limits = [float(found.form.parameters[j].outward(np.clip(e, outward.low[j], outward.high[j]))) for e in ends[i]]
            if key in found.search["at_bound"] and method == "wald":
                entry["reason"] = "on a bound: no curvature to form an interval from, use method profile"
        if degrees[i] < FEWEST_DOF and key not in found.search["at_bound"]:
            entry["reason"] = f"{degrees[i]:.1f} degrees of freedom: too few clusters tell this number"
        out[key] = entry | {"low": None, "high": None} if entry["reason"] else entry | {
            "low": limits[0] if np.isfinite(limits[0]) else None, "high": limits[1] if np.isfinite(limits[1]) else None}
    return out


def _said(found, points, i) -> float:
    return float(replace(found.problem, x={n: a[i:i + 1] for n, a in points.items()}).model(found.u[None], slopes=False)[0][0, 0])


def _outward_target(found: Fit, t: float) -> float:
    from capacity.laws.solve import back

    return float(np.clip(back(found.problem.transform, t), found.form.target.low, found.form.target.high))


def _profile(found: Fit, spread: Spread, points: dict, keys, gradients, middle, reach) -> np.ndarray:
    """Ends [m, 2] of profile intervals, all searched side by side: two rows per number.

    A parameter is held at the value asked about. A prediction is drawn there by one more point of great weight, which gives the best fit for
    the value that it then has; the objective is read without that point."""
    p, m = found.problem, len(keys)
    k, n = len(found.free), p.root.size
    wide, home = _with_points(p, points), np.arange(2 * m) // 2
    side = np.tile([-1.0, 1.0], m)
    place = np.array([-1 if key.startswith("at ") else found.form.place(key) for key in keys])[home]
    place_row = np.array([int(key[3:]) if key.startswith("at ") else -1 for key in keys])[home]
    worth = np.array([max(float(g @ spread.inverse @ g), 1e-300) for g in gradients])
    # at a bound the clusters say nothing about the curvature; the pooled noise does
    error2 = np.array([spread.error(g) ** 2 for g in gradients])
    unit = np.where(error2 > 0, error2 / worth, found.sigma**2)
    from scipy.special import stdtrit

    t2 = np.where(error2 > 0, (reach / np.sqrt(np.maximum(error2, 1e-300))) ** 2, stdtrit(max(len(found.clusters) - found.free.sum(), 1), 0.5 + forms.LEVEL / 2) ** 2)
    target = np.sqrt(t2 * unit / 2)[home]  # root of the rise of the objective at an end
    weight = np.concatenate([np.ones((2 * m, n)), np.zeros((2 * m, len(wide.root) - n))], axis=1)
    rows = np.flatnonzero(place < 0)
    weight[rows, n + place_row[rows]] = 1e4 / worth[home][rows]
    free = np.tile(found.free, (2 * m, 1))
    held = np.flatnonzero(place >= 0)
    free[held, place[held]] = False
    low = np.array([p.low[j] if j >= 0 else -np.inf for j in place])
    high = np.array([p.high[j] if j >= 0 else np.inf for j in place])
    far = np.where(side < 0, low, high)
    start = np.tile(found.u, (2 * m, 1))

    def rise(asked, begin, active):
        """Root of the objective's rise, the value really reached, and the parameters, where each active row is drawn to `asked`."""
        u = begin.copy()
        fixed = place[active] >= 0
        u[fixed, place[active][fixed]] = asked[fixed]
        t = np.tile(np.append(p.t, np.zeros(len(wide.t) - n)), (len(active), 1))
        drawn = np.flatnonzero(~fixed)
        t[drawn, n + place_row[active][drawn]] = asked[drawn]
        ended = solve(replace(wide, t=t), u, weight[active], free[active], tol=1e-10, most=200)
        u = ended.u
        base = (wide_loss := wide.loss(replace(wide, t=t).residuals(u, slopes=False)[0])[0])[:, :n].sum(1)
        value = asked.copy()
        if len(drawn):
            g = wide.model(u[drawn], slopes=False)[0]
            value[drawn] = g[np.arange(len(drawn)), n + place_row[active][drawn]]
        del wide_loss
        return np.sqrt(np.maximum(base - found.objective, 0.0)), value, u

    # first guesses: the Wald reach, but not beyond the bound
    first = np.where(reach[home] > 0, reach[home], np.sqrt(t2 * worth)[home] * found.sigma)
    inner, inner_rise = middle[home].copy(), np.zeros(2 * m)
    outer, outer_rise, ends = np.full(2 * m, np.nan), np.full(2 * m, np.nan), far.copy()
    step, active = first.copy(), np.arange(2 * m)
    for turn in range(60):
        if not len(active):
            break
        bracketed = np.isfinite(outer[active])
        a, b = inner[active], outer[active]
        with np.errstate(all="ignore"):
            share = (target[active] - inner_rise[active]) / (outer_rise[active] - inner_rise[active])
        share = np.clip(np.nan_to_num(share, nan=0.5), 0.02, 0.98) if turn % 4 != 3 else np.full(len(active), 0.5)
        asked = np.where(bracketed, a + share * (b - a), a + side[active] * step[active])
        at_far = ~bracketed & (side[active] * (asked - far[active]) >= 0)
        asked = np.where(at_far, far[active], asked)
        none = ~np.isfinite(asked)
        height, value, u = rise(np.where(none, a, asked), start[active], active)
        above = height >= target[active]
        close = np.abs(height - target[active]) <= 2e-3 * target[active]
        narrow = bracketed & (np.abs(b - a) <= 1e-4 * np.maximum(first[active], 1e-12))
        stuck = none | (at_far & ~above) | (~bracketed & ~above & (side[active] * (value - a) <= 1e-9 * first[active]))
        ends[active] = np.where(stuck, far[active], value)
        up, down = active[above], active[~above]
        outer[up], outer_rise[up] = value[above], height[above]
        inner[down], inner_rise[down], start[down] = value[~above], height[~above], u[~above]
        step[down] = step[down] * np.where(height[~above] > 0.3 * target[down], 0.6, 2.0)
        active = active[~(close | narrow | stuck)]
    return ends.reshape(m, 2)


def _with_points(p: Problem, points: dict) -> Problem:
    """The problem with prediction points behind its own; their loss is squared whatever the others' is."""
    extra = len(next(iter(points.values()))) if points else 0
    x = {name: np.concatenate([a, points[name]]) if points else a for name, a in p.x.items()}
    delta = np.concatenate([np.broadcast_to(p.delta, p.root.size), np.full(extra, np.inf)])
    return replace(p, x=x, t=np.append(p.t, np.zeros(extra)), root=np.append(p.root, np.ones(extra)), censored=np.append(p.censored, np.zeros(extra, bool)),
                   delta=delta if not np.isinf(delta).all() else np.inf)
