"""Fitting a form to points: a robust objective summed in the form's transform, many starts, and a
guard against searches that stopped early.

    from capacity.fitting import fit, intervals
    points = estimate.Points({"parameters": p, "ceiling_bits": h}, bits, cluster=label, sd=noise)
    found = estimate.fit("smooth_corner", points)
    found.values["alpha"], found.predict({"parameters": 1e6, "ceiling_bits": 1e7}), found.warnings
    intervals.of(found)                                   # {"alpha": {"low":, "high":, "method":,
                                                          ...}, ...}
    found.to_dict()                                       # all of it at full precision, JSON-able

`Points.cluster` is the replicate (a model shape, or a model and seed): intervals and bootstraps
take whole clusters, never rows. Points that are only known to lie above their y (under-filled runs)
are `lower_bound`; unconverged ones are `left_out` with a reason, unless told to stay.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import platform
from dataclasses import dataclass, field, replace

import numpy as np

import capacity
from capacity.base.files import plain
from capacity.fitting import forms
from capacity.fitting.forms import Form
from capacity.fitting.solve import (
    Problem,
    Solution,
    bounded_least_squares,
    damped_step,
    forward,
    held_still,
    normal,
    polish,
    projected,
    solve,
)

# Huber's delta in standard deviations: 95% as efficient as least squares on normal residuals (Huber
# 1964)
TUNING = 1.345
KEPT = 16  # starts, the best of all, that are searched to the end
AGREE = 1e-6  # relative difference of objectives that counts as the same minimum
SETTLED = 1e-11  # relative change of sigma at which sigma and the parameters have settled
# units in the last place by which another CPU's value of a form, with its powers and logarithms,
# may differ
ROUNDED = 64
NEAR = 1e-2  # distance to the minimum, in standard errors, above which a search has stopped early


@dataclass(frozen=True)
class Points:
    """What a fit reads, one entry per run or mean. x: variables of the form by name; y: the target;
    cluster: labels of the replicates (each point its own where absent); sd: noise of y (as a
    standard deviation over seeds, in the unit of y), None for equal noise in the transform;
    lower_bound: y is a bound from below; left_out: points that are not to be fitted, by reason;
    convention: what the numbers count (bits, parameters), kept with the fit."""

    x: dict
    y: np.ndarray
    cluster: np.ndarray | None = None
    sd: np.ndarray | None = None
    lower_bound: np.ndarray | None = None
    left_out: dict[str, np.ndarray] = field(default_factory=dict)
    convention: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def from_table(
        table,
        form: Form | str,
        y: str,
        *,
        x: dict[str, str] | None = None,
        cluster=None,
        sd: str | None = None,
        lower_bound: str | None = None,
        left_out: dict | None = None,
        same=(),
        convention: dict[str, str] | None = None,
        allow_mixed: bool = False,
    ) -> Points:
        """From a pandas table: columns for y, for each variable (its own name, or x[variable]),
        cluster (a column or several), sd, bounds.

        same: columns that say by what convention, estimator, recipe or source a row was made;
        ValueError, in one line, where one has several values (unless allow_mixed, which is then
        told in `convention`). left_out: {reason: boolean column or name of one}."""
        form = forms.form(form) if isinstance(form, str) else form
        names = {v.name: (x or {}).get(v.name, v.name) for v in form.variables}
        keys = [cluster] if isinstance(cluster, str) else list(cluster or ())
        if absent := [
            c
            for c in [y, *names.values(), *keys, *(c for c in (sd, lower_bound) if c), *same]
            if c not in table
        ]:
            raise ValueError(f"the table of points has no column {', '.join(absent)}")
        told = dict(convention or {})
        for column in same:
            values = sorted({str(v) for v in table[column]})
            if len(values) > 1 and not allow_mixed:
                raise ValueError(
                    f"points mix {column} {', '.join(values)}: one fit needs one (or allow_mixed)"
                )
            told[column] = ", ".join(values)
        flags = {
            why: np.asarray(table[c] if isinstance(c, str) else c, bool)
            for why, c in (left_out or {}).items()
        }
        return Points(
            {v: table[c].to_numpy(float) for v, c in names.items()},
            table[y].to_numpy(float),
            np.array([" ".join(map(str, row)) for row in table[keys].itertuples(index=False)])
            if keys
            else None,
            table[sd].to_numpy(float) if sd else None,
            table[lower_bound].to_numpy(bool) if lower_bound else None,
            flags,
            told,
        )


@dataclass(frozen=True)
class Fit:
    """A fitted form. theta [k] in natural units, u [k] in the coordinates of the search; problem:
    the points as fitted, sorted (left-out ones are gone); codes [n]: cluster of each; free [k]:
    parameters that were fitted; sigma: standard deviation of residuals in the transform; search:
    starts, agreement, gradient, distance to the minimum; warnings: what a reader has to know, empty
    when all is well."""

    form: Form
    points: Points
    problem: Problem
    codes: np.ndarray
    clusters: tuple
    y: np.ndarray
    theta: np.ndarray
    u: np.ndarray
    free: np.ndarray
    objective: float
    sigma: float
    search: dict
    warnings: tuple[str, ...]

    @property
    def values(self) -> dict[str, float]:
        """Parameters by name."""
        return dict(zip(self.form.names, map(float, self.theta)))

    def predict(self, x: dict) -> np.ndarray:
        """The target at other points."""
        return self.form.predict(x, self.theta)

    def residuals(self) -> np.ndarray:
        """T(y) - T(f) of the fitted points [n], unweighted; of bounds too."""
        return self.problem.residuals(self.u[None])[0][0] / self.problem.root

    def rounding(self) -> dict[str, float]:
        """By how much the arithmetic may move each parameter, in its unit: two orders of the same
        points, or two CPUs, agree to the sum of theirs.

        A residual is known to ROUNDED eps |s T(y)|, and n of them move the minimum by sqrt(n) of
        that times the root of the inverse curvature (Cauchy-Schwarz); sigma, and with it delta, is
        known to 10 SETTLED. 0 for parameters that were not fitted."""
        p, free = (
            self.problem,
            self.free & (self.u > self.problem.low) & (self.u < self.problem.high),
        )
        upper = normal(p, self.u[None], np.ones(p.root.size))[2][0][np.ix_(free, free)]
        scale = np.sqrt(np.diag(upper)) + 1e-300
        inverse = np.linalg.pinv(upper / np.outer(scale, scale), rcond=1e-14, hermitian=True)
        error = (
            ROUNDED * np.finfo(float).eps * (math.sqrt(p.root.size) * np.abs(p.root * p.t).max())
            + 10 * SETTLED * self.sigma
        )
        away = np.zeros(len(self.u))
        away[free] = error * np.sqrt(np.diag(inverse)) / scale
        slope = [
            abs(v) if q.scale == "log" else 1.0 for q, v in zip(self.form.parameters, self.theta)
        ]
        return dict(
            zip(
                self.form.names,
                map(float, away * slope + 4 * np.finfo(float).eps * np.abs(self.theta)),
            )
        )

    def to_dict(self, **more) -> dict:
        """Everything that a reader needs to check or repeat the fit, JSON-able, numbers at full
        precision. more: further entries, as intervals."""
        p, measured = self.problem, ~self.problem.censored
        return plain(
            {
                "form": self.form.describe(),
                "parameters": {
                    q.name: {"value": float(v), "unit": q.unit, "fitted": bool(f)}
                    for q, v, f in zip(self.form.parameters, self.theta, self.free)
                },
                "convention": self.points.convention,
                "transform": p.transform,
                "loss": {
                    "name": "squared" if np.isinf(p.delta) else "Huber",
                    "delta": None if np.isinf(p.delta) else float(p.delta),
                    "unit": f"{p.transform} of the target",
                    "objective": float(self.objective),
                    "sum": True,
                },
                "sigma": float(self.sigma),
                "points": {
                    "fitted": len(self.y),
                    "lower_bounds": int(p.censored.sum()),
                    "clusters": len(self.clusters),
                    "left_out": {
                        why: int(np.sum(mask)) for why, mask in self.points.left_out.items()
                    },
                    "weights": "seed noise" if self.points.sd is not None else "equal",
                },
                "valid": {name: [float(a.min()), float(a.max())] for name, a in p.x.items()},
                "target_range": [float(self.y[measured].min()), float(self.y[measured].max())],
                "search": self.search,
                "warnings": list(self.warnings),
                "inputs_sha256": inputs_hash(self.points),
                "versions": {
                    "capacity": capacity.__version__,
                    "python": platform.python_version(),
                    "numpy": np.__version__,
                    "scipy": importlib.metadata.version("scipy"),
                },
            }
            | more
        )


def seed_noise(y, cells) -> np.ndarray:
    """sd of every point from its replicates, for `Points.sd`: sd^2 = floor^2 + (share x mean)^2,
    fitted to the variances within cells (labels of points that differ in nothing but the seed). Two
    constants from all cells, because the variance of three seeds is known to a factor of 4 only.
    ValueError without a replicate."""
    y = np.asarray(y, float)
    _, codes = np.unique(np.asarray(cells), return_inverse=True)
    count = np.bincount(codes)
    mean = np.bincount(codes, y) / count
    keep = count > 1
    if not keep.any():
        raise ValueError("one seed per cell: the noise of seeds was not measured")
    variance, dof, square = (
        np.bincount(codes, (y - mean[codes]) ** 2)[keep] / (count[keep] - 1),
        count[keep] - 1,
        mean[keep] ** 2,
    )
    pooled = float((dof * variance).sum() / dof.sum())
    if pooled == 0:
        raise ValueError(
            "replicates agree to the last digit: no noise to learn from (is the seed in use?)"
        )
    told = np.full(len(variance), pooled)
    for _ in range(50):  # variances scatter as their own square, so weights follow the fit
        weight = np.sqrt(dof) / told
        a, b = bounded_least_squares(
            np.stack([weight, square * weight], axis=-1)[None],
            (variance * weight)[None],
            np.zeros(2),
        )[0]
        told = np.maximum(a + b * square, 1e-4 * pooled)
    return np.sqrt(np.maximum(a + b * mean**2, 1e-4 * pooled))[codes]


def inputs_hash(points: Points) -> str:
    """SHA-256 over what the fit reads, one JSON row per point, sorted: the order of points is
    free."""
    n = len(points.y)
    columns = [
        np.broadcast_to(np.asarray(points.x[name], float), n).tolist() for name in sorted(points.x)
    ] + [np.asarray(points.y, float).tolist()]
    columns += [
        [str(c) for c in points.cluster] if points.cluster is not None else [""] * n,
        [0.0] * n if points.sd is None else np.asarray(points.sd, float).tolist(),
        [False] * n
        if points.lower_bound is None
        else np.asarray(points.lower_bound, bool).tolist(),
    ]
    columns += [np.asarray(points.left_out[why], bool).tolist() for why in sorted(points.left_out)]
    return hashlib.sha256(
        json.dumps(sorted([json.dumps(row) for row in zip(*columns)])).encode()
    ).hexdigest()


def pose(
    form: Form,
    points: Points,
    transform: str | None = None,
    fixed: dict | None = None,
    bounds: dict | None = None,
):
    """(problem, y, codes, clusters, free) of points that are measured or bounds, sorted, so that
    their order in a table cannot enter any sum, start or resample. clusters: labels, sorted; of
    points without one the places in `points`. ValueError, in one line, for points that no fit can
    read."""
    x, y = form.inputs(points.x), np.asarray(points.y, float)
    if y.ndim != 1 or any(len(a) not in (1, len(y)) for a in x.values()):
        raise ValueError(
            f"{form.name}: y has shape {y.shape}, the variables have "
            f"{', '.join(str(len(a)) for a in x.values())} points"
        )
    x = {name: np.broadcast_to(a, y.shape) for name, a in x.items()}
    use = np.isfinite(y)
    for mask in points.left_out.values():
        use &= ~np.asarray(mask, bool)
    transform = transform or form.transform
    t = forward(transform, y)
    bound = (
        np.zeros(len(y), bool)
        if points.lower_bound is None
        else np.asarray(points.lower_bound, bool)
    )
    edge = {"log": y <= 0, "logit": (y <= 0) | (y >= 1), "identity": np.zeros(len(y), bool)}[
        transform
    ] & use
    if edge.any():
        raise ValueError(
            f"{form.name}: a target of {y[edge][0]:g} has no {transform}: leave it out, or choose "
            f"another transform"
        )
    free = np.array([name not in (fixed or {}) for name in form.names])
    for name in fixed or {}:
        form.index(name)
    if (use & ~bound).sum() < free.sum():
        raise ValueError(
            f"{form.name} has {free.sum()} free parameters and only {(use & ~bound).sum()} "
            f"measured points"
        )
    root = np.ones(len(y))
    if points.sd is not None:
        sd = np.asarray(points.sd, float)
        bad = use & ~(np.isfinite(sd) & (sd > 0))
        if bad.any():
            raise ValueError(
                f"{form.name}: sd = {sd[bad][0]:g} of a point; noise has to be positive"
            )
        slope = {
            "identity": 1.0,
            "log": 1.0 / np.maximum(np.abs(y), 1e-300),
            "logit": 1.0 / np.maximum(np.abs(y * (1 - y)), 1e-12),
        }[transform]
        root = 1.0 / np.where(use, sd * slope, 1.0)
        root = root / math.sqrt(float(np.mean(np.sort(root[use]) ** 2)))
    labels = np.zeros(len(y)) if points.cluster is None else np.asarray(points.cluster)
    use = np.flatnonzero(use)
    clusters, codes = np.unique(labels[use], return_inverse=True)
    use = use[
        np.lexsort([root[use], bound[use], y[use], *(x[name][use] for name in sorted(x)), codes])
    ]
    x, y, t, root, bound = (
        {name: a[use] for name, a in x.items()},
        y[use],
        t[use],
        root[use],
        bound[use],
    )
    box = form.bounds({name: a[~bound] for name, a in x.items()}, y[~bound])
    for name, ends in (bounds or {}).items():
        box[form.index(name)] = ends
    clusters, codes = (
        (use, np.arange(len(use))) if points.cluster is None else (clusters, np.sort(codes))
    )
    low, high = (
        np.array([p.to_search(b) for p, b in zip(form.parameters, side)], float) for side in box.T
    )
    return (
        Problem(form, transform, x, t, root, bound, low, high),
        y,
        codes,
        tuple(clusters.tolist()),
        free,
    )


def fit(
    form: Form | str,
    points: Points,
    *,
    delta: float | None = None,
    transform: str | None = None,
    fixed: dict[str, float] | None = None,
    bounds: dict[str, tuple[float, float]] | None = None,
    starts: np.ndarray | None = None,
    kept: int = KEPT,
) -> Fit:
    """The parameters with the smallest sum of Huber losses, from many starts.

    delta: where the loss turns from squared to absolute, in units of the transform at a point of
    average precision; None takes 1.345 robust standard deviations (Huber's proposal 2, found
    together with the parameters; least squares where the form is not `robust`), np.inf least
    squares; 1e-3 is what loss laws use (Hoffmann et al.). fixed: parameters that are not fitted;
    bounds: others than the form's. starts [S, k] in natural units replace the form's own; each is
    searched as it is and with its linear parameters projected. ValueError, in one line, where the
    points cannot determine the form.

    Accuracy: points are sorted first, and the minimum is polished by its gradient, so two orders of
    the same points and two CPUs give the same minimum up to `Fit.rounding` of each: about 1e-11 to
    1e-9 of a parameter. Which of several minima is taken can depend on the CPU only where their
    objectives agree to 1e-13."""
    form = forms.form(form) if isinstance(form, str) else form
    problem, y, codes, clusters, free = pose(form, points, transform, fixed, bounds)
    delta = np.inf if delta is None and not form.robust else delta
    begin = (
        form.starts({n: a[~problem.censored] for n, a in problem.x.items()}, y[~problem.censored])
        if starts is None
        else np.atleast_2d(starts)
    )
    begin = begin.astype(float)
    for name, value in (fixed or {}).items():
        begin[:, form.index(name)] = value
    if free.all() and form.linear:
        begin = np.unique(np.concatenate([projected(problem, begin, y), begin]), axis=0)
    problem, found, sigma = _fit(problem, problem.to_search(begin), free, delta, kept)
    best = int(np.argmin(found.objective))
    found.u[best] = polish(problem, found.u[best], free)
    search = {"starts": len(begin)} | guard(problem, found.u, free=free, sigma=sigma, best=best)
    warnings = search.pop("warnings")
    return Fit(
        form,
        points,
        problem,
        codes,
        clusters,
        y,
        problem.to_natural(found.u[best]),
        found.u[best],
        free,
        search["objective"],
        sigma,
        search,
        tuple(warnings),
    )


def _fit(problem: Problem, begin, free, delta, kept) -> tuple[Problem, Solution, float]:
    """The polished solutions of the best starts, the problem with its delta and sigma, and
    sigma."""
    robust = delta is None
    found = _search(
        replace(problem, delta=np.inf if robust else delta, sigma=_rough(problem, begin)),
        begin,
        free,
        kept,
        1e-9,
    )
    best = found.u[np.argmin(found.objective)]
    sigma = _rough(problem, best[None])
    for _ in range(40 if robust or problem.censored.any() else 1):
        problem = replace(
            problem,
            delta=TUNING * sigma if robust and sigma > 0 else np.inf if robust else delta,
            sigma=max(sigma, 1e-12),
        )
        best = polish(problem, solve(problem, best[None], free=free).u[0], free)
        last, sigma = sigma, spread(problem, best, free)
        if abs(sigma - last) <= SETTLED * last:
            break
    problem = replace(
        problem,
        delta=TUNING * sigma if robust and sigma > 1e-12 else np.inf if robust else delta,
        sigma=max(sigma, 1e-12),
    )
    return problem, _search(problem, np.concatenate([best[None], begin]), free, kept, 1e-13), sigma


def _search(problem, begin, free, kept, tol) -> Solution:
    cost = np.concatenate(
        [
            _objective(problem, part)
            for part in np.array_split(begin, max(1, begin.shape[0] * problem.root.size // 200_000))
        ]
    )
    return solve(problem, begin[np.argsort(cost, kind="stable")[:kept]], free=free, tol=tol)


def _objective(problem, u):
    return problem.loss(problem.residuals(u, slopes=False)[0])[0].sum(1)


def _rough(problem, u) -> float:
    """Robust standard deviation of the residuals of the best of some u."""
    e = problem.residuals(u, slopes=False)[0][:, ~problem.censored]
    return float(1.4826 * np.median(np.abs(e), axis=1).min())


def spread(problem: Problem, u, free, tuning: float = TUNING) -> float:
    """Standard deviation of residuals given the parameters: the root of sum v psi^2 = beta sum v (1
    - h) sigma^2 (Huber's proposal 2; with least squares, tuning inf). h is a point's leverage, as n
    - k has it on average; v leaves out points that say little about the parameters (v = h n / k, at
    most 1), such as under-filled ones under a corner, whose residuals are small for another reason.
    A bound counts as the part of an observation that the Tobit likelihood gives it."""
    e, jacobian = (a[0] for a in problem.residuals(u[None]))
    j = jacobian[:, free] / np.sqrt((jacobian[:, free] ** 2).sum(0) + 1e-300)
    lever = np.einsum("ik,kl,il->i", j, np.linalg.pinv(j.T @ j, rcond=1e-12), j)
    v = np.minimum(1.0, lever * len(e) / max(free.sum(), 1))
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
            from scipy.special import log_ndtr

            z = np.clip(bound / size, -40, 40)
            degrees -= float(
                (
                    v[problem.censored]
                    * z
                    * np.exp(-0.5 * z * z - 0.5 * math.log(2 * math.pi) - log_ndtr(-z))
                ).sum()
            )
        new = math.sqrt(
            float((v[measured] * np.clip(e[measured], -tuning * size, tuning * size) ** 2).sum())
            / (beta * max(degrees, 0.5 / len(e)))
        )
        if abs(new - size) <= 0.01 * SETTLED * size:
            return new
        size = new
    return size


def guard(
    problem: Problem,
    u: np.ndarray,
    *,
    free=None,
    sigma: float | None = None,
    best: int | None = None,
) -> dict:
    """Whether end points u [S, k] of a search, by any optimizer, are minima and agree: objective,
    gradient norm, distance, agreement, warnings.

    The optimizer's own flags are not asked. gradient: largest derivative of the summed objective by
    a parameter, per standard error of it and in units of sigma (0 at a minimum). distance: how many
    standard errors away the local parabola has its minimum; above 0.01 the search stopped early.
    agreeing: end points whose objective is within 1e-6 of the best; spread: largest difference of
    their parameters, in standard errors. best: which of them is reported, the one with the smallest
    objective where None."""
    u = np.atleast_2d(u)
    free = np.ones(u.shape[1], bool) if free is None else free
    objective, gradient, hessian, upper = normal(problem, u, np.ones(problem.root.size))
    best = int(np.argmin(objective)) if best is None else best
    order = np.argsort(objective, kind="stable")
    held = held_still(problem, u, gradient, np.broadcast_to(free, u.shape))
    g = np.where(held, 0.0, gradient)
    noise = max(
        sigma
        if sigma is not None
        else math.sqrt(2 * objective[best] / max(problem.root.size - free.sum(), 1)),
        1e-150,
    )
    promise = damped_step(g, hessian, upper, held, np.full(len(u), 1e-9))[1]
    curvature = np.sqrt(np.maximum(np.einsum("bii->bi", upper), 1e-300))
    floor = (
        1e-20 * problem.root.size * max(float(np.mean(problem.t**2)), 1e-30)
    )  # a noise-free objective is 0 up to rounding
    exact = objective[best] <= floor
    distance = 0.0 if exact else float(np.sqrt(2 * promise[best]) / noise)
    same = objective <= objective[best] * (1 + AGREE) + floor
    away = np.abs(u[same] - u[best]) * curvature[best] / noise
    out = {
        "kept": len(u),
        "objective": float(objective[best]),
        "gradient": float((np.abs(g[best]) / curvature[best]).max() / noise) if not exact else 0.0,
        "distance": distance,
        "agreeing": int(same.sum()),
        "spread": 0.0 if exact else float(away[:, free].max()),
        "objectives": [float(o) for o in objective[order][:5]],
        "at_bound": [
            p.name
            for j, p in enumerate(problem.form.parameters)
            if free[j] and (u[best, j] <= problem.low[j] or u[best, j] >= problem.high[j])
        ],
    }
    warnings = []
    if distance > NEAR:
        warnings.append(
            f"the search stopped early: the minimum is about {distance:.2g} standard errors away"
        )
    if len(u) > 1 and same.sum() < 2:
        warnings.append(f"no other start ends at the best objective: 1 of {len(u)} agrees")
    if out["at_bound"]:
        warnings.append(
            f"{', '.join(out['at_bound'])} lies on a bound: read the curve, not the constant"
        )
    inner = ~held[best]
    if inner.any():
        block = upper[best][np.ix_(inner, inner)] / np.outer(
            curvature[best][inner], curvature[best][inner]
        )
        if np.linalg.cond(block) > 1e10:
            warnings.append(
                "the points cannot tell the parameters apart: the curvature is singular"
            )
    return out | {"warnings": warnings}
