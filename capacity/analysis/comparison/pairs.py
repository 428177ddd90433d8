"""Pairs of runs of a study that differ in what is asked and in nothing else.

pair of runs   one finished run of A and one of B, equal in size (layers and width), seed, data,
               exposures and all else that can be
replicate      the pairs of runs of one size and one seed, whose differences are averaged: runs of
               one seed at several data sizes or numbers of exposures share data and start, so they
               are no independent answers (the rule of `plateaus.units`)
limited        a pair that says something about the data and not about the model: random data that
               fit, people of whom a model holds over 95%; left out and counted
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capacity import naming
from capacity.analysis import arm_ratio, labels, pairing, refused
from capacity.analysis.arm_ratio import Noise
from capacity.analysis.comparison.runs import SIZE, WHERE, Runs
from capacity.analysis.thresholds import DATA_LIMITED
from capacity.base.frames import Column, Frame


@dataclass(frozen=True)
class Paired:
    """Pairs of runs; columns of the frame end in _a and _b."""

    pairs: Frame  # also size, seed and left_out: why a pair does not count, or empty
    alone: dict[str, int]  # finished runs without a partner: {"A": n, "B": n}
    also: dict[
        str, list[str]
    ]  # settings that nobody named and in which A and B never agree: their values in A, in B
    tried: dict[str, int]  # of how many runs the best was taken
    noise: Noise = Noise()  # of all arms of the study, by columns arm_a and arm_b


def pair(runs: Runs, a: Frame, b: Frame, named: set[str]) -> Paired:
    """Runs of a and b that are equal in everything but `named`.

    Size, seed, amount of data and exposures have to be equal, and so has every setting of the data.
    Another setting of model or training has to be equal where any pair can be; where none can (a
    recipe or a part of an architecture that always goes with what was named) it is listed in
    `also`. ValueError, in one line, where a run has several partners or none has one."""
    if shared := set(a.run_id) & set(b.run_id):
        raise ValueError(
            f"A and B share {len(shared)} run(s), such as {sorted(shared)[0]}: name on both "
            f"sides what distinguishes them"
        )
    for side, part in (("A", a), ("B", b)):
        if not (part.status == "finished").any():
            message = "; ".join([f"{side} has no finished run", *refused.describe(part)])
            raise ValueError(message)
    (a, tried_a), (b, tried_b) = _best(runs, a, named), _best(runs, b, named)
    known, arm_of = _noise(runs, named)
    equal = _always_equal(a, b, named)
    settings = [c for c in runs.varied if c in named or c not in runs.best_over]
    try:
        matched = pairing.matched(a, b, equal, equal_if_any=settings)
    except pairing.SeveralPartners as error:
        raise ValueError(_several(runs, error)) from None
    # one block a dtype: pandas warns of a column more in a merged frame of hundreds of blocks
    both = matched.frame.copy()
    if both.empty:
        raise ValueError(f"no pair: no run of A has one of B with equal {', '.join(equal)}")
    also = [c for c in matched.unequal if c not in named]
    if data := next((c for c in also if c.startswith("data.")), None):
        raise ValueError(
            f"no pair: A and B differ in {data} wherever they are equal otherwise; name it on both "
            f"sides"
        )
    both = both.assign(
        size=both.get("size", both.get("size_a")),
        **{f"arm{side}": both[f"run_id{side}"].map(arm_of) for side in arm_ratio.SIDES},
    )
    both = both[both.value_a.notna() & both.value_b.notna()].reset_index(drop=True)
    if both.empty:
        raise ValueError(f"no pair: no run has a value of {runs.number}")
    return Paired(
        both.assign(left_out=_left_out(runs, both)),
        {"A": len(a) - len(both), "B": len(b) - len(both)},
        {c: [_values(both[f"{c}_a"]), _values(both[f"{c}_b"])] for c in also},
        {"A": tried_a, "B": tried_b},
        known,
    )


def _noise(runs: Runs, named: set[str]) -> tuple[Noise, dict[str, int]]:
    """The noise of all arms of the study, of runs that differ in the seed alone, and the arm of
    every run: the same arms, and the same noise, as in the analysis of facts."""
    done, _ = _best(runs, runs.table, named)
    done = done[done.value.notna()]
    same = ["amount", "exposures", *SIZE, *(c for c in runs.varied if _kept(runs, c, named))]
    arm = labels.codes([tuple(map(repr, row)) for row in labels.tuples(done, same)])
    rows = done[["run_id", "value", "most"]].assign(arm=arm)
    held = rows.value / rows.most if runs.kind == "facts" and runs.stores else rows.value * np.nan
    rows["full"] = (held.groupby(rows.arm).transform("mean") >= DATA_LIMITED) | (
        done.limited.astype(str) != ""
    )
    return arm_ratio.noise(rows), dict(zip(rows.run_id, arm, strict=True))


def _kept(runs: Runs, column: str, named: set[str]) -> bool:
    return column in named or column not in runs.best_over


def _always_equal(a: Frame, b: Frame, named: set[str]) -> list[str]:
    """Columns in which every pair is equal: of those that settings in `named` decide, the ones of
    which A and B share a value."""
    equal = ["seed"]
    for column in dict.fromkeys(WHERE.values()):
        decided_by = {key for key, of in WHERE.items() if of == column}
        if not decided_by & named or set(a[column]) & set(b[column]):
            equal.append(column)
    return equal


def _several(runs: Runs, error: pairing.SeveralPartners) -> str:
    side, other = ("a", "b") if error.side == 0 else ("b", "a")
    partners = error.rows.groupby(f"run_id_{side}")
    differ = [
        c for c in runs.varied if (partners[f"{c}_{other}"].agg(lambda v: len(set(v))) > 1).any()
    ]
    return (
        f"run {error.row} of {side.upper()} has several partners, which differ in "
        f"{', '.join(differ) or 'nothing'}: name more settings"
    )


def _values(column: Column) -> str:
    return ", ".join(dict.fromkeys(naming.text(v) for v in column))


def _best(runs: Runs, part: Frame, named: set[str]) -> tuple[Frame, int]:
    """Finished runs, of those that differ in `best_over` alone the one with the most, and how many
    that were at most."""
    part = part[part.status == "finished"]
    free = [c for c in runs.best_over if c not in named]
    if not free or part.empty:
        return part, 1
    same = ["seed", "amount", "exposures", *SIZE, *(c for c in runs.varied if c not in free)]
    groups = part.groupby([part[c].map(repr) for c in same], sort=False).stored
    return part.loc[groups.idxmax()].sort_index(), int(groups.size().max())


def _left_out(runs: Runs, both: Frame) -> list[str]:
    """Why each pair says nothing about the model. People: by the mean over seeds of a model, as
    verdicts do, so that no seed is picked by its noise; random data: run by run, as the fit
    does."""
    if not runs.stores:
        return [""] * len(both)
    if runs.kind != "facts":
        return [f"{x or y}" for x, y in zip(both.limited_a, both.limited_b, strict=True)]
    out = np.zeros(len(both), bool)
    for side in "ab":
        fraction = both[f"value_{side}"] / both[f"most_{side}"]
        keys = [
            both["size"],
            *(both.get(c, both.get(f"{c}_{side}")) for c in ("amount", "exposures")),
        ]
        out |= (fraction.groupby(keys).transform("mean") > DATA_LIMITED).to_numpy()
    return ["holds over 95% of its data" if full else "" for full in out]
