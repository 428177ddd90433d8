"""Which form, which model: held-out scales, AICc, a paired test for "A stores more than B", what a
study of a given size could have seen.

compare.held_out(found, "parameters")                          each size told by the others: the
                                                               headline error of a fit
compare.forms(["exposure_exponential", "exposure_log"], points, "exposures")
compare.paired(bits_a, bits_b, by=size)                        exact sign flips and Student's
                                                               interval, over pairs and over sizes
compare.detectable(sd=0.02, pairs=8)                           the smallest difference that 8 pairs
                                                               see in four of five studies
compare.winner(bits, n_sequences, seed)                        what the best of several is worth
                                                               when it was chosen by its own noise
compare.record(found, "parameters", at=..., resamples=4000)    all that a file should hold of a fit,
                                                               JSON-able
"""

from __future__ import annotations

import math

import numpy as np

from capacity.fitting import bootstrap, intervals
from capacity.fitting import fit as estimate
from capacity.fitting.fit import Fit, Points
from capacity.fitting.solve import solve

ABSOLUTE = 0.01  # standard deviations; with so small a delta Huber's loss is the absolute value
RETRIED = 8  # starts beside the optimum of all points, where a group is left out


def held_out(found: Fit, scale: str | None = None) -> dict:
    """Every group of points told by a fit to the others: groups of one value of the variable
    `scale`, or clusters where it is None.

    rms (in the unit of the target), rms_percent (of the measured values; None where some are not
    positive), groups (value, points, error of the group's mean, in both units), and for a scale
    largest: the same for its largest value, and extrapolation: how many times larger that is than
    the next. Bounds count as points where they are fitted, not where they are told. delta is that
    of all points."""
    p = found.problem
    if scale is None:
        names, codes = list(found.clusters), found.codes
    else:
        if scale not in p.x:
            raise ValueError(
                f"{found.form.name} has no variable {scale!r}: it has {', '.join(p.x)}"
            )
        values, codes = np.unique(p.x[scale], return_inverse=True)
        names = [float(v) for v in values]
    needed = int(found.free.sum()) + 1
    told = [
        i
        for i in range(len(names))
        if (~p.censored & (codes == i)).any() and (~p.censored & (codes != i)).sum() >= needed
    ]
    if len(names) < 3 or not told:
        return {
            "reason": f"{len(names)} group(s) of {scale or 'clusters'}: too few to leave one out",
            "rms": None,
            "rms_percent": None,
            "groups": [],
        }
    begin = found.form.starts({n: a[~p.censored] for n, a in p.x.items()}, found.y[~p.censored])
    cost = p.loss(p.residuals(p.to_search(begin), slopes=False)[0])[0].sum(1)
    begin = np.concatenate(
        [
            found.u[None],
            np.where(
                found.free, p.to_search(begin)[np.argsort(cost, kind="stable")[:RETRIED]], found.u
            ),
        ]
    )
    weight = np.repeat([(codes != i).astype(float) for i in told], len(begin), axis=0)
    ended = solve(p, np.tile(begin, (len(told), 1)), weight, found.free, tol=1e-10)
    best = ended.objective.reshape(len(told), len(begin)).argmin(1) + len(begin) * np.arange(
        len(told)
    )
    said = found.form.slopes(p.x, p.to_natural(ended.u[best]))[0]
    groups, errors, parts = [], [], []
    for row, i in enumerate(told):
        here = ~p.censored & (codes == i)
        f, y = said[row, here], found.y[here]
        errors.append(f - y)
        parts.append(100 * (f / y - 1) if (y > 0).all() else None)
        groups.append(
            {
                "group": names[i],
                "points": int(here.sum()),
                "error": float((f - y).mean()),
                "percent": None if parts[-1] is None else float(parts[-1].mean()),
            }
        )
    out = {
        "reason": None,
        "scale": scale or "cluster",
        "rms": float(np.sqrt(np.mean(np.concatenate(errors) ** 2))),
        "unit": found.form.target.unit,
        "rms_percent": None
        if any(q is None for q in parts)
        else float(np.sqrt(np.mean(np.concatenate(parts) ** 2))),
        "groups": groups,
    }
    if scale is not None:
        out["largest"] = groups[-1] if told[-1] == len(names) - 1 else None
        out["extrapolation"] = float(names[-1] / names[-2]) if names[-2] > 0 else None
    return out


def aicc(found: Fit) -> dict:
    """Akaike's criterion with the small-sample term (Hurvich & Tsai 1989, Biometrika 76, 297) of
    the least-squares fit of the same points, so that it is a likelihood; in units of y whatever the
    transform. value None where the points are too few. Points of one cluster count as independent
    here, which favours large forms: held-out scales come first."""
    fitted = (
        found
        if np.isinf(found.problem.delta)
        else estimate.fit(
            found.form,
            found.points,
            delta=np.inf,
            transform=found.problem.transform,
            fixed={n: v for n, v, f in zip(found.form.names, found.theta, found.free) if not f},
        )
    )
    p, count = fitted.problem, int(fitted.free.sum()) + 1
    e = p.residuals(fitted.u[None], slopes=False)[0][0]
    measured, n = ~p.censored, len(e)
    sd = max(
        float(np.sqrt(np.mean(e[measured] ** 2))) if not p.censored.any() else fitted.sigma, 1e-300
    )
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


def forms(names, points: Points, scale: str | None = None, **settings) -> list[dict]:
    """The same points by several forms, the one with the smallest held-out error first: form,
    values, rms, held_out (rms and largest scale), aicc, difference to the best, Akaike weight,
    warnings. settings: of `estimate.fit`. Only forms of one target compare."""
    rows = []
    for name in names:
        found = estimate.fit(name, points, **settings)
        left, akaike = held_out(found, scale), aicc(found)
        e = (
            found.predict({n: a for n, a in found.problem.x.items()})[~found.problem.censored]
            - found.y[~found.problem.censored]
        )
        rows.append(
            {
                "form": found.form.name,
                "formula": found.form.formula,
                "values": found.values,
                "free": int(found.free.sum()),
                "rms": float(np.sqrt(np.mean(e**2))),
                "unit": found.form.target.unit,
                "held_out": left,
                "aicc": akaike["value"],
                "warnings": list(found.warnings),
            }
        )
    return ranked(rows)


def ranked(rows: list[dict]) -> list[dict]:
    """Rows of `forms` with AICc differences and Akaike weights among them, the smallest held-out
    error first."""
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
    return sorted(
        rows, key=lambda row: (row["held_out"]["rms"] is None, row["held_out"]["rms"] or row["rms"])
    )


def record(
    found: Fit,
    scale: str | None = None,
    *,
    at: dict | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> dict:
    """`Fit.to_dict` with intervals (and predictions at `at`), covariance of the coordinates of the
    search by clusters, held-out error, AICc, the parameters under other losses, and, with resamples
    and clusters enough, the bootstrap beside the intervals: its ends and the shares that hit
    bounds."""
    again = {
        "transform": found.problem.transform,
        "fixed": {
            n: float(v) for n, v, f in zip(found.form.names, found.theta, found.free) if not f
        },
    }
    losses = {
        name: estimate.fit(found.form, found.points, delta=delta, **again).values
        for name, delta in (("squared", np.inf), ("absolute", ABSOLUTE * max(found.sigma, 1e-12)))
    }
    more = {
        "intervals": intervals.of(found, at=at),
        "held_out": held_out(found, scale),
        "aicc": aicc(found),
        "other_losses": losses,
        "covariance": {
            "of": [f"log {p.name}" if p.scale == "log" else p.name for p in found.form.parameters],
            "matrix": intervals.spread_of(found).covariance.tolist()
            if len(found.clusters) > 1
            else None,
        },
    }
    if resamples and len(found.clusters) >= intervals.FEWEST_CLUSTERS:
        drawn = bootstrap.draw(found, resamples, seed=seed)
        more["bootstrap"] = {
            "resamples": resamples,
            "seed": seed,
            "replicate": "cluster",
            "at_bound": drawn.at_bound,
            "second_start_better": drawn.second,
            "unconverged": drawn.unconverged,
            "percentile": bootstrap.intervals(found, drawn, "percentile", at=at),
        }
    return found.to_dict(**more)
