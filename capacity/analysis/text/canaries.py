"""How often a sequence must be seen: exposure and extraction of canaries against views and size.

exposure    a + b log2(times seen) + c log2(P), bits, of single canaries. Exposures that chance
            reaches and those at the ceiling are censored, not left out, and the rank behind an
            exposure has its own noise (`fitting/ranks.py`)
logistic    logit of the part that greedy decoding writes = a + b log2(times seen) + c log2(P), of
            single canaries, binomial likelihood; it stays between 0 and 1

No canary is left out by how it came out. Lines through means of levels that are neither at chance
nor at the ceiling were quoted before; they leave levels out by their outcome, which makes them
flatter (a study simulated with slopes of 3.05 and 3.79 gives them 2.3 and 3.1), so that they are
descriptions here. Carlini et al. (arXiv 2202.07646, section 4) find extraction log-linear in
repeats and size.

Intervals: t over scores that are summed by models, by canaries (the same ones in all models of a
study, so that a hard one is hard for all), and by cells of equal size, passes and level, which
share what the law lacks (`censored.crossed`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import t as student

from capacity.analysis.text.schema import (
    Canaries,
    CanaryLaw,
    CanaryLevel,
    CanaryMisfit,
    Estimate,
    Frame,
    HalfExtracted,
    LevelLine,
    NoLaw,
)
from capacity.analysis.text.sizes import parameters
from capacity.base.words import plural
from capacity.fitting import added_terms, censored, ranks

CHANCE_BITS = math.log2(math.e)  # mean exposure without memory
FORMS = {
    "exposure": "exposure = a + b log2(times seen) + c log2(P)",
    "logistic": "logit extracted = a + b log2(times seen) + c log2(P)",
}
LETTERS = "abc"  # of the coefficients
FEWEST_RUNS = 5  # fewer runs make intervals of hardly any width
RIDGE = 1e-3  # keeps a logistic slope finite where levels separate without a miss
OTHER_LIMITS = (4 * ranks.CHANCE, 2 * ranks.CHANCE, ranks.CHANCE / 2)  # what the limit changes
AGAIN = "of an older version, which do not say it canary by canary: capacity measure --study STUDY"


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


def singles(measured: Mapping[str, list[dict[str, Any]]]) -> Frame:
    """A row per run, level and canary: run_id, repeats, canary (number within its level), exposure
    (bits), at_most (bits), extracted (0 or 1). measured: by run the section `canaries` of its
    record; runs of an older version, which does not say it one by one, have no rows."""
    return pd.DataFrame(
        [
            (run_id, level["repeats"], j, exposure, level["at_most"], extracted)
            for run_id, levels in measured.items()
            for level in levels
            for j, (exposure, extracted) in enumerate(
                zip(level.get("exposures", []), level.get("extracted", []), strict=True)
            )
        ],
        columns=["run_id", "repeats", "canary", "exposure", "at_most", "extracted"],
    )


def analyse(targets: Frame, canaries: Frame | None = None) -> Canaries | None:
    """Both laws, each with 95% intervals (None for fewer than FEWEST_RUNS) or the reason why there
    is no law; means by level, and lines through those between the ends; None without canaries.

    canaries: of `singles`."""
    levels = levels_of(targets)
    if not levels:
        return None
    table = points(targets, canaries)
    old = len(targets) - table.run.nunique()
    again = NoLaw(reason=f"records of {old} of {plural(len(targets), 'run')} are {AGAIN}")
    laws = {name: again if old else law(name, table) for name in FORMS}
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
        "logistic": laws["logistic"],
        "lines": lines(level_means(targets)),
    }


def laws_of(canaries: Canaries) -> dict[str, CanaryLaw | NoLaw]:
    """The laws by the names of FORMS."""
    return {"exposure": canaries["exposure"], "logistic": canaries["logistic"]}


def half_extracted(law: CanaryLaw | NoLaw, table: Frame) -> list[HalfExtracted]:
    """By number of parameters the views at which the logistic law gives a half, with a 95% interval
    (delta method in log2 of the views), and whether these are more than any run tried; empty
    without a law that rises."""
    if "reason" in law or law["b"]["value"] <= 0:
        return []
    slope, out = law["b"]["value"], []
    for size in sorted(table["size"].unique()):
        at = -(law["a"]["value"] + value_of(law, "c") * size) / slope
        row: HalfExtracted = {
            "parameters": round(2**size),
            "views": float(2**at),
            "interval": None,
            "beyond": bool(at > table.seen.max()),
        }
        if law["b"]["interval"] is not None:
            by = np.array([1.0, at, *([size] if "c" in law else [])]) / -slope
            half = student.ppf(0.975, law["dof"]) * math.sqrt(
                max(float(by @ np.array(law["covariance"]) @ by), 0.0)
            )
            row["interval"] = [
                _finite(2 ** min(at - half, 1000)),
                _finite(2 ** min(at + half, 1000)),
            ]
        out.append(row)
    return out


def _finite(x: float) -> float:
    return float(min(x, 1e300))


def value_of(law: CanaryLaw, letter: str) -> float:
    """A coefficient; 0 where the law does without it."""
    return float(law[letter]["value"]) if letter in law else 0.0


def predicted(name: str, law: CanaryLaw, seen: np.ndarray, size: np.ndarray) -> np.ndarray:
    """What a law predicts at log2 of times seen and of parameters: bits, or the part that is
    extractable."""
    a, b, c = (value_of(law, letter) for letter in LETTERS)
    linear = a + b * seen + c * size
    return 1 / (1 + np.exp(-linear)) if name == "logistic" else linear


def points(targets: Frame, canaries: Frame | None) -> Frame:
    """A row per run and canary that was seen: run, model, log2 of times seen, of parameters and of
    passes, sequence (its name, the same in all runs that have it), cell, exposure and its most
    (bits), extracted (0 or 1)."""
    if canaries is None or canaries.empty:
        return pd.DataFrame(columns=["run", "seen", "size", "passes", "exposure", "extracted"])
    of_pool = [c for c in ("pool", "data.split_seed", "data.canary_text") if c in targets]
    runs = pd.DataFrame(
        {
            "run_id": targets.run_id,
            "model": targets.model,
            "size": np.log2(parameters(targets).astype(float)),
            "passes": np.log2(seen_by(targets).astype(float)),
            "from": ["/".join(map(str, row)) for row in targets[of_pool].to_numpy()],
        }
    )
    table = canaries[canaries.repeats > 0].merge(runs, on="run_id")
    sequence, cell = (
        ["/".join(map(str, row)) for row in table[by].to_numpy()]
        for by in (["from", "repeats", "canary"], ["size", "passes", "repeats"])
    )
    return table.rename(columns={"run_id": "run"}).assign(
        seen=np.log2(table.repeats) + table.passes, sequence=sequence, cell=cell
    )


def level_means(targets: Frame) -> Frame:
    """A row per run and level that was seen: run, model, log2 of times seen and of parameters,
    exposure and its most, part that is extractable."""
    return pd.DataFrame(
        [
            {
                "run": run.run_id,
                "model": run.model,
                "seen": np.log2(level * factor),
                "size": np.log2(p),
                "exposure": run[f"exposure_{level}"],
                "extracted": run[f"extractable_{level}"],
                "at_most": run.exposure_at_most,
            }
            for (_, run), factor, p in zip(
                targets.iterrows(), seen_by(targets), parameters(targets), strict=True
            )
            for level in levels_of(targets)
            if level
        ],
        columns=["run", "model", "seen", "size", "exposure", "extracted", "at_most"],
    ).dropna()


def lines(means: Frame) -> dict[str, LevelLine]:
    """What least squares give through level means between the ends, by what is averaged: how many
    of the levels these are, of how many sizes, and slopes by log2 of views and of parameters, None
    where the levels do not determine them. No law: the levels are chosen by their outcome."""
    inside = {
        "exposure": (means.exposure > CHANCE_BITS + 1) & (means.exposure < means.at_most - 1),
        "extracted": (means.extracted > 0.02) & (means.extracted < 0.98),
    }
    out: dict[str, LevelLine] = {}
    for name, chosen in inside.items():
        some = means[chosen]
        by = ["seen"] + ["size"] * (some["size"].nunique() > 1)
        slopes: list[float | None] = [None, None]
        if len(some) >= 3 * len(by) and some.seen.nunique() >= 3:
            x = np.column_stack([np.ones(len(some)), *(some[c] for c in by)])
            fitted = np.linalg.lstsq(x, some[name].to_numpy(float), rcond=None)[0]
            slopes = [float(fitted[1]), float(fitted[2]) if len(by) > 1 else None]
        out[name] = {
            "levels": len(some),
            "of": len(means),
            "sizes": int(some["size"].nunique()),
            "b": slopes[0],
            "c": slopes[1],
        }
    return out


def law(name: str, table: Frame) -> CanaryLaw | NoLaw:
    """The law called `name` fitted to `points`, or why there is none."""
    by = ["seen"] + ["size"] * (table["size"].nunique() > 1)
    if table.seen.nunique() < 3:
        return {"reason": f"{table.seen.nunique()} different numbers of views; a slope needs 3"}
    if name == "exposure" and table.at_most.nunique() > 1:
        return {"reason": "runs rank their canaries among different numbers of other sequences"}
    if name == "logistic" and table.extracted.nunique() == 1:
        share = table.extracted.iloc[0]
        return {"reason": f"all {len(table)} canaries are at {share:.0%}"}
    x = _columns(table)
    fitted = _fit(name, table, x)
    if fitted is None:
        return {"reason": _why(table)}
    enough = table.run.nunique() >= FEWEST_RUNS
    coefficients: dict[str, Estimate] = {
        letter: {
            "value": float(fitted.beta[i]),
            "interval": fitted.interval(i) if enough else None,
        }
        for i, letter in enumerate(LETTERS[: 1 + len(by)])
    }
    record: dict[str, Any] = {
        "law": FORMS[name],
        "points": len(table),
        "runs": int(table.run.nunique()),
        "canaries": int(table.sequence.nunique()),
        "sizes": int(table["size"].nunique()),
        "dof": fitted.dof,
        "covariance": fitted.covariance.tolist(),
        "lack_of_fit": lack_of_fit(name, table, fitted) if enough else None,
    }
    if name == "exposure":
        record |= {
            "sigma": fitted.sigma,
            "censored": {
                "below": fitted.below,
                "between": fitted.between,
                "above": fitted.above,
                "low": _limit(table, ranks.CHANCE),
                "high": float(table.at_most.iloc[0]),
            },
            "other_limits": _other_limits(table, x),
        }
    return cast(CanaryLaw, record | coefficients)


def _columns(table: Frame) -> np.ndarray:
    """[n, 2 or 3]: ones, log2 of views, and of parameters where models differ in size."""
    by = ["seen"] + ["size"] * (table["size"].nunique() > 1)
    return np.column_stack([np.ones(len(table)), *(table[c] for c in by)])


def _clusters(table: Frame) -> list[np.ndarray]:
    return [table[c].to_numpy() for c in ("run", "sequence", "cell")]


def _fit(name: str, table: Frame, x: np.ndarray, chance: float = ranks.CHANCE) -> Any:
    clusters = _clusters(table)
    if name == "logistic":
        return logistic(x, table.extracted.to_numpy(float), clusters)
    count = ranks.count_of(table.exposure, table.at_most)
    return ranks.fit(x, count, _others(table), clusters, chance)


def _others(table: Frame) -> int:
    """Sequences that canaries are ranked among."""
    return round(2 ** float(table.at_most.iloc[0])) - 1


def _limit(table: Frame, chance: float) -> float:
    """Exposure, bits, up to which a canary's is censored."""
    others = _others(table)
    return float(np.log2(others + 1) - np.log2(1 + ranks.most_of(others, chance)))


def _other_limits(table: Frame, x: np.ndarray) -> list[dict[str, float | None]]:
    """The slopes with other limits than CHANCE: where a line holds they are the same."""
    out = []
    for chance in OTHER_LIMITS:
        fitted = _fit("exposure", table, x, chance)
        slopes = [None, None] if fitted is None else [*fitted.beta[1:].tolist(), None][:2]
        out.append({"low": _limit(table, chance), "b": slopes[0], "c": slopes[1]})
    return out


def _why(table: Frame) -> str:
    count, most = ranks.count_of(table.exposure, table.at_most), ranks.most_of(_others(table))
    between = int(((count > 0) & (count < most)).sum())
    return f"{between} of {len(table)} canaries lie between chance and the ceiling"


def lack_of_fit(
    name: str, table: Frame, fitted: censored.Fit, draws: int = added_terms.DRAWS
) -> CanaryMisfit:
    """Probability of so much bend (squares and product of both axes), and of so much of passes at
    equal views, if the law holds; any: of a smaller one as small as the smaller of these. None
    where models do not differ in it. fitted: the law, of `table`; draws: simulated studies."""
    seen, size, passes = (table[c] - table[c].mean() for c in ("seen", "size", "passes"))
    plain = [seen] + [size] * (table["size"].nunique() > 1)
    bends = [seen**2]
    if len(plain) > 1:
        bends += [seen * size] + [size**2] * (table["size"].nunique() > 2)
    more = {"bend": bends} | ({"passes": [passes]} if table.passes.nunique() > 1 else {})
    terms = {key: np.column_stack(columns) for key, columns in more.items()}
    p = added_terms.test(_null(name, table, fitted), terms, _clusters(table), draws)
    return {"bend": p.get("bend"), "passes": p.get("passes"), "any": p.get("any")}


def _null(name: str, table: Frame, fitted: censored.Fit) -> added_terms.Law:
    x = _columns(table)
    if name == "exposure":
        count = ranks.count_of(table.exposure, table.at_most)
        return ranks.null(x, count, _others(table), fitted)
    kinds, place = np.unique(x, axis=0, return_inverse=True)
    place = place.reshape(-1)
    p = 1 / (1 + np.exp(-np.clip(kinds @ fitted.beta, -30, 30)))
    limit = ndtri(p)
    return added_terms.Law(
        x,
        place,
        np.column_stack([-p, 1 - p]),
        np.zeros((len(p), 2)),
        np.column_stack([1 - p, p]),
        np.exp(-(limit**2) / 2) / math.sqrt(2 * math.pi),
        table.extracted.to_numpy(int),
        lambda u, _: (u < limit[place]).astype(int),
    )


def logistic(x: np.ndarray, hit: np.ndarray, clusters: list[np.ndarray]) -> censored.Fit | None:
    """Coefficients [k] of logit p = x beta of hits, 0 or 1 [n], by maximum likelihood with a ridge
    of RIDGE on the slopes, Newton's iteration; covariance and what is None as of
    `censored.fit`."""
    k, fewest = x.shape[1], min(len(np.unique(names)) for names in clusters)
    if fewest <= k:
        return None
    middle, _ = censored.standard(x)
    z = x - middle
    beta, ridge = np.zeros(k), RIDGE * np.diag([0.0] + [1.0] * (k - 1))
    for _ in range(200):
        p = 1 / (1 + np.exp(-np.clip(z @ beta, -30, 30)))
        slope = z.T @ (hit - p) - ridge @ beta
        curvature = (z * np.maximum(p * (1 - p), 1e-9)[:, None]).T @ z + ridge
        move = np.linalg.solve(curvature, slope)
        beta = beta + move * min(1.0, 5.0 / max(np.abs(move).max(), 1e-12))
        if np.abs(move).max() < 1e-9:
            break
    p = 1 / (1 + np.exp(-np.clip(z @ beta, -30, 30)))
    pull = (z * (hit - p)[:, None]) @ np.linalg.inv(curvature)
    spread = censored.crossed(pull, clusters) * fewest / (fewest - k)
    back = np.eye(k)
    back[0, 1:] = -middle[1:]
    return censored.Fit(back @ beta, math.nan, back @ spread @ back.T, fewest - k, 0, len(hit), 0)
