"""Simulated studies with known parameters, for every form: do the intervals hold what was planted,
and how far off are the estimates?

    study = planted.STUDIES["smooth_corner, rough"]
    points = study.points(np.random.default_rng(0))        # one simulated study
    planted.coverage(study, range(400))                    # of 400 of them: coverage, bias, width,
                                                           by parameter and method

Three kinds of study per form. even: a balanced plan with enough replicates. few: the number of
shapes (or runs) that a first study has. rough: places drawn at random and clumped, a fifth of the
points missing, a tenth unconverged (20% too low, and known to be), and, where data sizes matter,
under-filled ones that are only lower bounds. Noise is that of the pocket studies: 1 to 2% over
seeds, 5% over model shapes, binomial for scores and extracted parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Callable

import numpy as np

from capacity.fitting import bootstrap, forms, intervals
from capacity.fitting import fit as estimate

SEED_NOISE = 0.015  # relative, pocket study: 0.002 to 0.008 over two seeds, larger for small models
SHAPES = 0.05  # relative scatter of capacity over shapes
MISSING, UNCONVERGED, LOSS = 0.2, 0.1, 0.2
SPOILED = 1 / 15
CUT = 0.95  # part of its ceiling above which a run is a lower bound
STUDIES_PER_TABLE = 400


@dataclass(frozen=True)
class Study:
    """A form, the truth, how a study is drawn from it, and where a prediction is asked for. fit:
    settings of `estimate.fit`."""

    name: str
    form: str
    truth: dict[str, float]
    points: Callable[[np.random.Generator], estimate.Points]
    at: dict
    about: str
    fit: dict = field(default_factory=dict)


def _levels(dice, low, high, count, clumped) -> np.ndarray:
    """Places on a log axis: evenly, or drawn at random with half of them in a fifth of the
    range."""
    if not clumped:
        return np.geomspace(low, high, count)
    corner = dice.uniform(0, 0.8)
    places = np.where(
        np.arange(count) % 2 == 0, corner + 0.2 * dice.random(count), dice.random(count)
    )
    places[:2] = [
        0.0,
        1.0,
    ]  # the range itself is kept, so that predictions inside of it stay inside
    return low * (high / low) ** places


def _hide(dice, x, y, cluster, rough, lower=None):
    """Points with a fifth missing and a tenth unconverged, if rough. Clusters left with nothing are
    gone, as in a real study."""
    left_out = {}
    if rough:
        unconverged = dice.random(len(y)) < UNCONVERGED
        y = np.where(unconverged, y * (1 - LOSS), y)
        keep = dice.random(len(y)) >= MISSING
        x, y, cluster, unconverged = (
            {n: a[keep] for n, a in x.items()},
            y[keep],
            cluster[keep],
            unconverged[keep],
        )
        lower = None if lower is None else lower[keep]
        left_out = {"unconverged": unconverged}
    return estimate.Points(x, y, cluster=cluster, lower_bound=lower, left_out=left_out)


def _capacity(form, truth, shapes, seeds, rough):
    """Plateaus of shapes x seeds; when rough, three data sizes per unit instead, of which the small
    ones only bound it."""

    def points(dice):
        p = _levels(dice, 4e3, 1e6, shapes, rough)
        middle = forms.FORMS[form].predict({"parameters": p}, truth) * np.exp(
            SHAPES * dice.standard_normal(shapes)
        )
        cluster = np.repeat(np.arange(shapes), seeds)
        y = middle[cluster] * np.exp(SEED_NOISE * dice.standard_normal(len(cluster)))
        if not rough:
            return _hide(dice, {"parameters": p[cluster]}, y, cluster, False)
        ceiling = middle[cluster] * dice.choice(
            [0.7, 1.0, 1.6, 2.2], len(cluster), p=[0.15, 0.15, 0.35, 0.35]
        )
        full = y > CUT * ceiling
        return _hide(
            dice, {"parameters": p[cluster]}, np.where(full, CUT * ceiling, y), cluster, True, full
        )

    return points


def _spoiled(make):
    def points(dice):
        found = make(dice)
        return replace(
            found, y=np.where(dice.random(len(found.y)) < SPOILED, found.y * (1 - LOSS), found.y)
        )

    return points


def _corner(form, truth, shapes, seeds, rough):
    """Shapes x loads x seeds; what the data limit does not scatter."""
    curve = forms.FORMS[form]

    def points(dice):
        p = _levels(dice, 4e3, 1e6, shapes, rough)
        loads = _levels(dice, 0.5, 2.4, 7, rough)
        cluster = np.repeat(np.arange(shapes), len(loads) * seeds)
        x = {
            "parameters": p[cluster],
            "ceiling_bits": np.tile(np.repeat(loads, seeds), shapes) * truth["alpha"] * p[cluster],
        }
        noise = SHAPES * dice.standard_normal(shapes)[cluster] + SEED_NOISE * dice.standard_normal(
            len(cluster)
        )
        y = curve.predict(x | {"parameters": x["parameters"] * np.exp(noise)}, truth) * np.exp(
            0.002 * dice.standard_normal(len(cluster))
        )
        return _hide(dice, x, y, cluster, rough)

    return points


def _runs(form, truth, variable, low, high, levels, seeds, noise, rough):
    """One model at several values of one variable, each run a replicate, weighted by the noise that
    its seeds show. noise: (value, dice) -> noisy value."""

    def points(dice):
        at = np.repeat(_levels(dice, low, high, levels, rough), seeds)
        found = _hide(
            dice,
            {variable: at},
            noise(forms.FORMS[form].predict({variable: at}, truth), dice),
            np.arange(len(at)),
            rough,
        )
        return (
            replace(found, sd=estimate.seed_noise(found.y, found.x[variable]))
            if seeds > 1
            else found
        )

    return points


def _held(value, dice):
    """Bits per parameter: 1.5% of the value, and a floor."""
    return value * (
        1 + SEED_NOISE * dice.standard_normal(value.shape)
    ) + 0.01 * dice.standard_normal(value.shape)


def _score(value, dice):
    """AUC or F1 of 1,000 members and 1,000 others, with noise of seeds."""
    return np.clip(
        value
        + np.hypot(0.006, np.sqrt(value * (1 - value) / 2000)) * dice.standard_normal(value.shape),
        0.0,
        1.0,
    )


def _precision(form, truth, shapes, rough):
    """Shapes x stored bits; a shape has its own C and its own scale of the other parameters."""
    curve = forms.FORMS[form]

    def points(dice):
        each = np.array([2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0])
        cluster, bits = np.repeat(np.arange(shapes), len(each)), np.tile(each, shapes)
        if rough:
            bits = np.where(
                dice.random(len(bits)) < 0.5, dice.choice([2.0, 3.0, 16.0], len(bits)), bits
            )
        theta = curve.vector(truth) * np.exp(
            np.array([SHAPES, *[0.03] * (len(truth) - 1)])
            * dice.standard_normal((shapes, len(truth)))
        )
        value = np.array(
            [curve.predict({"bits_per_weight": b}, t)[0] for b, t in zip(bits, theta[cluster])]
        )
        return _hide(dice, {"bits_per_weight": bits}, _held(value, dice), cluster, rough)

    return points


def _extraction(form, truth, shapes, seeds, canaries, rough):
    """Runs of shapes x seeds, each with canaries at several numbers of views; a run is better or
    worse at all of them."""
    curve = forms.FORMS[form]

    def points(dice):
        p, seen = _levels(dice, 4e3, 4e4, shapes, rough), _levels(dice, 4, 512, 7, rough)
        cluster = np.repeat(np.arange(shapes * seeds), len(seen))
        x = {"times_seen": np.tile(seen, shapes * seeds), "parameters": p[cluster // seeds]}
        luck = 2 ** (0.15 * dice.standard_normal(shapes * seeds))[cluster]
        part = (
            dice.binomial(
                canaries, curve.predict(x | {"times_seen": x["times_seen"] * luck}, truth)
            )
            / canaries
        )
        return _hide(dice, x, part, cluster, rough)

    return points


def _forgetting(form, truth, canaries, rough):
    """Curves of canaries, each with its own size; noise of one bit."""
    curve = forms.FORMS[form]

    def points(dice):
        lags = np.concatenate([[0.0], _levels(dice, 8, 2000, 9, rough)])
        cluster = np.repeat(np.arange(canaries), len(lags))
        x = {"lag": np.tile(lags, canaries)}
        size = np.maximum(1 + 0.25 * dice.standard_normal(canaries), 0.1)[cluster]
        return _hide(
            dice,
            x,
            size * curve.predict(x, truth) + dice.standard_normal(len(cluster)),
            cluster,
            rough,
        )

    return points


def _losses(truth, sizes, lengths, rough):
    """Losses over model sizes x numbers of tokens; a size is better or worse by 0.3%, a run by
    0.5%."""

    def points(dice):
        n = _levels(dice, 5e7, 1.6e10, sizes, rough)
        cluster = np.repeat(np.arange(sizes), lengths)
        x = {
            "parameters": n[cluster],
            "tokens": n[cluster] * np.exp(dice.uniform(math.log(2), math.log(200), len(cluster))),
        }
        if not rough:
            x["tokens"] = n[cluster] * np.tile(np.geomspace(2, 200, lengths), sizes)
        y = forms.FORMS["chinchilla"].predict(x, truth) * np.exp(
            0.003 * dice.standard_normal(sizes)[cluster]
            + 0.005 * dice.standard_normal(len(cluster))
        )
        return _hide(dice, x, y, cluster, rough)

    return points


def _studies() -> dict[str, Study]:
    """By name; after the three of every form, what the methods are asked for beyond them: runs that
    went wrong unnoticed, and a truth on a bound."""
    found = []

    def add(form, truth, at, make, even, few, rough, about, **settings):
        for kind, size, is_rough in (
            ("even", even, False),
            ("few", few, False),
            ("rough", rough, True),
        ):
            found.append(
                Study(
                    f"{form}, {kind}",
                    form,
                    truth,
                    make(*size, is_rough),
                    at,
                    about.format(*size),
                    settings,
                )
            )

    for name, truth in (
        ("capacity_linear", {"alpha": 3.6}),
        ("capacity_affine", {"c0": -2000.0, "alpha": 3.6}),
        ("capacity_power", {"a": 2.5, "gamma": 1.03}),
    ):
        add(
            name,
            truth,
            {"parameters": 1e5},
            lambda shapes, seeds, rough, n=name, t=truth: _capacity(n, t, shapes, seeds, rough),
            (10, 3),
            (4, 2),
            (10, 3),
            "{} shapes, {} seeds",
        )
    for name, truth in (
        ("hard_corner", {"alpha": 3.6}),
        ("smooth_corner", {"alpha": 3.6, "k": 5.0}),
    ):
        add(
            name,
            truth,
            {"parameters": 1e5, "ceiling_bits": 4.5e5},
            lambda shapes, seeds, rough, n=name, t=truth: _corner(n, t, shapes, seeds, rough),
            (8, 2),
            (4, 2),
            (8, 2),
            "{} shapes, 7 loads, {} seeds",
        )
    for name, truth in (
        ("exposure_exponential", {"r_inf": 2.0, "e0": 150.0, "b": 0.8}),
        ("exposure_power", {"r_inf": 2.2, "e0": 150.0, "b": 1.2}),
        ("exposure_log", {"c": 0.012, "g": 2.2}),
    ):
        add(
            name,
            truth,
            {"exposures": 300.0},
            lambda levels, seeds, rough, n=name, t=truth: _runs(
                n, t, "exposures", 25, 3200, levels, seeds, _held, rough
            ),
            (10, 3),
            (8, 1),
            (10, 3),
            "{} numbers of exposures, {} seeds, each run a replicate",
        )
    for name, truth in (
        ("precision_effective", {"c": 3.2, "b0": 2.67}),
        ("precision_shifted", {"c": 3.2, "a": 8.0, "b0": 1.5}),
        ("precision_noise", {"c": 3.2, "a": 60.0}),
        ("precision_storage", {"s": 0.55, "c": 3.2}),
    ):
        add(
            name,
            truth,
            {"bits_per_weight": 4.5},
            lambda shapes, rough, n=name, t=truth: _precision(n, t, shapes, rough),
            (8,),
            (4,),
            (10,),
            "{} shapes, 8 widths",
        )
    for name, truth in (
        ("membership", {"c": 1.05, "s": 0.9, "t0": 2.6}),
        ("membership_log", {"c": 0.98, "s": 2.4, "t0": 3.0}),
    ):
        add(
            name,
            truth,
            {"tokens_per_parameter": 3.0},
            lambda levels, seeds, rough, n=name, t=truth: _runs(
                n, t, "tokens_per_parameter", 0.5, 16, levels, seeds, _score, rough
            ),
            (10, 3),
            (7, 2),
            (10, 3),
            "{} sizes of the data, {} seeds, each run a replicate",
        )
    for name, truth in (
        ("extraction_linear", {"a": -3.2, "b": 0.14, "c": 0.2}),
        ("extraction_logistic", {"a": -26.0, "b": 1.0, "c": 1.5}),
    ):
        add(
            name,
            truth,
            {"times_seen": 64.0, "parameters": 1.5e4},
            lambda shapes, seeds, rough, n=name, t=truth: _extraction(
                n, t, shapes, seeds, 16, rough
            ),
            (5, 4),
            (3, 2),
            (5, 4),
            "{} shapes, {} seeds, 7 levels of 16 canaries, each run a replicate",
        )
    for name, truth in (
        ("forgetting_exponential", {"a": 9.0, "tau": 150.0, "c": 1.5}),
        ("forgetting_power", {"a": 9.0, "t0": 60.0, "b": 0.6}),
        ("forgetting_log", {"a": 9.0, "t0": 30.0, "b": 1.0}),
    ):
        add(
            name,
            truth,
            {"lag": 100.0},
            lambda canaries, rough, n=name, t=truth: _forgetting(n, t, canaries, rough),
            (24,),
            (8,),
            (24,),
            "{} canaries, 10 lags",
        )
    losses = {"e": 1.82, "a": 482.0, "b": 2085.4, "alpha": 0.348, "beta": 0.366}
    add(
        "chinchilla",
        losses,
        {"parameters": 1e9, "tokens": 2e10},
        lambda sizes, lengths, rough: _losses(losses, sizes, lengths, rough),
        (12, 8),
        (6, 5),
        (12, 8),
        "{} sizes, {} numbers of tokens",
    )
    line = {"alpha": 3.6}
    for name, settings in (("outliers", {}), ("outliers, squared loss", {"delta": np.inf})):
        found.append(
            Study(
                f"capacity_linear, {name}",
                "capacity_linear",
                line,
                _spoiled(_capacity("capacity_linear", line, 10, 3, False)),
                {"parameters": 1e5},
                "10 shapes, 3 seeds, one run in fifteen 20% too low and not known to be",
                settings,
            )
        )
    none = {"a": 9.0, "tau": 150.0, "c": 0.0}
    found.append(
        Study(
            "forgetting_exponential, on a bound",
            "forgetting_exponential",
            none,
            _forgetting("forgetting_exponential", none, 24, False),
            {"lag": 100.0},
            "24 canaries, 10 lags, no baseline",
        )
    )
    return {study.name: study for study in found}


STUDIES = _studies()


def once(study: Study, draw: int, methods=(None,), resamples: int = 0) -> list[dict]:
    """One simulated study: for every number, planted value, estimate, and by method the ends of its
    interval (infinite where open) and whether it was refused. methods: of `intervals`, None for the
    form's own, told as "default"; resamples adds the bootstraps."""
    points = study.points(np.random.default_rng([draw, 7]))
    found = estimate.fit(study.form, points, **study.fit)
    truth = dict(study.truth) | {
        "at 0": float(forms.FORMS[study.form].predict(study.at, study.truth)[0])
    }
    by_method = {
        method or "default": intervals.of(found, at=study.at, method=method) for method in methods
    }
    if resamples:
        drawn = bootstrap.draw(found, resamples, seed=draw)
        by_method |= {
            method: bootstrap.intervals(found, drawn, method, at=study.at)
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
                        "warned": bool(found.warnings),
                    }
                )
    return rows


def summary(rows: list[dict]) -> list[dict]:
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


def coverage(study: Study, draws, methods=(None,), resamples: int = 0) -> list[dict]:
    """`summary` of many simulated studies."""
    return summary([row for draw in draws for row in once(study, draw, methods, resamples)])
