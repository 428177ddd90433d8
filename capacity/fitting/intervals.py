"""How far to trust a fit: covariance by clusters, profile likelihood and Student intervals that
hold with few clusters.

    intervals.of(fitted)                    parameters, by the method that the form states
    intervals.of(fitted, at={"parameters": [1e6], ...})    and predictions at these points, keys
                                            "at 0", "at 1", ...

Replicates are clusters (such as models, or models and seeds), never rows: see `covariance`.
Methods:

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

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from capacity.fitting.covariance import Pooled, Spread, pooled_of, spread_of
from capacity.fitting.fit import Fit
from capacity.fitting.form import Arrays
from capacity.fitting.identify import APART, NOT_IDENTIFIED, Freedom, freedom
from capacity.fitting.misfit import Mixed, carried
from capacity.fitting.profile import LEAST_DOF, profile_ends
from capacity.fitting.solve import back, forward
from capacity.fitting.statistics import LEVEL, student

FEWEST_CLUSTERS = 3
METHODS = ("wald", "profile", "pooled")
NOISELESS = 1e-9
FEWEST_DOF = 1.0  # below, the t quantile is in the hundreds
# of degrees of freedom: two parameters of three models leave exactly one, which no CPU computes as
# exactly one
ROUNDING = 1e-6


def of(  # noqa: PLR0913 (independent options, keywords only)
    fitted: Fit,
    *,
    at: Mapping[str, ArrayLike] | None = None,
    derived: Mapping[str, tuple[Callable[[np.ndarray], float], str]] | None = None,
    method: str | None = None,
    level: float = LEVEL,
    names: Sequence[str] | None = None,
    groups: Mapping[str, ArrayLike] | None = None,
) -> dict[str, dict[str, Any]]:
    """Intervals of parameters (all fitted ones, or those in names), of predictions at points `at`,
    and of derived positive numbers, by key.

    derived: {key: (function of theta [k] in natural units, unit)}, formed in their logarithm by
    numerical derivatives.

    Each is a dict: value, low, high (None where the interval has no end inside of the bounds),
    unit, method, dof, error (standard error in the coordinate of the search), reason (None, or why
    there is no interval), on_bound (of low and high those that are a bound of the search, which cut
    the interval off), released and held (of another number, the parameters on a bound that its
    interval treats as if they could pass it, and those that it takes as known because the points do
    not tell them apart from others; `bounds.ends` says it in words). groups: by source of
    variation, places first, the group of each of the fit's points; where places are seen to scatter
    about the law these take the place of clusters (`misfit.carried`, of fits by least squares).
    method: one of METHODS, None: as the form states; predictions are wald, or pooled with that
    method, in the transform of the fit, or in the logit of a target that is bounded on both sides.

    A bound that stops the search does not make a parameter known: the estimates of others are off
    by as much as the bound keeps it from where the noise pulled it, so that intervals with it held
    are too short: of fits of F1 that stopped there, held ones held the crossing in 79 to 88%,
    released ones in 97% and more (`tests/unit/fitting/test_released.py`)."""
    method = method or fitted.form.interval
    if method not in METHODS:
        raise ValueError(
            f"unknown method {method!r}: use one of {', '.join(METHODS)} (bootstraps: see "
            f"bootstrap.intervals)"
        )
    chosen = [n for n in (names or fitted.form.names) if fitted.free[fitted.form.index(n)]]
    blank = {
        "low": None,
        "high": None,
        "method": method,
        "dof": None,
        "error": None,
        "reason": None,
        "on_bound": [],
        "released": [],
        "held": [],
    }
    out = {
        n: {"value": fitted.values[n], "unit": fitted.form.parameters[fitted.form.index(n)].unit}
        | blank
        for n in chosen
    }
    points = {} if at is None else fitted.form.inputs(at)
    predicted = fitted.form.slopes(points, fitted.theta)[0] if points else np.zeros(0)
    out |= {
        f"at {i}": {"value": float(v), "unit": fitted.form.target.unit}
        | blank
        | {"method": "pooled" if method == "pooled" else "wald"}
        for i, v in enumerate(predicted)
    }
    out |= {
        key: {"value": float(number(fitted.theta)), "unit": unit}
        | blank
        | {"method": "pooled" if method == "pooled" else "wald"}
        for key, (number, unit) in (derived or {}).items()
    }
    open_ = freedom(fitted)
    why = None
    if (few := len(fitted.clusters)) < FEWEST_CLUSTERS:
        why = f"{few} cluster(s), an interval needs {FEWEST_CLUSTERS}"
    elif fitted.sigma <= NOISELESS:
        why = "no residual is left: no noise to learn from (is the seed in use?)"
    if why:
        return {key: entry | {"reason": open_.lost.get(key, why)} for key, entry in out.items()}
    spread = _spread(fitted, method, groups)
    ends = _parameters(fitted, spread, open_, chosen, method, level)

    def others(
        one: Fit, spread: Spread | Pooled | Mixed, open_: Freedom
    ) -> dict[str, dict[str, Any]]:
        return _predictions(one, spread, open_, points, level, ends) | {
            key: _derived(one, spread, open_, number, level)
            for key, (number, _) in (derived or {}).items()
        }

    ends |= others(fitted, spread, open_)
    treatment = {"released": [], "held": list(fitted.search["at_bound"])}
    if (loose := released(fitted)) is not None:
        open_, treatment = freedom(loose), {"released": treatment["held"], "held": []}
        spread = _spread(loose, method, groups)
        inside = [name for name in chosen if name not in treatment["released"]]
        passing = (
            _parameters(loose, spread, open_, inside, method, level) if method == "wald" else {}
        )
        passing |= others(loose, spread, open_)
        ends |= {key: _wider(ends[key], one) for key, one in passing.items()}
    own = [] if method == "wald" else chosen  # a profile lets the others move by itself
    own = [*own, *fitted.search["at_bound"]]
    return {
        key: entry | ({} if key in own else treatment) | ends[key] for key, entry in out.items()
    }


def _wider(held: dict[str, Any], passing: dict[str, Any]) -> dict[str, Any]:
    """The wider one of an interval with parameters held on their bounds and of one that lets them
    pass: a form that a bound keeps from the points has larger residuals than its noise, and either
    may be too short. None where one of them has no interval."""
    if held.get("low") is None or passing.get("low") is None:
        return held if held.get("low") is None else passing
    ends = [held["low"], held["high"], passing["low"], passing["high"]]
    if any(end is None for end in ends):
        return passing
    return held if ends[1] - ends[0] > ends[3] - ends[2] else passing


def released(fitted: Fit) -> Fit | None:
    """The fit with parameters on a bound counted among those that move, at the values that they
    have; None where none lies on one, or where the points do not tell all of them apart."""
    if not fitted.search["at_bound"]:
        return None
    loose = dataclasses.replace(fitted, search=fitted.search | {"at_bound": []})
    return None if freedom(loose).lost else loose


def _spread(
    fitted: Fit, method: str, groups: Mapping[str, ArrayLike] | None
) -> Spread | Pooled | Mixed:
    if groups and (mixed := carried(fitted, groups)) is not None:
        return mixed
    return pooled_of(fitted) if method == "pooled" else spread_of(fitted)


def _quantile(dof: float, level: float) -> float:
    return float(student(max(dof, LEAST_DOF), level))


def _reach(
    spread: Spread | Pooled | Mixed, gradient: np.ndarray
) -> tuple[float, float, str | None]:
    """Standard error, degrees of freedom, and why they carry no interval."""
    error, dof = spread.error(gradient), spread.dof(gradient)
    return (
        error,
        dof,
        f"too few clusters for an interval ({dof:.1f} effective degrees of freedom)"
        if dof < FEWEST_DOF - ROUNDING and error > 0
        else None,
    )


def _parameters(
    fitted: Fit,
    spread: Spread | Pooled | Mixed,
    open_: Freedom,
    names: Sequence[str],
    method: str,
    level: float,
) -> dict[str, dict[str, Any]]:
    out, k = {}, len(fitted.free)
    for name in names:
        j = fitted.form.index(name)
        error, dof, why = _reach(spread, np.eye(k)[j])
        if name in fitted.search["at_bound"]:
            error, dof = 0.0, float(max(len(fitted.clusters) - fitted.free.sum(), 1))
            why = (
                "on a bound: no curvature to form an interval from, use method profile"
                if method != "profile"
                else None
            )
        out[name] = {
            "dof": dof,
            "error": error,
            "reason": open_.lost.get(name, why),
            "ends": fitted.u[j] + np.array([-1, 1]) * _quantile(dof, level) * error,
        }
    asked = [name for name in names if out[name]["reason"] is None]
    if method == "profile" and asked:
        assert not isinstance(spread, Pooled)
        for name, ends in zip(asked, profile_ends(fitted, spread, asked, out, level), strict=True):
            out[name]["ends"] = ends
    for name, entry in out.items():
        ends, j = entry.pop("ends"), fitted.form.index(name)
        low, high = fitted.problem.low[j], fitted.problem.high[j]
        room = 4 * np.finfo(float).eps * max(abs(low), abs(high)) if np.isfinite(high - low) else 0
        if ends[0] <= low + room and ends[1] >= high - room:
            entry["reason"] = entry["reason"] or (
                f"{NOT_IDENTIFIED}: no value between the bounds of the search is ruled out"
            )
        gaps = {  # an open side of the search is no bound
            "low": ends[0] - low if np.isfinite(low) else np.inf,
            "high": high - ends[1] if np.isfinite(high) else np.inf,
        }
        cut = [side for side, gap in gaps.items() if gap <= room]
        ends = fitted.form.parameters[j].to_natural(np.clip(ends, low, high))
        entry |= (
            {"low": None, "high": None}
            if entry["reason"]
            else {"low": _finite(ends[0]), "high": _finite(ends[1]), "on_bound": cut}
        )
    return out


def _predictions(
    fitted: Fit,
    spread: Spread | Pooled | Mixed,
    open_: Freedom,
    points: Arrays,
    level: float,
    own: dict[str, dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """By "at i". own: the intervals of the parameters; those of a form with one of them are
    carried through it, end by end."""
    if not points:
        return {}
    target, out = fitted.form.target, {}
    if fitted.free.sum() == 1 and len(own) == 1:
        ((name, entry),) = own.items()
        ends = np.tile(fitted.theta, (2, 1))
        ends[:, fitted.form.index(name)] = [
            np.nan if entry[end] is None else entry[end] for end in ("low", "high")
        ]
        low, high = np.sort(fitted.form.slopes(points, ends)[0], axis=0)
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
    transform = "logit" if bounded else fitted.problem.transform
    # a score between chance and 1 is as bounded as one between 0 and 1
    low, width = (target.low, target.high - target.low) if bounded else (0.0, 1.0)
    value, slopes = fitted.form.slopes(points, fitted.theta[None])
    scale = np.array(
        [
            t if p.scale == "log" else 1.0
            for p, t in zip(fitted.form.parameters, fitted.theta, strict=True)
        ]
    )
    slopes = np.stack([np.broadcast_to(s, value.shape)[0] for s in slopes], axis=-1) * scale
    for i, (f, slope) in enumerate(zip((value[0] - low) / width, slopes / width, strict=True)):
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
        error, dof, why = _reach(spread, slope * stretch)
        if open_.changes(slope) or _differs(fitted, open_, points, i, value[0, i], error / stretch):
            why = f"{NOT_IDENTIFIED}: fits that agree on them differ there"
        ends = low + width * back(
            transform, forward(transform, f) + np.array([-1, 1]) * _quantile(dof, level) * error
        )
        out[f"at {i}"] = {"dof": dof, "error": error, "reason": why} | (
            {} if why else {"low": _finite(ends[0]), "high": _finite(ends[1])}
        )
    return out


def _differs(
    fitted: Fit, open_: Freedom, points: Arrays, i: int, value: float, error: float
) -> bool:
    """Whether another minimum predicts something else at a point than this one."""
    if not len(open_.ends):
        return False
    there = {name: a[i : i + 1] for name, a in points.items()}
    others = fitted.form.slopes(there, fitted.problem.to_natural(open_.ends))[0]
    return bool((np.abs(others - value) > APART * error).any())


def _derived(
    fitted: Fit,
    spread: Spread | Pooled | Mixed,
    open_: Freedom,
    number: Callable[[np.ndarray], float],
    level: float,
) -> dict[str, Any]:
    value = float(number(fitted.theta))
    if not (np.isfinite(value) and value > 0):
        return {"reason": f"its value is {value:g}"}
    slope, p = np.zeros(len(fitted.u)), fitted.problem
    for j in np.flatnonzero(fitted.free):
        step = 1e-5 * max(1e-3, abs(fitted.u[j]))
        # within the bounds: what a number is beyond them need not be said
        sides = [max(fitted.u[j] - step, p.low[j]), min(fitted.u[j] + step, p.high[j])]
        ends = [
            float(number(p.to_natural(np.where(np.arange(len(slope)) == j, side, fitted.u))))
            for side in sides
        ]
        if not (np.isfinite(ends).all() and min(ends) > 0):
            return {"reason": "it does not exist beside the estimate"}
        slope[j] = np.log(ends[1] / ends[0]) / (sides[1] - sides[0])
    error, dof, why = _reach(spread, slope)
    if open_.changes(slope):
        why = f"{NOT_IDENTIFIED}: fits that agree on them differ in it"
    reach = _quantile(dof, level) * error
    return {"dof": dof, "error": error, "reason": why} | (
        {}
        if why
        else {
            "low": _finite(value * np.exp(-reach)),
            "high": _finite(value * np.exp(min(reach, 700.0))),
        }
    )


def _finite(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None
