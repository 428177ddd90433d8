"""What a study of acquisition found, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from capacity.analysis.document import (
    FAILED,
    MISSING,
    RESIDUAL,
    Document,
    Flag,
    Interval,
    Law,
    Laws,
    Number,
    RunColumn,
    Section,
)
from capacity.analysis.finding import Finding
from capacity.analysis.order_verdicts import AGREES, DIFFERS, UNKNOWN
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, p_value, plural
from capacity.fitting.statistics import ALPHA
from capacity.naming import listed

if TYPE_CHECKING:
    import pandas

FORMULA = "R(t) = c - a log10 t"
DASH = "–"
CAPTIONS = {
    "cost": "What the value of a fact costs along the training, by how it is shown and asked",
    "held": "Bits held of a fact behind its last view, above facts that are never shown",
}
CONVENTIONS = [
    ("bits of a value", "code length of its tokens behind the text before them, in bits"),
    (
        "effectivity",
        "bits gained from just before a view to the best probe within the window after it, mean "
        "over facts and views, less what facts that are never shown get by the same search",
    ),
    (
        "gained",
        "bits gained from before the first view to the best probe after the last one, above facts "
        "that are never shown, less what these get by the same search",
    ),
    ("held", "bits gained at the last lag, above facts that are never shown"),
    (
        "R",
        "retainability: log-probability at a lag over that at the best probe after the last view, "
        "both less that before the first; mean over facts within 1.5 interquartile ranges of the "
        "quartiles",
    ),
    ("a", "part of R that is lost per decade of steps"),
    (
        "R = 0",
        "steps, and tokens, at which the line meets 0 (learnability threshold): mean of logarithms",
    ),
    ("interval over replicates", "95%: Student's t over replicates that have a number"),
    RESIDUAL,
]


def columns(runs: pandas.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of such runs."""
    return [
        RunColumn("parameters", "P", "parameters, total count"),
        RunColumn("batch", "batch", "rows per step"),
        RunColumn(
            "gained_memorization",
            "gained",
            "bits of a fact shown in one wording, asked in that wording",
            main=True,
        ),
        RunColumn("gained_semantic", "semantic", "the same, asked in wordings it never had"),
        RunColumn("wall_s", "seconds", "of training, its share of the stack"),
    ]


def document(finding: Finding) -> Document:
    """The document of a study of acquisition; finding: of `analysis.analyse`."""
    fit = finding.numbers
    return Document(
        f"How new facts are acquired and lost, in {fit['study']}",
        [_says(row) for row in fit["orders"]] or ["**No order:** one condition of everything."],
        [
            Section("orders", "Orders that are published", [_orders(fit)]),
            Section("gains", "What a view leaves, and what stays", [_gains(fit)]),
            Section("decay", FORMULA, [_decays(fit)]),
        ],
        [Flag(*FAILED, fit["failed"]), Flag(*MISSING, fit["missing"])],
        [
            "R has no size where nothing was gained: a cell whose gain is within two standard "
            "errors of what never shown facts get has bits alone.",
            "A search for the best of several probes finds a gain where there is none; facts that "
            "are never shown are searched alike, and what they get is taken off.",
            "Steps and tokens to R = 0 differ by the batch; a line is fitted from 10 steps on, "
            "behind the momentum of the last view.",
        ],
        CONVENTIONS,
        {
            name: words
            for name, words in CAPTIONS.items()
            if name == "cost" or any(row["held"] is not None for row in fit["cells"])
        },
        [f"{fit['finished']} of {plural(fit['runs'], 'run')} finished."],
    )


def _named(row: Mapping[str, Any]) -> str:
    return "" if row["system"] == "all runs" else f"{row['system']}: "


def _says(row: Mapping[str, Any]) -> str:
    words = {
        AGREES: "**agrees** with the published order",
        DIFFERS: "**differs** from the published order",
        UNKNOWN: "**cannot tell**",
    }[row["verdict"]]
    name = f"{_named(row)}{row['order']} ({row['outcome']})"
    if not row["means"]:
        return f"{name}: {words}: {row['reason']}."
    values = ", ".join(
        f"{digits(mean)} {_at(value)}"
        for value, mean in zip(row["values"], row["means"], strict=True)
    )
    why = f"; {row['reason']}" if row["verdict"] == UNKNOWN else ""
    return (
        f"{name}: {words}: {values} (permutation p = {p_value(row['p'])}, "
        f"{plural(row['replicates'], 'replicate')}{why})."
    )


def _at(value: str) -> str:
    """A condition by its name, or by its number: of parameters, or of rows in a batch."""
    return f"at {count(float(value))}" if value.replace(".", "", 1).isdigit() else value


def _orders(fit: Mapping[str, Any]) -> Table:
    headings = ("order", "of", "from", "to", "published", "replicates", "p", "verdict")
    ways = {1: "rises", -1: "falls"}
    rows = [
        [
            f"{_named(row)}{row['order']}",
            row["outcome"],
            f"{_at(row['values'][0])}: {digits(row['means'][0])}" if row["means"] else DASH,
            f"{_at(row['values'][-1])}: {digits(row['means'][-1])}" if row["means"] else DASH,
            ways[row["published"]],
            f"{row['replicates']} of {row['of']}",
            p_value(row["p"]),
            row["verdict"],
        ]
        for row in fit["orders"]
    ]
    left = ("order", "of", "from", "to", "published", "verdict")
    return Table(
        [
            Column(h, right=h not in left, detail=h in ("of", "published", "replicates"))
            for h in headings
        ],
        rows,
        key=f"{AGREES} or {DIFFERS}: p <= {ALPHA:.0%} and the sign that is published or the other; "
        "arXiv 2406.11813",
    )


def _cell(row: Mapping[str, Any]) -> str:
    return listed([row["size"], f"batch {row['batch']}", _named(row).rstrip(": ")])


def _value(one: Mapping[str, Any] | None, kind: str = "") -> str:
    if one is None:
        return DASH
    return count(round(one["value"])) if kind == "count" else digits(one["value"])


def _interval(one: Mapping[str, Any] | None) -> str:
    return DASH if one is None else ends(one["interval"]) or DASH


def _gains(fit: Mapping[str, Any]) -> Table:
    headings = ["shown, asked", "effectivity", "gained", "95%", "held", "95%", "per decade", "runs"]
    rows: list[list[str]] = []
    last = ""
    for row in fit["cells"]:
        if _cell(row) != last:
            last = _cell(row)
            rows.append([last])
        rows.append(
            [
                f"{row['arm']}, {row['kind']}",
                _value(row["effectivity"]),
                _value(row["gained"]),
                _interval(row["gained"]),
                _value(row["held"]),
                _interval(row["held"]),
                _value(row["bits_per_decade"]),
                str(row["replicates"]),
            ]
        )
    return Table(
        [Column(h, right=i > 0, detail=h in ("95%", "runs")) for i, h in enumerate(headings)],
        rows,
        key="bits of a value, means over replicates; per decade: bits lost per decade of steps",
    )


def _decays(fit: Mapping[str, Any]) -> Laws:
    return Laws([_law(row) for row in fit["cells"]])


def _law(row: Mapping[str, Any]) -> Law:
    name = f"{_cell(row)}: {row['arm']}, {row['kind']}"
    if row["a"] is None:
        return Law(name, reason=row["why"] or "no run has a line")
    units = {"a": "of R per decade of steps", "threshold": "steps", "threshold_tokens": "tokens"}
    names = {"a": "a", "threshold": "R = 0", "threshold_tokens": "R = 0"}
    numbers = [
        Number(
            names[key],
            row[key]["value"],
            unit,
            [Interval("over replicates", row[key]["interval"], "one replicate", True)],
        )
        for key, unit in units.items()
        if row[key] is not None
    ]
    r2 = "" if row["r2"] is None else f"; R2 of the line {digits(row['r2']['value'], 2)}"
    remark = f"{row['a']['replicates']} of {plural(row['replicates'], 'run')} have a line{r2}"
    return Law(name, FORMULA, numbers, [remark])
