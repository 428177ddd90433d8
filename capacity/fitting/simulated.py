"""Simulated studies with known parameters, three kinds for every form.

    study = simulated.STUDIES["smooth_corner, rough"]
    points = study.points(np.random.default_rng(0))        # one simulated study

even: a balanced plan with enough replicates. few: the number of models (or of replicates)
that a first study has. rough: places drawn at random and clumped, a fifth of the points missing, a
tenth unconverged (20% too low, and known to be), and, where data sizes matter, under-filled ones
that are only lower bounds. Noise is that of small models: 1 to 2% over seeds, 5% over models,
binomial for scores and extracted parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from capacity.fitting.coverage import Study
from capacity.fitting.form import Arrays
from capacity.fitting.forms import FORMS
from capacity.fitting.points import Points, seed_noise

SEED_NOISE = 0.015  # relative, pocket study: 0.002 to 0.008 over two seeds, larger for small models
MODEL_SCATTER = 0.05  # relative scatter of capacity over models
MISSING, UNCONVERGED, LOSS = 0.2, 0.1, 0.2
SPOILED = 1 / 15
CUT = 0.95  # part of its ceiling above which a point is a lower bound
CANARIES = 16  # per number of views and replicate

Truth = dict[str, float]  # planted parameters by name
Draw = Callable[[np.random.Generator], Points]  # one simulated study
Noise = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _levels(
    rng: np.random.Generator, low: float, high: float, count: int, clumped: bool
) -> np.ndarray:
    """Places on a log axis: evenly, or drawn at random with half of them in a fifth of the
    range."""
    if not clumped:
        return np.geomspace(low, high, count)
    corner = rng.uniform(0, 0.8)
    places = np.where(
        np.arange(count) % 2 == 0, corner + 0.2 * rng.random(count), rng.random(count)
    )
    places[:2] = [
        0.0,
        1.0,
    ]  # the range itself is kept, so that predictions inside of it stay inside
    return low * (high / low) ** places


def _hide(
    rng: np.random.Generator,
    x: Arrays,
    y: np.ndarray,
    cluster: np.ndarray,
    rough: bool,
    lower: np.ndarray | None = None,
) -> Points:
    """Points with a fifth missing and a tenth unconverged, if rough. Clusters left with nothing are
    gone, as in a real study."""
    left_out = {}
    if rough:
        unconverged = rng.random(len(y)) < UNCONVERGED
        y = np.where(unconverged, y * (1 - LOSS), y)
        keep = rng.random(len(y)) >= MISSING
        x, y, cluster, unconverged = (
            {n: a[keep] for n, a in x.items()},
            y[keep],
            cluster[keep],
            unconverged[keep],
        )
        lower = None if lower is None else lower[keep]
        left_out = {"unconverged": unconverged}
    return Points(x, y, cluster=cluster, lower_bound=lower, left_out=left_out)


def _capacity(form: str, truth: Truth, models: int, seeds: int, rough: bool) -> Draw:
    """Plateaus of models x seeds; when rough, three data sizes per unit instead, of which the small
    ones only bound it."""

    def points(rng: np.random.Generator) -> Points:
        p = _levels(rng, 4e3, 1e6, models, rough)
        middle = FORMS[form].predict({"parameters": p}, truth) * np.exp(
            MODEL_SCATTER * rng.standard_normal(models)
        )
        cluster = np.repeat(np.arange(models), seeds)
        y = middle[cluster] * np.exp(SEED_NOISE * rng.standard_normal(len(cluster)))
        if not rough:
            return _hide(rng, {"parameters": p[cluster]}, y, cluster, False)
        ceiling = middle[cluster] * rng.choice(
            [0.7, 1.0, 1.6, 2.2], len(cluster), p=[0.15, 0.15, 0.35, 0.35]
        )
        full = y > CUT * ceiling
        return _hide(
            rng, {"parameters": p[cluster]}, np.where(full, CUT * ceiling, y), cluster, True, full
        )

    return points


def _idle(form: str, truth: Truth, sizes: int, parts: int, seeds: int, rough: bool) -> Draw:
    """Sizes, each plain and with `parts` tables: of once and more the active parameters; what a
    model scatters by is its own."""

    def points(rng: np.random.Generator) -> Points:
        active = np.repeat(_levels(rng, 4e3, 1e6, sizes, rough), parts + 1)
        tables = np.tile(np.r_[0.0, np.geomspace(1.0, 4.0, parts)], sizes)
        x = {"parameters_active": active, "parameters_idle": active * tables}
        middle = FORMS[form].predict(x, truth)
        middle = middle * np.exp(MODEL_SCATTER * rng.standard_normal(len(active)))
        cluster = np.repeat(np.arange(len(active)), seeds)
        y = middle[cluster] * np.exp(SEED_NOISE * rng.standard_normal(len(cluster)))
        return _hide(rng, {name: a[cluster] for name, a in x.items()}, y, cluster, rough)

    return points


def _spoiled(make: Draw) -> Draw:
    def points(rng: np.random.Generator) -> Points:
        drawn = make(rng)
        y = np.asarray(drawn.y, float)
        return replace(drawn, y=np.where(rng.random(len(y)) < SPOILED, y * (1 - LOSS), y))

    return points


def _corner(form: str, truth: Truth, models: int, seeds: int, rough: bool) -> Draw:
    """Models x loads x seeds; what the data limit does not scatter."""
    curve = FORMS[form]

    def points(rng: np.random.Generator) -> Points:
        p = _levels(rng, 4e3, 1e6, models, rough)
        loads = _levels(rng, 0.5, 2.4, 7, rough)
        cluster = np.repeat(np.arange(models), len(loads) * seeds)
        x = {
            "parameters": p[cluster],
            "ceiling_bits": np.tile(np.repeat(loads, seeds), models) * truth["alpha"] * p[cluster],
        }
        noise = MODEL_SCATTER * rng.standard_normal(models)[
            cluster
        ] + SEED_NOISE * rng.standard_normal(len(cluster))
        y = curve.predict(x | {"parameters": x["parameters"] * np.exp(noise)}, truth) * np.exp(
            0.002 * rng.standard_normal(len(cluster))
        )
        return _hide(rng, x, y, cluster, rough)

    return points


def _one_model(
    variable: str, low: float, high: float, noise: Noise
) -> Callable[[str, Truth, int, int, bool], Draw]:
    """Plans of one model at several values of one variable, each run a replicate, weighted by the
    noise that its seeds show. noise: (value, rng) -> noisy value."""

    def plan(form: str, truth: Truth, levels: int, seeds: int, rough: bool) -> Draw:
        def points(rng: np.random.Generator) -> Points:
            at = np.repeat(_levels(rng, low, high, levels, rough), seeds)
            y = noise(FORMS[form].predict({variable: at}, truth), rng)
            drawn = _hide(rng, {variable: at}, y, np.arange(len(at)), rough)
            if seeds == 1:
                return drawn
            return replace(drawn, sd=seed_noise(drawn.y, drawn.x[variable]))

        return points

    return plan


def _held(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bits per parameter: 1.5% of the value, and a floor."""
    return value * (1 + SEED_NOISE * rng.standard_normal(value.shape)) + 0.01 * rng.standard_normal(
        value.shape
    )


def _score(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """AUC or F1 of 1,000 members and 1,000 others, with noise of seeds."""
    return np.clip(
        value
        + np.hypot(0.006, np.sqrt(value * (1 - value) / 2000)) * rng.standard_normal(value.shape),
        0.0,
        1.0,
    )


def _precision(form: str, truth: Truth, models: int, rough: bool) -> Draw:
    """Models x stored bits; a model has its own C and its own scale of the other parameters."""
    curve = FORMS[form]

    def points(rng: np.random.Generator) -> Points:
        each = np.array([2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0])
        cluster, bits = np.repeat(np.arange(models), len(each)), np.tile(each, models)
        if rough:
            bits = np.where(
                rng.random(len(bits)) < 0.5, rng.choice([2.0, 3.0, 16.0], len(bits)), bits
            )
        theta = curve.vector(truth) * np.exp(
            np.array([MODEL_SCATTER, *[0.03] * (len(truth) - 1)])
            * rng.standard_normal((models, len(truth)))
        )
        value = np.array(
            [
                curve.predict({"bits_per_weight": b}, t)[0]
                for b, t in zip(bits, theta[cluster], strict=True)
            ]
        )
        return _hide(rng, {"bits_per_weight": bits}, _held(value, rng), cluster, rough)

    return points


def _extraction(form: str, truth: Truth, models: int, seeds: int, rough: bool) -> Draw:
    """Runs of models x seeds, each with canaries at several numbers of views; a run is better or
    worse at all of them."""
    curve = FORMS[form]

    def points(rng: np.random.Generator) -> Points:
        p, seen = _levels(rng, 4e3, 4e4, models, rough), _levels(rng, 4, 512, 7, rough)
        cluster = np.repeat(np.arange(models * seeds), len(seen))
        x = {"times_seen": np.tile(seen, models * seeds), "parameters": p[cluster // seeds]}
        luck = 2 ** (0.15 * rng.standard_normal(models * seeds))[cluster]
        part = (
            rng.binomial(CANARIES, curve.predict(x | {"times_seen": x["times_seen"] * luck}, truth))
            / CANARIES
        )
        return _hide(rng, x, part, cluster, rough)

    return points


def _diluted(form: str, truth: Truth, models: int, corpora: int, rough: bool) -> Draw:
    """Models trained on corpora of several sizes, the same canaries in each; a run is better or
    worse at all of them, and a share is the mean of canaries that scatter by a tenth."""
    curve = FORMS[form]

    def points(rng: np.random.Generator) -> Points:
        p, seen = _levels(rng, 4e3, 4e4, models, rough), _levels(rng, 4, 512, 7, rough)
        t = _levels(rng, 2e6, 3e7, corpora, rough)
        cluster = np.repeat(np.arange(models * corpora), len(seen))
        x = {
            "times_seen": np.tile(seen, models * corpora),
            "parameters": p[cluster // corpora],
            "tokens": t[cluster % corpora],
        }
        luck = 2 ** (0.15 * rng.standard_normal(models * corpora))[cluster]
        held = curve.predict(x | {"times_seen": x["times_seen"] * luck}, truth)
        noise = 0.1 / math.sqrt(CANARIES) * rng.standard_normal(len(cluster))
        return _hide(rng, x, np.minimum(held + noise, 1.0), cluster, rough)

    return points


def _forgetting(form: str, truth: Truth, canaries: int, rough: bool) -> Draw:
    """Curves of canaries, each with its own size; noise of one bit."""
    curve = FORMS[form]

    def points(rng: np.random.Generator) -> Points:
        lags = np.concatenate([[0.0], _levels(rng, 8, 2000, 9, rough)])
        cluster = np.repeat(np.arange(canaries), len(lags))
        x = {"lag": np.tile(lags, canaries)}
        size = np.maximum(1 + 0.25 * rng.standard_normal(canaries), 0.1)[cluster]
        return _hide(
            rng,
            x,
            size * curve.predict(x, truth) + rng.standard_normal(len(cluster)),
            cluster,
            rough,
        )

    return points


def _losses(form: str, truth: Truth, sizes: int, lengths: int, rough: bool) -> Draw:
    """Losses over model sizes x numbers of tokens; a size is better or worse by 0.3%, a run by
    0.5%."""

    def points(rng: np.random.Generator) -> Points:
        n = _levels(rng, 5e7, 1.6e10, sizes, rough)
        cluster = np.repeat(np.arange(sizes), lengths)
        x = {
            "parameters": n[cluster],
            "tokens": n[cluster] * np.exp(rng.uniform(math.log(2), math.log(200), len(cluster))),
        }
        if not rough:
            x["tokens"] = n[cluster] * np.tile(np.geomspace(2, 200, lengths), sizes)
        y = FORMS[form].predict(x, truth) * np.exp(
            0.003 * rng.standard_normal(sizes)[cluster] + 0.005 * rng.standard_normal(len(cluster))
        )
        return _hide(rng, x, y, cluster, rough)

    return points


def _repeats(form: str, truth: Truth, sizes: int, sets: int, rough: bool) -> Draw:
    """Losses over model sizes x numbers of unique tokens x epochs; a data set of one size is better
    or worse by 0.2%, a run by 0.3%."""

    def points(rng: np.random.Generator) -> Points:
        n = _levels(rng, 5e7, 5e9, sizes, rough)
        unique, epochs = _levels(rng, 1e8, 1e10, sets, rough), np.array([1.0, 3.0, 10.0, 40.0])
        cluster = np.repeat(np.arange(sizes * sets), len(epochs))
        if rough:
            epochs = np.sort(np.exp(rng.uniform(0, math.log(40), len(epochs))))
        u = unique[cluster % sets]
        x = {
            "parameters": n[cluster // sets],
            "tokens": u * np.tile(epochs, sizes * sets),
            "unique_tokens": u,
        }
        y = FORMS[form].predict(x, truth) * np.exp(
            0.002 * rng.standard_normal(sizes * sets)[cluster]
            + 0.003 * rng.standard_normal(len(cluster))
        )
        return _hide(rng, x, y, cluster, rough)

    return points


@dataclass(frozen=True)
class Plan:
    """How studies of one form are simulated. make(form, truth, *size, rough) draws them; size: how
    many models, seeds or other units a study of each kind has; at: where a prediction is asked
    for; about: the size in words."""

    truth: Truth
    at: dict[str, float]
    make: Callable[..., Draw]
    even: tuple[int, ...]
    few: tuple[int, ...]
    rough: tuple[int, ...]
    about: str


def _capacity_plan(truth: Truth) -> Plan:
    return Plan(
        truth, {"parameters": 1e5}, _capacity, (10, 3), (4, 2), (10, 3), "{} models, {} seeds"
    )


def _idle_plan(truth: Truth) -> Plan:
    at = {"parameters_active": 1e5, "parameters_idle": 2e5}
    about = "{} sizes, each plain and with {} tables, {} seeds"
    return Plan(truth, at, _idle, (4, 2, 3), (2, 1, 3), (5, 2, 3), about)


def _corner_plan(truth: Truth) -> Plan:
    at = {"parameters": 1e5, "ceiling_bits": 4.5e5}
    return Plan(truth, at, _corner, (8, 2), (4, 2), (8, 2), "{} models, 7 loads, {} seeds")


def _exposure_plan(truth: Truth) -> Plan:
    make = _one_model("exposures", 25, 3200, _held)
    about = "{} numbers of exposures, {} seeds, each run a replicate"
    return Plan(truth, {"exposures": 300.0}, make, (10, 3), (8, 1), (10, 3), about)


def _precision_plan(truth: Truth) -> Plan:
    return Plan(
        truth, {"bits_per_weight": 4.5}, _precision, (8,), (4,), (10,), "{} models, 8 bit widths"
    )


def _membership_plan(truth: Truth) -> Plan:
    make = _one_model("tokens_per_parameter", 0.5, 16, _score)
    about = "{} sizes of the data, {} seeds, each run a replicate"
    return Plan(truth, {"tokens_per_parameter": 3.0}, make, (10, 3), (7, 2), (10, 3), about)


def _extraction_plan(truth: Truth) -> Plan:
    at = {"times_seen": 64.0, "parameters": 1.5e4}
    about = f"{{}} models, {{}} seeds, 7 levels of {CANARIES} canaries, each run a replicate"
    return Plan(truth, at, _extraction, (5, 4), (3, 2), (5, 4), about)


def _diluted_plan(truth: Truth) -> Plan:
    at = {"times_seen": 64.0, "parameters": 1.5e4, "tokens": 8e6}
    about = f"{{}} models, {{}} corpora, 7 levels of {CANARIES} canaries, each run a replicate"
    return Plan(truth, at, _diluted, (5, 4), (3, 3), (5, 4), about)


def _forgetting_plan(truth: Truth) -> Plan:
    return Plan(truth, {"lag": 100.0}, _forgetting, (24,), (8,), (24,), "{} canaries, 10 lags")


def _loss_plan(truth: Truth) -> Plan:
    at = {"parameters": 1e9, "tokens": 2e10}
    return Plan(truth, at, _losses, (12, 8), (6, 5), (12, 8), "{} sizes, {} numbers of tokens")


def _repeated_plan(truth: Truth) -> Plan:
    at = {"parameters": 1e9, "tokens": 2e10, "unique_tokens": 1e9}
    about = "{} sizes, {} data sets, 4 numbers of epochs"
    return Plan(truth, at, _repeats, (6, 5), (5, 4), (6, 5), about)


PLANS: dict[str, Plan] = {
    "capacity_linear": _capacity_plan({"alpha": 3.6}),
    "capacity_affine": _capacity_plan({"c0": -2000.0, "alpha": 3.6}),
    "capacity_power": _capacity_plan({"a": 2.5, "gamma": 1.03}),
    "capacity_idle": _idle_plan({"alpha": 3.0, "kappa": 0.6}),
    "hard_corner": _corner_plan({"alpha": 3.6}),
    "smooth_corner": _corner_plan({"alpha": 3.6, "k": 5.0}),
    "exposure_exponential": _exposure_plan({"r_inf": 2.0, "e0": 150.0, "b": 0.8}),
    "exposure_power": _exposure_plan({"r_inf": 2.2, "e0": 150.0, "b": 1.2}),
    "exposure_log": _exposure_plan({"c": 0.012, "g": 2.2}),
    "precision_effective": _precision_plan({"c": 3.2, "b0": 2.67}),
    "precision_shifted": _precision_plan({"c": 3.2, "a": 8.0, "b0": 1.5}),
    "precision_noise": _precision_plan({"c": 3.2, "a": 60.0}),
    "precision_storage": _precision_plan({"s": 0.55, "c": 3.2}),
    "membership": _membership_plan({"c": 1.05, "s": 0.9, "t0": 2.6}),
    "membership_log": _membership_plan({"c": 0.98, "s": 2.4, "t0": 3.0}),
    "extraction_linear": _extraction_plan({"a": -3.2, "b": 0.14, "c": 0.2}),
    "extraction_logistic": _extraction_plan({"a": -26.0, "b": 1.0, "c": 1.5}),
    "held_logistic": _diluted_plan({"a": -6.0, "b": 0.9, "c": 1.2, "d": 0.6}),
    "forgetting_exponential": _forgetting_plan({"a": 9.0, "tau": 150.0, "c": 1.5}),
    "forgetting_power": _forgetting_plan({"a": 9.0, "t0": 60.0, "b": 0.6}),
    "forgetting_log": _forgetting_plan({"a": 9.0, "t0": 30.0, "b": 1.0}),
    "chinchilla": _loss_plan({"e": 1.82, "a": 482.0, "b": 2085.4, "alpha": 0.348, "beta": 0.366}),
    "chinchilla_repeated": _repeated_plan(
        {"e": 1.87, "a": 521.0, "b": 1488.0, "alpha": 0.353, "beta": 0.36, "r_d": 15.4, "r_n": 5.3}
    ),
}


def _planned() -> list[Study]:
    """The three studies of every form."""
    studies = []
    for form, plan in PLANS.items():
        for kind, size in (("even", plan.even), ("few", plan.few), ("rough", plan.rough)):
            points = plan.make(form, plan.truth, *size, kind == "rough")
            about = plan.about.format(*size)
            studies.append(Study(f"{form}, {kind}", form, plan.truth, points, plan.at, about))
    return studies


def _beyond() -> list[Study]:
    """Studies beyond the plans: outliers that nobody noticed, and a truth on a bound."""
    line = {"alpha": 3.6}
    spoiled = _spoiled(_capacity("capacity_linear", line, 10, 3, False))
    studies = [
        Study(
            f"capacity_linear, {name}",
            "capacity_linear",
            line,
            spoiled,
            {"parameters": 1e5},
            "10 models, 3 seeds, one run in fifteen 20% too low and not known to be",
            settings,
        )
        for name, settings in (("outliers", {}), ("outliers, squared loss", {"delta": np.inf}))
    ]
    none = {"a": 9.0, "tau": 150.0, "c": 0.0}
    form = "forgetting_exponential"
    points = _forgetting(form, none, 24, False)
    about = "24 canaries, 10 lags, no baseline"
    return [*studies, Study(f"{form}, on a bound", form, none, points, {"lag": 100.0}, about)]


STUDIES: dict[str, Study] = {study.name: study for study in [*_planned(), *_beyond()]}
