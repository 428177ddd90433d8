"""How often a sequence must be seen: exposure and extraction of canaries against views and size.

exposure    a + b log2(times seen) + c log2(P), bits, over levels between chance and the ceiling
extracted   the same for the part that greedy decoding writes, over levels between 2% and 98%
            (Carlini et al., arXiv 2202.07646, section 4, find extraction log-linear in repeats and
            size)
logistic    logit of that part = a + b log2(times seen) + c log2(P), over all levels, binomial
            likelihood; it stays between 0 and 1
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import pandas as pd

from capacity.analysis.text.schema import (
    Canaries,
    CanaryLaw,
    CanaryLevel,
    Estimate,
    Frame,
    HalfExtracted,
    NoLaw,
)
from capacity.analysis.text.sizes import parameters

CHANCE_BITS = math.log2(math.e)  # mean exposure without memory
FORMS = {
    "exposure": "exposure = a + b log2(times seen) + c log2(P)",
    "extracted": "extracted = a + b log2(times seen) + c log2(P)",
    "logistic": "logit extracted = a + b log2(times seen) + c log2(P)",
}
LETTERS = "abc"  # of the coefficients
FEWEST_RUNS = 5  # resampling fewer runs makes intervals of hardly any width
RIDGE = 1e-3  # keeps a logistic slope finite where levels separate without a miss


def levels_of(targets: Frame) -> list[int]:
    """Levels of repeats that a table of runs has columns for, rising."""
    return sorted(
        int(c.removeprefix("exposure_"))
        for c in targets
        if c.startswith("exposure_") and c.removeprefix("exposure_").isdigit()
    )


def seen_by(targets: Frame) -> Frame:
    """What a level counts: whole views where these are set, else copies in a training set that is
    passed so many times."""
    return targets.exposures.where(targets["data.last_view"].isna(), 1.0)


def analyse(targets: Frame, *, n_boot: int = 1000, seed: int = 0) -> Canaries | None:
    """All three laws, each with 95% intervals over runs (None for fewer than FEWEST_RUNS) or the
    reason why there is no law, and means by level; None without canaries."""
    levels = levels_of(targets)
    if not levels:
        return None
    table = points(targets)
    laws = {
        name: _law(name, frame, len(table), n_boot, seed) for name, frame in free(table).items()
    }
    means: dict[str, CanaryLevel] = {
        str(level): {
            "exposure": float(targets[f"exposure_{level}"].mean()),
            "extractable": float(targets[f"extractable_{level}"].mean()),
        }
        for level in levels
    }
    return {
        "half_extracted": half_extracted(laws["logistic"], table),
        "levels": means,
        "exposure": laws["exposure"],
        "extracted": laws["extracted"],
        "logistic": laws["logistic"],
    }


def laws_of(found: Canaries) -> dict[str, CanaryLaw | NoLaw]:
    """The laws by the names of FORMS."""
    return {
        "exposure": found["exposure"],
        "extracted": found["extracted"],
        "logistic": found["logistic"],
    }


def half_extracted(law: CanaryLaw | NoLaw, table: Frame) -> list[HalfExtracted]:
    """By number of parameters the views at which the logistic law gives a half, and whether these
    are more than any run tried; empty without a law that rises."""
    if "reason" in law or law["b"]["value"] <= 0:
        return []
    out: list[HalfExtracted] = []
    for size in sorted(table["size"].unique()):
        views = 2 ** (-(value_of(law, "a") + value_of(law, "c") * size) / value_of(law, "b"))
        out.append(
            {
                "parameters": round(2**size),
                "views": float(views),
                "beyond": bool(views > 2 ** table.seen.max()),
            }
        )
    return out


def value_of(law: CanaryLaw, letter: str) -> float:
    """A coefficient; 0 where the law does without it."""
    return float(law[letter]["value"]) if letter in law else 0.0


def predicted(name: str, law: CanaryLaw, seen: np.ndarray, size: np.ndarray) -> np.ndarray:
    """What a law predicts at log2 of times seen and of parameters: bits, or the part that is
    extractable."""
    a, b, c = (value_of(law, letter) for letter in LETTERS)
    linear = a + b * seen + c * size
    return 1 / (1 + np.exp(-linear)) if name == "logistic" else linear


def points(targets: Frame) -> Frame:
    """A row per run and level: run, label, log2 of times seen and of parameters, canaries per
    level, exposure and its most, part that is extractable."""
    return pd.DataFrame(
        [
            {
                "run": run.run_id,
                "label": run.label,
                "seen": np.log2(level * factor),
                "size": np.log2(p),
                "canaries": run["data.canaries"],
                "exposure": run[f"exposure_{level}"],
                "extracted": run[f"extractable_{level}"],
                "at_most": run.exposure_at_most,
            }
            for (_, run), factor, p in zip(
                targets.iterrows(), seen_by(targets), parameters(targets), strict=True
            )
            for level in levels_of(targets)
            if level
        ]
    ).dropna()


def free(table: Frame) -> dict[str, Frame]:
    """By law the `points` that it is fitted to."""
    return {
        "exposure": table[
            (table.exposure > CHANCE_BITS + 1) & (table.exposure < table.at_most - 1)
        ],
        "extracted": table[(table.extracted > 0.02) & (table.extracted < 0.98)],
        "logistic": table,
    }


def _law(name: str, free: Frame, points: int, n_boot: int, seed: int) -> CanaryLaw | NoLaw:
    by = ["seen"] + ["size"] * (free["size"].nunique() > 1)
    if len(free) < 3 * len(by) or free.seen.nunique() < 3:
        return {
            "reason": f"{len(free)} of {points} levels lie between "
            + ("chance and the ceiling" if name == "exposure" else "2% and 98%")
        }
    if name == "logistic" and free.extracted.nunique() == 1:
        return {"reason": f"all {points} levels are at {free.extracted.iloc[0]:.0%}"}

    def solve(rows: np.ndarray) -> np.ndarray:
        frame = free.iloc[rows]
        x = np.column_stack([np.ones(len(frame))] + [frame[c] for c in by])
        if name == "logistic":
            return logistic(x, frame.extracted.to_numpy(float), frame.canaries.to_numpy(float))
        return np.linalg.lstsq(x, frame[name], rcond=None)[0]

    rng = np.random.default_rng(seed)
    runs = list(free.reset_index(drop=True).groupby("run").indices.values())
    best = solve(np.arange(len(free)))
    draws = np.array(
        [
            solve(np.concatenate([runs[i] for i in rng.integers(0, len(runs), len(runs))]))
            for _ in range(n_boot)
        ]
    )
    ends = np.quantile(draws, [0.025, 0.975], axis=0)
    enough = len(runs) >= FEWEST_RUNS
    coefficients: dict[str, Estimate] = {
        letter: {
            "value": float(best[i]),
            "interval": [float(ends[0, i]), float(ends[1, i])] if enough else None,
        }
        for i, letter in enumerate(LETTERS[: 1 + len(by)])
    }
    law = {"law": FORMS[name], "points": len(free), "runs": len(runs)} | coefficients
    return cast(CanaryLaw, law)


def logistic(x: np.ndarray, part: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Coefficients [k] of logit p = x beta by binomial maximum likelihood with a ridge of RIDGE on
    the slopes, Newton's iteration."""
    beta, ridge = np.zeros(x.shape[1]), RIDGE * np.diag([0.0] + [1.0] * (x.shape[1] - 1))
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        slope = x.T @ (count * (part - p)) - ridge @ beta
        curvature = (x * (count * np.maximum(p * (1 - p), 1e-9))[:, None]).T @ x + ridge
        move = np.linalg.solve(curvature, slope)
        beta = beta + move * min(1.0, 5.0 / max(np.abs(move).max(), 1e-12))
        if np.abs(move).max() < 1e-9:
            break
    return beta
