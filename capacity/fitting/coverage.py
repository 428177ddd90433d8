"""Do the intervals of a fit hold what was planted, and how far off are its estimates?

    study = simulated.STUDIES["smooth_corner, rough"]
    coverage.coverage(study, range(400))                   # of 400 simulated studies: coverage,
                                                           # bias, width, by parameter and method

Simulated studies of every form are in `simulated`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from capacity.fitting import bootstrap, intervals
from capacity.fitting.fit import fit
from capacity.fitting.forms import FORMS
from capacity.fitting.points import Points


@dataclass(frozen=True)
class Study:
    """A form, the truth, how a study is drawn from it, and where a prediction is asked for; about:
    its size in words; fit: settings of `fit.fit`."""

    name: str
    form: str
    truth: dict[str, float]
    points: Callable[[np.random.Generator], Points]
    at: dict[str, float]
    about: str
    fit: dict[str, Any] = field(default_factory=dict)


def once(
    study: Study, draw: int, methods: Sequence[str | None] = (None,), resamples: int = 0
) -> list[dict[str, Any]]:
    """One simulated study: for every number, planted value, estimate, and by method the ends of its
    interval (infinite where open) and whether it was refused. methods: of `intervals`, None for the
    form's own, named "default"; resamples adds the bootstraps."""
    points = study.points(np.random.default_rng([draw, 7]))
    fitted = fit(study.form, points, **study.fit)
    truth = dict(study.truth) | {"at 0": float(FORMS[study.form].predict(study.at, study.truth)[0])}
    by_method = {
        method or "default": intervals.of(fitted, at=study.at, method=method) for method in methods
    }
    if resamples:
        drawn = bootstrap.draw(fitted, resamples, seed=draw)
        by_method |= {
            method: bootstrap.intervals(fitted, drawn, method, at=study.at)
            for method in ("percentile", "studentized", "bca")
        }
    rows = []
    for name, planted in truth.items():
        for method, ends in by_method.items():
            if name in ends:
                end = ends[name]
                rows.append(
                    {
                        "study": study.name,
                        "draw": draw,
                        "number": name,
                        "planted": planted,
                        "estimate": end["value"],
                        "method": method,
                        "low": -np.inf if end["low"] is None else end["low"],
                        "high": np.inf if end["high"] is None else end["high"],
                        "refused": end.get("reason") is not None,
                        "warned": bool(fitted.warnings),
                    }
                )
    return rows


def summary(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Coverage of given intervals, shares refused and open, bias and scatter of estimates, median
    half-width, one row per study, number and method.

    bias: median estimate / planted - 1, in percent; bias_sd: the same in standard deviations of the
    estimates (half the middle 68%)."""
    table: dict[tuple, list[dict]] = {}
    for row in rows:
        table.setdefault((row["study"], row["number"], row["method"]), []).append(row)
    out = []
    for (study, number, method), some in table.items():
        planted, value = some[0]["planted"], np.array([r["estimate"] for r in some])
        low, high, given = (
            np.array([r["low"] for r in some]),
            np.array([r["high"] for r in some]),
            ~np.array([r["refused"] for r in some]),
        )
        hits = (low <= planted) & (planted <= high)
        share = float(hits[given].mean()) if given.any() else math.nan
        scale = abs(planted) or math.nan
        scatter = (
            float(np.subtract(*np.quantile(value, [0.84, 0.16]))) / 2
        )  # a rare estimate on a bound would decide a standard deviation
        out.append(
            {
                "study": study,
                "number": number,
                "method": method,
                "studies": len(some),
                "planted": planted,
                "coverage": share,
                "coverage_se": math.sqrt(max(share * (1 - share), 1e-4) / max(given.sum(), 1))
                if given.any()
                else math.nan,
                "above": float((low > planted)[given].mean()) if given.any() else math.nan,
                "below": float((high < planted)[given].mean()) if given.any() else math.nan,
                "refused": float((~given).mean()),
                "open": float((~np.isfinite(low) | ~np.isfinite(high))[given].mean())
                if given.any()
                else math.nan,
                "bias_percent": 100 * (float(np.median(value)) - planted) / scale,
                "bias_sd": float((np.median(value) - planted) / scatter) if scatter else 0.0,
                "sd_percent": 100 * scatter / scale,
                "half_width_percent": 100 * float(np.median((high - low)[given])) / 2 / scale
                if given.any()
                else math.nan,
                "warned": float(np.mean([r["warned"] for r in some])),
            }
        )
    return out


def coverage(
    study: Study,
    draws: Iterable[int],
    methods: Sequence[str | None] = (None,),
    resamples: int = 0,
) -> list[dict[str, Any]]:
    """`summary` of many simulated studies."""
    return summary([row for draw in draws for row in once(study, draw, methods, resamples)])
