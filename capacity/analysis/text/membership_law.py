"""How well members can be told from others, against tokens per parameter: the law, its printed
form, and their fits.

Morris et al. (arXiv 2505.24832 v3, section 5.2.1) print F1 = 1/2 (1 + c1 sigma(c2 (Capacity / |D| +
c3))) with c1 = 1.34, c2 = -0.034, c3 = -33.14. With these numbers it rises with the data, from 0.5
to 1.006. All six points of their Table 2 follow instead from

    F1 = 1/2 (1 + c1 sigma(-c2 (t - c3))),   t = tokens per parameter,

with the two last constants exchanged and the ratio inverted: in sequences of 64 tokens per
parameter c1 = 1.34, c2 = 33.14, c3 = 0.034, in tokens c2 = 0.518, c3 = 2.16. That is the form
fitted here; the printed one is kept, so that a reader sees why it fails.
"""

from __future__ import annotations

import numpy as np

from capacity.fitting import fit as estimate
from capacity.fitting import intervals
from capacity.fitting import selection as compare
from capacity.fitting.forms import FORMS
from capacity.published import values as published

_REPAIRED = published.get("morris/membership_repaired")
_S = _REPAIRED.setting["seq_len"]  # its constants are about sequences
PUBLISHED = {
    "c1": _REPAIRED.constants["c1"],
    "c2": _REPAIRED.constants["c2"] / _S,
    "c3": _REPAIRED.constants["c3"] * _S,
}
PRINTED = published.get("morris/membership_printed").constants
ALPHA = published.get(
    "morris/slope_bf16"
).value  # bits per parameter that the printed form takes for a capacity
FEWEST = 4  # points for three constants
C1_MOST = 2.0
CROSSED = (0.75, 0.6)
NAMES = {"c1": "c", "c2": "s", "c3": "t0"}  # of the constants here and in `forms`


def repaired(tokens_per_parameter, c1, c2, c3):
    """1/2 (1 + c1 sigma(-c2 (t - c3))), cut off at 1; falls from up to 1 to 0.5 where c1, c2 >
    0."""
    return FORMS["membership"].curve(
        {"tokens_per_parameter": np.asarray(tokens_per_parameter, float)}, c1, c2, c3
    )[0]


def printed(capacity_per_sequence, c1, c2, c3):
    """As printed, of Capacity / |D|, bits of capacity per sequence of the data."""
    z = c2 * (np.asarray(capacity_per_sequence, float) + c3)
    return 0.5 * (1.0 + c1 * 0.5 * (1.0 + np.tanh(0.5 * z)))


def logarithmic(tokens_per_parameter, c1, c2, c3):
    """1/2 (1 + c1 / (1 + (t / c3)^c2)), cut off at 1: the same sigmoid in log t, with a tail that
    falls as a power. Not published; an alternative that says whether the tail of the repaired form,
    exponential in t, is right."""
    return FORMS["membership_log"].curve(
        {"tokens_per_parameter": np.asarray(tokens_per_parameter, float)}, c1, c2, c3
    )[0]


def fit(t, value, form="membership"):
    """Least squares of the repaired form, or of the sigmoid in log t ("membership_log"), on F1 or
    AUC of runs: constants, 95% intervals, root mean square error, and the t at which the value has
    fallen to 0.75 and 0.6.

    Intervals: profile likelihood of the constants, delta method in log t of the crossings, runs as
    replicates (`intervals`). c1 in (0, 2], c2 > 0, c3 any (above 0 in log t). ValueError for fewer
    than four different t.
    """
    t, value = np.asarray(t, float), np.asarray(value, float)
    if len(np.unique(t)) < FEWEST:
        raise ValueError(
            f"{len(np.unique(t))} different numbers of tokens per parameter; the law has three "
            f"constants and needs {FEWEST}"
        )
    found, at = _fit(form, t, value), CROSSINGS[form]
    derived = {
        f"{level:g}": (
            lambda theta, level=level: at(level, *theta) or np.nan,
            "tokens per parameter",
        )
        for level in CROSSED
    }
    ends = intervals.of(found, derived=derived)
    spans = {
        key: None
        if entry["low"] is None or entry["high"] is None
        else [entry["low"], entry["high"]]
        for key, entry in ends.items()
    }
    return {
        "form": TEXTS[form],
        **_constants(found),
        "intervals": {name: spans[key] for name, key in NAMES.items()},
        "points": len(t),
        "rmse": _rmse(found),
        "falls_to": {
            key: {"t": at(float(key), *found.theta), "interval": spans[key]} for key in derived
        },
    }


def quoted(found: dict) -> tuple[dict, str]:
    """Of a judged study the law of F1 that is to be quoted, the form that tells best what it did
    not see, and that form in words."""
    best = (found.get("forms") or [{}])[0].get("form")
    return (
        (found["logarithmic"], "a sigmoid in log t")
        if best == "membership_log"
        else (found["laws"]["f1_median"], "the published form")
    )


def compared(t, value) -> list[dict]:
    """Both sigmoids by least squares, the one first that tells the better what it did not see: rows
    of `compare.forms`, every value of t left out in turn, runs as replicates."""
    points = estimate.Points(
        {"tokens_per_parameter": np.asarray(t, float)}, np.asarray(value, float)
    )
    return compare.compare_forms(
        ["membership", "membership_log"], points, "tokens_per_parameter", delta=np.inf
    )


def told_compared(rows: list[dict]) -> str:
    """`compared` in words."""
    words = {"membership": "the sigmoid in t", "membership_log": "a sigmoid in log t"}
    by_other = ", ".join(
        f"{words[row['form']]} {row['held_out']['rms']:.3f}"
        for row in rows
        if row["held_out"]["rms"] is not None
    )
    worse = next((row for row in rows if row["aicc_difference"]), None)
    return "; ".join(
        filter(
            None,
            (
                f"sizes of the data left out in turn are missed by: {by_other}" if by_other else "",
                f"AICc of {words[worse['form']]} is {worse['aicc_difference']:.1f} higher"
                if worse
                else "",
            ),
        )
    )


def _fit(form, t, value):
    return estimate.fit(form, estimate.Points({"tokens_per_parameter": t}, value), delta=np.inf)


def _constants(found) -> dict[str, float]:
    return {name: found.values[key] for name, key in NAMES.items()}


def _rmse(found) -> float:
    return float(np.sqrt(np.mean(found.residuals() ** 2)))


def predicted(targets, column: str) -> list[dict]:
    """For each shape what the law says of it when fitted to all smaller ones, as the paper tests
    its law on GPT-2 (arXiv 2505.24832, Table 2). Shapes are left out whose smaller ones have too
    few sizes of the data."""
    out = []
    for size, asked in targets.groupby("parameters_total"):
        rest = targets[targets.parameters_total < size]
        if rest.tokens_per_parameter.nunique() < FEWEST:
            continue
        t = rest.tokens_per_parameter.to_numpy(float)
        constants = _constants(_fit("membership", t, rest[column].to_numpy(float)))
        said, measured = (
            repaired(asked.tokens_per_parameter.to_numpy(float), **constants),
            asked[column].to_numpy(float),
        )
        out.append(
            {
                "label": str(asked.label.iloc[0]),
                "parameters": int(size),
                "constants": constants,
                "rmse": float(np.sqrt(np.mean((said - measured) ** 2))),
                "t": asked.tokens_per_parameter.tolist(),
                "measured": measured.tolist(),
                "said": said.tolist(),
            }
        )
    return out


def crossing(level, c1, c2, c3):
    """t at which the repaired form has the value `level`, None where it never has."""
    u = (2 * level - 1) / c1
    return float(c3 + np.log(1 / u - 1) / c2) if 0 < u < 1 else None


def crossing_logarithmic(level, c1, c2, c3):
    """t at which the sigmoid in log t has the value `level`, None where it never has."""
    u = (2 * level - 1) / c1
    return float(c3 * (1 / u - 1) ** (1 / c2)) if 0 < u < 1 else None


CROSSINGS = {"membership": crossing, "membership_log": crossing_logarithmic}
TEXTS = {
    "membership": "F = 1/2 (1 + c1 sigma(-c2 (t - c3)))",
    "membership_log": "F = 1/2 (1 + c1 / (1 + (t/c3)^c2))",
}
