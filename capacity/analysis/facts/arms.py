"""Arms of a study of facts: means over seeds with intervals, and the noise of seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from capacity import naming
from capacity.analysis import arm_ratio, labels
from capacity.analysis.arm_ratio import Noise
from capacity.analysis.facts.schema import Column, Frame
from capacity.analysis.table_checks import shown_rising
from capacity.analysis.thresholds import DATA_LIMITED, EXPOSURES_OFF
from capacity.fitting.noise import Spread
from capacity.fitting.ratios import Mean
from capacity.fitting.statistics import student, t_interval


def arms(runs: Frame, known: Noise | None = None) -> Frame:
    """One row per arm: means over the seeds of its chosen runs, sd over seeds, the 95% interval of
    R, counts of runs. runs: of `reading.prepare`; known: `noise` of them, where that is at hand.

    The seed is the replicate. The interval is Student's t over seeds (two at least), with the
    standard error over the people asked added in quadrature; the scatter of seeds holds part of
    that already, so this errs on the wide side.
    """
    of = (noise(runs) if known is None else known).of
    table = pd.DataFrame(
        [_arm(arm, mine, of(arm)) for arm, mine in runs.groupby("arm", sort=False)]
    )
    order = runs.drop_duplicates("curve").sort_values(["amount", "asked", "place"]).curve.tolist()
    table["order"] = table.curve.map({c: i for i, c in enumerate(order)})
    table = table.sort_values(["order", "parameters_paper", "model", "arm"], ignore_index=True)
    return table.drop(columns="order")


def _arm(arm: Any, mine: Frame, noise: Spread | None) -> dict[str, Any]:
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
        "model": first.model,
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
        "noise_sd": math.nan if noise is None else math.sqrt(noise.variance),
        "noise_dof": math.nan if noise is None else noise.dof,
        "noise_of": ""
        if noise is None
        else "its own seeds"
        if noise.own
        else "a line through arms",
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


def as_values(runs: Frame, number: str = "r") -> Frame:
    """Runs as `arm_ratio` takes them: run_id, arm, size, seed, value, most, full. Of R the data
    bound the value, and decide it in an arm that holds at least 95% of them; of shares nothing
    does."""
    bounded = number == "r"
    full = runs.groupby("arm").fraction.transform("mean") >= DATA_LIMITED
    return pd.DataFrame(
        {
            "run_id": runs.run_id,
            "arm": runs.arm,
            "size": sizes(runs),
            "seed": runs.seed,
            "value": runs[number].astype(float),
            "most": runs.r_max if bounded else math.nan,
            "full": full if bounded else False,
        }
    )


def sizes(runs: Frame) -> list[str]:
    """Size of the model (layers and width), in which pairs are equal whatever its form; where no
    setting says it, the model's name."""
    known = [c for c in naming.SIZES[:2] if c in runs]
    if len(known) < 2:
        return runs.model.to_list()
    return [f"{row[0]:g}x{row[1]:g}" for row in labels.tuples(runs, known)]


def noise(runs: Frame, number: str = "r") -> Noise:
    """What a run of every arm scatters by over seeds, of its chosen runs; see `arm_ratio.noise`."""
    return arm_ratio.noise(as_values(runs[runs.chosen], number))


def quoted(arm: Mapping[str, Any]) -> list[float] | None:
    """95% of the mean R of an arm (a row of `arms`) by the noise of arms, as `peaks.peak` quotes it
    of a curve of one model: no more than the data hold. None where nothing tells the noise."""
    sd, dof, n = arm["noise_sd"], arm["noise_dof"], arm["seeds"]
    if not n or sd is None or dof is None or math.isnan(sd):
        return None
    people = arm["r_se_people"]
    half = float(student(dof)) * math.sqrt(sd**2 / n + people**2)
    return [arm["r"] - half, min(arm["r"] + half, max(arm["r"], arm["r_max"]))]


def mean_of(arm: Any, known: Noise, number: str = "r") -> Mean | None:
    """The mean of an arm with its variance, that of the people asked included; None without any
    replicate. arm: a row of `arms`."""
    one = known.of(arm.arm)
    if one is None or not arm.seeds:
        return None
    people = arm.r_se_people if number == "r" else 0.0
    return Mean(float(arm[number]), one.variance / arm.seeds + people**2, one.dof)
