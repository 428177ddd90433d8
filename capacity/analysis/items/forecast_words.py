"""What forecasts of a study of items say (`items.forecasts`), in words and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from capacity.analysis.items.orders import ALPHA
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, p_value, percent, plural

DASH = "–"
HALF = 0.5  # of the training: the step that is told in a sentence
CONVENTIONS = [
    (
        "forecast",
        "of the canaries that the predictor writes out of their half, that the target does; beside "
        "as many canaries with the most copies (of equals a random choice). Recall over all "
        "replicates whose target writes something, precision over those whose predictor does",
    ),
    (
        "within",
        "AUC of the predictor's code length for being written out by the target, over pairs of "
        "canaries with equal copies; 0.5 is guessing",
    ),
    ("cost", "of the predictor / of the target, each 6 P T FLOPs (arXiv 2304.11158)"),
]


def named(system: str) -> str:
    """A system in front of a sentence."""
    return "" if system == "all runs" else f"{system}: "


def answers(fit: Mapping[str, Any]) -> list[str]:
    """A sentence for each pair of sizes, for the largest target the step nearest to half of its
    training, and for each smaller model beside it at equal cost."""
    out = [_said(row, _sizes(row)) for row in fit["forecasts"] if row["replicates"]]
    earlier = _of_largest(fit["earlier"], "parameters")
    for key in dict.fromkeys((row["system"], row["tokens"]) for row in earlier):
        mine = [r for r in earlier if (r["system"], r["tokens"]) == key and r["replicates"]]
        if mine:
            row = min(mine, key=lambda row: abs(row["cost"] - HALF))
            out.append(_said(row, _step(row)))
    return out + [_equal_said(row) for row in _of_largest(fit["equal_cost"], "large")]


def _of_largest(rows: list[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    """Those of the largest target of each system."""
    most: dict[str, int] = {}
    for row in rows:
        most[row["system"]] = max(row[column], most.get(row["system"], 0))
    return [row for row in rows if row[column] == most[row["system"]]]


def _sizes(row: Mapping[str, Any]) -> str:
    return f"{named(row['system'])}{count(row['small'])} for {count(row['large'])} parameters"


def _step(row: Mapping[str, Any]) -> str:
    return (
        f"{named(row['system'])}{count(row['parameters'])} parameters at {percent(row['cost'])} of "
        "their training for its end"
    )


def _shown(one: Mapping[str, Any] | None) -> bool:
    return one is not None and one["p"] <= ALPHA + 1e-12


def _said(row: Mapping[str, Any], name: str) -> str:
    parts = []
    for what in ("precision", "recall"):
        if (one := row[what]) is not None:
            parts.append(f"{what} {digits(one['value'])} {ends(one['interval'])}".strip())
    above = row["recall_above_copies"]
    word = "**cannot tell** a difference to"
    if _shown(above):
        word = "**more** than" if above["value"] > 0 else "**less** than"
    text = (
        f"{name}: {', '.join(parts)}; {word} a ranking by copies ("
        + f"recall {_signed(above['value'])} {ends(above['interval'])}".strip()
        + f", p = {p_value(above['p'])}, {plural(row['replicates'], 'replicate')})"
    )
    if (area := row["within"]) is None:
        return f"{text}."
    test = row["within_above_guessing"]
    found = f"{digits(area['value'])} {ends(area['interval'])}".strip()
    tells = "**cannot tell** whether its code length knows more"
    if _shown(test):
        knows = "who will be" if test["value"] > 0 else "the wrong ones"
        tells = f"its code length **tells** {knows}"
    return f"{text}. Of equal copies {tells} (AUC {found}, p = {p_value(test['p'])})."


def _equal_said(row: Mapping[str, Any]) -> str:
    one = row["difference"]
    sides = f"recall {digits(row['smaller']['value'])} and {digits(row['earlier']['value'])}"
    test = f"p = {p_value(one['p'])}, {plural(row['replicates'], 'replicate')}"
    word = "**cannot tell** which foresees more"
    if _shown(one):
        word = f"the {'smaller model' if one['value'] > 0 else 'earlier step'} foresees **more**"
    return (
        f"{_sizes(row)} and the latter at the same cost ({percent(row['cost'])} of its training): "
        f"{word} ({sides}; {test})."
    )


def _signed(x: float) -> str:
    return f"{'+' if x >= 0 else '-'}{digits(abs(x))}"


def tables(fit: Mapping[str, Any]) -> list[Table]:
    """Precision and recall of every predictor, what its code lengths know, and equal costs; none
    where no target writes anything."""
    rows = [(_sizes(row).removesuffix(" parameters"), row) for row in fit["forecasts"]]
    rows += [
        (f"{named(r['system'])}{count(r['parameters'])} at {percent(r['cost'])}", r)
        for r in _of_largest(fit["earlier"], "parameters")
        if r["foreseen"]
    ]
    if not any(row["replicates"] for _, row in rows):
        return []
    out = [_rates(rows), _beyond(rows)]
    return [*out, _equal(fit)] if fit["equal_cost"] else out


def _rates(rows: list[tuple[str, Mapping[str, Any]]]) -> Table:
    headings = ("predictor", "foreseen", "written", "precision", "p", "recall", "p", "replicates")
    cells = []
    for name, row in rows:
        line = [name, digits(row["foreseen"]), digits(row["written"])]
        for what in ("precision", "recall"):
            above = row[f"{what}_above_copies"]
            line.append(DASH if row[what] is None else digits(row[what]["value"]))
            line.append(p_value(None if above is None else above["p"]))
        cells.append([*line, f"{row['replicates']} of {row['of']}"])
    return Table(
        [Column(h, right=i > 0, detail=h == "replicates") for i, h in enumerate(headings)],
        cells,
        key="foreseen, written: canaries. p: of the difference to a ranking by copies. Steps at "
        "which nothing is foreseen are left out",
    )


def _beyond(rows: list[tuple[str, Mapping[str, Any]]]) -> Table:
    headings = ("predictor", "recall - copies", "within", "95%", "p", "precision - recall", "p")
    cells = []
    for name, row in rows:
        line = [name]
        area, above = row["within"], row["recall_above_copies"]
        tested, more = row["within_above_guessing"], row["precision_above_recall"]
        line.append(DASH if above is None else _signed(above["value"]))
        line.append(DASH if area is None else digits(area["value"]))
        line.append(DASH if area is None else ends(area["interval"]) or DASH)
        line.append(p_value(None if tested is None else tested["p"]))
        line.append(DASH if more is None else _signed(more["value"]))
        cells.append([*line, p_value(None if more is None else more["p"])])
    return Table(
        [Column(h, right=i > 0, detail=h == "recall - copies") for i, h in enumerate(headings)],
        cells,
        key="within: AUC among canaries with equal copies; p of it against guessing",
    )


def _equal(fit: Mapping[str, Any]) -> Table:
    headings = ("smaller for larger", "cost", "smaller", "earlier", "difference", "95%", "p")
    cells = [
        [
            _sizes(row).removesuffix(" parameters"),
            percent(row["cost"]),
            digits(row["smaller"]["value"]),
            digits(row["earlier"]["value"]),
            _signed(row["difference"]["value"]),
            ends(row["difference"]["interval"]) or DASH,
            p_value(row["difference"]["p"]),
        ]
        for row in fit["equal_cost"]
    ]
    return Table(
        [Column(h, right=i > 0, detail=h == "95%") for i, h in enumerate(headings)],
        cells,
        key="recall of the smaller model at its end, and of the larger one when it had cost as "
        "much, straight between snapshots over the logarithm of the cost",
    )
