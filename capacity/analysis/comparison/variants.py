"""Every variant of a study against its first one, without being asked.

What a pair and a replicate are is in `pairs`, what makes a verdict in `judgement`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity.analysis import labels
from capacity.analysis.comparison import judgement, pairs, wording
from capacity.analysis.comparison import runs as compared_runs
from capacity.analysis.comparison.runs import Runs
from capacity.analysis.document import Document
from capacity.base.files import plain
from capacity.fitting.statistics import t_interval, winner

if TYPE_CHECKING:
    from capacity.study import Study

MOST_ARMS = 12  # variants that are compared with the first without being asked

CONVENTION = {
    "pairs": "runs equal in size, seed, data, exposures and all settings that are not compared; a "
    "replicate is the mean of one size and seed",
    "effect": "A / B by the mean of logarithms (A - B where a number is not positive)",
    "interval": "95%, Student's t over replicates; over_sizes: over means of sizes",
    "p": "exact sign-flip test, two-sided; p_more one-sided; p_holm corrected for the comparisons "
    "of this list (Holm)",
    "detectable": "true difference, as a part of B, that one comparison of so many replicates "
    "shows in 80% of studies; interval: by the 95% "
    "limits of the noise",
    "differs": "the interval excludes equality and p_holm <= 0.05",
}


def differences(study: Study, table: pd.DataFrame) -> dict[str, Any] | None:
    """Every architecture, optimizer, precision or other variant of model and training against the
    first of the study, for each number of exposures and kind of data (and of people: each N) by
    itself, JSON-able; None where a study varies none at fixed size."""
    runs = compared_runs.read(study, table)
    data = [c for c in runs.varied if c.startswith("data.")]
    fixed = ["seed", "size", "amount", "exposures", *data]
    settings = _varied_at_fixed_size(runs, fixed)
    if not settings:
        return None
    family = [c for c in settings if c.startswith("model.")]
    recipe = [c for c in settings if c not in family]
    t = runs.table.assign(form=labels.variants(runs.table, family, [], recipe))
    rows: list[dict[str, Any]] = []
    not_compared: list[str] = []
    arms = list(dict.fromkeys(t.form))
    if len(arms) <= MOST_ARMS:
        at = [c for c in fixed[2:] if c != "amount" or runs.kind == "people"]
        rows, not_compared = _against_first(runs, t, at, set(settings))
    found = {
        "number": runs.number,
        "settings": settings,
        "first": t.form.iloc[0],
        "arms": arms,
        "comparisons": judgement.corrected(rows, runs.stores),
        "not_compared": not_compared,
        "reason": _why_none(arms, rows, study.name),
        "convention": CONVENTION,
        "inputs_sha256": compared_runs.inputs_hash(runs),
    }
    return plain(found)


def added(document: Document, differences: Mapping[str, Any]) -> Document:
    """The document with the section of `differences`, and among the answers where the study
    compares nothing published."""
    return wording.added(document, differences)


def _varied_at_fixed_size(runs: Runs, fixed: list[str]) -> list[str]:
    """Settings of model and training of which some size and data have several values."""
    same = labels.tuples(runs.table, fixed)
    return [
        c
        for c in runs.varied
        if not c.startswith("data.")
        and c not in runs.best_over
        and len(set(zip(same, runs.table[c], strict=True))) > len(set(same))
    ]


def _against_first(
    runs: Runs, t: pd.DataFrame, at: list[str], named: set[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Every form against the first one under each condition (columns `at`), and why some cannot be
    compared."""
    rows, not_compared = [], []
    varied = [c for c in at if t[c].map(repr).nunique() > 1]
    for _, part in t.groupby(labels.codes(labels.tuples(t, at)), sort=False):
        first, *others = dict.fromkeys(part.form)
        where = ", ".join(_condition(c, part[c].iloc[0]) for c in varied)
        for form in others:
            a, b = part[part.form == form], part[part.form == first]
            try:
                found = judgement.judge(runs, pairs.pair(runs, a, b, named))
            except ValueError as error:  # no model of this size in both, or none finished
                not_compared.append(f"{labels.listed([f'{form} / {first}', where])}: {error}")
            else:
                rows.append({"a": form, "b": first, "at": where} | found)
    return rows, not_compared


def _why_none(arms: list[str], rows: list[dict[str, Any]], study: str) -> str | None:
    if len(arms) > MOST_ARMS:
        return f"{len(arms)} variants: name the two to compare (capacity compare {study})"
    if not rows:
        return "no variant has a finished run of a size and a seed that the first has too"
    if all(row["effect"] is None for row in rows):
        return (
            "every pair is limited by its data, not by the model: no difference between models can "
            "show"
        )
    return None


def _condition(column: str, value: Any) -> str:
    if column == "exposures":
        return f"{value:g} exposures"
    return str(value) if column == "amount" else f"{column.split('.')[1]}={labels.text(value)}"


def choice(runs: pd.DataFrame) -> dict | None:
    """By how much the best over `best_over`, chosen for each seed by the reported number itself,
    exceeds a choice that did not see the seed.

    runs: of `arms.prepare`. Of each arm with two tried settings and two seeds, complete: quoted
    (mean over seeds of the best run of each seed), fresh (mean over seeds of the setting that the
    other seeds choose, `statistics.winner`), percent = quoted / fresh - 1, and noise_percent, what
    the winner's own noise adds to it when all seeds choose one setting. The setting that others choose
    may be the worse one, so percent errs upward; it is never below 0, and its interval (Student's t
    over arms) ends there. None where nothing was chosen."""
    done = runs[runs.status == "finished"]
    if not (done.groupby(["arm", "seed"]).size() > 1).any():
        return None
    rows, left = [], {"one seed": 0, "not every setting with every seed": 0, "not learned": 0}
    for _, mine in done.groupby("arm", sort=False):
        grid = mine.pivot_table(index="tried", columns="seed", values="r")
        if len(grid) < 2:
            continue
        why = (
            "one seed"
            if grid.shape[1] < 2
            else "not every setting with every seed"
            if grid.isna().any().any()
            else None
        )
        told = winner(mine.r, mine.tried, mine.seed) if why is None else {}
        if why is None and told["fresh"] <= 0:
            why = "not learned"
        if why:
            left[why] += 1
            continue
        quoted = float(grid.max().mean())
        rows.append(
            {
                "arm": mine.curve_name.iloc[0],
                "label": mine.label.iloc[0],
                "options": told["options"],
                "seeds": told["seeds"],
                "quoted": quoted,
                "fresh": told["fresh"],
                "percent": 100 * (quoted / told["fresh"] - 1),
                "noise_percent": 100 * told["bias"] / told["value"],
            }
        )
    percent = [row["percent"] for row in rows]
    low, high = t_interval(percent)
    return {
        "arms": rows,
        "left_out": left,
        "percent": float(np.mean(percent)) if rows else None,
        "interval": None if math.isnan(low) else [max(0.0, low), high],
        "noise_percent": float(np.mean([row["noise_percent"] for row in rows])) if rows else None,
    }


def told_choice(found: dict | None) -> str:
    """`choice` in a sentence or two, behind the note that the best was chosen; empty where nothing
    was."""
    if found is None:
        return ""
    left = ", ".join(f"{n} ({why})" for why, n in found["left_out"].items() if n)
    if found["percent"] is None:
        return f" By how much cannot be said: {left}." if left else ""
    n = len(found["arms"])
    over = (
        "[{:.2g}, {:.2g}] on average over ".format(*found["interval"]) * bool(found["interval"])
        + f"{n} arm{'s' * (n != 1)}"
    )
    return (
        f" R as quoted exceeds a choice by the other seeds by {found['percent']:.2g}% ({over}); of "
        f"that, {found['noise_percent']:.2g}% is "
        "what noise adds to the best mean. A choice by so few seeds may be the worse one, so the "
        "bias is at most about this." + (f" Not said of: {left}." if left else "")
    )


def section(found: Mapping[str, Any] | None) -> list[str]:
    """The differences for a terminal of 80 columns, behind a report that is no document yet."""
    return wording.lines(found)
