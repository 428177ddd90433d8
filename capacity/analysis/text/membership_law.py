"""How well an attack separates members from others against tokens per parameter: the law, its
printed form, and their fits.

Morris et al. (arXiv 2505.24832 v3, section 5.2.1) print F1 = 1/2 (1 + c1 sigma(c2 (Capacity / |D| +
c3))) with c1 = 1.34, c2 = -0.034, c3 = -33.14. With these numbers it rises with the data, from 0.5
to 1.006. All six points of their Table 2 follow instead from

    F1 = 1/2 (1 + c1 sigma(-c2 (t - c3))),   t = tokens per parameter,

with the two last constants exchanged and the ratio inverted: in sequences of 64 tokens per
parameter c1 = 1.34, c2 = 33.14, c3 = 0.034, in tokens c2 = 0.518, c3 = 2.16. That is the form
fitted here, and the only one that a verdict beside the published number rests on: both sides are
read alike. A sigmoid in log t, which reads the crossing of these runs better, stands beside it with
its own interval. The printed form is kept, so that a reader sees why it fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from capacity.analysis.text import crossing as sources
from capacity.analysis.text.schema import (
    AsPrinted,
    Crossing,
    Frame,
    MembershipLaw,
    NoLaw,
    Prediction,
    SetUp,
)
from capacity.analysis.text.sizes import parameters
from capacity.fitting import bounds, groups, intervals
from capacity.fitting import fit as estimate
from capacity.fitting import selection as compare
from capacity.fitting.forms import FORMS
from capacity.published import values as published

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_S = published.get("morris/membership_repaired").setting["seq_len"]  # it is about sequences
_REPAIRED = cast(dict[str, float], published.get("morris/membership_repaired").constants)
PUBLISHED = {"c1": _REPAIRED["c1"], "c2": _REPAIRED["c2"] / _S, "c3": _REPAIRED["c3"] * _S}
PRINTED = cast(dict[str, float], published.get("morris/membership_printed").constants)
# bits per parameter that the printed form takes for a capacity
ALPHA = cast(float, published.get("morris/slope_bf16").value)
FEWEST = 4  # points for three constants
CROSSED = (0.75, 0.6)
CONSTANTS = ("c1", "c2", "c3")
NAMES = {"c1": "c", "c2": "s", "c3": "t0"}  # of the constants here and in `forms`
WORDS = {"membership": "the published form", "membership_log": "a sigmoid in log t"}


def repaired(tokens_per_parameter: ArrayLike, c1: float, c2: float, c3: float) -> np.ndarray:
    """1/2 (1 + c1 sigma(-c2 (t - c3))), cut off at 1; falls from up to 1 to 0.5 where c1, c2 >
    0."""
    return FORMS["membership"].curve(
        {"tokens_per_parameter": np.asarray(tokens_per_parameter, float)}, c1, c2, c3
    )[0]


def printed(capacity_per_sequence: ArrayLike, c1: float, c2: float, c3: float) -> np.ndarray:
    """As printed, of Capacity / |D|, bits of capacity per sequence of the data."""
    z = c2 * (np.asarray(capacity_per_sequence, float) + c3)
    return 0.5 * (1.0 + c1 * 0.5 * (1.0 + np.tanh(0.5 * z)))


def logarithmic(tokens_per_parameter: ArrayLike, c1: float, c2: float, c3: float) -> np.ndarray:
    """1/2 (1 + c1 / (1 + (t / c3)^c2)), cut off at 1: the same sigmoid in log t, with a tail that
    falls as a power. Not published; an alternative that tests the tail of the repaired form, which
    is exponential in t."""
    return FORMS["membership_log"].curve(
        {"tokens_per_parameter": np.asarray(tokens_per_parameter, float)}, c1, c2, c3
    )[0]


def fit(
    t: ArrayLike,
    value: ArrayLike,
    form: str = "membership",
    known: dict[str, np.ndarray] | None = None,
) -> MembershipLaw:
    """Least squares of the repaired form, or of the sigmoid in log t ("membership_log"), on F1 or
    AUC of runs: constants, 95% intervals, root mean square error, and the t at which the value has
    fallen to 0.75 and 0.6.

    Intervals: of the constants profile likelihood, runs as replicates (`intervals`); of the
    crossings all sources of variation that runs differ in (`crossing`), and beside it runs as
    replicates. known: the groups of runs, of `crossing.groups`; None: of one group. c1 in (0, 2],
    c2 > 0, c3 any (above 0 in log t). ValueError for fewer than four different t.
    """
    t, value = np.asarray(t, float), np.asarray(value, float)
    if (sizes := groups.number(t)) < FEWEST:
        raise ValueError(
            f"{sizes} different numbers of tokens per parameter; the law has three constants and "
            f"needs {FEWEST}"
        )
    fitted, at = _fit(form, t, value), CROSSINGS[form]
    derived = {
        f"{level:g}": (
            lambda theta, level=level: at(level, *theta) or np.nan,
            "tokens per parameter",
        )
        for level in CROSSED
    }
    ends = intervals.of(fitted, derived=derived)
    called = {key: name for name, key in NAMES.items()} | {key: f"t at {key}" for key in derived}
    spans = {
        key: None
        if entry["low"] is None or entry["high"] is None
        else [entry["low"], entry["high"]]
        for key, entry in ends.items()
    }
    known = known or dict.fromkeys(("split", "text", "set-up"), np.zeros(len(t), int))
    falls_to: dict[str, Crossing] = {}
    for key in derived:
        falls_to[key] = sources.of(fitted, at, float(key), known)
        falls_to[key]["over_runs"] = spans[key]
    constants = _constants(fitted)
    return {
        "form": TEXTS[form],
        "c1": constants["c1"],
        "c2": constants["c2"],
        "c3": constants["c3"],
        "intervals": {name: spans[key] for name, key in NAMES.items()},
        "bounds": bounds.told(fitted, ends, called),
        "points": len(t),
        "rmse": float(np.sqrt(np.mean(fitted.residuals() ** 2))),
        "falls_to": falls_to,
        "lack_of_fit": sources.lack_of_fit(
            t, value, fitted.predict({"tokens_per_parameter": t}), known
        ),
    }


def setups(
    targets: Frame, known: dict[str, np.ndarray], column: str, form: str = "membership_log"
) -> list[SetUp]:
    """By model and budget the t at which the law of `form` has fallen to 0.75, the curve being that
    of all; empty where runs are of one. The sigmoid in log t whatever fits better: it reads the
    point closer, and nothing is judged by it."""
    t, value = (targets[name].to_numpy(float) for name in ("tokens_per_parameter", column))
    crossings = sources.by_setup(_fit(form, t, value), CROSSINGS[form], CROSSED[0], known)
    named = sources.setups(targets, known)
    return [
        {
            "name": named[code][0],
            "runs": len(named[code][1]),
            "splits": len(set(known["split"][known["set-up"] == code])),
            "texts": len(set(known["text"][known["set-up"] == code])),
            "crossing": at,
        }
        for code, at in crossings.items()
    ]


def constants_of(law: MembershipLaw) -> tuple[float, float, float]:
    """c1, c2, c3 of a fitted law."""
    return law["c1"], law["c2"], law["c3"]


def deciding(numbers: Mapping[str, Any]) -> tuple[MembershipLaw | NoLaw, str]:
    """Of a study's numbers the law of F1 that decides the verdict, and its form in words: always
    the published form, whatever fits these runs better."""
    return numbers["laws"]["f1_median"], WORDS["membership"]


def beside(numbers: Mapping[str, Any]) -> tuple[MembershipLaw | NoLaw | None, str]:
    """The law of F1 that stands beside it, and its form in words; None where none was fitted."""
    return numbers["logarithmic"], WORDS["membership_log"]


def compared(t: ArrayLike, value: ArrayLike) -> list[dict[str, Any]]:
    """Both sigmoids by least squares, the one with the smallest held-out error first: rows of
    `selection.forms`, every value of t left out in turn, runs as replicates."""
    points = estimate.Points(
        {"tokens_per_parameter": np.asarray(t, float)}, np.asarray(value, float)
    )
    return compare.compare_forms(
        ["membership", "membership_log"], points, "tokens_per_parameter", delta=np.inf
    )


def as_printed(targets: Frame) -> AsPrinted:
    """The printed form with its own constants on these targets, Capacity = ALPHA bits per
    parameter."""
    p = parameters(targets)
    per_sequence = ALPHA * p / (targets.tokens_per_parameter * p / targets.seq_len)
    predicted = printed(per_sequence.to_numpy(float), **PRINTED)
    measured = targets.loss_f1_median.to_numpy(float)
    order = np.argsort(targets.tokens_per_parameter.to_numpy(float))
    return {
        "constants": dict(PRINTED),
        "rmse": _rms(predicted - measured),
        "rises_with_data": bool(predicted[order[-1]] > predicted[order[0]]),
    }


def predictions(targets: Frame, column: str) -> list[Prediction]:
    """For each model what the law fitted to all smaller ones predicts, as the paper tests its law
    on GPT-2 (arXiv 2505.24832, Table 2). Models are left out whose smaller ones have too few sizes
    of the data."""
    out: list[Prediction] = []
    for size in sorted(targets.parameters_total.unique()):
        held_out = targets[targets.parameters_total == size]
        smaller = targets[targets.parameters_total < size]
        if groups.number(smaller.tokens_per_parameter) < FEWEST:
            continue
        t = smaller.tokens_per_parameter.to_numpy(float)
        constants = _constants(_fit("membership", t, smaller[column].to_numpy(float)))
        predicted = repaired(held_out.tokens_per_parameter.to_numpy(float), **constants)
        measured = held_out[column].to_numpy(float)
        out.append(
            {
                "model": str(held_out.model.iloc[0]),
                "parameters": int(size),
                "constants": constants,
                "rmse": _rms(predicted - measured),
                "t": held_out.tokens_per_parameter.tolist(),
                "measured": measured.tolist(),
                "predicted": predicted.tolist(),
            }
        )
    return out


def crossing(level: float, c1: float, c2: float, c3: float) -> float | None:
    """t at which the repaired form has the value `level`, None where it never has."""
    u = (2 * level - 1) / c1
    return float(c3 + np.log(1 / u - 1) / c2) if 0 < u < 1 else None


def crossing_logarithmic(level: float, c1: float, c2: float, c3: float) -> float | None:
    """t at which the sigmoid in log t has the value `level`, None where it never has."""
    u = (2 * level - 1) / c1
    return float(c3 * (1 / u - 1) ** (1 / c2)) if 0 < u < 1 else None


def _fit(form: str, t: np.ndarray, value: np.ndarray) -> estimate.Fit:
    return estimate.fit(form, estimate.Points({"tokens_per_parameter": t}, value), delta=np.inf)


def _constants(fitted: estimate.Fit) -> dict[str, float]:
    return {name: fitted.values[key] for name, key in NAMES.items()}


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(errors**2)))


CROSSINGS: dict[str, Callable[..., float | None]] = {
    "membership": crossing,
    "membership_log": crossing_logarithmic,
}
TEXTS = {
    "membership": "F = 1/2 (1 + c1 sigma(-c2 (t - c3)))",
    "membership_log": "F = 1/2 (1 + c1 / (1 + (t/c3)^c2))",
}
