"""Whether a probe of hidden states ranks the true value above where what a model says ranks it
(Inside-Out, arXiv 2503.15299), by kind of texts; K, K* and bits as of `measure/inside.py`.

All differences are within runs, between two scores of the same people, and are tested by flipping
their signs over replicates (seeds, which draw people, values, texts and weights). Rules, fixed
before the compared runs:

    order     a difference counts with p <= 5%, two-sided; of each alone, not corrected
    control   the 95% interval of K over replicates holds 0.5, what guessing gives, and ends within
              NEAR of it: as expected; without 0.5: differs; else cannot tell
    gain      K of the probe over K of questions, less 1, of each replicate: beside the published
              mean over models
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import naming, records
from capacity.analysis import planned_runs
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.order_verdicts import AGREES, DIFFERS, UNKNOWN
from capacity.analysis.table_checks import checked, rising
from capacity.base.files import plain
from capacity.base.frames import Frame
from capacity.declare.inside import SCORES
from capacity.fitting.statistics import ALPHA, sign_flips, t_interval
from capacity.published import values as published

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.study import Study

SCHEMA = 2
INPUTS = ("run_id", "seed", "status", "gain_last_tenth")
ABOVE, BELOW = "above", "below"
PUBLISHED = "inside/gain"
CHANCE, NEAR = 0.5, 0.05
# name, measure, score, score that it is compared with, whether its sign is published
ORDERS = (
    ("inside", "k", "probe", "question", True),
    ("inside, bits", "bits", "probe", "question_calibrated", False),
    ("states beside what is said", "k", "both", "question", False),
    ("stored", "k", "biography", "question", False),
)
CONTROLS = ("shuffled", "never_probe", "never_question")
SHOWN = ("k", "k_star", "bits")


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The published gain, and the rules that decide which orders and controls count."""
    rules = {"order": ALPHA, "control": CHANCE, "control_within": NEAR}
    return [published.get(PUBLISHED).expected()], rules


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """The scores of a study and their order. ValueError, in one line, for a table that cannot be
    judged."""
    checked(table, INPUTS, ["gain_last_tenth"], "judge")
    measured = {}
    for run_id in table.run_id[table.status == "finished"]:
        record = records.read(results, run_id)
        if record and "inside" in record["measures"]:
            extraction = record["measures"].get("extraction", {})
            measured[run_id] = record["measures"]["inside"] | {"answered": extraction}
    return analysed(study.runs, table, measured, study.name, study.names)


def analysed(
    planned: Sequence[Config],
    table: Frame,
    measured: Mapping[str, Mapping[str, Any]],
    name: str,
    names: naming.Names | None = None,
) -> Finding:
    """`analyse` of planned runs, their table, and what their records say: of `inside`, and as
    `answered` of `extraction`."""
    table = checked(table, INPUTS, ["gain_last_tenth"], "judge")
    known = described(planned, names)
    found = outcomes(known, measured)
    if found.empty:
        raise ValueError(
            "no finished run was asked for what is inside; `capacity measure RUN "
            "measure.inside=100` asks"
        )
    if len(several := sorted(set(found.people))) > 1:
        raise ValueError(
            f"measure.inside is {' and '.join(map(str, several))}; a probe that is fitted on one "
            "number of people is no measure of the other"
        )
    runs = planned_runs.beside(table, known)
    told = found.drop(columns=[c for c in known if c != "run_id"])
    runs = runs.drop(columns=[c for c in told if c in runs and c != "run_id"])
    runs = runs.merge(told, on="run_id", how="left")
    arms = [(str(arm), mine) for arm, mine in found.groupby("arm", sort=False)]
    numbers = head("inside", SCHEMA, name, _digest(found)) | {
        "runs": len(runs),
        "finished": int((runs.status == "finished").sum()),
        "asked": len(found),
        "replicates": int(found.replicate.nunique()),
        "people": several[0],
        "log2_values": float(found.log2_values.mean()),
        "probe_weights": int(found.probe_weights.iloc[0]),
        "context": {arm: str(mine.context.iloc[0]) for arm, mine in arms},
        "tuned": bool((found.weights == "tuned").all()),
        "orders": [one for arm, mine in arms for one in _orders(arm, mine)],
        "controls": [one for arm, mine in arms for one in _controls(arm, mine)],
        "cells": [_cell(arm, mine) for arm, mine in arms],
        "verdicts": [_gain(arm, mine) for arm, mine in arms],
        "rising": sorted(table.run_id[rising(table)]),
        **planned_runs.unfinished(runs),
    }
    shown = runs.sort_values(["order", "replicate", "run_id"]).drop(columns="order")
    return Finding("inside", "fit.json", plain(numbers), {"runs.csv": shown})


def described(runs: Sequence[Config], names: naming.Names | None = None) -> Frame:
    """A row per planned run: run_id, arm (what the study calls it, with its size where several are
    there), order (of the arm in the plan), replicate, parameters."""
    called = naming.of_runs(runs, names)
    sizes = [run.parameters["total"] for run in runs]
    if len(set(sizes)) > 1:
        called = [f"{arm}, {size:,} parameters" for arm, size in zip(called, sizes, strict=True)]
    called = [arm or "all runs" for arm in called]
    order = {arm: i for i, arm in enumerate(dict.fromkeys(called))}
    rows = [
        {
            "run_id": run.run_id,
            "arm": arm,
            "order": order[arm],
            "replicate": run.seed,
            "parameters": size,
        }
        for run, arm, size in zip(runs, called, sizes, strict=True)
    ]
    out: Frame = pd.DataFrame(rows)
    return out


def outcomes(known: Frame, measured: Mapping[str, Mapping[str, Any]]) -> Frame:
    """A row per finished run that was asked, in the order of the plan: the columns of `described`,
    people, log2_values, probe_weights, probe_layer, context, weights (that were asked), and per
    score s s_k, s_k_star, s_bits; answered, guessing: shares of questions."""
    rows = []
    for row in known.sort_values(["order", "replicate"], kind="stable").to_dict("records"):
        if (m := measured.get(row["run_id"])) is None:
            continue
        row |= {key: m[key] for key in ("people", "log2_values", "probe_weights", "probe_layer")}
        row |= {"context": m["context"], "weights": m["asked"]}
        for score in SCORES:
            row |= {f"{score}_{what}": m["scores"][score][what] for what in SHOWN}
        asked = m["answered"]
        row |= {
            "answered": asked.get("accuracy", math.nan),
            "guessing": asked.get("accuracy_most_frequent", math.nan),
        }
        rows.append(row)
    out: Frame = pd.DataFrame(rows)
    return out


def _digest(found: Frame) -> str:
    """SHA-256 of what the verdicts read."""
    columns = ["run_id", *(f"{score}_{what}" for score in SCORES for what in SHOWN)]
    rows = found.sort_values("run_id")[columns]
    return hashlib.sha256(rows.to_json(orient="values").encode()).hexdigest()


def _interval(values: Sequence[float] | np.ndarray) -> list[float] | None:
    low, high = t_interval(values)
    return [low, high] if math.isfinite(low) else None


def _orders(arm: str, mine: Frame) -> list[dict[str, Any]]:
    """Each difference of ORDERS: its mean, interval, p and verdict."""
    out = []
    for name, what, score, other, signed in ORDERS:
        d = (mine[f"{score}_{what}"] - mine[f"{other}_{what}"]).to_numpy(float)
        test = sign_flips(d)
        row: dict[str, Any] = {
            "arm": arm,
            "name": name,
            "measure": what,
            "score": score,
            "beside": other,
            "published": 1 if signed else None,
            "replicates": len(d),
            "difference": float(d.mean()),
            "interval": _interval(d),
            "p": test["p"],
            "verdict": UNKNOWN,
            "reason": None,
        }
        if not d.any():
            row |= {"p": 1.0, "reason": "both are equal in every replicate"}
        elif test["exact"] and 2 * test["smallest_p"] > ALPHA + 1e-12:
            row["reason"] = f"{len(d)} replicates cannot reach {ALPHA:.0%}"
        elif test["p"] > ALPHA + 1e-12:
            row["reason"] = f"p is above {ALPHA:.0%}"
        else:
            row["verdict"] = ABOVE if d.mean() > 0 else BELOW
        out.append(row)
    return out


def _controls(arm: str, mine: Frame) -> list[dict[str, Any]]:
    """K of what nobody can know, beside guessing."""
    out = []
    for score in CONTROLS:
        values = mine[f"{score}_k"].to_numpy(float)
        interval, verdict = _interval(values), UNKNOWN
        if interval is not None:
            low, high = interval
            if not low <= CHANCE <= high:
                verdict = DIFFERS
            elif CHANCE - NEAR <= low and high <= CHANCE + NEAR:
                verdict = AGREES
        row = {"arm": arm, "score": score, "k": float(values.mean()), "interval": interval}
        row |= {"bits": float(mine[f"{score}_bits"].mean()), "verdict": verdict}
        out.append(row | {"replicates": len(values)})
    return out


def _cell(arm: str, mine: Frame) -> dict[str, Any]:
    """Means over replicates of every score of an arm, with the interval of each."""
    scores = {}
    for score in SCORES:
        scores[score] = {}
        for what in SHOWN:
            values = mine[f"{score}_{what}"].to_numpy(float)
            interval = _interval(values)
            if interval is not None and what != "bits":  # a share
                interval = [max(0.0, interval[0]), min(1.0, interval[1])]
            scores[score][what] = {"mean": float(values.mean()), "interval": interval}
    answered = mine.answered.dropna()
    return {
        "arm": arm,
        "parameters": int(mine.parameters.iloc[0]),
        "replicates": len(mine),
        "probe_layer": float(mine.probe_layer.mean()),
        "answered": float(answered.mean()) if len(answered) else None,
        "guessing": float(mine.guessing.mean()) if len(answered) else None,
        "scores": scores,
    }


def _gain(arm: str, mine: Frame) -> dict[str, Any]:
    """A row of `published.verdict`: K of the probe over K of questions, less 1."""
    value = published.get(PUBLISHED)
    gain = (mine.probe_k / mine.question_k - 1).to_numpy(float)
    measured = {
        "value": float(gain.mean()),
        "interval": _interval(gain),
        "why": f"{len(gain)} replicate",
        "method": "Student's t over replicates",
        "knows": ["people and values (seeds)", "training (seeds)"],
    }
    sizes = [int(mine.parameters.min()), int(mine.parameters.max())]
    scale = published.scale_of(value, sizes)
    at = f"{arm}, {len(gain)} replicates"
    return published.verdict(value.expected(), measured, at=at, scale=scale)
