"""Compression beside knowledge, over runs on people (Compression represents intelligence linearly,
arXiv 2404.09937: scores of benchmarks over bits per character).

x   code length of a person's values, in bits per bit of them: log2 of the number of possible values
    makes worlds comparable, as characters make tokenizers
y   accuracy: part of the values that greedy decoding writes exactly; or R, bits per parameter

Runs of one model, data and number of exposures hang together, so that their means (groups) are what
is drawn. R is what the code leaves of the entropy over P, so that at one size and world R and x are
one number by definition; over sizes they are not. The residual of a form is that of its groups from
the line through the groups of all others, in parts of all answers: above 0 it answers more than its
code length says. Every study has a level of its own, for worlds differ in what is easily answered,
so that a form is held against others of its study. A line is not the whole relation, so that a
parabola has to say the same.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from capacity.base.frames import Frame
from capacity.fitting.statistics import ALPHA, holm, sign_flips, t_interval

GROUP = ["study", "variant", "size", "amount", "exposures"]
X = "code_bits_per_value_bit"
FEWEST = 4  # groups, below which a correlation has no interval (Fisher's z has 1 / (n - 3))
RESAMPLES = 2000
Z = 1.959963984540054  # of 95%


def correlation(rows: Frame, y: str, seed: int = 0) -> dict[str, Any]:
    """Pearson's r of x and y over runs, with the wider of two 95% intervals over groups: Fisher's z
    with as many observations as groups, and percentiles of a bootstrap that draws groups (2,000
    resamples). rows: of `reading.Read.people`."""
    known = rows[rows[X].notna() & rows[y].notna()]
    groups = [mine[[X, y]].to_numpy(float) for _, mine in known.groupby(GROUP, sort=False)]
    out = {"y": y, "runs": len(known), "groups": len(groups), "r": None}
    out |= {"interval": None, "fisher": None, "bootstrap": None}
    if len(groups) < FEWEST or (r := pearson(np.concatenate(groups))) is None:
        return out | {"why": f"{len(groups)} groups: at least {FEWEST}, that differ"}
    fisher = fisher_interval(r, len(groups))
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        picks = rng.integers(0, len(groups), len(groups))
        one = pearson(np.concatenate([groups[i] for i in picks]))
        drawn += [] if one is None else [one]
    low, high = (float(np.quantile(drawn, tail)) for tail in (0.025, 0.975))
    wider = max([low, high], fisher, key=lambda ends: ends[1] - ends[0])
    return out | {
        "r": r,
        "interval": wider,
        "fisher": fisher,
        "bootstrap": [low, high],
        "why": None,
    }


def pearson(points: np.ndarray) -> float | None:
    """Pearson's r of points [n, 2]; None where one side does not vary."""
    x, y = (points - points.mean(0)).T
    below = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / below if below > 1e-12 else None


def fisher_interval(r: float, n: int) -> list[float]:
    """tanh(atanh r -+ 1.96 / sqrt(n - 3)) (Fisher 1921, Metron 1, 3); n above 3."""
    middle, half = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, r))), Z / math.sqrt(n - 3)
    return [math.tanh(middle - half), math.tanh(middle + half)]


def residuals(rows: Frame, by: str) -> list[dict[str, Any]]:
    """Of every value of the column `by` (a form, a size) the mean residual of its groups from the
    line through all others, with Student's interval over groups, the exact sign-flip test (Holm
    over all), and the same from a parabola. verdict: more, less or cannot tell; a sign counts where
    both say it at p <= 5% and the interval excludes 0."""
    keys = list(dict.fromkeys([*GROUP, by]))
    means = rows.groupby(keys, sort=False, as_index=False)[[X, "accuracy"]].mean()
    out = []
    for name in dict.fromkeys(means[by]):
        others = means[means[by] != name]
        mine = means[(means[by] == name) & means.study.isin(others.study)]
        if len(others) - others.study.nunique() < FEWEST or mine.empty:
            continue
        row: dict[str, Any] = {by: name, "groups": len(mine), "others": len(others)}
        for word, degree in (("line", 1), ("parabola", 2)):
            rest = mine.accuracy.to_numpy(float) - _predicted(others, mine, degree)
            low, high = t_interval(rest)
            row[word] = float(rest.mean())
            row[f"{word}_interval"] = None if math.isnan(low) else [low, high]
            row[f"{word}_p"] = sign_flips(rest)["p"] if len(rest) > 1 else None
        out.append(row)
    for word in ("line", "parabola"):
        corrected = holm([row[f"{word}_p"] for row in out])
        for row, p in zip(out, corrected, strict=True):
            row[f"{word}_p_holm"] = p
    return [row | {"verdict": _verdict(row)} for row in out]


def _predicted(others: Frame, mine: Frame, degree: int) -> np.ndarray:
    """Accuracy by a polynomial of the code length with a level per study, least squares through the
    groups of others."""
    studies = list(dict.fromkeys(others.study))

    def design(groups: Frame) -> np.ndarray:
        x = groups[X].to_numpy(float)
        levels = [(groups.study == name).to_numpy(float) for name in studies]
        return np.stack([*levels, *(x**k for k in range(1, degree + 1))], 1)

    solved = np.linalg.lstsq(design(others), others.accuracy.to_numpy(float), rcond=None)[0]
    return design(mine) @ solved


def _verdict(row: dict[str, Any]) -> str:
    sides = set()
    for word in ("line", "parabola"):
        ends, p = row[f"{word}_interval"], row[f"{word}_p_holm"]
        if ends is None or p is None or p > ALPHA or ends[0] <= 0 <= ends[1]:
            return "cannot tell"
        sides.add("more" if row[word] > 0 else "less")
    return sides.pop() if len(sides) == 1 else "cannot tell"
