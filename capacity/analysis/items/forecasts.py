"""What a cheaper model says of the canaries that a model will write out (Emergent and Predictable
Memorization, arXiv 2304.11158): a smaller one, or the model itself earlier in its training.

forecast    who is written out of its half by the predictor, is so by the target at its end. Of an
            earlier step only canaries that were seen by then are asked, as in the paper; of models
            of one replicate, which have the same canaries, all that were seen
by copies   as many canaries, those with the most copies: what is known without any model
within      the AUC of the predictor's code length among canaries with equal copies
cost        of the predictor / of the target, each 6 P T FLOPs (the paper's count), T tokens so far

Recall is over all replicates whose target writes something, a predictor that foresees nothing has
one of 0; precision over those whose predictor foresees something.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from capacity.base.frames import Frame
from capacity.fitting.forecast import forecast, within
from capacity.fitting.statistics import sign_flips, t_interval

Groups = list[dict[str, Any]]
Measured = Mapping[str, Groups]


@dataclasses.dataclass(frozen=True)
class Seen:
    """Canaries of a run that are seen in it. bits, written: at its end; first: update of the first
    view of each, None where copies are shuffled; at: the same two by earlier step."""

    copies: np.ndarray
    bits: np.ndarray
    written: np.ndarray
    first: np.ndarray | None
    at: dict[int, tuple[np.ndarray, np.ndarray]]


def of_sizes(known: Frame, measured: Measured) -> list[dict[str, Any]]:
    """Of every system and two sizes, what the smaller one foresees: precision, recall, within,
    means over replicates with intervals, and what they are above copies and guessing, with p."""
    out = []
    for (system, tokens), part in _finished(known, measured).groupby(["system", "tokens"]):
        runs = _seen(part, measured, [])
        for small, large in itertools.combinations(sorted(set(part.parameters)), 2):
            found = [
                foreseen(at[small], at[large], None) | {"replicate": name}
                for name, at in runs.items()
                if small in at and large in at
            ]
            if found:
                row = {"system": system, "tokens": int(tokens), "small": small, "large": large}
                out.append(row | {"cost": small / large} | over(found))
    return out


def of_steps(
    known: Frame, measured: Measured, steps: Mapping[str, Sequence[int]]
) -> list[dict[str, Any]]:
    """Of every system and size with snapshots, what the model foresees of itself at each of their
    steps before the last, by part of the training; steps: of the snapshots of each run."""
    out = []
    some = _finished(known, measured)
    some = some[some.run_id.isin([run_id for run_id, found in steps.items() if found])]
    for (system, tokens, size), part in some.groupby(["system", "tokens", "parameters"]):
        whole = int(part.steps.max())
        listed = sorted({s for run_id in part.run_id for s in steps[run_id] if s < whole})
        runs = _seen(part, measured, listed, steps)
        for step in listed:
            found = [
                foreseen(at[size], at[size], step) | {"replicate": name}
                for name, at in runs.items()
                if step in at[size].at
            ]
            row = {"system": system, "tokens": int(tokens), "parameters": size, "step": step}
            out.append(row | {"cost": step / whole} | over(found))
    return out


def at_equal_cost(
    sizes: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Of every smaller model beside the target itself when it had cost as much: recall of both and
    their difference, paired by replicate. What the target foresees between two snapshots is read on
    a straight line over the logarithm of the cost; nothing is said outside of them."""
    out = []
    for row in sizes:
        mine = [
            one
            for one in steps
            if (one["system"], one["tokens"], one["parameters"])
            == (row["system"], row["tokens"], row["large"])
        ]
        pairs = []
        for name, recall in row["by_replicate"].items():
            known = [
                (math.log(one["cost"]), one["by_replicate"][name])
                for one in mine
                if one["by_replicate"].get(name) is not None
            ]
            at = math.log(row["cost"])
            if recall is not None and known and known[0][0] <= at <= known[-1][0]:
                pairs.append((recall, float(np.interp(at, *np.array(known).T))))
        if pairs:
            smaller, earlier = (np.array(side) for side in zip(*pairs, strict=True))
            keys = ("system", "tokens", "small", "large", "cost")
            out.append(
                {key: row[key] for key in keys}
                | {"replicates": len(pairs), "smaller": _mean(smaller), "earlier": _mean(earlier)}
                | {"difference": _tested(smaller - earlier)}
            )
    return out


def recalls(listed: Sequence[Mapping[str, Any]], axis: str) -> Frame:
    """Recall by replicate, for its order along an axis (`small`, `step`): of the largest target of
    each system."""
    target = "parameters" if axis == "step" else "large"
    return _of_largest(
        {"system": row["system"], "target": row[target], axis: row[axis]}
        | {"replicate": name, "recall": math.nan if recall is None else recall}
        for row in listed
        for name, recall in row["by_replicate"].items()
    )


def rates(listed: Sequence[Mapping[str, Any]]) -> Frame:
    """Recall and precision of smaller models by replicate, of those that have both, as `recall` of
    the values `recall` and `precision` of an axis `rate`: for the order of the two."""
    return _of_largest(
        {"system": row["system"], "target": row["large"], "rate": rate}
        | {"replicate": name, "recall": value}
        for row in listed
        for name, recall in row["by_replicate"].items()
        if recall is not None and (precision := row["precision_by_replicate"][name]) is not None
        for rate, value in (("recall", recall), ("precision", precision))
    )


def _of_largest(rows: Iterable[Mapping[str, Any]]) -> Frame:
    out: Frame = pd.DataFrame(list(rows))
    return out if out.empty else out[out.target == out.groupby("system").target.transform("max")]


def foreseen(predictor: Seen, target: Seen, step: int | None) -> dict[str, Any]:
    """What a predictor, at its end or at a step, foresees of a target. asked: canaries."""
    bits, written = (predictor.bits, predictor.written) if step is None else predictor.at[step]
    asked = np.ones(len(bits), bool)
    if step is not None and predictor.first is not None:
        asked = predictor.first <= step
    copies, will = target.copies[asked], target.written[asked]
    told = dataclasses.asdict(forecast(written[asked], will, copies))
    return told | {"asked": int(asked.sum()), "within": within(bits[asked], will, copies)}


def over(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over replicates, those of which something can be said, with intervals and p."""
    out: dict[str, Any] = {
        "replicates": sum(row["recall"] is not None for row in found),
        "of": len(found),
        "asked": float(np.mean([row["asked"] for row in found])),
        "foreseen": float(np.mean([row["foreseen"] for row in found])),
        "written": float(np.mean([row["written"] for row in found])),
        "by_replicate": {row["replicate"]: row["recall"] for row in found},
        "precision_by_replicate": {row["replicate"]: row["precision"] for row in found},
    }
    for name in ("precision", "recall"):
        pairs = [(row[name], row[f"{name}_by_copies"]) for row in found if row[name] is not None]
        out[name] = _mean([value for value, _ in pairs])
        out[f"{name}_above_copies"] = _tested([value - copies for value, copies in pairs])
    both = [r for r in found if r["recall"] is not None and r["precision"] is not None]
    out["precision_above_recall"] = _tested([r["precision"] - r["recall"] for r in both])
    areas = [row["within"] for row in found if row["within"] is not None]
    out["within"] = _mean(areas)
    out["within_above_guessing"] = _tested([area - 0.5 for area in areas])
    return out


def _finished(known: Frame, measured: Measured) -> Frame:
    return known[known.run_id.isin(list(measured))]


def _seen(
    part: Frame,
    measured: Measured,
    listed: Sequence[int],
    steps: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, dict[int, Seen]]:
    """By replicate and parameters."""
    out: dict[str, dict[int, Seen]] = {}
    for row in part.itertuples():
        at = list((steps or {}).get(row.run_id, ()))
        one = seen(measured[row.run_id], at, [s for s in listed if s in at])
        out.setdefault(row.replicate, {})[row.parameters] = one
    return out


def seen(groups: Groups, at: Sequence[int], wanted: Sequence[int]) -> Seen:
    """The canaries of a record's groups; at: steps of its snapshots; wanted: those to be read."""
    some = [group for group in groups if group["repeats"]]
    half = np.concatenate([[g["length"] - g["length"] // 2] * len(g["tails"]) for g in some])
    first = [update for g in some for update in g.get("first_update") or []]
    return Seen(
        np.concatenate([[g["repeats"]] * len(g["tails"]) for g in some]),
        _joined(some, "bits"),
        _joined(some, "tails") >= half,
        np.array(first) if first else None,
        {
            step: (
                np.concatenate([np.array(g["bits_at"][at.index(step)], float) for g in some]),
                np.concatenate([np.array(g["tails_at"][at.index(step)]) for g in some]) >= half,
            )
            for step in wanted
        },
    )


def _joined(some: Groups, name: str) -> np.ndarray:
    return np.concatenate([np.array(group[name], float) for group in some])


def _mean(values: Sequence[float] | np.ndarray) -> dict[str, Any] | None:
    if not len(values):
        return None
    low, high = t_interval(np.array(values))
    ends = None if np.isnan(low) else [low, high]
    return {"value": float(np.mean(values)), "interval": ends, "replicates": len(values)}


def _tested(values: Sequence[float] | np.ndarray) -> dict[str, Any] | None:
    found = _mean(values)
    return None if found is None else found | {"p": sign_flips(np.array(values))["p"]}
