"""Arms of a study of facts: means over seeds with intervals, and the noise of seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from capacity.analysis.facts.schema import Column, Frame
from capacity.analysis.table_checks import shown_rising
from capacity.analysis.thresholds import DATA_LIMITED, EXPOSURES_OFF, FEW_DOF
from capacity.fitting.statistics import t_interval

FLOOR = 0.05  # of R^max: the least that the noise of R is relative to, since R may be 0 or negative

Noise = Mapping[str, tuple[float, int]]  # class of arms -> (sd of one run, degrees of freedom)


def arms(runs: Frame) -> Frame:
    """One row per arm: means over the seeds of its chosen runs, sd over seeds, the 95% interval of
    R, counts of runs. runs: of `reading.prepare`.

    The seed is the replicate. The interval is Student's t over seeds (two at least), with the
    standard error over the people asked added in quadrature; the scatter of seeds holds part of
    that already, so this errs on the wide side.
    """
    table = pd.DataFrame([_arm(arm, mine) for arm, mine in runs.groupby("arm", sort=False)])
    order = (
        runs.drop_duplicates("curve").sort_values(["amount", "asked", "arm_name"]).curve.tolist()
    )
    table["order"] = table.curve.map({c: i for i, c in enumerate(order)})
    table = table.sort_values(["order", "parameters_paper", "label", "arm"], ignore_index=True)
    return table.drop(columns="order")


def _arm(arm: Any, mine: Frame) -> dict[str, Any]:
    used, first = mine[mine.chosen], mine.iloc[0]
    n, se_people = len(used), math.nan
    if n:
        se_people = math.sqrt((used.bits_se**2).sum()) / n / first.parameters_paper
    low, high = t_interval(used.r, se_people)
    return {
        "arm": arm,
        "curve": first.curve,
        "curve_name": first.curve_name,
        "arm_name": first.arm_name,
        "label": first.label,
        "n_people": first.n_people,
        "exposures": first.asked,
        "parameters_paper": first.parameters_paper,
        "parameters_total": first.parameters_total,
        "r_max": mine.r_max.mean(),
        "seeds": n,
        "r": used.r.mean(),
        "r_sd": used.r.std(),
        "r_low": low,
        "r_high": high,
        "r_se_people": se_people,
        "r_total": used.r_total.mean(),
        "fraction": used.fraction.mean(),
        "accuracy": used.accuracy.mean(),
        "accuracy_sd": used.accuracy.std(),
        "extraction_accuracy": used.extraction_accuracy.mean(),
        "extraction_accuracy_sd": used.extraction_accuracy.std(),
        "accuracy_guess": used.accuracy_guess.mean(),
        "extraction_accuracy_guess": used.extraction_accuracy_guess.mean(),
        "bits": used.bits.mean(),
        "exposures_counted": used.exposures_mean.mean(),
        "best": "; ".join(dict.fromkeys(used.tried)) if n else "",
        "rising": int(shown_rising(used).sum()),
        "off": int(exposures_off(used).sum()),
        "finished": int((mine.status == "finished").sum()),
        "failed": int((mine.status == "failed").sum()),
        "missing": int((mine.status == "missing").sum()),
    }


def exposures_off(runs: Frame) -> Column:
    """True where the counted mean exposures differ by more than 1% from those asked for."""
    return (runs.exposures_mean / runs.exposures - 1).abs() > EXPOSURES_OFF


def noise(runs: Frame, number: str = "r") -> dict[str, tuple[float, int]]:
    """sd of one run over seeds, pooled over the arms with two seeds or more: {"data_limited" or
    "open": (sd, dof)}.

    Relative to the arm's mean for r, absolute for accuracies. Two seeds in an arm leave one degree
    of freedom, whose t interval spans 13 standard errors; pooling makes the intervals usable and
    assumes equal noise within a class: models that hold at least 95% of their data (hardly any
    noise) and the others.
    """
    out = {}
    chosen = runs[runs.chosen & runs[number].notna()]
    mean = chosen.groupby("arm")[number].transform("mean")
    size = chosen.groupby("arm")[number].transform("size")
    scale = _scale(mean, chosen.r_max) if number == "r" else 1.0
    full = chosen.groupby("arm").fraction.transform("mean") >= DATA_LIMITED
    for name, part in (("data_limited", full), ("open", ~full)):
        keep = part & (size > 1)
        dof = int(keep.sum() - chosen.arm[keep].nunique())
        if dof:
            square = (((chosen[number] - mean) / scale)[keep] ** 2).sum()
            out[name] = float(np.sqrt(square / dof)), dof
    return out


def standard_error(arm: Any, pooled: Noise, number: str = "r") -> tuple[float, int] | None:
    """(standard error of the arm's mean, degrees of freedom), from the larger of its own and the
    pooled scatter of seeds, and the people asked; None without any replicate. arm: a row of `arms`;
    pooled: what `noise` returned."""
    known = pooled.get("open")
    if arm.fraction >= DATA_LIMITED and (
        known is None or pooled.get("data_limited", (0, 0))[1] >= FEW_DOF
    ):
        known = pooled.get("data_limited")
    if known is None or not arm.seeds:
        return None
    sd, dof = known
    if number == "r":
        sd *= float(_scale(arm.r, arm.r_max))
    own = arm.get(f"{number}_sd", math.nan)
    sd = max(sd, 0.0 if math.isnan(own) else own)
    return math.hypot(sd / math.sqrt(arm.seeds), arm.r_se_people if number == "r" else 0.0), dof


def _scale(mean: Any, r_max: Any) -> Any:
    """What the noise of R is relative to: its size, but at least a twentieth of R^max."""
    return np.maximum(np.abs(mean), FLOOR * r_max)
