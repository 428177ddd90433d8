"""Intervals, tests and power for a handful of replicates: one implementation of each.

    student(dof)                        two-sided quantile of Student's t
    t_interval(values)                  mean of replicates
    share_interval(values)              the same of shares, within [0, 1]
    proportion(k / n, n)                a share of n, also of a handful
    clustered_proportion(values)        a share where answers of one person hang together
    fieller(a, b, cov, student(dof))    ratio of two means
    sign_flips(differences)             exact test of a symmetric difference
    holm(p_values)                      correction for several comparisons
    detectable(sd, pairs)               smallest difference that a t test of this size shows
    standardized_effect(n)              the same where the exact test must agree
    needed_replicates(sd, effect)       how many replicates show an effect
    winner(values, option, seed)        what the best of several options is worth on other seeds

Functions take numbers and arrays, and return numbers or plain dictionaries. The replicate is the
unit that varies independently, such as one random seed of one model; the caller averages whatever
shares a replicate before it comes here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.95  # coverage of every interval of this package
ALPHA = 1 - LEVEL
POWER = 0.8
EXACT = 18  # pairs whose 2^n sign flips are all tried; beyond, as many are drawn at random
FLIPS = 2**EXACT
TIE = (
    1e-12  # relative to the largest difference: sums that differ by less are equal but for rounding
)
# replicates up to which the power of interval and exact test together is simulated; beyond, that of
# a t test is the same to 2%
SIMULATED = 10
DRAWS = 4000  # simulated studies; the effect at a power of 80% is known to 1% by them
MOST_NEEDED = 100_000  # replicates; a larger need is reported as none


# --- intervals
# --------------------------------------------------------------------------------------------------


def student(dof: Any, level: float = LEVEL) -> Any:
    """Two-sided quantile of Student's t: the interval is estimate -+ student(dof) standard errors.

    dof: a number or an array of degrees of freedom, above 0; the result has its shape.
    """
    from scipy.special import stdtrit

    return stdtrit(dof, 0.5 + level / 2)


def t_interval(
    values: ArrayLike, se_more: float = 0.0, level: float = LEVEL
) -> tuple[float, float]:
    """Student's t interval of the mean of independent values; (nan, nan) for fewer than two.

    se_more: a standard error from another, normal source, such as a finite sample that every value
    shares; it widens the interval in quadrature.
    """
    from scipy.special import ndtri

    x = np.asarray(values, float)
    if len(x) < 2:
        return math.nan, math.nan
    half = math.hypot(
        student(len(x) - 1, level) * x.std(ddof=1) / math.sqrt(len(x)),
        ndtri(0.5 + level / 2) * se_more,
    )
    return float(x.mean() - half), float(x.mean() + half)


def share_interval(values: ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """`t_interval` of replicates that are shares, within [0, 1]; (nan, nan) where all are equal, as
    where every model is at 0 or at 1: such replicates have no scatter that says how far another one
    would be."""
    x = np.asarray(values, float)
    if len(x) < 2 or np.ptp(x) <= TIE:
        return math.nan, math.nan
    low, high = t_interval(x, level=level)
    return max(0.0, low), min(1.0, high)


def proportion(share: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a share of n independent trials (Clopper & Pearson 1934, Biometrika 26,
    404), both tails alike; (0, 1) for n = 0.

    It covers at least `level` whatever the true share is, also where none or all of a handful were
    seen: 8 of 8 gives [0.631, 1]. Wilson's and Jeffreys' intervals are shorter and cover 95% on
    average, but down to 82% and 88% near 0 and 1, where extraction rates lie (`make coverage`). n
    may be an effective number: neither it nor share * n has to be whole. ValueError for a share
    outside of 0 to 1 and for n below 0.
    """
    if not 0 <= share <= 1 or n < 0:
        raise ValueError(f"a share between 0 and 1 of n >= 0, not {share:g} of {n:g}")
    from scipy.special import betaincinv

    hits, misses, tail = share * n, (1 - share) * n, (1 - level) / 2
    low = float(betaincinv(hits, misses + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, misses, 1 - tail)) if misses > 0 else 1.0
    return low, high


def clustered_proportion(values: ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """Interval of the mean of shares [n] between 0 and 1, one per person, sequence or whatever is
    drawn independently: `proportion` of the effective number of trials m (1 - m) / variance of the
    mean m, reduced by (z / t)^2 because that variance comes from n values (Korn & Graubard 1998,
    Survey Methodology 24, 193). Where all values are 0, or all 1, and at the least: of n trials.
    """
    from scipy.special import ndtri

    x = np.asarray(values, float)
    n, mean = len(x), float(x.mean()) if len(x) else 0.0
    variance = float(x.var(ddof=1)) / n if n > 1 else 0.0
    if variance == 0:
        return proportion(mean, n, level)
    fewer = (float(ndtri(0.5 + level / 2)) / float(student(n - 1, level))) ** 2
    return proportion(mean, mean * (1 - mean) / variance * fewer, level)


def fieller(a: float, b: float, cov: ArrayLike, t: float) -> tuple[float, list[float] | None]:
    """(a / b, [low, high]) for two normal means (Fieller 1954, J. R. Stat. Soc. B 16, 175).

    cov [2, 2]: covariance of (a, b); t: quantile of their noise, such as `student(dof)`. The
    interval is None where b is not distinguishable from 0 from above: then the set of ratios that
    fit has no ends. No logarithm is taken, so a may be 0 or negative.
    """
    (aa, ab), (_, bb) = np.asarray(cov, float).tolist()
    square = b * b - t * t * bb
    value = a / b if b else math.nan
    if b <= 0 or square <= 0:
        return value, None
    middle = a * b - t * t * ab
    root = math.sqrt(max(0.0, middle * middle - square * (a * a - t * t * aa)))
    return value, [(middle - root) / square, (middle + root) / square]


# --- tests
# --------------------------------------------------------------------------------------------------


def sign_flips(d: ArrayLike) -> dict[str, Any]:
    """Test that differences d [n] are symmetric about 0 by flipping their signs (Fisher 1935, The
    Design of Experiments, section 21).

    p_more: one-sided, of a mean above 0; p: two-sided; smallest_p: what p_more can reach at best
    with so many, None where not all flips are tried; exact: whether all are (n <= EXACT). Beyond,
    flips are drawn with a fixed seed and the data count as one of them, which keeps the test valid
    (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9, 39).
    """
    d = np.asarray(d, float)
    n, mean = len(d), float(d.mean())
    if n <= EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
        flipped, tie = signs @ d / n, TIE * np.abs(d).max()
        more = (flipped >= mean - tie).mean()
        both = (np.abs(flipped) >= abs(mean) - tie).mean()
    else:
        signs = np.where(np.random.default_rng(0).random((FLIPS // n, n)) < 0.5, 1.0, -1.0)
        flipped = signs @ d / n
        more, both = (
            (1 + count) / (1 + len(flipped))
            for count in ((flipped >= mean).sum(), (np.abs(flipped) >= abs(mean)).sum())
        )
    return {
        "p_more": float(more),
        "p": float(both),
        "smallest_p": 2.0**-n if n <= EXACT else None,
        "exact": n <= EXACT,
    }


def holm(p: Sequence[float | None]) -> list[float | None]:
    """p values corrected for as many comparisons as have one, so that a false one among them is as
    rare as one alone would be (Holm 1979, Scand. J. Stat. 6, 65); None stays None."""
    known = sorted((x, i) for i, x in enumerate(p) if x is not None)
    out, least = list(p), 0.0
    for rank, (x, i) in enumerate(known):
        out[i] = least = max(least, min(1.0, (len(known) - rank) * x))
    return out


# --- power
# --------------------------------------------------------------------------------------------------


def detectable(
    sd: float,
    pairs: int,
    *,
    paired: bool = True,
    power: float = POWER,
    sd_dof: float | None = None,
    dof: float | None = None,
) -> dict[str, Any]:
    """The smallest true difference that a t test of this size calls different from 0 with the given
    power.

    sd: standard deviation of the differences of pairs, or, unpaired, of one value (`pairs` of them
    on each side); relative noise gives a relative effect. sd_dof: degrees of freedom that sd was
    estimated with: then `interval`, the effect at the 95% limits of sd, says how well it is known.
    dof: of the test, where more than these pairs say how large sd is; then one pair is enough.
    """
    if sd <= 0 or (pairs < 2 and dof is None) or not 0.5 < power < 1:
        raise ValueError(
            f"detectable needs sd > 0, at least 2 pairs and a power between 0.5 and 1, not {sd:g}, "
            f"{pairs} and {power:g}"
        )
    from scipy.optimize import brentq
    from scipy.special import chdtri, nctdtr

    if dof is None:
        dof = pairs - 1 if paired else 2 * (pairs - 1)
    level = LEVEL
    error = sd * math.sqrt((1 if paired else 2) / pairs)
    edge = student(dof, level)
    high = 1.0
    while (
        1 - nctdtr(dof, high, edge) < power
    ):  # no further: far beyond, scipy's noncentral t is NaN for some degrees of freedom
        high *= 1.5
    shift = cast(float, brentq(lambda x: 1 - nctdtr(dof, x, edge) - power, 0.0, high))
    out = {
        "effect": shift * error,
        "power": power,
        "level": level,
        "dof": dof,
        "pairs": pairs,
        "interval": None,
    }
    if sd_dof:
        factors = [math.sqrt(sd_dof / chdtri(sd_dof, 0.5 - sign * level / 2)) for sign in (-1, 1)]
        out["interval"] = sorted(out["effect"] * f for f in factors)
    return out


@lru_cache(maxsize=4096)
def standardized_effect(n: int, exact: bool = True) -> float:
    """The smallest true difference, in standard deviations of a replicate, that n replicates show
    with a power of 80%.

    By Student's interval and (`exact`) the sign-flip test together: for few replicates the test is
    the stricter (1.24 times the difference that the t test needs for 6 of them, 1.06 for 7, 1.01
    for 10). Simulated with normal noise and a fixed seed."""
    if not exact or n > SIMULATED:
        return detectable(1.0, n)["effect"]
    from scipy.optimize import bisect

    signs = 1.0 - 2.0 * (
        np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
    )  # half of the flips, all plus first: the rest are their negatives
    noise = np.random.default_rng(0).standard_normal((n, DRAWS))
    flipped, shift = signs @ noise / n, signs.mean(1)
    half = student(n - 1) * noise.std(0, ddof=1) / math.sqrt(n)

    def missing(x: float) -> float:
        mean = flipped[0] + x
        p = (np.abs(flipped + x * shift[:, None]) >= np.abs(mean) - TIE).mean(0)
        return float(((p <= ALPHA) & (np.abs(mean) > half)).mean()) - POWER

    return cast(float, bisect(missing, 0.0, 10.0, xtol=1e-4))


def fewest_replicates(comparisons: int = 1) -> int:
    """Replicates below which no data can make the exact two-sided test significant: its smallest p
    is 2 / 2^n (times the comparisons)."""
    return next(n for n in range(2, 64) if comparisons * 2.0 ** (1 - n) <= ALPHA)


def needed_replicates(sd: float, effect: float) -> int | None:
    """Replicates that show a true `effect` in four of five studies; sd and effect in one unit. None
    beyond MOST_NEEDED."""
    low, high = fewest_replicates() - 1, fewest_replicates()
    while sd * standardized_effect(high) > effect:
        low, high = high, 2 * high
        if low > MOST_NEEDED:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if sd * standardized_effect(middle) <= effect:
            high = middle
        else:
            low = middle
    return high


# --- the best of several
# --------------------------------------------------------------------------------------------------


def winner(
    values: ArrayLike, option: ArrayLike, seed: ArrayLike, *, draws: int = 2000
) -> dict[str, Any]:
    """The best of several options over seeds, and what it is worth on seeds that did not choose it.

    values, option, seed [n]: every option with every seed once, or ValueError. value: mean of the
    chosen option, biased upward because its noise helped to choose it (the winner's curse); bias:
    by how much, from resampled seeds; fresh: mean over seeds of the option that the other seeds
    choose, which is free of that; warning where the bias is above a tenth of the standard error of
    a mean."""
    values, option, seed = np.asarray(values, float), np.asarray(option), np.asarray(seed)
    names, rows = np.unique(option, return_inverse=True)
    seeds, columns = np.unique(seed, return_inverse=True)
    grid = np.full((len(names), len(seeds)), np.nan)
    grid[rows, columns] = values
    if np.isnan(grid).any():
        raise ValueError("winner needs every option with every seed once")
    means = grid.mean(1)
    best = int(means.argmax())
    out = {
        "option": names.tolist()[best],
        "value": float(means[best]),
        "options": len(names),
        "seeds": len(seeds),
        "bias": None,
        "fresh": None,
        "warning": None,
    }
    if len(seeds) < 2:
        return out | {
            "warning": f"the best of {len(names)} by one seed: its noise chose it, and nothing "
            f"says by how much"
        }
    noise = grid - means[:, None]
    error = float(np.sqrt((noise**2).sum() / (len(names) * (len(seeds) - 1)) / len(seeds)))
    rng = np.random.default_rng(0)
    pooled = noise.ravel() * math.sqrt(len(seeds) / (len(seeds) - 1))
    again = means + rng.choice(pooled, (draws, *grid.shape)).mean(2)
    bias = float(again.max(1).mean() - means[best])
    rest = (grid.sum(1, keepdims=True) - grid) / (len(seeds) - 1)
    held_out_winner = float(grid[rest.argmax(0), np.arange(len(seeds))].mean())
    warning = None
    if bias > 0.1 * error:
        warning = (
            f"the best of {len(names)} is biased upward by about {bias:.3g}: run it again "
            f"with fresh seeds, or quote {held_out_winner:.4g}"
        )
    return out | {"bias": bias, "fresh": held_out_winner, "warning": warning}
