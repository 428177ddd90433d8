"""What lies on a bound of the search: one rule for all forms, in the sentences that every verb
prints.

A parameter on a bound is where the search was stopped, not where the points put it. Intervals of
other numbers treat it as if it could pass the bound (released), or as known where the points do not
tell it apart from others (held, and then they are too short). An end of an interval that is a bound
was cut off by it. Bounds are those of the form or of the call (as R_inf <= R^max), also where they
have a meaning: the reader judges that, not the program. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from capacity.base.words import digits, joined

SIDES = {"low": "lower", "high": "upper"}


def sitting(name: str, side: str, bound: float) -> str:
    """A parameter on a bound, in words; side: low or high."""
    return (
        f"{name} lies on the {SIDES[side]} bound of its search, {digits(bound)}: read the curve, "
        "not the constant"
    )


def ends(
    intervals: Mapping[str, Mapping[str, Any]], names: Mapping[str, str] | None = None
) -> list[str]:
    """Which intervals run into a bound, and how those of other numbers treat a parameter on one, in
    words; without parameters that sit there, which are warnings of the fit.

    intervals: of `intervals.of`, also as a file has them; names: others for its keys."""
    called = {key: (names or {}).get(key, key) for key in intervals}
    out = [
        f"the {SIDES[side]} end of the interval of {called[key]} is the bound of its search, "
        f"{digits(entry[side])}"
        for key, entry in intervals.items()
        for side in entry.get("on_bound", ())
        if entry[side] is not None and entry[side] != entry["value"]
    ]
    for kind in ("released", "held"):
        about: dict[tuple[str, ...], list[str]] = {}
        for key, entry in intervals.items():
            if entry.get(kind) and entry["low"] is not None:
                about.setdefault(tuple(entry[kind]), []).append(called[key])
        for parameters, keys in about.items():
            on = joined([(names or {}).get(name, name) for name in parameters])
            out.append(_treated(kind, keys, on))
    return out


def _treated(kind: str, keys: list[str], on: str) -> str:
    """How the intervals of `keys` treat the parameters `on`, which lie on a bound."""
    one = len(keys) == 1
    some = f"the {'interval' if one else 'intervals'} of {joined(keys)}"
    if kind == "released":
        return f"{some} {'allows' if one else 'allow'} for {on} on both sides of the bound"
    holds, is_ = ("holds", "is") if one else ("hold", "are")
    return f"{some} {holds} {on} on the bound and {is_} too short for it"


def told(
    fitted: Any, intervals: Mapping[str, Mapping[str, Any]], names: Mapping[str, str] | None = None
) -> list[str]:
    """All that a fit has to say of bounds: parameters that sit on one, and `ends`. fitted: of
    `fit.fit`."""
    return [
        sitting((names or {}).get(name, name), side, bound)
        for name, (side, bound) in on(fitted).items()
    ] + ends(intervals, names)


def on(fitted: Any) -> dict[str, tuple[str, float]]:
    """Parameters on a bound: (side, bound in natural units) by name."""
    out = {}
    for name in fitted.search["at_bound"]:
        j = fitted.form.index(name)
        side = "low" if fitted.u[j] <= fitted.problem.low[j] else "high"
        out[name] = (side, float(fitted.theta[j]))
    return out
