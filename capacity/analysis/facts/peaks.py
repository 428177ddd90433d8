"""The peak of R over model sizes, and ratios of arms, with intervals from the noise of seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from capacity.analysis.facts.arms import Noise, standard_error
from capacity.analysis.facts.schema import Frame, Peak
from capacity.fitting.statistics import LEVEL, fieller, student

ONE_SEED = "one seed per arm: the noise of seeds was not measured"
NO_ENDS = "the denominator is not distinguishable from 0"


def peak(
    members: Frame,
    pooled: Noise,
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
    all together (the quantile of the maximum of t draws), its upper end the largest of their single
    upper limits, since the true best arm is one of them. A percentile or basic bootstrap of the
    maximum covers only 87 to 91% where several arms are equally good. own_interval is the t
    interval of the best arm's own seeds.
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
        "label": top.label,
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
    errors = [standard_error(row, pooled) for _, row in known.iterrows()]
    measured = [e for e in errors if e is not None]
    if len(measured) < len(errors):
        return out | {"reason": ONE_SEED}
    r_max = known.r_max.to_numpy(float)
    scale = np.where(number == "r", 1.0, 1.0 / r_max)  # fraction = r / r_max
    error = sign * np.array([e[0] for e in measured]) * scale
    dof = min(e[1] for e in measured)
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((n_boot, len(values)))
    t = normal * np.sqrt(dof / rng.chisquare(dof, (n_boot, 1)))
    together, single = np.quantile(t.max(1), 0.5 + LEVEL / 2), student(dof)
    most = np.maximum(values, {"r": r_max, "fraction": 1.0}.get(number, math.inf))
    ends = sorted(  # the data hold no more than `most`
        float(sign * (sign * np.minimum(values + c * error, most)).max())
        for c in (-together, single)
    )
    drawn = sign * (sign * (values + t * error)).max(1)
    bias = float(drawn.mean() - out["value"])
    return out | {"interval": ends, "dof": float(dof), "bias": bias}


def _edge(top: Any, known: Frame) -> str | None:
    """Whether the model of the peak is the smallest or the largest of several."""
    sizes = known.parameters_paper
    if len(known) < 2:
        return None
    # of equal sizes the largest counts
    return {sizes.min(): "smallest", sizes.max(): "largest"}.get(top.parameters_paper)


def peaks(
    runs: Frame, table: Frame, pooled: Noise, *, n_boot: int = 4000, seed: int = 0
) -> list[Peak]:
    """The peak of every curve with a finished run, in the order of `arms`, and its ratio to that of
    the first curve of the same N (or load)."""
    out, first_of = [], {}
    amount = runs.drop_duplicates("curve").set_index("curve").amount
    for curve, members in table.groupby("curve", sort=False):
        found = peak(members, pooled, n_boot=n_boot, seed=seed)
        if found is None:
            continue
        first = members.iloc[0]
        top = members[members.arm == found["arm"]].iloc[0]
        reference, against = first_of.setdefault(amount[curve], top), None
        if reference is not top:
            against = ratio_of_arms([top], [reference], pooled) | {"name": reference.curve_name}
        about = {
            "curve": int(first.curve),
            "name": first.curve_name,
            "n_people": float(first.n_people),
            "exposures": float(first.exposures),
            "against_first": against,
        }
        out.append(about | found)
    return out


def ratio_of_arms(
    above: Sequence[Any], below: Sequence[Any], pooled: Noise, number: str = "r"
) -> dict[str, Any]:
    """Sum over arms / sum over other arms (lists of rows of `arms`) with the noise of seeds, as
    a dict of value, interval, method, why (there is no interval) and lacks (why there is no
    value)."""
    a, b = sum(row[number] for row in above), sum(row[number] for row in below)
    if b <= 0:
        return {
            "value": None,
            "interval": None,
            "lacks": f"the arm in the denominator has learned nothing ({number} = {b:.3g})",
        }
    errors = [standard_error(row, pooled, number) for row in (*above, *below)]
    measured = [e for e in errors if e is not None]
    if len(measured) < len(errors):
        return {"value": a / b, "interval": None, "why": ONE_SEED}
    parts = (measured[: len(above)], measured[len(above) :])
    over, under = (sum(e[0] ** 2 for e in part) for part in parts)
    dof = min(e[1] for e in measured)
    return ratio(a, b, [[over, 0.0], [0.0, under]], student(dof)) | {
        "method": "Fieller, pooled noise of seeds",
        "dof": float(dof),
    }


def ratio(a: float, b: float, cov: Any, t: float) -> dict[str, Any]:
    """`statistics.fieller` as a dict of value, interval and why (there is no interval)."""
    value, interval = fieller(a, b, cov, t)
    return {
        "value": float(value),
        "interval": None if interval is None else [float(x) for x in interval],
        "why": None if interval else NO_ENDS,
    }
