"""The recipe of every model: chosen at one amount of data, then frozen.

A table learns by rates of its own, and what a system holds at a poor rate says nothing of the
system. So each model of each system has to have tried rates on both sides of its best one, at one
amount of data; the law then reads runs of that recipe alone, and where it can those of seeds that
had no part in the choice, so that no run is in the law for its outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from capacity import naming
from capacity.analysis.idle.reading import PLAIN, RATES
from capacity.base.frames import Frame
from capacity.base.words import joined, plural

MODEL = ["condition", "form", "model"]
FEWEST = 3  # values of a rate: fewer have none that lies between others


def choose(runs: Frame, best_over: Sequence[str]) -> tuple[Frame, list[dict[str, Any]]]:
    """The runs with `chosen` (trained by the recipe of their model) and `chose` (whose bits decided
    which that is), and a row per model: model, system, called, recipe by setting, amount and seeds
    that chose, tried (values by setting), runner_up (bits of the second best over those of the
    best), reasons (why its optimum is not known; empty where it is)."""
    chosen, chose, out = set(), set(), []
    for _, mine in runs.groupby(MODEL, sort=False):
        row, grid = _of_model(mine, best_over)
        out.append(row)
        if row["recipe"] is None:
            continue
        values = tuple(row["recipe"].values())
        chosen |= {i for i, recipe in mine.recipe.items() if recipe == values}
        chose |= set(grid)
    out.sort(key=lambda row: (row["called"], row["system"] != PLAIN, row["system"], row["p"]))
    return runs.assign(chosen=runs.index.isin(chosen), chose=runs.index.isin(chose)), out


def _of_model(mine: Frame, best_over: Sequence[str]) -> tuple[dict[str, Any], list[Any]]:
    """The row of one model, and which runs decided."""
    first = mine.iloc[0]
    row: dict[str, Any] = {name: first[name] for name in (*MODEL, "system", "called", "p")}
    row |= {"recipe": None, "amount": None, "seeds": [], "tried": {}, "runner_up": None}
    done = mine[mine.status == "finished"]
    if done.empty:
        return row | {"reasons": ["no run finished"]}, []
    at = _most(done.amount, done.recipe)
    there = done[done.amount == at]
    most = max(there.recipe[there.seed == seed].nunique() for seed in there.seed)
    seeds = [s for s in sorted(set(there.seed)) if there.recipe[there.seed == s].nunique() == most]
    deciding = there[there.seed.isin(seeds)]
    held: dict[tuple, list[float]] = {}
    for recipe, bits in zip(deciding.recipe, deciding.held, strict=True):
        held.setdefault(recipe, []).append(float(bits))
    complete = {recipe: bits for recipe, bits in held.items() if len(bits) == len(seeds)}
    ranked = sorted(complete, key=lambda recipe: -sum(complete[recipe]))
    values, sums = ranked[0], [sum(complete[recipe]) for recipe in ranked]
    row |= {
        "recipe": dict(zip(best_over, values, strict=True)),
        "amount": f"{at[0].split('.')[-1]} {naming.text(at[1])}",
        "seeds": [int(seed) for seed in seeds],
        "tried": {
            name: sorted({recipe[i] for recipe in complete if recipe[i] is not None})
            for i, name in enumerate(best_over)
        },
        "runner_up": sums[1] / sums[0] if len(sums) > 1 and sums[0] > 0 else None,
    }
    planned = mine[(mine.amount == at) & mine.seed.isin(seeds)]
    lost = int((planned.status != "finished").sum())
    reasons = [f"{plural(lost, 'run')} of its tuning did not finish"] if lost else []
    reasons += _edges(row, bool(first.tables))
    return row | {"reasons": reasons}, list(deciding.index) if len(complete) > 1 else []


def _most(amounts: Any, recipes: Any) -> tuple[str, Any]:
    """The amount of data at which most recipes were tried, the smallest of equal ones."""
    tried: dict[tuple[str, Any], set] = {}
    for amount, recipe in zip(amounts, recipes, strict=True):
        tried.setdefault(amount, set()).add(recipe)
    return min(tried, key=lambda amount: (-len(tried[amount]), amount))


def _edges(row: dict[str, Any], tables: bool) -> list[str]:
    """Why the best recipe may not be the best there is, for every rate that the model learns by."""
    out = []
    for name in RATES:
        if name == "train.table_lr" and not tables:
            continue
        tried, short = row["tried"].get(name, []), name.split(".")[-1]
        if len(tried) < FEWEST:
            values = joined([naming.text(v) for v in tried])
            told = f" ({values})" if tried else ""
            out.append(f"{short} is not tuned: {plural(len(tried), 'value')}{told}")
            continue
        best = row["recipe"][name]
        if best in (tried[0], tried[-1]):
            side = "smallest" if best == tried[0] else "largest"
            out.append(
                f"its best {short}, {naming.text(best)}, is the {side} of {len(tried)} tried"
            )
    return out


def of_law(runs: Frame) -> Frame:
    """Those of the chosen recipe that a law may read: of seeds that chose nothing, where a model
    has a finished one, else all."""
    mine = runs[runs.chosen]
    free = mine[~mine.chose & (mine.status == "finished")]
    has = set(free.groupby(MODEL).groups)
    keep = [
        not row.chose or (row.condition, row.form, row.model) not in has
        for row in mine.itertuples()
    ]
    return mine[keep]


def reasons(choices: Sequence[dict[str, Any]], condition: int, form: int, *of: str) -> list[str]:
    """Why the best recipe of some systems is not known, model by model."""
    return [
        f"{row['model']}: {reason}"
        for row in choices
        if (row["condition"], row["form"]) == (condition, form) and row["system"] in of
        for reason in row["reasons"]
    ]
