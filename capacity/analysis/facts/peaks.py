"""The peak of R over model sizes, with an interval from the noise of seeds, and its ratio to that
of another curve."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from capacity.analysis import arm_ratio
from capacity.analysis.arm_ratio import ONE_SEED, Noise
from capacity.analysis.facts.arms import as_values, mean_of
from capacity.analysis.facts.schema import Frame, Peak
from capacity.fitting.statistics import LEVEL, student


def peak(
    members: Frame,
    known_noise: Noise,
    *,
    n_boot: int = 4000,
    seed: int = 0,
    number: str = "r",
    sign: int = 1,
) -> dict[str, Any] | None:
    """The largest (sign = -1: smallest) mean over the arms of a curve, with an interval, as a dict,
    or None where no arm has a finished run.

    The maximum of noisy means lies above the maximum of their expectations, by about `bias`. The
    interval holds it all the same: its lower end is the largest of the arms' lower limits that hold
    all together (Sidak), its upper end the largest of their single upper limits, since the true
    best arm is one of them; each arm has the noise and the degrees of freedom of its own. A
    percentile or basic bootstrap of the maximum covers only 87 to 91% where several arms are
    equally good. own_interval is the t interval of the best arm's own seeds.
    """
    known = members[members[number].notna()]
    if known.empty:
        return None
    values = known[number].to_numpy(float)
    top = known.iloc[int(np.argmax(sign * values))]
    own = number == "r" and not math.isnan(top.r_low)
    out = {
        "value": float(top[number]),
        "interval": None,
        "dof": None,
        "bias": None,
        "reason": None,
        "model": top.model,
        "arm": int(top.arm),
        "parameters": int(top.parameters_paper),
        "r_max": float(top.r_max),
        "seeds": int(top.seeds),
        "models": len(known),
        "largest_r_max": float(known.r_max.max()),
        "rising": int(top.rising),
        "edge": _edge(top, known),
        "own_interval": [float(top.r_low), float(top.r_high)] if own else None,
    }
    means = [mean_of(row, known_noise) for _, row in known.iterrows()]
    measured = [mean for mean in means if mean is not None]
    if len(measured) < len(means):
        return out | {"reason": ONE_SEED}
    r_max = known.r_max.to_numpy(float)
    scale = np.where(number == "r", 1.0, 1.0 / r_max)  # fraction = r / r_max
    error = np.array([math.sqrt(mean.variance) for mean in measured]) * scale
    dof = np.array([mean.dof for mean in measured])
    together = student(dof, 2 * (0.5 + LEVEL / 2) ** (1 / len(dof)) - 1)
    most = np.maximum(values, {"r": r_max, "fraction": 1.0}.get(number, math.inf))
    ends = sorted(  # the data hold no more than `most`
        float(sign * (sign * np.minimum(values + sign * c * error, most)).max())
        for c in (-together, student(dof))
    )
    rng, half = np.random.default_rng(seed), (max(n_boot // 2, 1), len(values))
    # t draws, for the noise is an estimate; below three degrees of freedom they never settle
    few = np.maximum(dof, 3.0)
    t = rng.standard_normal(half) * np.sqrt(few / rng.chisquare(few, half))
    drawn = sign * (sign * values + np.concatenate([t, -t]) * error).max(1)
    best = int(np.argmax(sign * values))
    bias = float(drawn.mean() - out["value"])
    return out | {"interval": ends, "dof": float(dof[best]), "bias": bias}


def _edge(top: Any, known: Frame) -> str | None:
    """Whether the model of the peak is the smallest or the largest of several."""
    sizes = known.parameters_paper
    if len(known) < 2:
        return None
    # of equal sizes the largest counts
    return {sizes.min(): "smallest", sizes.max(): "largest"}.get(top.parameters_paper)


def peaks(
    runs: Frame, table: Frame, known: Noise, *, n_boot: int = 4000, seed: int = 0
) -> list[Peak]:
    """The peak of every curve with a finished run, in the order of `arms`, and its ratio to that of
    the first curve of the same N (or load)."""
    out, first_of = [], {}
    amount = runs.drop_duplicates("curve").set_index("curve").amount
    chosen = runs[runs.chosen]
    of_curve = dict(iter(as_values(chosen).groupby(chosen.curve)))
    for curve, members in table.groupby("curve", sort=False):
        estimate = peak(members, known, n_boot=n_boot, seed=seed)
        if estimate is None:
            continue
        first = members.iloc[0]
        reference, against = first_of.setdefault(amount[curve], first), None
        if reference is not first:
            ratio = arm_ratio.of_curves(of_curve[curve], of_curve[reference.curve], known)
            against = arm_ratio.told(ratio) | {"name": reference.curve_name}
        about = {
            "curve": int(first.curve),
            "name": first.curve_name,
            "n_people": float(first.n_people),
            "exposures": float(first.exposures),
            "against_first": against,
        }
        out.append(about | estimate)
    return out
