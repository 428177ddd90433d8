"""The published effective size, beside what runs of the same share and repeats have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from capacity.published import values as published

ID = "repeated/effective_size"
SHARE, REPEATS = 0.001, 100  # of the published number
LACKS = f"no run repeats {SHARE:.1%} of its training {REPEATS} times"


def expected() -> dict[str, Any]:
    """What the verdict is set beside."""
    return published.get(ID).expected()


def verdicts(curves: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row of `published.verdict` per size that was trained so, else one that says that none
    was; curves: of a finding of `repeated.analyse`."""
    value = published.get(ID)
    out = []
    for curve in curves:
        for level in curve["levels"]:
            if level["repeats"] != REPEATS or not math.isclose(curve["share"], SHARE, rel_tol=0.02):
                continue
            tokens = level["tokens"]
            measured = {
                "value": level["effective"],
                "interval": level["effective_interval"],
                "why": level["reason"],
                "method": "jackknife over replicates",
                "knows": ["training (seeds)", "split"],
            }
            if level["effective"] is None:
                measured["lacks"] = level["reason"]
            scale = published.scale_of(value, [curve["size"]], tokens)
            at = f"{curve['size']:,} parameters, {curve['replicates']} replicates"
            out.append(published.verdict(value.expected(), measured, at=at, scale=scale))
    if not out:
        nothing = {"value": None, "interval": None, "lacks": LACKS}
        out.append(published.verdict(value.expected(), nothing, scale="another"))
    return out
