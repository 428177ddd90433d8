"""Estimators of capacity over models that need no search: ratios, lines, one alpha under
min(), and their intervals.

Everything here is about three quantities: parameters P (a count), data H (bits that could be
memorized, the ceiling of the bit convention in use) and memorized bits m or their plateau C. U
counts units (one model and seed each), L counts models. Formulas are in `forms`, fits that search
in `fit`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from capacity.base.words import plural
from capacity.fitting.fit import fit
from capacity.fitting.points import Points
from capacity.fitting.statistics import LEVEL, student

AT_ONCE = 2**22  # draws of residuals that are held together; more come in several pieces
FEWEST_MODELS = 3  # two models leave nothing to check a line against


def named_estimates(parameters: ArrayLike, bits: ArrayLike) -> dict[str, float | None]:
    """The numbers that all get called "bits per parameter" (L plateaus in, dict of floats out; None
    where undefined).

    Kept apart by name because they differ by 4% on one published table: Morris et al. (v3, Table 1,
    bf16) has mean of ratios 3.51, median 3.55, slope through the origin 3.60, slope with intercept
    3.62, beside a headline of 3.64. The two slopes are least squares on raw bits, so the largest
    model decides them.
    """
    p, c = np.asarray(parameters, float), np.asarray(bits, float)
    ratio, spread = c / p, p - p.mean()
    several = bool(spread @ spread > 0)
    return {
        "mean_of_ratios": float(ratio.mean()),
        "geometric_mean": float(np.exp(np.log(ratio).mean())),
        "median": float(np.median(ratio)),
        "through_origin": float((p @ c) / (p @ p)),
        "with_intercept": float((spread @ c) / (spread @ spread)) if several else None,
        "log_log_exponent": float(np.polyfit(np.log(p), np.log(c), 1)[0]) if several else None,
    }


def _tail(z: ArrayLike) -> np.ndarray:
    """Hazard of the standard normal, density(z) / P(Z > z), without underflow."""
    from scipy.special import log_ndtr

    z = np.asarray(z, float)
    return np.exp(-0.5 * z * z - 0.5 * np.log(2 * np.pi) - log_ndtr(-z))


def censored_mean(
    y: ArrayLike, weight: ArrayLike, bound: ArrayLike, bound_weight: ArrayLike
) -> tuple[float, float]:
    """Weighted maximum likelihood of a normal mean when some values are known only to exceed
    `bound`.

    y, weight: the measured values (at least one). bound, bound_weight: the right-censored ones (may
    be empty). Returns (mean, sd), by expectation-maximization (Tobin 1958, Econometrica 26;
    Dempster, Laird & Rubin 1977). With no bound, or bounds far below, the mean is the weighted mean
    of y exactly.
    """
    y, w = np.asarray(y, float), np.asarray(weight, float)
    c, v = np.asarray(bound, float), np.asarray(bound_weight, float)
    plain = float(w @ y / w.sum())
    sd = float(np.sqrt(w @ (y - plain) ** 2 / w.sum()))
    if not c.size:
        return plain, sd
    mean, sd = plain, max(sd, 0.05)  # a start that lets bounds above identical values still pull
    for _ in range(5000):
        z = (c - mean) / sd
        hazard = _tail(z)
        next_mean = float((w @ y + v @ (mean + sd * hazard)) / (w.sum() + v.sum()))
        second = (
            sd**2 * (1 + z * hazard)
            + 2 * (mean - next_mean) * sd * hazard
            + (mean - next_mean) ** 2
        )
        var = float((w @ (y - next_mean) ** 2 + v @ second) / (w.sum() + v.sum()))
        next_sd = max(np.sqrt(max(var, 0.0)), 1e-6)
        moved = abs(next_mean - mean) + abs(next_sd - sd)
        mean, sd = next_mean, float(next_sd)
        if moved < 1e-12:
            break
    return carry_censored(plain, float(w.sum()), sd, c, v), sd


def carry_censored(
    mean_measured: float,
    weight_measured: float,
    sd: float,
    bound: ArrayLike,
    bound_weight: ArrayLike,
) -> float:
    """The mean that solves the censored score equation at fixed sd, given only the mean of the
    measured values.

    At fixed sd the likelihood sees the measured values through their mean alone and the answer
    rises with it, so an interval of the measured mean is carried through end by end.
    """
    from scipy.optimize import brentq

    c, v = np.asarray(bound, float), np.asarray(bound_weight, float)

    def score(mean: float) -> float:
        return weight_measured * (mean_measured - mean) + sd * float(v @ _tail((c - mean) / sd))

    if not c.size or score(mean_measured) <= 1e-15:
        return float(mean_measured)
    top = max(mean_measured, float(c.max())) + 10 * sd * (1 + v.sum() / weight_measured)
    return cast(float, brentq(score, mean_measured, top, xtol=1e-15, rtol=np.float64(1e-14)))


def linear_law(
    y: ArrayLike, model: np.ndarray, design: ArrayLike, *, draws: int, seed: int
) -> tuple[np.ndarray, dict[str, Any], dict[str, Any]]:
    """Fit mean response per model = design @ beta, with a 95% interval over seeds and one over
    models.

    y (U,): the response of every (model, seed) unit. model (U,): its row in design (L, p), p
    columns of full rank. Returns beta (p,), then for "seeds" and for "models" a dict: low (p,),
    high (p,), dof, reason. low and high are None, and reason says why, where the data carry no such
    interval.

    Seeds: what other seeds of the *same* models would give. Residuals of units about their model's
    mean are inflated by sqrt(k / (k - 1)) for k seeds, because the mean they are taken about was
    fitted to them: two seeds show half of their variance (a factor common to all cancels once draws
    are studentized). Models: what other models would give. Residuals of the model means about the
    line are inflated by sqrt(L / (L - p)); they contain the seed noise of the means. Both pool over
    models, so noise is taken as equal, independent and symmetric in the response.
    """
    y, design = np.asarray(y, float), np.asarray(design, float)
    n_models, p = design.shape
    k = np.bincount(model, minlength=n_models)
    average = np.zeros((len(y), n_models))
    average[np.arange(len(y)), model] = 1.0 / k[model]
    solve = np.linalg.pinv(design)
    means = y @ average
    beta = solve @ means
    needed = max(FEWEST_MODELS, p + 1)
    few = None
    if n_models < needed:
        few = f"{plural(n_models, 'model')} with data, this law needs {needed}"

    def seed_draw(noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        middle = noise @ average
        return middle @ solve.T, noise - middle[:, model]

    def model_draw(noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        change = noise @ solve.T
        return change, noise - change @ design.T

    inside, outside = y - means[model], means - design @ beta
    single = "one seed per model: seed noise was not measured" if k.max() < 2 else None
    pool = (inside * np.sqrt(k / np.maximum(k - 1, 1))[model])[k[model] > 1]
    over_seeds = Replicates(inside, pool, len(y) - n_models, seed_draw)
    pool = outside * np.sqrt(n_models / max(n_models - p, 1))
    over_models = Replicates(outside, pool, n_models - p, model_draw)
    return (
        beta,
        _no_interval(few or single)
        if few or single
        else _studentized(beta, over_seeds, draws=draws, seed=seed),
        _no_interval(few) if few else _studentized(beta, over_models, draws=draws, seed=seed),
    )


@dataclass(frozen=True)
class Replicates:
    """What an interval of a linear law resamples. residual: of the units; pool: the residuals that
    are drawn from, inflated; dof: what the units leave; draw: from noise [draws, U] to the change
    of beta and the residuals that remain."""

    residual: np.ndarray
    pool: np.ndarray
    dof: int
    draw: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _no_interval(reason: str | None) -> dict[str, Any]:
    return {"low": None, "high": None, "dof": None, "reason": reason}


def _studentized(beta: np.ndarray, of: Replicates, *, draws: int, seed: int) -> dict[str, Any]:
    """beta minus sd times the quantiles of t* = (change of beta) / (sd of the draw), by resampling
    `pool`.

    Percentiles of resampled estimates would cover far too little with two seeds, so every draw is
    divided by its own pooled sd (Efron & Tibshirani 1993, ch. 12; Davison & Hinkley 1997, ch. 5 and
    6). Four or eight residuals taken as they are make lumps (all of one size leave draws without
    any scatter, hence endless intervals), so the pool is made symmetric and smoothed: normal noise
    of Silverman's width, 1.06 n^(-1/5) sd, shrunk to keep the variance (Silverman & Young 1987,
    Biometrika 74, 469). The width goes to zero as replicates are added.
    """
    dof = of.dof
    sd = np.sqrt((of.residual**2).sum() / dof)
    if sd < 1e-9 * max(1.0, float(np.abs(beta).max())):
        return _no_interval(
            "replicates agree to the last digit: no noise to resample (is the seed in use?)"
        )
    size, pool = len(of.residual), of.pool
    width = 1.06 * len(pool) ** -0.2
    both, t = np.concatenate([pool, -pool]), []
    # which residuals are drawn comes before how they are smoothed, in one stream
    drawn, smooth = (np.random.default_rng(seed) for _ in range(2))
    step = max(1, AT_ONCE // size)
    rows = [min(step, draws - i) for i in range(0, draws, step)]
    for n in rows:
        smooth.integers(0, len(both), (n, size))
    for n in rows:
        noise = both[drawn.integers(0, len(both), (n, size))]
        noise = (noise + width * sd * smooth.standard_normal((n, size))) / np.hypot(1.0, width)
        change, rest = of.draw(noise)
        t.append(change / np.sqrt((rest**2).sum(1, keepdims=True) / dof))
    low, high = np.quantile(np.concatenate(t), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    return {"low": beta - high * sd, "high": beta - low * sd, "dof": dof, "reason": None}


def fit_smooth_corner(
    parameters: ArrayLike,
    data_bits: ArrayLike,
    bits: ArrayLike,
    start: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """alpha and k of the smooth corner by least squares on log bits (positive arrays of one
    length), or from one start (alpha, k) only.

    Returns a dict: alpha, k, rms (of natural logs), starts, agreeing (of the best 16, those that
    end within 1e-6 of the best objective), at_bound (k above 50 or below 1.05: not determined by
    these points). A cross-check of the headline, which is `linear_law`.
    """
    points = Points({"parameters": parameters, "ceiling_bits": data_bits}, bits)
    fitted = fit(
        "smooth_corner", points, delta=np.inf, starts=None if start is None else np.array([start])
    )
    alpha, k = (fitted.values[name] for name in ("alpha", "k"))
    return {
        "alpha": alpha,
        "k": k,
        "rms": float(np.sqrt(np.mean(fitted.residuals() ** 2))),
        "starts": fitted.search["starts"],
        "agreeing": fitted.search["agreeing"],
        "at_bound": not 1.05 < k < 50,
    }


def fit_hard_corner(parameters: ArrayLike, data_bits: ArrayLike, bits: ArrayLike) -> float:
    """alpha of `hard_corner` by least squares on log bits over positive arrays of one length;
    exact, by all its pieces.

    Between two neighbours among the H / P the same rows are limited by capacity, and the best log
    alpha is the mean of their log(m / P), or the end of the piece that is nearest to it.
    """
    p, h, m = (np.asarray(x, float) for x in (parameters, data_bits, bits))
    y, corner = np.log(m / p), np.log(h / p)
    ends = np.concatenate([[-np.inf], np.unique(corner)])
    pieces = [np.clip(y[corner >= high].mean(), low, high) for low, high in pairwise(ends)]
    return float(np.exp(min(pieces, key=lambda x: ((np.minimum(x, corner) - y) ** 2).sum())))


def jackknife(estimate: Callable[[np.ndarray], float], n: int, free: int) -> dict[str, Any]:
    """Log-scale estimate with a 95% interval by leaving out one of n observations in turn (Efron &
    Tibshirani 1993, ch. 11). estimate: a function of the kept places, int array -> positive
    number. free: degrees of freedom of Student's t. Returns low, high, dof and reason as
    `linear_law` does."""
    if free < 1:
        return _no_interval("too few cells are limited by capacity")
    every = np.arange(n)
    left = np.log([estimate(np.delete(every, i)) for i in every])
    sd = math.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())
    reach, middle = student(free) * sd, math.log(estimate(every))
    return {
        "low": math.exp(middle - reach),
        "high": math.exp(middle + reach),
        "dof": free,
        "reason": None,
    }
