"""Which form: errors on held-out scales, AICc, and all that a file should hold of a fit.

held_out(fitted, "parameters")      each size predicted by a fit to the others: the headline
                                    error of a fit
compare_forms(["exposure_exponential", "exposure_log"], points, "exposures")
record(fitted, "parameters", at=..., resamples=4000)        JSON-able
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from capacity.fitting import bootstrap, intervals
from capacity.fitting import groups as grouping
from capacity.fitting.covariance import spread_of
from capacity.fitting.fit import EQUAL, Fit, fit
from capacity.fitting.form import Form
from capacity.fitting.points import Points
from capacity.fitting.solve import solve

ABSOLUTE = 0.01  # standard deviations; with so small a delta Huber's loss is the absolute value
RETRIED = 8  # starts beside the optimum of all points, where a group is left out


def held_out(fitted: Fit, scale: str | None = None) -> dict[str, Any]:
    """The error of every group of points under a fit to the other groups: groups of one value of
    the variable `scale`, up to the rounding of sizes (`groups.rounded`), or clusters where it is
    None.

    rms (in the unit of the target), rms_percent (of the measured values; None where some are not
    positive), groups (value, points, error of the group's mean, in both units), and for a scale
    largest: the same for its largest value, and extrapolation: how many times larger that is than
    the next. Bounds count as points where they are fitted, not where they are predicted. delta is
    that of all points. reason: None, or why there is no error."""
    p = fitted.problem
    names, codes = _groups(fitted, scale)
    needed = int(fitted.free.sum()) + 1
    left = [
        i
        for i in range(len(names))
        if (~p.censored & (codes == i)).any() and (~p.censored & (codes != i)).sum() >= needed
    ]
    if len(names) < 3 or not left:
        return {
            "reason": f"{len(names)} group(s) of {scale or 'clusters'}: too few to leave one out",
            "rms": None,
            "rms_percent": None,
            "groups": [],
        }
    predicted = fitted.form.slopes(p.x, p.to_natural(_refits(fitted, codes, left)))[0]
    groups: list[dict[str, Any]] = []
    errors, parts = [], []
    for row, i in enumerate(left):
        here = ~p.censored & (codes == i)
        f, y = predicted[row, here], fitted.y[here]
        errors.append(f - y)
        part = 100 * (f / y - 1) if (y > 0).all() else None
        parts.append(part)
        groups.append(
            {
                "group": names[i],
                "points": int(here.sum()),
                "error": float((f - y).mean()),
                "percent": None if part is None else float(part.mean()),
            }
        )
    known = [part for part in parts if part is not None]
    out = {
        "reason": None,
        "scale": scale or "cluster",
        "rms": _rms(np.concatenate(errors)),
        "unit": fitted.form.target.unit,
        "rms_percent": _rms(np.concatenate(known)) if len(known) == len(parts) else None,
        "groups": groups,
    }
    if scale is not None:
        out["largest"] = groups[-1] if left[-1] == len(names) - 1 else None
        out["extrapolation"] = float(names[-1] / names[-2]) if names[-2] > 0 else None
    return out


def _groups(fitted: Fit, scale: str | None) -> tuple[list[Any], np.ndarray]:
    """Names of the groups that are left out in turn, and the group of each point [n]."""
    if scale is None:
        return list(fitted.clusters), fitted.codes
    x = fitted.problem.x
    if scale not in x:
        raise ValueError(f"{fitted.form.name} has no variable {scale!r}: it has {', '.join(x)}")
    return grouping.rounded(x[scale])


def _refits(fitted: Fit, codes: np.ndarray, left: list[int]) -> np.ndarray:
    """u [len(left), k] of the fits without one group each, from the optimum of all points and from
    other starts."""
    p, free = fitted.problem, fitted.free
    begin = p.to_search(
        fitted.form.starts({n: a[~p.censored] for n, a in p.x.items()}, fitted.y[~p.censored])
    )
    cost = p.loss(p.errors(begin))[0].sum(1)
    others = np.where(free, begin[np.argsort(cost, kind="stable")[:RETRIED]], fitted.u)
    begin = np.concatenate([fitted.u[None], others])
    weight = np.repeat([(codes != i).astype(float) for i in left], len(begin), axis=0)
    ended = solve(p, np.tile(begin, (len(left), 1)), weight, free, tol=1e-10)
    best = ended.objective.reshape(len(left), len(begin)).argmin(1)
    return ended.u[best + len(begin) * np.arange(len(left))]


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def aicc(fitted: Fit) -> dict[str, Any]:
    """Akaike's criterion with the small-sample term (Hurvich & Tsai 1989, Biometrika 76, 297) of
    the least-squares fit of the same points, so that it is a likelihood; in units of y whatever the
    transform. value None where the points are too few. Points of one cluster count as independent
    here, which favours large forms: held-out scales come first."""
    if not np.isinf(fitted.problem.delta):
        fitted = fitted.squared
    p, count = fitted.problem, int(fitted.free.sum()) + 1
    e = p.errors(fitted.u[None])[0]
    measured, n = ~p.censored, len(e)
    sd = fitted.sigma if p.censored.any() else _rms(e[measured])
    sd = max(sd, 1e-300)
    slope = {
        "identity": lambda y: np.zeros(n),
        "log": lambda y: -np.log(y),
        "logit": lambda y: -np.log(y * (1 - y)),
    }[p.transform](fitted.y)
    likelihood = float(
        (
            -0.5 * (e[measured] / sd) ** 2
            - math.log(sd * math.sqrt(2 * math.pi))
            + np.log(p.root[measured])
            + slope[measured]
        ).sum()
    )
    if p.censored.any():
        from scipy.special import log_ndtr

        likelihood += float(log_ndtr(-e[p.censored] / sd).sum())
    free = n - count - 1
    return {
        "value": None if free < 1 else -2 * likelihood + 2 * count + 2 * count * (count + 1) / free,
        "log_likelihood": likelihood,
        "parameters": count,
        "points": n,
    }


def compare_forms(
    names: Iterable[Form | str], points: Points, scale: str | None = None, **settings: Any
) -> list[dict[str, Any]]:
    """The same points by several forms, the one with the smallest held-out error first: form,
    values, rms, held_out (rms and largest scale), aicc, difference to the best, Akaike weight,
    warnings. settings: of `fit.fit`. Only forms of one target compare."""
    return ranked([row_of(fit(name, points, **settings), scale) for name in names])


def row_of(fitted: Fit, scale: str | None = None) -> dict[str, Any]:
    """A row of `compare_forms`, before it is `ranked`."""
    measured = ~fitted.problem.censored
    e = fitted.predict(fitted.problem.x)[measured] - fitted.y[measured]
    return {
        "form": fitted.form.name,
        "formula": fitted.form.formula,
        "values": fitted.values,
        "free": int(fitted.free.sum()),
        "rms": _rms(e),
        "unit": fitted.form.target.unit,
        "held_out": held_out(fitted, scale),
        "aicc": aicc(fitted)["value"],
        "warnings": list(fitted.warnings),
    }


def ranked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `compare_forms` with AICc differences and Akaike weights among them, the smallest
    held-out error first; of errors that are equal up to the accuracy of fits (EQUAL) that of the
    form with fewer parameters, which a form that contains it only repeats."""
    known = [row["aicc"] for row in rows if row["aicc"] is not None]
    least = min(known) if known else None
    weights = {
        row["form"]: math.exp(-0.5 * (row["aicc"] - least))
        for row in rows
        if row["aicc"] is not None
    }
    for row in rows:
        row["aicc_difference"] = None if row["aicc"] is None else row["aicc"] - least
        row["akaike_weight"] = (
            None if row["aicc"] is None else weights[row["form"]] / sum(weights.values())
        )

    def error(row: dict[str, Any]) -> tuple[bool, float]:
        rms = row["held_out"]["rms"]
        return rms is None, row["rms"] if rms is None else rms

    out: list[dict[str, Any]] = []
    for row in sorted(rows, key=error):
        place = len(out)
        while place and _equal(error(out[place - 1]), error(row)):
            if out[place - 1]["free"] <= row["free"]:
                break
            place -= 1
        out.insert(place, row)
    return out


def _equal(one: tuple[bool, float], other: tuple[bool, float]) -> bool:
    return one[0] == other[0] and math.isclose(one[1], other[1], rel_tol=EQUAL)


def record(
    fitted: Fit,
    scale: str | None = None,
    *,
    at: Mapping[str, ArrayLike] | None = None,
    resamples: int = 0,
    seed: int = 0,
    held: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """`Fit.to_dict` with intervals (and predictions at `at`), covariance of the coordinates of the
    search by clusters, held-out error (`held`, where it is known already), AICc, the parameters
    under other losses, and, with resamples and clusters enough, the bootstrap beside the intervals:
    its ends and the shares that hit bounds. Of many points there are fewer resamples than asked
    (`bootstrap.bounded`)."""
    small = ABSOLUTE * max(fitted.sigma, 1e-12)
    absolute = fit(fitted.form, fitted.points, delta=small, **fitted.again())
    losses = {"squared": fitted.squared.values, "absolute": absolute.values}
    covariance = None
    if len(fitted.clusters) > 1:
        covariance = spread_of(fitted).covariance.tolist()
    more: dict[str, Any] = {
        "intervals": intervals.of(fitted, at=at),
        "held_out": held_out(fitted, scale) if held is None else held,
        "aicc": aicc(fitted),
        "other_losses": losses,
        "covariance": {
            "of": [f"log {p.name}" if p.scale == "log" else p.name for p in fitted.form.parameters],
            "matrix": covariance,
        },
    }
    if resamples and len(fitted.clusters) >= intervals.FEWEST_CLUSTERS:
        most = bootstrap.bounded(resamples, len(fitted.y))
        drawn = bootstrap.draw(fitted, most, seed=seed, errors=False)
        more["bootstrap"] = {
            "resamples": most,
            "seed": seed,
            "replicate": "cluster",
            "at_bound": drawn.at_bound,
            "second_start_better": drawn.second,
            "unconverged": drawn.unconverged,
            "percentile": bootstrap.intervals(fitted, drawn, "percentile", at=at),
        } | ({} if most == resamples else {"asked": resamples})
    return fitted.to_dict(**more)
