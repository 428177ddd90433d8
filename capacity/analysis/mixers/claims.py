"""What is published of mixers, loops and convolutions, as signs: more, less, or about as many bits.

No bits per parameter of random data are published for these forms; what is published is of
biographies. "About as many" is an equivalence: it agrees where the interval of the ratio lies
within EQUAL of 1, and differs where a difference is shown and its interval lies outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from capacity.analysis.mixers import compared
from capacity.analysis.mixers.reading import Forms, named
from capacity.base.frames import Frame
from capacity.fitting.statistics import holm
from capacity.naming import Value

EQUAL = 0.05  # part of the ratio; chosen before any run was read
AGREES, DIFFERS, UNKNOWN = "agrees", "differs", compared.UNKNOWN
MORE, LESS, SAME = compared.MORE, compared.LESS, "as many"


@dataclass(frozen=True)
class Claim:
    """a and b: settings that name a form; says: bits per parameter of a beside b; source; there:
    how the published setting differs from these forms."""

    a: Mapping[str, Value]
    b: Mapping[str, Value]
    says: str
    source: str
    there: str = ""


PLAIN: dict[str, Value] = {
    "model.canon": "",
    "model.loops": 1.0,
    "model.map_rank": None,
    "model.mixer_gate": "false",
    "model.mixer_decay": "false",
}


def _form(mixer: str, conv: bool = False, **settings: Value) -> dict[str, Value]:
    more = {f"model.{key}": value for key, value in settings.items()}
    return PLAIN | {"model.mixer": mixer, "model.mixer_conv": str(conv).lower()} | more


ATTENTION = _form("attention")
CANON = "Physics of Language Models 4.1"
OURO = "arXiv 2510.25741"
LAYERS = "there Canon layers at all four places, here the convolutions of the mixer"
DELTA = f"{LAYERS}; there a delta rule that decays, here one that does not"
ROTARY = "there 100 exposures and rotary positions"
CLAIMS = (
    Claim(_form("attention", loops=2.0), ATTENTION, SAME, f"{OURO}: about 2 bits either way"),
    Claim(_form("ssd"), _form("ssd", True), LESS, f"{CANON}: Mamba-2 needs its convolution"),
    Claim(_form("ssd"), _form("gla"), SAME, f"{CANON}: without its convolution Mamba-2 is a GLA"),
    Claim(_form("gla", True), _form("ssd", True), SAME, CANON, LAYERS),
    Claim(_form("delta", True), _form("ssd", True), SAME, CANON, DELTA),
    Claim(_form("gla", True), ATTENTION, MORE, f"{CANON}: 1.4 times", f"{LAYERS}; {ROTARY}"),
    Claim(_form("ssd", True), ATTENTION, MORE, f"{CANON}: 1.4 times", f"{LAYERS}; {ROTARY}"),
    Claim(_form("delta", True), ATTENTION, MORE, f"{CANON}: 1.4 times", f"{DELTA}; {ROTARY}"),
)


def judged(full: Frame, forms: Forms, choices: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per claim whose forms are both there: those of `compared.of`, published, source, there,
    p_holm (over the claims), verdict and why."""
    rows = []
    for claim in CLAIMS:
        a, b = named(forms, claim.a), named(forms, claim.b)
        if a is not None and b is not None:
            rows.append(
                compared.of(a, b, full, choices)
                | {"published": claim.says, "source": claim.source, "there": claim.there}
            )
    corrected = holm([row["p"] for row in rows])
    return [row | {"p_holm": p} | _verdict(row, p) for row, p in zip(rows, corrected, strict=True)]


def _verdict(row: dict[str, Any], p: float | None) -> dict[str, Any]:
    if row["reason"] or row["edges"]:
        return {"verdict": UNKNOWN, "why": row["reason"] or "; ".join(row["edges"])}
    side = compared.shown(row, p)
    if row["published"] == SAME:
        return _of_equality(row, side)
    if side is None:
        return {"verdict": UNKNOWN, "why": "no difference is shown"}
    if lower := row["rising"][1 if side == MORE else 0]:
        return {"verdict": UNKNOWN, "why": f"more training could turn it: {'; '.join(lower)}"}
    return {"verdict": AGREES if side == row["published"] else DIFFERS, "why": None}


def _of_equality(row: dict[str, Any], side: str | None) -> dict[str, Any]:
    if row["interval"] is None:
        return {"verdict": UNKNOWN, "why": "one run a side has no spread"}
    low, high = row["interval"]
    inside = low >= 1 / (1 + EQUAL) and high <= 1 + EQUAL
    outside = side is not None and (low > 1 + EQUAL or high < 1 / (1 + EQUAL))
    if not inside and not outside:
        return {"verdict": UNKNOWN, "why": f"the interval is neither within {EQUAL:.0%} nor beyond"}
    # of equality either side may move; of a difference the lower one
    open_sides = row["rising"] if inside else [row["rising"][1 if side == MORE else 0]]
    if rising := [words for one in open_sides for words in one]:
        return {"verdict": UNKNOWN, "why": f"more training could turn it: {'; '.join(rising)}"}
    return {"verdict": AGREES if inside else DIFFERS, "why": None}
