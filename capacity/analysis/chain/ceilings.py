"""Ceilings against clocks: do the ends of a chain differ in what they hold in the end, or in how
soon?

    one clock      families need other numbers of exposures and end at one ceiling: the ratio of
                   plateaus is 1
    two ceilings   the ratio of plateaus is not 1

The plateau of either end is that of a law over exposures, by either saturating form
(`facts.exposures.fit_either_form`), whose interval is from the scatter of its own runs. The
interval of the ratio goes from the lower end of one over the upper end of the other to the reverse:
half-widths of logarithms are added, where independent ones would add in squares, so that it is no
narrower than 95% asks for. What a law over exposures says of a plateau is an extrapolation by a
form that no paper states.

The ratio of plateaus is withheld (cannot tell) where one end has no law, where a run is full or
data bound a plateau, so that they and not capacity end it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from capacity.analysis.facts.exposures import fit_either_form
from capacity.base.frames import Frame

KEPT = ("reason", "form", "runs", "exposures", "r_max", "r_inf", "known_to", "bounded_by_data")


def ceilings(mine: Frame, ends: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """A row per size on which both ends have runs: `first` and `last` (the law of either end, bits
    per parameter), ratio of plateaus and its interval, at_equal (the ratio of means at the
    exposures of the chain), clock (part of the logarithm of at_equal that is gone in the ratio of
    plateaus) and its interval, which is that of the ratio, and why, the reasons against it.

    mine: finished runs of the chosen recipes, as `analysis.analysed` has them."""
    if ends is None:
        return []
    out = []
    for size in sorted(set(mine["size"])):
        here = mine[mine["size"] == size]
        sides = {side: here[here.family == ends[side]] for side in ("first", "last")}
        if all(len(set(part.exposures_planned)) > 1 for part in sides.values()):
            out.append(_row(size, sides, ends["exposures"]))
    return out


def _row(size: str, sides: Mapping[str, Frame], exposures: float) -> dict[str, Any]:
    laws = {side: _law(part) for side, part in sides.items()}
    means = {
        side: float(part.per_parameter[part.exposures_planned == exposures].mean())
        for side, part in sides.items()
    }
    why = [f"{side} end: {law['reason']}" for side, law in laws.items() if law["reason"]]
    for side, part in sides.items():
        if bool(part.full.any()):
            why.append(f"{side} end: a run is full, so that data end it")
        elif laws[side].get("bounded_by_data"):
            why.append(f"{side} end: data, not runs, bound its plateau")
        elif not laws[side]["reason"] and not _above_zero(laws[side]["r_inf"]["interval"]):
            why.append(f"{side} end: its plateau is not shown to be above 0")
    at_equal = means["last"] / means["first"] if min(means.values()) > 0 else None
    out: dict[str, Any] = {"size": size, **laws, "exposures": exposures, "at_equal": at_equal}
    out |= {"ratio": None, "interval": None, "clock": None, "clock_interval": None, "why": why}
    if any(law["reason"] for law in laws.values()):
        return out
    a, b = laws["first"]["r_inf"], laws["last"]["r_inf"]
    if min(a["value"], b["value"]) <= 0:
        return out | {"why": [*why, "a plateau is 0"]}
    out["ratio"] = b["value"] / a["value"]
    if _above_zero(a["interval"]) and _above_zero(b["interval"]):
        (low, high), (least, most) = a["interval"], b["interval"]
        out["interval"] = [least / high, most / low]
    if at_equal is not None and at_equal != 1:
        out["clock"] = _clock(out["ratio"], at_equal)
        if out["interval"] is not None:
            out["clock_interval"] = sorted(_clock(end, at_equal) for end in out["interval"])
    return out


def _above_zero(interval: Sequence[float] | None) -> bool:
    return interval is not None and interval[0] > 0


def _clock(ratio: float, at_equal: float) -> float:
    return 1 - math.log(ratio) / math.log(at_equal)


def _law(part: Frame) -> dict[str, Any]:
    """The law of one end at one size: every run is a replicate."""
    most = float((part.most / part.parameters).mean())
    law = fit_either_form(
        part.exposures_planned.to_numpy(float), part.per_parameter.to_numpy(float), most
    )
    return {name: law[name] for name in KEPT if name in law}
