"""What was found of forgetting, in words."""

from __future__ import annotations

import math

from capacity.analysis.text import forgetting_law, tables
from capacity.analysis.text.schema import Forgetting, Frame, Median, PowerLaw
from capacity.analysis.text.tables import KINDS
from capacity.base.words import digits, ends, percent, plural


def answers(numbers: Forgetting, runs: Frame) -> list[str]:
    if not numbers["strong"]:
        return ["**No law of forgetting:** no curve has enough to forget for a form."]
    medians = "; ".join(_half_lives(KINDS[kind], m) for kind, m in numbers["medians"].items())
    out = [
        f"Half of the memory of a canary is lost after {medians}; {numbers['strong']} of "
        f"{plural(len(numbers['cells']), 'curve')} have enough to forget."
    ]
    confounded = ""
    if runs.groupby("parameters_total").lr.first().nunique() > 1:
        confounded = "; learning rates differ between sizes, so the exponent of size holds both"
    for kind, part in numbers["half_life"].items():
        if "reason" not in part:
            out.append(
                f"Half-lives of {KINDS[kind]} scale as {_exponents(part)} ({_how(part)}"
                f"{confounded})."
            )
    for kind, part in numbers["first_bits"].items():
        if "reason" not in part:
            out.append(
                f"Bits at first of {KINDS[kind]} scale as {_exponents(part)} ({_how(part)})."
            )
    tails = {form: s["tail"] for form, s in numbers["forms"].items() if s["tail"] is not None}
    best = min(tails, key=lambda form: tails[form])
    out.append(
        f"The {best} form predicts later lags best (median error {percent(tails[best])} of the "
        "bits at first)."
    )
    return out


def _half_lives(kind: str, median: Median) -> str:
    reach = ""
    if median["low"] is not None and median["high"] is not None:
        reach = f", {digits(median['low'])} to {digits(median['high'])}"
    if median["kept"]:
        reach += f", {median['kept']} not within the run"
    return (
        f"**{digits(tables.number(median['median']))} updates** ({kind}, median of "
        f"{plural(median['curves'], 'curve')}{reach})"
    )


def _how(part: PowerLaw) -> str:
    """What the intervals of a law of forgetting cover, and how well it fits."""
    fit, off = part["lack_of_fit"], math.hypot(*part["scatter"].values())
    return (
        f"95% over {' and '.join(part['scatter']) or 'canaries'}, {plural(part['curves'], 'curve')}"
        f", which lie {digits(off)} octaves off it beyond the noise of canaries: chi2 "
        f"{digits(fit['chi2'])} for {fit['dof']}, p {digits(fit['p'])}"
    )


def _exponents(part: PowerLaw) -> str:
    return ", ".join(
        f"{axis}^**{digits(e['exponent'])}** {ends(e['interval'])}"
        for axis, e in forgetting_law.exponents(part).items()
    )
