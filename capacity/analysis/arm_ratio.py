"""The ratio of two arms, with its interval: one function for laws, verdicts, comparisons and pages.

Runs are paired by the one rule of `pairing`: equal in the size of the model and in the seed, after
everything that the question fixes. The ratio is that of the means of paired runs. Three pairs or
more give its interval by themselves (Fieller over pairs); fewer do not, and the noise of their arms
does (`fitting.noise`: own replicates where there are three, else the line of all arms of the
study). Arms without a common size and seed are compared by the means of all their runs, in the
same way. Of curves, on which R has a peak, the ratio of the peaks is asked for: its interval allows
for not knowing which model is the best one (`ratios.of_largest`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from capacity.analysis import pairing
from capacity.analysis.thresholds import FEW_DOF
from capacity.base.frames import Frame
from capacity.fitting import ratios
from capacity.fitting.noise import FLOOR, OWN, Line, Spread, of_class, spread, spreads
from capacity.fitting.ratios import Mean
from capacity.fitting.statistics import LEVEL

ONE_SEED = "one seed per arm: the noise of seeds was not measured"
MODEL = "noise of seeds by a line through all arms"
SIDES = ("_a", "_b")


@dataclass(frozen=True)
class Noise:
    """Of every arm with a run, what one run of it scatters by; the lines of both classes of arms:
    "data_limited" and "open"."""

    spreads: Mapping[Hashable, Spread] = field(default_factory=dict)
    lines: Mapping[str, Line] = field(default_factory=dict)

    def of(self, arm: Hashable) -> Spread | None:
        """None where neither the arm nor another one has replicates."""
        return self.spreads.get(arm)


def noise(runs: Frame) -> Noise:
    """The noise of arms. runs: columns arm, value, most (what all data would give, NaN where
    nothing bounds it), full (whether the data, not the model, decide the arm's runs).

    Arms that hold all of their data hardly scatter, so they have a line of their own, if it has
    at least `FEW_DOF` degrees of freedom; else they borrow the larger noise of the others.
    """
    known = runs[runs.value.notna()]
    levels: dict[Hashable, float] = {}
    values: dict[Hashable, list[float]] = {}
    classes: dict[Hashable, str] = {}
    largest = float(known.value.abs().max()) if len(known) else 0.0
    for arm, mine in known.groupby("arm", sort=False):
        most = float(mine.most.mean())
        least = FLOOR * (largest if math.isnan(most) else most)
        values[arm] = mine.value.to_list()
        levels[arm] = max(abs(float(mine.value.mean())), least, 1e-300)
        classes[arm] = "data_limited" if mine.full.any() else "open"
    lines: dict[str, Line] = {}
    spread_of: dict[Hashable, Spread | None] = {}
    for name in ("open", "data_limited"):
        mine = [arm for arm in values if classes[arm] == name]
        replicates, at = [values[arm] for arm in mine], [levels[arm] for arm in mine]
        if (fitted := of_class(replicates, at)) is not None:
            lines[name] = fitted
        borrowed = lines.get("open") if name == "data_limited" else None
        if borrowed is not None and (fitted is None or fitted.dof < FEW_DOF):
            each = zip(replicates, at, strict=True)
            spread_of |= dict(zip(mine, [spread(v, x, borrowed) for v, x in each], strict=True))
        else:
            spread_of |= dict(zip(mine, spreads(replicates, at), strict=True))
    if "open" not in lines and (line := lines.get("data_limited")) is not None:
        for arm in (arm for arm in spread_of if spread_of[arm] is None):
            spread_of[arm] = spread(values[arm], levels[arm], line)
    return Noise({arm: one for arm, one in spread_of.items() if one is not None}, lines)


def of_pairs(pairs: Frame, known: Noise, level: float = LEVEL) -> dict[str, Any]:
    """Ratio of the means of paired runs: value, interval, dof, method, units (pairs of one size and
    seed), sd (of one of them, as a part of the denominator), why (there is no interval).

    pairs: columns value_a, value_b, arm_a, arm_b, size, seed. Pairs of one size and seed, such as
    several numbers of exposures, share data and start and count as one by their mean. Every size
    counts alike (`ratios.alike`). The denominator's mean must be above 0.
    """
    units = pairs.groupby(["size", "seed"], sort=False)[["value_a", "value_b"]].mean()
    n, size = len(units), units.index.get_level_values("size")
    bottom = float(units.value_b.mean())
    if bottom <= 0:
        return _nothing(bottom)
    measured = n >= OWN or any(
        known.of(arm) is None for side in SIDES for arm in set(pairs[f"arm{side}"])
    )
    if measured and n > 1:
        out = ratios.of_pairs(units.value_a, units.value_b, size, level)
        a, b = ratios.alike(units.value_a, units.value_b, size)
        sd = float(np.std(a - out["value"] * b, ddof=1) / b.mean())
        method = f"Fieller over {n} pairs of size and seed"
        return out | {"method": method, "units": n, "sd": sd}
    if measured:
        return _without(float(units.value_a.mean()) / bottom) | {"units": n}
    out, error = _by_noise(pairs, known, level, ratios.of_means)
    return out | {"units": n, "sd": error * math.sqrt(n)}


def difference(pairs: Frame, known: Noise, level: float = LEVEL) -> dict[str, Any] | None:
    """The same of the difference of the means, from the noise of arms; None where that is not
    known."""
    if any(known.of(arm) is None for side in SIDES for arm in set(pairs[f"arm{side}"])):
        return None
    n = len(pairs.groupby(["size", "seed"]))
    out, error = _by_noise(pairs, known, level, ratios.difference, alike=False)
    return out | {"units": n, "sd": error * math.sqrt(n)}


def _by_noise(
    pairs: Frame, known: Noise, level: float, of: Any, alike: bool = True
) -> tuple[dict[str, Any], float]:
    """The interval by the noise of arms, and the standard error of the difference about the ratio,
    as a part of the denominator where there is a ratio."""
    keys = [pairs["size"], pairs.seed]
    group_size = pairs.value_a.groupby(keys).transform("size").to_numpy(float)
    weight = 1 / group_size / len(pairs.groupby(["size", "seed"]))
    a, b = pairs.value_a.to_numpy(float), pairs.value_b.to_numpy(float)
    scale = ratios.divisors(a, b, pairs["size"].to_numpy() if alike else None)
    weight = weight / scale
    means, own = [], True
    for side, values in zip(SIDES, (a, b), strict=True):
        arms = pairs[f"arm{side}"].to_numpy()
        shares, dof = [], []
        for arm in dict.fromkeys(arms):
            one = known.of(arm)
            assert one is not None  # the caller asked
            shares.append(one.variance * float((weight[arms == arm] ** 2).sum()))
            dof.append(one.dof)
            own = own and one.own
        total = float((weight * values).sum())
        whole = ratios.satterthwaite(shares, dof)
        if len(dof) > 1 and known.lines:  # arms of one line do not know it better than it is known
            whole = min(whole, float(sum(line.dof for line in known.lines.values())))
        means.append(Mean(total, sum(shares), whole))
    above, below = means
    out = of(above, below, level) | {
        "method": "Fieller, " + ("own noise of arms" if own else MODEL)
    }
    if not alike:
        return out, math.sqrt(above.variance + below.variance)
    rest = above.variance + out["value"] ** 2 * below.variance
    return out, math.sqrt(rest) / abs(below.value) if below.value else math.nan


def of_runs(above: Frame, below: Frame, known: Noise, level: float = LEVEL) -> dict[str, Any]:
    """`of_pairs` of the runs of two arms, columns value, arm, size, seed; where no run of one is
    equal in size and seed to one of the other, of the means of all runs."""
    if len(pairs := paired(above, below)):
        return of_pairs(pairs, known, level)
    return _alone(above, below, known, level)


def paired(above: Frame, below: Frame) -> Frame:
    """Runs of two sides that are equal in size and seed, as `of_pairs` takes them.
    `pairing.SeveralPartners` where a run has more than one."""
    columns = ["run_id", "value", "arm", "size", "seed"]
    one, other = above[columns], below[columns]
    return pairing.matched(one, other, ["size", "seed"], suffixes=SIDES).frame


def _alone(above: Frame, below: Frame, known: Noise, level: float) -> dict[str, Any]:
    """Of two arms that share no seed."""
    means = []
    own = True
    for side in (above, below):
        one = known.of(side.arm.iloc[0])
        if one is None:
            return _without(float(above.value.mean() / below.value.mean()))
        own = own and one.own
        means.append(Mean(float(side.value.mean()), one.variance / len(side), one.dof))
    method = "Fieller, " + ("own noise of arms" if own else MODEL) + ", no common size and seed"
    return ratios.of_means(means[0], means[1], level) | {"method": method}


def of_curves(above: Frame, below: Frame, known: Noise) -> dict[str, Any]:
    """Ratio of the largest means of two curves (runs of arms that differ in the size of the model):
    value, interval, method, why, lacks (why there is no value), arms (of both largest means)."""
    sides = [_by_arm(above), _by_arm(below)]
    tops = [max(side, key=lambda arm: side[arm].value.mean()) for side in sides]
    bottom = float(sides[1][tops[1]].value.mean())
    if bottom <= 0:
        return _nothing(bottom) | {"arms": tops}
    out: dict[str, Any] = of_runs(sides[0][tops[0]], sides[1][tops[1]], known)
    out |= {"arms": tops}
    one, other = (list(side) for side in sides)
    if out["interval"] is None or len(one) == len(other) == 1:
        return out
    if any(known.of(arm) is None for arm in (*one, *other)):
        return out | {"interval": None, "why": ONE_SEED}

    def interval(i: int, j: int, level: float) -> Any:
        return of_runs(sides[0][one[i]], sides[1][other[j]], known, level)["interval"]

    ends = ratios.of_largest(out["value"], len(one), len(other), interval)
    method = f"{out['method']}; limits over {len(one)} and {len(other)} models"
    if (noise_of_top := out.get("noise")) is not None:
        levels = ratios.together(LEVEL, len(one)), ratios.together(LEVEL, len(other))
        out["noise"] = dataclasses.replace(noise_of_top, levels=levels)
    return out | {
        "interval": ends,
        "why": None if ends else ratios.NO_ENDS,
        "method": method,
    }


def power(ratio: Mapping[str, Any]) -> dict[str, Any]:
    """What `published.values.verdict` needs to say what a ratio could tell."""
    return {key: ratio.get(key) for key in ("dof", "noise")}


def told(ratio: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of a ratio."""
    return {k: ratio[k] for k in ("value", "interval", "why", "lacks", "method") if k in ratio}


def _by_arm(runs: Frame) -> dict[Hashable, Frame]:
    return dict(iter(runs.groupby("arm", sort=False)))


def _without(value: float) -> dict[str, Any]:
    return {
        "value": value,
        "interval": None,
        "why": ONE_SEED,
        "method": "",
        "sd": None,
        "dof": None,
    }


def _nothing(bottom: float) -> dict[str, Any]:
    lacks = f"the arm in the denominator has learned nothing (mean {bottom:.3g})"
    return {"value": None, "interval": None, "lacks": lacks}
