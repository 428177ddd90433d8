"""Ablations of vocabulary and length: does one number of bits per parameter hold for models whose V
or S differ?

After Morris et al., arXiv 2505.24832 v3, appendix A.1: min(alpha P, bits of the data) with one
alpha and every model's own P, against what was measured. A cell is all runs that differ in nothing
but the seed: model, V, S and N. Ceilings are those of the convention, so that short sequences are
not counted as errors; the published errors are about the plain data bits, which is computed beside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.random.plateaus import (
    CONVENTIONS,
    COUNTS,
    Frame,
    check,
    classify,
    inputs_hash,
)
from capacity.analysis.table_checks import rising
from capacity.analysis.thresholds import CORNER, DATA_LIMITED
from capacity.base.files import plain
from capacity.base.words import plural
from capacity.fitting import capacity_forms, linear
from capacity.fitting.statistics import t_interval
from capacity.published import values as published

if TYPE_CHECKING:
    from capacity.study import Study

SCHEMA = 3  # 1: without kind and versions; 2: a model was called label
FEWEST_LIMITED = 3  # rows; one or two are met by an alpha of their own
VARIED = {"vocab_size": "V", "seq_len": "S"}
CELL = ["model", "vocab_size", "seq_len", "n_sequences"]
BOTH = (("strict", "total"), ("paper", "paper"))


def varied(table: Frame) -> list[str]:
    """The columns among vocabulary and length in which the planned runs of a table differ."""
    return [column for column in VARIED if table[column].nunique() > 1]


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the verdicts of such a study will be set beside, and the rules that decide which runs
    count."""
    differ = [c for c in VARIED if len({getattr(run.data, c) for run in study.runs}) > 1]
    ids = ["alpha_of_rows"] + [f"error_{c}" for c in differ] * (len(differ) == 1)
    values = [published.get(f"morris/{name}").expected() for name in ids]
    return values, {"data_limited": DATA_LIMITED, "corner": CORNER}


def cells(table: Frame, convention: str, parameters: str) -> Frame:
    """One row per cell with a positive number of bits: bits (mean over seeds), sd over seeds, P,
    ceiling and data bits."""
    bits, ceiling = CONVENTIONS[convention]
    kind = classify(table, convention)
    used = table[kind.isin(["data_limited", "corner", "capacity_limited"])].assign(
        full=kind == "capacity_limited", near=kind == "corner"
    )
    by_cell = used.groupby(CELL).agg(
        parameters=(COUNTS[parameters], "first"),
        seeds=("seed", "nunique"),
        bits=(bits, "mean"),
        sd=(bits, "std"),
        ceiling=(ceiling, "mean"),
        data_bits=("entropy_bits", "first"),
        over_filled=("full", "sum"),
        near=("near", "sum"),
    )
    return by_cell.reset_index().astype(
        dict.fromkeys(("parameters", "bits", "ceiling", "data_bits"), float)
    )


def fit(cell: Frame, ceiling: str = "ceiling") -> dict[str, Any]:
    """One alpha for all cells with min(alpha P, ceiling) and with its smooth form, intervals over
    cells, and the errors.

    cell: of `cells`; ceiling: its column that bounds a cell. Errors are expected / measured - 1, in
    percent; every cell counts equally.
    """
    p, h, m = (cell[name].to_numpy(float) for name in ("parameters", ceiling, "bits"))
    if not (cell.over_filled + cell.near).any():
        return {
            "reason": "all data fit into every model; no cell is limited by capacity",
            "limited_by_capacity": 0,
        }
    alpha = linear.fit_hard_corner(p, h, m)
    limited = int((alpha * p < h).sum())
    hard = _record(
        alpha,
        capacity_forms.hard_corner(p, h, alpha),
        m,
        linear.jackknife(
            lambda kept: linear.fit_hard_corner(p[kept], h[kept], m[kept]),
            len(p),
            limited - 1 if limited >= FEWEST_LIMITED else 0,
        ),
    )
    smooth = {"reason": "needs three cells"}
    if len(p) > 2:
        smooth_fit = linear.fit_smooth_corner(p, h, m)
        at = smooth_fit["alpha"], smooth_fit["k"]
        smooth = _record(
            at[0],
            capacity_forms.smooth_corner(p, h, *at),
            m,
            linear.jackknife(
                lambda kept: linear.fit_smooth_corner(p[kept], h[kept], m[kept], at)["alpha"],
                len(p),
                limited - 2,
            ),
        )
        smooth |= {"k": smooth_fit["k"], "k_determined": not smooth_fit["at_bound"], "reason": None}
    tested = alpha * p < h  # the others have their ceiling, whatever alpha is
    hard["mean_absolute_error_limited_percent"] = (
        float(np.abs(np.array(hard["error_percent"])[tested]).mean()) if tested.any() else None
    )
    hard["left_out_error_percent"] = _left_out(p, h, m, tested) if limited > 1 else None
    return {"reason": None, "hard": hard, "smooth": smooth, "limited_by_capacity": limited}


def _left_out(p: np.ndarray, h: np.ndarray, m: np.ndarray, tested: np.ndarray) -> list[float]:
    """Errors of all rows, in percent, each predicted by the alpha of the other rows. tested: rows
    that alpha decides; the other rows have their ceiling whatever it is."""
    out = []
    for i in range(len(p)):
        rest = np.arange(len(p)) != i
        rest = rest if tested[rest].any() else np.ones(len(p), bool)
        alpha = linear.fit_hard_corner(p[rest], h[rest], m[rest])
        out.append(100 * (float(capacity_forms.hard_corner(p[i], h[i], alpha)) / m[i] - 1))
    return out


def _record(
    alpha: float, expected: np.ndarray, measured: np.ndarray, interval: Mapping[str, Any]
) -> dict[str, Any]:
    error = 100 * (expected / measured - 1)
    return {
        "alpha": alpha,
        "interval": None if interval["reason"] else [interval["low"], interval["high"]],
        "dof": interval["dof"],
        "interval_reason": interval["reason"],
        "expected": expected.tolist(),
        "error_percent": error.tolist(),
        "mean_absolute_error_percent": float(np.abs(error).mean()),
    }


def analyse(study: Study, table: Frame, results: Path, options: Options) -> Finding:
    """One alpha over the vocabularies or lengths of a study. ValueError, in one line, for a table
    that cannot be judged."""
    return analysed(table, study.name)


def analysed(table: Frame, name: str) -> Finding:
    """`analyse` of a table alone, a row per planned run."""
    names = [f"{row.model} V={row.vocab_size} S={row.seq_len}" for row in table.itertuples()]
    checked = check(table.assign(model=names, of_model=table.model), pinned=["precision"])
    runs = checked.assign(model=checked.of_model).drop(columns="of_model")
    numbers = head("ablation", SCHEMA, name, inputs_hash(runs)) | {
        "varied": varied(table),
        "finished": int((runs.status == "finished").sum()),
        "runs": len(runs),
        "tokens": float(runs.tokens.max()),
        "rising": sorted(runs.run_id[rising(runs)]),
        "left_out": {},
    }
    for convention, count in BOTH:
        cell, kind = cells(runs, convention, count), classify(runs, convention)
        if cell.empty:
            raise ValueError(
                f"no run to fit: none of {len(runs)} finished with a positive number of bits"
            )
        numbers[convention] = {"parameters": count, "cells": cell.to_dict("records"), **fit(cell)}
        for what in ("missing", "failed", "unlearned"):  # in either convention
            known = numbers["left_out"].get(what, [])
            numbers["left_out"][what] = sorted({*known, *runs.run_id[kind == what]})
    # min(alpha P, H), what the published errors are about
    numbers["paper"]["as_printed"] = fit(cells(runs, "paper", "paper"), "data_bits")
    numbers["verdicts"] = verdicts(numbers)
    runs = runs.assign(
        class_strict=classify(runs, "strict"),
        class_paper=classify(runs, "paper"),
        still_rising=rising(runs),
    )
    tables = {"runs.csv": runs.sort_values([*CELL, "seed", "run_id"])}
    return Finding("ablation", "fit.json", plain(numbers), tables)


def _error(errors: list[float] | None) -> dict[str, Any]:
    """The mean error of rows that alpha was not fitted to, beside that of the rows it was."""
    error: dict[str, Any] = {
        "form": "each row predicted by the alpha of the other rows, mean error in percent",
        "value": None,
        "interval": None,
        "why": "one row leaves no scatter of rows",
    }
    if errors is None:
        return error | {"lacks": "one row is limited by capacity"}
    low, high = t_interval(np.abs(errors))
    ends = None if np.isnan(low) else [max(0.0, float(low)), float(high)]
    return error | {"value": float(np.abs(errors).mean()), "interval": ends}


def _unlearned(numbers: Mapping[str, Any]) -> dict[str, str]:
    """Why a small error of min(alpha P, data bits) would be no replication: alpha decides too few
    rows, and the others hold what their data give whatever it is; or runs that learned nothing,
    which have no error, are not among the rows."""
    here = numbers["paper"]["as_printed"]
    if (limited := here["limited_by_capacity"]) < FEWEST_LIMITED:
        rows = len(numbers["paper"]["cells"])
        return {
            "unlearned": f"{limited} of {rows} rows {'is' if limited == 1 else 'are'} limited by "
            f"capacity, and an alpha of these misses none: at least {FEWEST_LIMITED} are needed"
        }
    if nothing := numbers["left_out"]["unlearned"]:
        return {
            "unlearned": f"{plural(len(nothing), 'run')} learned nothing and "
            f"{'is' if len(nothing) == 1 else 'are'} not among the rows"
        }
    return {}


def verdicts(numbers: Mapping[str, Any]) -> list[dict]:
    """alpha and the mean error of min(alpha P, data bits), in paper bits and parameters, beside the
    published ones: rows of `published.verdict`. Intervals: of alpha the jackknife over rows, of the
    error Student's t over rows. Neither agrees where alpha decides fewer than FEWEST_LIMITED rows,
    or where runs that learned nothing have no row."""
    here = numbers["paper"]["as_printed"]
    p = [row["parameters"] for row in numbers["paper"]["cells"]]
    measured: dict[str, Any] = {}
    if here["reason"]:
        measured["alpha_of_rows"] = {"value": None, "interval": None, "lacks": here["reason"]}
    else:
        hard = here["hard"]
        measured["alpha_of_rows"] = {
            "value": hard["alpha"],
            "interval": hard["interval"],
            "why": hard["interval_reason"],
            "method": "jackknife over rows",
            "dof": hard.get("dof"),
            "spread": "proportional",
            "knows": ["rows (vocabularies or lengths)"],
        }
        if len(numbers["varied"]) == 1:
            low, high = t_interval(np.abs(hard["error_percent"]))
            measured[f"error_{numbers['varied'][0]}"] = {
                "value": hard["mean_absolute_error_percent"],
                "interval": None if np.isnan(low) else [max(0.0, low), high],
                "why": "one row leaves no scatter of rows",
                "method": "Student's t over rows",
                "dof": len(hard["error_percent"]) - 1.0,
                "spread": "proportional",
                "possible": [0.0, math.inf],
                "knows": ["rows (vocabularies or lengths)"],
                "beside": [_error(hard["left_out_error_percent"])],
            }
    there = {name: published.get(f"morris/{name}") for name in measured}
    unlearned = _unlearned(numbers)
    return [
        published.verdict(
            there[name].expected(),
            number | unlearned,
            scale=published.scale_of(there[name], p, numbers["tokens"]),
        )
        for name, number in measured.items()
    ]
