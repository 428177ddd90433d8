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
import textwrap

import numpy as np
import pandas as pd

from capacity.analysis.text.double_descent import told as told_with_interval

CHANCE_BITS = math.log2(math.e)  # mean exposure without memory
FORMS = {
    "exposure": "exposure = a + b log2(times seen) + c log2(P)",
    "extracted": "extracted = a + b log2(times seen) + c log2(P)",
    "logistic": "logit extracted = a + b log2(times seen) + c log2(P)",
}
FEWEST_RUNS = 5  # resampling fewer runs makes intervals of hardly any width
RIDGE = 1e-3  # keeps a logistic slope finite where levels separate without a miss


def levels_of(targets) -> list[int]:
    """Levels of repeats that a table of runs has columns for, rising."""
    return sorted(
        int(c.removeprefix("exposure_"))
        for c in targets
        if c.startswith("exposure_") and c.removeprefix("exposure_").isdigit()
    )


def seen_by(targets) -> pd.Series:
    """What a level counts: whole views where these are set, else copies in a training set that is
    passed so many times."""
    return targets.exposures.where(targets["data.last_view"].isna(), 1.0)


def judge(targets, *, n_boot: int = 1000, seed: int = 0) -> dict | None:
    """All three laws, each with 95% intervals over runs (None for fewer than FEWEST_RUNS) or the
    reason why there is no law, and means by level; None without canaries."""
    levels = levels_of(targets)
    if not levels:
        return None
    table = points(targets)
    laws = {
        name: _law(name, frame, len(table), n_boot, seed) for name, frame in free(table).items()
    }
    return {
        "half_extracted": half_extracted(laws["logistic"], table),
        "levels": {
            str(level): {
                "exposure": float(targets[f"exposure_{level}"].mean()),
                "extractable": float(targets[f"extractable_{level}"].mean()),
            }
            for level in levels
        },
    } | laws


def half_extracted(law: dict, table: pd.DataFrame) -> list[dict]:
    """By number of parameters the views at which the logistic law says a half, and whether more
    than any run tried; empty without a law that rises."""
    if "reason" in law or law["b"]["value"] <= 0:
        return []
    out = []
    for size in sorted(table["size"].unique()):
        views = 2 ** (
            -(law["a"]["value"] + (law["c"]["value"] * size if "c" in law else 0.0))
            / law["b"]["value"]
        )
        out.append(
            {
                "parameters": round(2**size),
                "views": float(views),
                "beyond": bool(views > 2 ** table.seen.max()),
            }
        )
    return out


def told_half(found: dict) -> str:
    """`half_extracted` in words, with two digits: the law does not say more."""
    return ", ".join(
        f"about {_two(row['views'])} views{' (more than were tried)' * row['beyond']} at "
        f"{row['parameters']:,} parameters"
        for row in found["half_extracted"]
    )


def _two(x: float) -> str:
    return f"{float(f'{x:.2g}'):,.0f}"


def points(targets) -> pd.DataFrame:
    """A row per run and level: run, label, log2 of times seen and of parameters, canaries per
    level, exposure and its most, part that is extractable."""
    return pd.DataFrame(
        [
            {
                "run": run.run_id,
                "label": run.label,
                "seen": np.log2(level * factor),
                "size": np.log2(run.parameters_total),
                "canaries": run["data.canaries"],
                "exposure": run[f"exposure_{level}"],
                "extracted": run[f"extractable_{level}"],
                "at_most": run.exposure_at_most,
            }
            for (_, run), factor in zip(targets.iterrows(), seen_by(targets))
            for level in levels_of(targets)
            if level
        ]
    ).dropna()


def free(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By law the `points` that it is fitted to."""
    return {
        "exposure": table[
            (table.exposure > CHANCE_BITS + 1) & (table.exposure < table.at_most - 1)
        ],
        "extracted": table[(table.extracted > 0.02) & (table.extracted < 0.98)],
        "logistic": table,
    }


def _law(name: str, free: pd.DataFrame, points: int, n_boot: int, seed: int) -> dict:
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

    dice, places = (
        np.random.default_rng(seed),
        list(free.reset_index(drop=True).groupby("run").indices.values()),
    )
    best = solve(np.arange(len(free)))
    draws = np.array(
        [
            solve(np.concatenate([places[i] for i in dice.integers(0, len(places), len(places))]))
            for _ in range(n_boot)
        ]
    )
    ends = np.quantile(draws, [0.025, 0.975], axis=0)
    law = {"law": FORMS[name], "points": len(free), "runs": len(places)}
    enough = len(places) >= FEWEST_RUNS
    return law | {
        letter: {
            "value": float(best[i]),
            "interval": [float(ends[0, i]), float(ends[1, i])] if enough else None,
        }
        for i, letter in enumerate("abc"[: 1 + len(by)])
    }


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


def lines(found: dict | None, targets) -> list[str]:
    """For the report, at most 80 columns."""
    if found is None:
        return []
    at_most = targets.exposure_at_most.max()
    out = [
        "",
        f"Canaries: exposure in bits (chance 1.44, at most {at_most:.1f}), part that is "
        f"extractable",
        f"  {'shape':8s}{'passes':>10s}"
        + "".join(f"{'x' + level:>7s}" for level in found["levels"]),
    ]
    for (label, passes), group in targets.assign(passes=seen_by(targets)).groupby(
        ["label", "passes"]
    ):
        out.append(
            f"  {label[:8]:8s}{passes:>10.0f}"
            + "".join(f"{group[f'exposure_{level}'].mean():>7.2f}" for level in found["levels"])
        )
        out.append(
            f"  {'':18s}"
            + "".join(f"{group[f'extractable_{level}'].mean():>7.0%}" for level in found["levels"])
        )
    if found["half_extracted"]:
        out += textwrap.wrap(
            f"half of the canaries are written out after {told_half(found)} (logistic law)",
            80,
            initial_indent="  ",
            subsequent_indent="    ",
        )
    for name in FORMS:
        law = found[name]
        if "reason" in law:
            out.append(f"  {name}: no law: {law['reason']}")
            continue
        told = [f"{c} {told_with_interval(law[c])}" for c in "abc" if c in law]
        out += textwrap.wrap(
            f"{law['law']}: {', '.join(told)} ({law['points']} points of {law['runs']} "
            f"runs{'' if law['b']['interval'] else ', too few for intervals'})",
            80,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
    return out
