"""How well counts of a person and a value predict what a model holds of the fact (Beyond Scaling,
arXiv 2502.04066).

    y = a + b x                of each size and seed alone, as the paper fits each model
    y = a + b x + c log2 P     one law for all sizes of a seed

x is a predictor (`reading`); y of a fact is `hit` (part of the contexts in which greedy decoding
writes the value), `bits` (entropy of a value of its list less its nats) or `own bits` (-log2 of the
chance of just this value less its nats). What a law explains is

    per fact    R^2 over single facts
    bin means   R^2 over the means of bins of x, as the paper's
    left out    R^2 over single facts of a size, by the one law fitted to the other sizes of the
                same seed, against the mean of the size that is left out

A replicate is a seed with all of its sizes and its own people. A difference between predictors is
taken within a seed, mean over sizes; its interval is Student's t over seeds, its p the exact
sign-flip test. Rules and the range of the published difference were fixed before the runs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity.analysis import planned_runs
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.smi import reading
from capacity.analysis.smi.reading import COOCCURRENCE, MI, OUTCOMES, PMI, PREDICTORS, SMI
from capacity.analysis.table_checks import checked, rising
from capacity.base.files import plain
from capacity.base.frames import Frame
from capacity.fitting import smi
from capacity.fitting.statistics import ALPHA, sign_flips, t_interval
from capacity.published import values as published

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.study import Study

SCHEMA = 2
ID = "smi/mi_over_cooccurrence"
INPUTS = ("run_id", "seed", "status", "gain_last_tenth")
WAYS = ("per fact", "bin means", "left out")
PAIRS = ((MI, COOCCURRENCE), (SMI, MI))
TWO = "co-occurrence and PMI"  # each with a slope of its own
ALONE = "SMI without log2 P"  # in which size is in the exponent only
LAWS: dict[str, tuple[str, ...]] = {name: (name,) for name in PREDICTORS} | {
    TWO: (COOCCURRENCE, PMI),
    ALONE: (SMI,),
}


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The published difference of explained parts, and the level that counts."""
    return [published.get(ID).expected()], {"order": ALPHA}


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """What predicts facts in a study. ValueError, in one line, for a table that cannot be
    judged."""
    checked(table, INPUTS, ["gain_last_tenth"], "judge")
    measured = planned_runs.measured(table, results, "fact_cells")
    return analysed(study.runs, table, measured, study.name)


def analysed(
    planned: Sequence[Config],
    table: Frame,
    measured: Mapping[str, Mapping[str, Any]],
    name: str,
) -> Finding:
    """`analyse` of planned runs, their table, and what their records say of cells of facts."""
    table = checked(table, INPUTS, ["gain_last_tenth"], "judge")
    known = reading.described(planned)
    runs = planned_runs.beside(table, known)
    cells = reading.cells(runs[["run_id", "system", "size", "parameters", "seed"]], measured)
    if cells.empty:
        raise ValueError(
            "no finished run has cells of facts; `capacity measure RUN measure.fact_cells=true` "
            "counts them where weights are kept"
        )
    parts = _parts(cells)
    between = _between(parts)
    numbers = head("smi", SCHEMA, name, _digest(cells)) | {
        "runs": len(runs),
        "finished": int((runs.status == "finished").sum()),
        "replicates": int(cells.seed.nunique()),
        "facts": _facts(cells),
        "explained": _explained(parts),
        "laws": _laws(cells),
        "between": between,
        "verdicts": _verdicts(cells, between),
        "rising": sorted(runs.run_id[rising(runs)]),
        **planned_runs.unfinished(runs),
    }
    shown = runs.sort_values(["system", "parameters", "seed", "run_id"])
    order = ["system", "parameters", "seed", "outcome", "way", "predictor"]
    tables = {"runs.csv": shown, "explained.csv": parts.sort_values(order)}
    return Finding("smi", "fit.json", plain(numbers), tables)


def _digest(cells: Frame) -> str:
    """SHA-256 of what the numbers are read from."""
    columns = ["run_id", "attribute", "tier", "rank", "facts", *OUTCOMES.values()]
    rows = cells.sort_values(columns[:4])[columns]
    return hashlib.sha256(rows.to_json(orient="values").encode()).hexdigest()


Cells = dict[str, np.ndarray]  # columns of some cells, fp64 [C]


def _columns(mine: Frame) -> Cells:
    """Predictors, log2 P, and numbers and sums of facts."""
    sums = [f"{name}{end}" for name in OUTCOMES.values() for end in ("", "_squared")]
    out = {name: mine[name].to_numpy(float) for name in (*PREDICTORS, "facts", *sums)}
    return out | {"log2_p": np.log2(mine.parameters.to_numpy(float))}


def _arrays(mine: Cells, outcome: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Facts, sums and sums of squares of the outcome, by cell."""
    column = OUTCOMES[outcome]
    return mine["facts"], mine[column], mine[f"{column}_squared"]


def _of_law(mine: Cells, law: str) -> np.ndarray:
    """[C, K] of the one law for all sizes."""
    more = [] if law == ALONE else ["log2_p"]
    return np.column_stack([mine[name] for name in (*LAWS[law], *more)])


# --- what is explained


def _parts(cells: Frame) -> Frame:
    """A row per system, size, seed, outcome, way and predictor: R^2, NaN where there is none."""
    out: list[dict[str, Any]] = []
    for (system, seed), mine in cells.groupby(["system", "seed"], sort=True):
        for (parameters, size), own in mine.groupby(["parameters", "size"], sort=True):
            others = _columns(mine[mine.parameters != parameters])
            these = _columns(own)
            for outcome in OUTCOMES:
                row = {"system": system, "size": size, "parameters": float(parameters),
                       "seed": seed, "outcome": outcome}  # fmt: skip
                out += [row | one for one in _of_size(these, others, outcome)]
    made: Frame = pd.DataFrame(out)
    return made


def _of_size(own: Cells, others: Cells, outcome: str) -> list[dict[str, Any]]:
    """By way and predictor, what is explained of one size and seed; others: sizes of the seed."""
    n, total, square = _arrays(own, outcome)
    out = []
    for name in (*PREDICTORS, TWO):
        x = np.column_stack([own[one] for one in LAWS[name]])
        value = _tried(smi.line(x, n, total), x, n, total, square)
        out.append({"way": "per fact", "predictor": name, "r2": value})
    for name in PREDICTORS:
        bins = own[MI if name == SMI else name]
        value = smi.explained_means(np.round(bins, 9), own[name], n, total)
        out.append({"way": "bin means", "predictor": name, "r2": value})
    for name in LAWS:
        value = math.nan
        if len(set(others["log2_p"])) > 1:  # or the slope over parameters is not told
            there = _arrays(others, outcome)
            theta = smi.line(_of_law(others, name), *there[:2])
            value = _tried(theta, _of_law(own, name), n, total, square)
        out.append({"way": "left out", "predictor": name, "r2": value})
    return out


def _tried(theta: np.ndarray, *cells: np.ndarray) -> float:
    try:
        return smi.explained(theta, *cells)
    except ValueError:  # a model that writes no value, or all of them
        return math.nan


def _over_seeds(values: np.ndarray) -> dict[str, Any]:
    """Mean of finite numbers of seeds, and Student's t."""
    some = values[np.isfinite(values)]
    if not len(some):
        return {"value": None, "interval": None, "seeds": 0}
    low, high = t_interval(some)
    interval = [low, high] if math.isfinite(low) else None
    return {"value": float(some.mean()), "interval": interval, "seeds": len(some)}


def _explained(parts: Frame) -> list[dict[str, Any]]:
    """By system, outcome, way and predictor: every size, and the mean over sizes of a seed."""
    names = parts.drop_duplicates("parameters").set_index("parameters")["size"]
    out = []
    for key, wide in _wide(parts):
        sizes = [
            {"size": names[p], "parameters": float(p)} | _over_seeds(wide[p].to_numpy(float))
            for p in wide
        ]
        row = dict(zip(KEY, key, strict=True)) | {"sizes": sizes}
        out.append(row | _over_seeds(_mean_of_sizes(wide)))
    return out


KEY = ("system", "outcome", "way", "predictor")


def _wide(parts: Frame) -> list[tuple[tuple[str, ...], Frame]]:
    """R^2 by seed (rows) and parameters of each KEY, in the order in which they came; sizes that a
    system does not have are no column."""
    all_keys = parts[list(KEY)].drop_duplicates().itertuples(index=False, name=None)
    wide = parts.pivot(index=[*KEY, "seed"], columns="parameters", values="r2")
    sizes = parts.groupby("system").parameters.unique()
    return [(key, wide.loc[key][sorted(sizes[key[0]])]) for key in all_keys]


def _mean_of_sizes(wide: Frame) -> np.ndarray:
    """By seed the mean over all sizes, NaN of seeds that lack one."""
    return wide.to_numpy(float).mean(axis=1)


# --- differences between predictors


def _between(parts: Frame) -> list[dict[str, Any]]:
    """By system, outcome, way and pair of predictors: mean over seeds, interval and p."""
    out, means = [], {key: _mean_of_sizes(wide) for key, wide in _wide(parts)}
    for system, outcome, way in dict.fromkeys(key[:3] for key in means):
        for first, second in PAIRS:
            both = [means[system, outcome, way, one] for one in (first, second)]
            found = both[0] - both[1]
            found = found[np.isfinite(found)]
            row: dict[str, Any] = {
                "system": system,
                "outcome": outcome,
                "way": way,
                "first": first,
                "second": second,
                **_over_seeds(found),
                "p": None,
                "smallest_p": None,
                "told": False,
                "reason": None,
            }
            if not len(found):
                out.append(row | {"reason": "no seed has a number for every size"})
                continue
            test = sign_flips(found)
            smallest = 2 * test["smallest_p"] if test["exact"] else 0.0
            row |= {"p": test["p"], "smallest_p": smallest}
            if smallest > ALPHA + 1e-12:
                row["reason"] = f"{len(found)} seeds cannot reach a p of {ALPHA:.0%}"
            elif test["p"] > ALPHA + 1e-12:
                row["reason"] = f"p is above {ALPHA:.0%}"
            else:
                row["told"] = True
            out.append(row)
    return out


def _verdicts(cells: Frame, between: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The published difference beside that of hits here, both of bin means; and what single facts
    read, which decides nothing."""
    value, out = published.get(ID), []
    for system, mine in cells.groupby("system", sort=True):
        by_way = {
            row["way"]: row
            for row in between
            if row["system"] == system and row["outcome"] == "hit" and row["first"] == MI
        }
        row = by_way["bin means"]
        measured: dict[str, Any] = _read(row) | {
            "method": "Student's t over seeds, mean over sizes of each",
            "knows": ["training and people (seeds)"],
            "beside": [
                _read(by_way["per fact"]) | {"form": "R^2 of single facts, MI less co-occurrence"}
            ],
        }
        sizes = sorted(set(mine.parameters))
        at = f"{system or 'all runs'}, {len(sizes)} sizes, {row['seeds']} seeds"
        scale = published.scale_of(value, sizes)
        out.append(published.verdict(value.expected(), measured, at=at, scale=scale))
    return out


def _read(row: Mapping[str, Any]) -> dict[str, Any]:
    """A difference as `published.decide` reads it."""
    out = {"value": row["value"], "interval": row["interval"], "why": row["reason"]}
    return out | ({"lacks": row["reason"]} if row["value"] is None else {})


# --- the one law, and what it is about


def _laws(cells: Frame) -> list[dict[str, Any]]:
    """By system, outcome and law over all sizes: a, b, c (mean over seeds, Student's t) and R^2 of
    the facts that it is fitted to."""
    out = []
    for system, mine in cells.groupby("system", sort=True):
        if mine.parameters.nunique() < 2:
            continue
        seeds = [_columns(own) for _, own in mine.groupby("seed", sort=True)]
        for outcome in OUTCOMES:
            for law in PREDICTORS:
                found, r2 = [], []
                for own in seeds:
                    x, (n, total, square) = _of_law(own, law), _arrays(own, outcome)
                    theta = smi.line(x, n, total)
                    found.append(theta)
                    r2.append(_tried(theta, x, n, total, square))
                numbers = np.stack(found)
                row = {"system": system, "outcome": outcome, "predictor": law}
                row |= {key: _over_seeds(numbers[:, k]) for k, key in enumerate("abc")}
                out.append(row | {"r2": _over_seeds(np.array(r2))})
    return out


def _facts(cells: Frame) -> list[dict[str, Any]]:
    """By system and size: facts and cells of a run, and means of outcomes over seeds."""
    out = []
    for key, mine in cells.groupby(["system", "parameters", "size"], sort=True):
        by_seed = mine.groupby("seed")
        n = by_seed.facts.sum()
        row = dict(zip(("system", "parameters", "size"), key, strict=True))
        row |= {"facts": float(n.mean()), "cells": float(by_seed.size().mean())}
        row |= {
            outcome: _over_seeds((by_seed[column].sum() / n).to_numpy(float))
            for outcome, column in OUTCOMES.items()
        }
        out.append(row)
    return out
