"""Plateaus beside the rows of Table 1 of Morris et al. (arXiv 2505.24832 v3): one verdict per row
that a study has, the mean and the slope over the same rows.

A row compares by the paper's own convention of bits and of parameters. What is set beside it is
the plateau of the law over budgets, since no run here has a thousandth of the published exposures;
what the longest run holds stands beside it and decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from capacity.base.words import count, plural
from capacity.published import values as published

FORM = "plateau of a law over exposures, the largest over data sets and recipes of a model"
MEAN, SLOPE = "mean over the same models of bits / parameter", "slope over the same models"
FEWEST = {MEAN: 2, SLOPE: 3}  # rows: a line through two has no scatter


def row_of(model: str, precision: str, vocab_size: int, seq_len: int) -> published.Value | None:
    """The row of Table 1 about a model such as "1x32", or None: where the vocabulary or the length
    is another, or the row is not among the published values kept here."""
    value = published.values().get(f"morris/row_{model}_{precision}")
    if value is None:
        return None
    there = value.setting
    same = (there["vocab_size"], there["seq_len"]) == (vocab_size, seq_len)
    return value if same else None


def expected(rows: Iterable[published.Value]) -> list[dict[str, Any]]:
    """What verdicts will be set beside: each row, and what several of one precision give together.
    Entries as `published.verdict` takes them."""
    known = {row.id: row for row in rows}
    out = [row.expected() for row in known.values()]
    for precision in sorted({row.setting["precision"] for row in known.values()}):
        same = [row for row in known.values() if row.setting["precision"] == precision]
        out += [_together(name, same) for name, few in FEWEST.items() if len(same) >= few]
    return out


def verdicts(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `published.verdict`; cells: of the paper convention, of a finding of
    `budget.analyse`."""
    best: dict[str, dict[str, Any]] = {}
    for cell in cells:
        row = row_of(cell["model"], cell["precision"], cell["vocab_size"], cell["seq_len"])
        if row is None:
            continue
        found = {"row": row, "cell": cell, "measured": _plateau(cell)}
        if row.id not in best or _value(found) > _value(best[row.id]):
            best[row.id] = found
    out = [
        published.verdict(found["row"].expected(), found["measured"], at=_budgets(found["cell"]))
        for found in best.values()
    ]
    for entry in expected(found["row"] for found in best.values()):
        if entry["name"] in FEWEST:
            same = [best[id] for id in entry["published"].split(", ")]
            at = ", ".join(found["cell"]["model"] for found in same)
            out.append(published.verdict(entry, _combined(entry["name"], same), at=at))
    return out


def weights(name: str, p: Sequence[float]) -> np.ndarray:
    """[models]: what bits per parameter of each are multiplied with, so that the sum is the mean
    over models, or the slope of the least-squares line with an intercept through bits against
    parameters p."""
    sizes = np.asarray(p, float)
    if name == MEAN:
        return np.full(len(sizes), 1 / len(sizes))
    off = sizes - sizes.mean()
    return off * sizes / (off**2).sum()


def _together(name: str, rows: Sequence[published.Value]) -> dict[str, Any]:
    """The mean or slope of published rows, each of which is known to within its margin."""
    p = [float(row.setting["parameters"][0]) for row in rows]
    values = np.array([row.value for row in rows], float)
    value = float(weights(name, p) @ values)
    margin = max(row.margin or 0.0 for row in rows)
    worst = max((row.evidence for row in rows), key="prdsu".index)
    first = rows[0]
    return first.expected(
        name,
        quantity=first.unit,
        published=", ".join(row.id for row in rows),
        value=value,
        interval=None,
        range=[value - margin * abs(value), value + margin * abs(value)],
        form=name,
        evidence=worst,
        note="of the published rows of these models only",
        there=f"{plural(len(rows), 'model')} of the table",
    )


def _value(found: Mapping[str, Any]) -> float:
    value = found["measured"]["value"]
    return -math.inf if value is None else float(value)


def _budgets(cell: Mapping[str, Any]) -> str:
    first, last = (cell["budgets"][i]["exposures"] for i in (0, -1))
    load = f"load {cell['load']:.3g}"
    return f"{cell['model']}, {load}, {count(first)} to {count(last)} exposures"


def _plateau(cell: Mapping[str, Any]) -> dict[str, Any]:
    """The plateau of a cell as `published.decide` takes it. bits per parameter."""
    last, law = cell["budgets"][-1], cell["law"]
    longest = {
        "form": f"what runs of {count(last['exposures'])} exposures hold",
        "value": last["r"],
        "interval": None,
        "why": "a run that still gains is a lower bound of a plateau",
    }
    told = {"form": FORM, "beside": [longest]}
    if law["reason"]:
        return told | {"value": None, "interval": None, "lacks": law["reason"]}
    return told | {
        "value": law["r_inf"]["value"],
        "interval": law["r_inf"]["interval"],
        "why": "these budgets do not determine it",
        "method": "profile of the law, over both forms",
        "knows": ["budgets", "training (seeds)"] if _seeds(cell) > 1 else ["budgets"],
        "remarks": ["the upper end is what the data hold"] if law["bounded_by_data"] else [],
    }


def _seeds(cell: Mapping[str, Any]) -> int:
    return max(budget["seeds"] for budget in cell["budgets"])


def _combined(name: str, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The same combination of plateaus; their errors are independent, so half intervals add in
    squares, each side by itself."""
    measured = [one["measured"] for one in found]
    told = {"form": f"{name}, each its {FORM}"}
    lacking = [one["cell"]["model"] for one in found if one["measured"]["value"] is None]
    if lacking:
        lacks = f"no plateau of {', '.join(lacking)}"
        return told | {"value": None, "interval": None, "lacks": lacks}
    w = weights(name, [one["cell"]["p"] for one in found])
    value = float(w @ np.array([one["value"] for one in measured], float))
    if any(one["interval"] is None for one in measured):
        why = "the plateaus of some models are not determined"
        return told | {"value": value, "interval": None, "why": why}
    ends = np.array([one["interval"] for one in measured], float)
    down, up = (
        np.array([one["value"] for one in measured]) - ends[:, 0],
        ends[:, 1] - np.array([one["value"] for one in measured]),
    )
    low = math.sqrt(float(((np.where(w > 0, down, up) * w) ** 2).sum()))
    high = math.sqrt(float(((np.where(w > 0, up, down) * w) ** 2).sum()))
    return told | {
        "value": value,
        "interval": [value - low, value + high],
        "why": "",
        "method": "intervals of the models' plateaus, added in squares",
        "knows": ["budgets"],
    }
