"""How well members can be told from others, against tokens per parameter: the law, its printed form, and their fits.

Morris et al. (arXiv 2505.24832 v3, section 5.2.1) print F1 = 1/2 (1 + c1 sigma(c2 (Capacity / |D| + c3))) with c1 = 1.34, c2 =
-0.034, c3 = -33.14. With these numbers it rises with the data, from 0.5 to 1.006. All six points of their Table 2 follow instead from

    F1 = 1/2 (1 + c1 sigma(-c2 (t - c3))),   t = tokens per parameter,

with the two last constants exchanged and the ratio inverted: in sequences of 64 tokens per parameter c1 = 1.34, c2 = 33.14, c3 = 0.034,
in tokens c2 = 0.518, c3 = 2.16. That is the form fitted here; the printed one is kept, so that a reader sees why it fails.
"""

from __future__ import annotations

import numpy as np

from capacity.laws import published
from capacity.laws.forms import LEVEL

_REPAIRED = published.get("morris/membership_repaired")
_S = _REPAIRED.setting["seq_len"]  # its constants are about sequences
PUBLISHED = {"c1": _REPAIRED.constants["c1"], "c2": _REPAIRED.constants["c2"] / _S, "c3": _REPAIRED.constants["c3"] * _S}
PRINTED = published.get("morris/membership_printed").constants
ALPHA = published.get("morris/slope_bf16").value  # bits per parameter that the printed form takes for a capacity
STARTS = 24
FEWEST = 4  # points for three constants
C1_MOST = 2.0


def _sigma(x):
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, float)))


def repaired(tokens_per_parameter, c1, c2, c3):
    """1/2 (1 + c1 sigma(-c2 (t - c3))), cut off at 1; falls from up to 1 to 0.5 where c1, c2 > 0."""
    return np.minimum(1.0, 0.5 * (1.0 + c1 * _sigma(-c2 * (np.asarray(tokens_per_parameter, float) - c3))))


def printed(capacity_per_sequence, c1, c2, c3):
    """As printed, of Capacity / |D|, bits of capacity per sequence of the data."""
    return 0.5 * (1.0 + c1 * _sigma(c2 * (np.asarray(capacity_per_sequence, float) + c3)))


def logarithmic(tokens_per_parameter, c1, c2, c3):
    """1/2 (1 + c1 / (1 + (t / c3)^c2)), cut off at 1: the same sigmoid in log t, with a tail that falls as a power. Not published;
    an alternative that says whether the tail of the repaired form, exponential in t, is right."""
    return np.minimum(1.0, 0.5 * (1.0 + c1 * _sigma(-c2 * np.log(np.asarray(tokens_per_parameter, float) / c3))))


def fit_logarithmic(t, value):
    """Least squares of `logarithmic`: constants and root mean square error."""
    from scipy.optimize import least_squares

    t, value = np.asarray(t, float), np.asarray(value, float)

    def residual(x):
        return logarithmic(t, x[0], np.exp(x[1]), np.exp(x[2])) - value

    found = min((least_squares(residual, [c1, np.log(c2), np.log(m)], bounds=([1e-3, -5.0, -20.0], [C1_MOST, 5.0, 20.0]))
                 for c1 in (0.8, 1.0, 1.3) for c2 in (1.0, 2.0) for m in np.quantile(t, [0.2, 0.5, 0.8])), key=lambda r: r.cost).x
    constants = {"c1": float(found[0]), "c2": float(np.exp(found[1])), "c3": float(np.exp(found[2]))}
    return {"form": "F = 1/2 (1 + c1 / (1 + (t/c3)^c2))", **constants,
            "rmse": float(np.sqrt(np.mean((logarithmic(t, **constants) - value) ** 2)))}


def fit(t, value, *, n_boot=1000, seed=0):
    """Least squares of the repaired form on F1 or AUC of runs: constants, 95% intervals, root mean square error, and the t at which
    the value has fallen to 0.75 and 0.6.

    Intervals are percentiles of a bootstrap of residuals (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 9),
    enlarged by sqrt(n / (n - 3)) for the three constants that were fitted to them and by Student's over the normal quantile. That of the
    crossing at 0.75 covered 92% of 400 simulated studies of 14 runs (nominal 95%). c1 in (0, 2], c2 > 0, c3 any.
    ValueError for fewer than four different t.
    """
    from scipy.stats import t as student

    t, value = np.asarray(t, float), np.asarray(value, float)
    if len(np.unique(t)) < FEWEST:
        raise ValueError(f"{len(np.unique(t))} different numbers of tokens per parameter; the law has three constants and needs {FEWEST}")
    best = _fit(t, value, _starts(t))
    smooth = repaired(t, *best)
    free = max(1, len(t) - 3)
    residual = (value - smooth) * np.sqrt(len(t) / free) * (student.ppf((1 + LEVEL) / 2, free) / student.ppf((1 + LEVEL) / 2, np.inf))
    dice = np.random.default_rng(seed)
    draws = [_fit(t, smooth + dice.choice(residual, len(t)), [best]) for _ in range(n_boot)]
    low, high = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    ends = {name: [float(q) for q in np.quantile([d[i] for d in draws], [low, high])] for i, name in enumerate(("c1", "c2", "c3"))}
    constants = dict(zip(("c1", "c2", "c3"), map(float, best)))
    crossings = {}
    for level in (0.75, 0.6):
        found = [x for x in (crossing(level, *d) for d in draws) if x is not None]
        crossings[f"{level:g}"] = {"t": crossing(level, *best),
                                   "interval": [float(q) for q in np.quantile(found, [low, high])] if len(found) > 0.9 * len(draws) else None}
    return {"form": "F = 1/2 (1 + c1 sigma(-c2 (t - c3)))", **constants, "intervals": ends, "points": len(t),
            "rmse": float(np.sqrt(np.mean((smooth - value) ** 2))), "falls_to": crossings}


def predicted(targets, column: str) -> list[dict]:
    """For each shape what the law says of it when fitted to all smaller ones, as the paper tests its law on GPT-2 (arXiv 2505.24832, Table 2). Shapes
    are left out whose smaller ones have too few sizes of the data."""
    out = []
    for size, asked in targets.groupby("parameters_total"):
        rest = targets[targets.parameters_total < size]
        if rest.tokens_per_parameter.nunique() < FEWEST:
            continue
        t = rest.tokens_per_parameter.to_numpy(float)
        constants = _fit(t, rest[column].to_numpy(float), _starts(t))
        said, measured = repaired(asked.tokens_per_parameter.to_numpy(float), *constants), asked[column].to_numpy(float)
        out.append({"label": str(asked.label.iloc[0]), "parameters": int(size), "constants": dict(zip(("c1", "c2", "c3"), map(float, constants))),
                    "rmse": float(np.sqrt(np.mean((said - measured) ** 2))), "t": asked.tokens_per_parameter.tolist(),
                    "measured": measured.tolist(), "said": said.tolist()})
    return out


def crossing(level, c1, c2, c3):
    """t at which the repaired form has the value `level`, None where it never has."""
    u = (2 * level - 1) / c1
    return float(c3 + np.log(1 / u - 1) / c2) if 0 < u < 1 else None


def _starts(t):
    middle = np.quantile(t, [0.1, 0.3, 0.5, 0.7])
    return [np.array([c1, s / max(m, 1e-9), m]) for c1 in (0.7, 1.0, 1.34) for m in middle for s in (1.0, 3.0)][:STARTS]


def _fit(t, value, starts):
    from scipy.optimize import least_squares

    scale = max(float(t.max()), 1e-9)

    def residual(x):  # log c2, so that it stays positive
        return repaired(t, x[0], np.exp(x[1]), x[2] * scale) - value

    found = [least_squares(residual, [s[0], np.log(s[1]), s[2] / scale], bounds=([1e-3, -20.0, -10.0], [C1_MOST, 20.0, 10.0])) for s in starts]
    best = min(found, key=lambda r: r.cost).x
    return np.array([best[0], np.exp(best[1]), best[2] * scale])
