"""Accuracies of arms beside what guessing gets of the same questions: a model that knows nobody and
only how often values come has the accuracy of always answering the commonest one, so an accuracy
that is not shown to be above that replicates nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from capacity.analysis import arm_ratio
from capacity.analysis.arm_ratio import Noise
from capacity.analysis.facts.reading import GUESS, GUESSES
from capacity.analysis.facts.schema import Column, Frame
from capacity.base.words import plural
from capacity.fitting.noise import OWN, Spread
from capacity.fitting.statistics import student

WORDS = {"accuracy": "accuracy", "extraction_accuracy": "extraction"}  # of accuracies

Measured = dict[str, Any]  # as `published.values.decide` takes it


def mean_of_seeds(values: Column, one: Spread | None, span: tuple[float, float]) -> Measured:
    """The mean over seeds as a measured value, its interval from its own seeds, or where these are
    two or one from the noise of its arm (`arm_ratio.noise`; None where no arm has replicates). It
    ends where the span of possible values does."""
    n = len(values)
    out = {
        "value": float(values.mean()),
        "interval": None,
        "remarks": [plural(n, "seed")],
        "why": arm_ratio.ONE_SEED,
        "method": "",
        "spread": "absolute",
        "possible": list(span),
    }
    if n >= OWN:
        one = Spread(float(values.var()), n - 1.0, True)
    if one is None:
        return out
    half = float(student(one.dof)) * math.sqrt(one.variance / n)
    ends = [max(span[0], out["value"] - half), min(span[1], out["value"] + half)]
    return out | {
        "interval": ends,
        "dof": one.dof,
        "method": "t over seeds" if one.own else f"t, {arm_ratio.MODEL}",
    }


def level(rows: Frame, number: str, noise: Noise, name: str) -> Measured:
    """What guessing gets of the questions that this accuracy is of, beside it, and why the accuracy
    is not shown to be more, if so. rows: runs of an arm."""
    at = GUESS[number]
    if rows[at].isna().any():
        why = f"what guessing gets of {name} was not measured (capacity measure adds it)"
        return {"unlearned": why, "remarks": [why]}
    level, uniform = rows[at].mean(), rows[GUESSES[number][0]].mean()
    remark = f"of {name} guessing gets {uniform:.1%} (any value alike), {level:.1%} (the commonest)"
    spread = noise.of(rows.arm.iloc[0])
    above = mean_of_seeds(rows[number] - rows[at], spread, (-math.inf, math.inf))["interval"]
    if above is not None and above[0] > 0:
        return {"remarks": [remark]}
    why = f"{name} is not above what guessing the commonest value gets ({level:.1%})"
    if rows[number].mean() > level:
        why = f"{name} is not shown to be above what guessing gets ({level:.1%})"
    return {"unlearned": why, "remarks": [remark]}


def beside(measured: Measured, *more: Measured) -> Measured:
    """measured with the remarks of the others, and the first reason why it is no agreement."""
    why = next((one["unlearned"] for one in more if "unlearned" in one), None)
    remarks = [r for one in (measured, *more) for r in one.get("remarks", [])]
    return (
        measured | {"remarks": list(dict.fromkeys(remarks))} | ({"unlearned": why} if why else {})
    )


def of_ratio(measured: Measured, number: str, sides: Sequence[Frame], noise: Noise) -> Measured:
    """A ratio of accuracies beside what guessing gets in both arms: where one of them only guesses,
    the ratio is one to guessing."""
    if number not in GUESS or "lacks" in measured:
        return measured
    known = [rows[rows[number].notna()] for rows in sides]
    names = [f"{WORDS[number]} of {rows.iloc[0].curve_name}" for rows in known]
    pairs = zip(known, names, strict=True)
    return beside(measured, *(level(rows, number, noise, name) for rows, name in pairs))
