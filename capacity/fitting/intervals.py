"""How far to trust a fit: covariance by clusters, profile likelihood and Student intervals that
hold with few clusters.

    intervals.of(found)                                    parameters, by the method that the form
                                                           states
    intervals.of(found, at={"parameters": [1e6], ...})     and predictions at these points, keys "at
                                                           0", "at 1", ...

Replicates are clusters (model shapes, or models and seeds), never rows. Two things make few
clusters honest: residuals of each cluster are inflated for what it pulled the fit towards itself
(CR2: Bell & McCaffrey 2002, Surv. Methodol. 28, 169), and the t quantile has the degrees of freedom
that the variance of that very number rests on (Satterthwaite; Imbens & Kolesár 2016, Rev. Econ.
Stat. 98, 701, eq. 10, with the correlation within clusters as estimated). Methods:

    wald      estimate -+ t standard errors, in the coordinate of the parameter (its logarithm where
              scale is "log")
    profile   all values whose best fit is worse by less than t^2 / 2 times what one standard error
              is worth in the objective: a profile likelihood with the vertical scale of the
              clusters (Chandler & Bate 2007, Biometrika 94, 167). It follows curvature and ends at
              bounds.
    pooled    wald with the noise of all clusters taken as equal, in two parts, between clusters and
              within; what forms use whose parameters only clusters can tell apart, where one small
              model would otherwise decide an intercept by its own residual
    percentile, studentized, bca    cluster bootstraps, see `bootstrap`
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capacity.fitting.fit import Fit
from capacity.fitting.solve import back, forward, solve
from capacity.fitting.statistics import LEVEL, student

FEWEST_CLUSTERS = 3
IDLE = 0.05  # curvature of a bound, as part of a measured point's, below which it is none
METHODS = ("wald", "profile", "pooled")
NOISELESS = 1e-9
MOST_TURNS = 60
CLOSE = 2e-3  # relative, of the distance to an end
FARTHEST = 1e6  # first guesses; an end beyond is none
KERNEL = 0.6  # standard deviations; half the width of that window
FEWEST_DOF = 1.0  # below, the t quantile is in the hundreds
# of degrees of freedom: two parameters of three shapes leave exactly one, which no CPU computes as
# exactly one
ROUNDING = 1e-6


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

    def error(self, gradient) -> float:
        """Standard error of a number with this gradient by u."""
        return float(np.sqrt(max(gradient @ self.covariance @ gradient, 0.0)))

    def dof(self, gradient) -> float:
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
        square = float((total**2).sum())
        return float(np.trace(total) ** 2 / square) if square > 0 else 0.0

    def _summed(self, rows):
        """Rows [n, k] summed by cluster [C, k]."""
        return np.stack(
            [np.bincount(self.codes, column, int(self.codes.max()) + 1) for column in rows.T],
            axis=1,
        )


def spread_of(found: Fit) -> Spread:
    """CR2 covariance of a fit by clusters. The scores are those of the loss, bounded under Huber,
    and so is the curvature, point by point: under-filled points have smaller residuals than full
    ones, so that an average would misjudge both. Where delta is far below the noise, the curvature
    is estimated with a wider window (Powell 1991; Koenker 2005, Quantile Regression, section
    3.4.2)."""
    p, free = found.problem, found.free
    e, jacobian = p.residuals(found.u[None])
    _, psi, curve, _ = (a[0] for a in p.loss(e))
    n, k = len(psi), len(free)
    if (
        0 < p.delta < KERNEL * found.sigma
    ):  # a loss that is absolute almost everywhere: its curvature is a density of residuals at 0
        curve = np.where(
            p.censored,
            curve,
            (np.abs(e[0]) < KERNEL * found.sigma) * p.delta / (KERNEL * found.sigma),
        )
    moving = free & ~np.isin(
        np.arange(k), [found.form.index(name) for name in found.search["at_bound"]]
    )
    x = jacobian[0][:, moving] * np.sqrt(np.maximum(curve, 1e-12))[:, None]
    size = np.sqrt((x**2).sum(0)) + 1e-300
    inverse = np.linalg.pinv((x / size).T @ (x / size), rcond=1e-14) / np.outer(size, size)
    clusters = [np.flatnonzero(found.codes == c) for c in range(len(found.clusters))]
    r = psi / np.sqrt(np.maximum(curve, 1e-12))
    m = x @ inverse  # [n, k]: pull of a residual on the parameters
    adjusted, meat = np.empty_like(m), np.zeros((moving.sum(), moving.sum()))
    for rows in clusters:
        values, vectors = np.linalg.eigh(np.eye(len(rows)) - x[rows] @ inverse @ x[rows].T)
        adjusted[rows] = (
            vectors * np.where(values > 1e-9, 1 / np.sqrt(np.maximum(values, 1e-9)), 0.0)
        ) @ (vectors.T @ m[rows])
        score = adjusted[rows].T @ r[rows]
        meat += np.outer(score, score)
    within = _within(r, clusters, int(moving.sum()))
    wide, whole = np.zeros((k, k)), np.zeros((k, k))
    wide[np.ix_(moving, moving)] = meat
    every = jacobian[0][:, free] * np.sqrt(np.maximum(curve, 1e-12))[:, None]
    size = np.maximum(np.sqrt((every**2).sum(0)), 1e-150)  # of a parameter that no point tells
    whole[np.ix_(free, free)] = np.linalg.pinv(
        (every / size).T @ (every / size), rcond=1e-14
    ) / np.outer(size, size)
    # a parameter on its bound holds the others' curvature, not the other way round
    whole[moving] = 0.0
    whole[np.ix_(moving, moving)] = inverse
    return Spread(
        wide, whole, *(_widened(a, moving) for a in (x, m, adjusted)), within, found.codes
    )


def _widened(columns, moving):
    out = np.zeros((len(columns), len(moving)))
    out[:, moving] = columns
    return out


@dataclass(frozen=True)
class Pooled:
    """As `Spread`, from two variances that all clusters share. pull [n, k]: of residuals on u;
    residual [n, n]: I - H; codes [n]; within and between: the estimated variances of a point and of
    its cluster."""

    pull: np.ndarray
    residual: np.ndarray
    codes: np.ndarray
    within: float
    between: float

    def error(self, gradient) -> float:
        """Standard error of a number with this gradient by u."""
        return float(
            np.sqrt(sum(v * w for v, w in zip((self.within, self.between), self._shares(gradient))))
        )

    def dof(self, gradient) -> float:
        """Satterthwaite's degrees of freedom (1946, Biometrics Bull. 2, 110) of that standard
        error, whose square is a quadratic form of residuals."""
        if self.between == 0:
            return float(np.trace(self.residual))
        form = sum(
            c * m
            for c, m in zip(
                np.linalg.solve(self._expected().T, self._shares(gradient)), self._squares()
            )
        )
        turned = form * self.within + self.between * _summed(form, self.codes)[:, self.codes]
        square = float((turned * turned.T).sum())
        return float(np.trace(turned) ** 2 / square) if square > 0 else 0.0

    def _shares(self, gradient):
        """What a unit of either variance makes of the variance of the number."""
        pull = self.pull @ gradient
        return float(pull @ pull), float((np.bincount(self.codes, pull) ** 2).sum())

    def _squares(self):
        """Matrices [n, n] of the sums of squares of residuals within clusters and of their
        means."""
        size = np.bincount(self.codes)
        mean = _summed(self.residual, self.codes) / size  # [n, C]: means of rows over clusters
        between = (mean * size) @ mean.T
        return self.residual @ self.residual - between, between

    def _expected(self):
        """[2, 2]: expectation of either sum of squares per unit of either variance."""
        return np.array(
            [
                [np.trace(m), float(sum(m[np.ix_(rows, rows)].sum() for rows in _rows(self.codes)))]
                for m in self._squares()
            ]
        )


def _rows(codes):
    return [np.flatnonzero(codes == c) for c in range(codes.max() + 1)]


def _summed(matrix, codes):
    """Columns of a matrix summed by cluster [n, C]."""
    return np.stack([matrix[:, rows].sum(1) for rows in _rows(codes)], axis=1)


def pooled_of(found: Fit) -> Pooled:
    """The variance of points and of clusters, the same for all in the transform of the fit, from
    the sums of squares of residuals within and between clusters and what leverage leaves of them
    (Henderson's third method, 1953, Biometrics 9, 226). Under Huber's loss residuals are those of
    the loss, stretched by 1 + k / C (1 - m) / m for the share m that it does not clip: which points
    are clipped follows the fit (Huber 1973, Ann. Stat. 1, 799, with the C clusters as his n
    observations)."""
    p, free = found.problem, found.free
    e, jacobian = p.residuals(found.u[None])
    _, psi, curve, _ = (a[0] for a in p.loss(e))
    kept = float(curve[~p.censored].mean())
    curve = np.where(p.censored, curve, kept)
    told = curve > IDLE  # bounds far below the line say nothing, and have no residual
    x, r = (
        (jacobian[0] * np.sqrt(curve)[:, None])[told][:, free],
        (psi / np.sqrt(np.maximum(curve, IDLE)))[told],
    )
    r = r * (1 + free.sum() / len(found.clusters) * (1 - kept) / max(kept, IDLE))
    _, codes = np.unique(found.codes[told], return_inverse=True)
    inverse = np.linalg.pinv(x.T @ x)
    residual, pull = np.eye(len(r)) - x @ inverse @ x.T, np.zeros((len(r), len(free)))
    pull[:, free] = x @ inverse
    whole = float((r**2).sum() / max(len(r) - free.sum(), 1))
    alone = Pooled(pull, residual, codes, whole, 0.0)
    if codes.max() + 1 == len(r) or codes.max() + 1 <= free.sum():
        return alone
    within, between = np.linalg.solve(
        alone._expected(), [float(r @ m @ r) for m in alone._squares()]
    )
    return (
        alone
        if between <= 0
        else Pooled(
            pull, residual, codes, max(float(within), 1e-6 * float(between)), float(between)
        )
    )


def _within(r, clusters, k) -> float:
    """Correlation of residuals within clusters, from one-way analysis of variance, 0 where it is
    negative or there is one point per cluster."""
    sizes = np.array([len(rows) for rows in clusters])
    if sizes.max() < 2 or len(clusters) < 2:
        return 0.0
    n, means = len(r), np.array([r[rows].mean() for rows in clusters])
    inside = sum(((r[rows] - m) ** 2).sum() for rows, m in zip(clusters, means)) / max(
        n - len(clusters), 1
    )
    between = float((sizes * means**2).sum()) / max(len(clusters) - min(k, len(clusters) - 1), 1)
    typical = (n - (sizes**2).sum() / n) / (len(clusters) - 1)
    extra = max(between - inside, 0.0) / typical
    return float(extra / (extra + inside)) if extra + inside > 0 else 0.0


def of(
    found: Fit,
    *,
    at: dict | None = None,
    derived: dict | None = None,
    method: str | None = None,
    level: float = LEVEL,
    names=None,
) -> dict[str, dict]:
    """Intervals of parameters (all fitted ones, or those in names), of predictions at points `at`,
    and of derived positive numbers, by key.

    derived: {key: (function of theta [k] in natural units, unit)}, formed in their logarithm by
    numerical derivatives.

    Each is a dict: value, low, high (None where the interval has no end inside of the bounds),
    unit, method, dof, error (standard error in the coordinate of the search), reason (None, or why
    there is no interval). method: one of METHODS, None: as the form states; predictions are wald,
    or pooled with that method, in the transform of the fit, or in the logit of a target that is
    bounded on both sides."""
    method = method or found.form.interval
    if method not in METHODS:
        raise ValueError(
            f"unknown method {method!r}: use one of {', '.join(METHODS)} (bootstraps: see "
            f"bootstrap.intervals)"
        )
    chosen = [n for n in (names or found.form.names) if found.free[found.form.index(n)]]
    blank = {
        "low": None,
        "high": None,
        "method": method,
        "dof": None,
        "error": None,
        "reason": None,
    }
    out = {
        n: {"value": found.values[n], "unit": found.form.parameters[found.form.index(n)].unit}
        | blank
        for n in chosen
    }
    points = {} if at is None else found.form.inputs(at)
    said = found.form.slopes(points, found.theta)[0] if points else np.zeros(0)
    out |= {
        f"at {i}": {"value": float(v), "unit": found.form.target.unit}
        | blank
        | {"method": "pooled" if method == "pooled" else "wald"}
        for i, v in enumerate(said)
    }
    out |= {
        key: {"value": float(number(found.theta)), "unit": unit}
        | blank
        | {"method": "pooled" if method == "pooled" else "wald"}
        for key, (number, unit) in (derived or {}).items()
    }
    why = None
    if (few := len(found.clusters)) < FEWEST_CLUSTERS:
        why = f"{few} cluster(s), an interval needs {FEWEST_CLUSTERS}"
    elif found.sigma <= NOISELESS:
        why = "no residual is left: no noise to learn from (is the seed in use?)"
    if why:
        return {key: entry | {"reason": why} for key, entry in out.items()}
    spread = pooled_of(found) if method == "pooled" else spread_of(found)
    ends = _parameters(found, spread, chosen, method, level)
    ends |= _predictions(found, spread, points, level, ends)
    ends |= {
        key: _derived(found, spread, number, level) for key, (number, _) in (derived or {}).items()
    }
    return {key: entry | ends[key] for key, entry in out.items()}


def _quantile(dof: float, level: float) -> float:
    return float(student(max(dof, 1e-3), level))


def _reach(spread, gradient, level: float) -> tuple[float, float, str | None]:
    """Standard error, degrees of freedom, and why they carry no interval."""
    error, dof = spread.error(gradient), spread.dof(gradient)
    return (
        error,
        dof,
        f"{dof:.1f} degrees of freedom: too few clusters tell this number"
        if dof < FEWEST_DOF - ROUNDING and error > 0
        else None,
    )


def _parameters(found: Fit, spread, names, method: str, level: float) -> dict[str, dict]:
    out, k = {}, len(found.free)
    for name in names:
        j = found.form.index(name)
        error, dof, why = _reach(spread, np.eye(k)[j], level)
        if name in found.search["at_bound"]:
            error, dof = 0.0, float(max(len(found.clusters) - found.free.sum(), 1))
            why = (
                "on a bound: no curvature to form an interval from, use method profile"
                if method != "profile"
                else None
            )
        out[name] = {
            "dof": dof,
            "error": error,
            "reason": why,
            "ends": found.u[j] + np.array([-1, 1]) * _quantile(dof, level) * error,
        }
    asked = [name for name in names if out[name]["reason"] is None]
    if method == "profile" and asked:
        for name, ends in zip(asked, _profile(found, spread, asked, out, level)):
            out[name]["ends"] = ends
    for name, entry in out.items():
        ends, j = entry.pop("ends"), found.form.index(name)
        ends = found.form.parameters[j].to_natural(
            np.clip(ends, found.problem.low[j], found.problem.high[j])
        )
        entry |= (
            {"low": None, "high": None}
            if entry["reason"]
            else {"low": _finite(ends[0]), "high": _finite(ends[1])}
        )
    return out


def _predictions(found: Fit, spread, points: dict, level: float, told: dict) -> dict[str, dict]:
    """By "at i". told: the intervals of the parameters; those of a form with one of them are
    carried through it, end by end."""
    if not points:
        return {}
    target, out = found.form.target, {}
    if found.free.sum() == 1 and len(told) == 1:
        ((name, entry),) = told.items()
        ends = np.tile(found.theta, (2, 1))
        ends[:, found.form.index(name)] = [
            np.nan if entry[end] is None else entry[end] for end in ("low", "high")
        ]
        low, high = np.sort(found.form.slopes(points, ends)[0], axis=0)
        return {
            f"at {i}": {
                "dof": entry["dof"],
                "error": None,
                "reason": entry["reason"],
                "low": _finite(low[i]),
                "high": _finite(high[i]),
            }
            for i in range(len(low))
        }
    bounded = np.isfinite(target.low) and np.isfinite(target.high)
    transform = "logit" if bounded else found.problem.transform
    # a score between chance and 1 is as bounded as one between 0 and 1
    low, width = (target.low, target.high - target.low) if bounded else (0.0, 1.0)
    value, slopes = found.form.slopes(points, found.theta[None])
    scale = np.array(
        [t if p.scale == "log" else 1.0 for p, t in zip(found.form.parameters, found.theta)]
    )
    slopes = np.stack([np.broadcast_to(s, value.shape)[0] for s in slopes], axis=-1) * scale
    for i, (f, slope) in enumerate(zip((value[0] - low) / width, slopes / width)):
        stretch = {
            "identity": 1.0,
            "log": 1 / f if f > 0 else np.inf,
            "logit": 1 / (f * (1 - f)) if 0 < f < 1 else np.inf,
        }[transform]
        if not np.isfinite(stretch) or not slope.any():
            out[f"at {i}"] = {
                "dof": None,
                "error": None,
                "reason": "the form is cut off there: its value does not depend on the parameters",
            }
            continue
        error, dof, why = _reach(spread, slope * stretch, level)
        ends = low + width * back(
            transform, forward(transform, f) + np.array([-1, 1]) * _quantile(dof, level) * error
        )
        out[f"at {i}"] = {"dof": dof, "error": error, "reason": why} | (
            {} if why else {"low": _finite(ends[0]), "high": _finite(ends[1])}
        )
    return out


def _derived(found: Fit, spread, number, level: float) -> dict:
    value = float(number(found.theta))
    if not (np.isfinite(value) and value > 0):
        return {"reason": f"its value is {value:g}"}
    slope = np.zeros(len(found.u))
    for j in np.flatnonzero(found.free):
        step = 1e-5 * max(1e-3, abs(found.u[j]))
        ends = [
            float(number(found.problem.to_natural(found.u + sign * step * np.eye(len(found.u))[j])))
            for sign in (-1, 1)
        ]
        if not (np.isfinite(ends).all() and min(ends) > 0):
            return {"reason": "it does not exist beside the estimate"}
        slope[j] = np.log(ends[1] / ends[0]) / (2 * step)
    error, dof, why = _reach(spread, slope, level)
    reach = _quantile(dof, level) * error
    return {"dof": dof, "error": error, "reason": why} | (
        {}
        if why
        else {
            "low": _finite(value * np.exp(-reach)),
            "high": _finite(value * np.exp(min(reach, 700.0))),
        }
    )


def _finite(x) -> float | None:
    return float(x) if np.isfinite(x) else None


def _profile(found: Fit, spread: Spread, names, wald: dict, level: float) -> np.ndarray:
    """Ends [m, 2] of profile intervals, all searched side by side, two rows per parameter, each
    held at values at a growing distance s."""
    p, m, n = found.problem, len(names), found.problem.root.size
    places = np.array([found.form.index(name) for name in names])
    worth = np.maximum(np.diag(spread.inverse)[places], 1e-300)
    error2 = np.array([wald[name]["error"] ** 2 for name in names])
    # what one squared standard error is worth in the objective; of a parameter on its bound the
    # clusters do not say it, but of the others
    moving = np.diag(spread.covariance) > 0
    typical = (
        float((np.diag(spread.covariance)[moving] / np.diag(spread.inverse)[moving]).mean())
        if moving.any()
        else found.sigma**2
    )
    unit = np.where(error2 > 0, error2 / worth, typical)
    quantile = np.array([_quantile(wald[name]["dof"], level) for name in names])
    place, side = np.repeat(places, 2), np.tile([-1.0, 1.0], m)
    target = np.repeat(
        quantile * np.sqrt(unit / 2), 2
    )  # root of the rise of the objective at an end
    first = np.repeat(quantile * np.sqrt(unit * worth), 2)
    first = np.minimum(first, 1e3)
    far = np.abs(np.where(side < 0, p.low[place], p.high[place]) - found.u[place])
    free = np.tile(found.free, (2 * m, 1))
    free[np.arange(2 * m), place] = False
    # the other parameters follow along this direction, to first order; later starts follow what was
    # found
    path = np.repeat(spread.inverse[places] / worth[:, None], 2, axis=0) * side[:, None]
    inner, inner_rise, outer, outer_rise = (
        np.zeros(2 * m),
        np.zeros(2 * m),
        np.full(2 * m, np.inf),
        np.full(2 * m, np.inf),
    )
    ends, step, rows = far.copy(), first.copy(), np.arange(2 * m)
    for turn in range(MOST_TURNS):
        bracketed, width = np.isfinite(outer[rows]), outer[rows] - inner[rows]
        with np.errstate(all="ignore"):
            share = (target[rows] - inner_rise[rows]) / (outer_rise[rows] - inner_rise[rows])
            share = np.clip(np.nan_to_num(share, nan=0.5), 0.02, 0.98) if turn % 4 != 3 else 0.5
            s = np.minimum(
                np.where(bracketed, inner[rows] + share * width, inner[rows] + step[rows]),
                far[rows],
            )
        u = found.u + path[rows] * s[:, None]
        u[np.arange(len(rows)), place[rows]] = found.u[place[rows]] + side[rows] * s
        ended = solve(p, u, np.ones(n), free[rows], tol=1e-9, most=200)
        height = np.sqrt(np.maximum(ended.objective - found.objective, 0.0))
        above = height >= target[rows]
        done = (np.abs(height - target[rows]) <= CLOSE * target[rows]) | (
            bracketed & (width <= CLOSE * s)
        )
        # the bound, or so far that there is no end
        endless = ~above & ((s >= far[rows]) | (~bracketed & (s > FARTHEST * first[rows])))
        ends[rows] = np.where(endless, far[rows], s)
        up, down = rows[above], rows[~above]
        outer[up], outer_rise[up] = s[above], height[above]
        inner[down], inner_rise[down] = s[~above], height[~above]
        gone = ~above & (s > 0)
        path[rows[gone]] = (ended.u - found.u)[gone] / s[gone, None]
        step[down] *= np.where(height[~above] > 0.3 * target[down], 0.6, 2.0)
        rows = rows[~(done | endless)]
        if not len(rows):
            break
    return (found.u[place] + side * ends).reshape(m, 2)
