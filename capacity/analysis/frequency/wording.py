"""What a study of frequency found, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from capacity.analysis.document import (
    FAILED,
    GAIN,
    MISSING,
    RESIDUAL,
    RISING_MEANS,
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
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, p_value, percent, plural
from capacity.fitting.statistics import ALPHA
from capacity.naming import listed

if TYPE_CHECKING:
    import pandas

FORMULA = "X = sigma(a + b log2 n + c log2 P)"
DASH = "–"
CAPTIONS = {
    "accuracy": "Accuracy against the times that people were seen",
    "bits": "Bits of a person against the times that it was seen",
}
CONVENTIONS = [
    ("n", "texts of a person that were shown, counted, mean over the people of a class"),
    (
        "X",
        "accuracy beyond a guesser who knows how often each value was shown: "
        "(accuracy - guess) / (1 - guess)",
    ),
    ("bits of a person", "learned bits of name and values, mean over the people of a class"),
    (
        "interval over replicates",
        "95%: jackknife over seeds, each with all of its sizes, Student's t",
    ),
    RESIDUAL,
]
UNITS = {
    "a": ("a", "logits"),
    "b": ("b", "logits per doubling of times seen"),
    "c": ("c", "logits per doubling of P"),
    "worth": ("c / b", "doublings of times seen that a doubling of P is worth"),
}


def columns(runs: pandas.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of such runs."""
    return [
        RunColumn("parameters", "P", "parameters"),
        RunColumn("rates", "rates", "how the rates of people differ"),
        RunColumn("bits", "bits", "learned bits of all people"),
        RunColumn("bits", "bits/P", "learned bits per parameter", per="parameters", main=True),
        RunColumn("accuracy", "accuracy", "values written exactly"),
        *GAIN,
    ]


def document(finding: Finding) -> Document:
    """The document of a study of frequency; finding: of `analysis.analyse`."""
    fit = finding.numbers
    return Document(
        f"What is known by how often it was seen, in {fit['study']}",
        [
            *(_rises(row) for row in fit["orders"]),
            *(_law_says(law) for law in fit["laws"]),
            *(_skew_says(row) for row in fit["skew"]),
        ],
        [
            Section("classes", "What each class of people gives", [_classes(fit)]),
            Section("laws", FORMULA, [Laws([_law(law) for law in fit["laws"]])]),
            Section("skew", "Bits of all people, beside the same people seen evenly", [_skew(fit)]),
        ],
        _flags(fit),
        [
            "Classes differ in how often they are seen and in nothing else: people are dealt to "
            "them by a permutation that the seed fixes, so that the order of classes is causal.",
            "People of the same lists who were never seen are the class of rate 0, where a run "
            "asks about them: what is known of a class beyond theirs goes with the class.",
            "Classes that are seen often take parameters from the others, so that b depends on the "
            "load.",
        ],
        CONVENTIONS,
        CAPTIONS,
        [f"{fit['finished']} of {plural(fit['runs'], 'run')} finished."],
    )


def _named(row: Mapping[str, Any], words: str) -> str:
    return f"{row['system']}: {words}" if row["system"] else words


def _rises(row: Mapping[str, Any]) -> str:
    if row["reason"]:
        return _named(row, f"**no order of classes:** {row['reason']}.")
    shown = row["p"] <= ALPHA
    says = "rises" if row["slope"] > 0 else "falls"
    told = f"**{says}**" if shown else f"is not shown to rise or fall (it {says})"
    return _named(
        row,
        f"accuracy beyond guessing {told} with the times seen, by {percent(abs(row['slope']))} a "
        f"class over {row['classes']} classes of {plural(row['runs'], 'run')} (permutation "
        f"p = {p_value(row['p'])}).",
    )


def _law_says(law: Mapping[str, Any]) -> str:
    if law["reason"]:
        return _named(law, f"**no law over the times seen:** {law['reason']}.")
    worth = law["worth"]
    return _named(
        law,
        f"a doubling of the times seen adds **{digits(law['b']['value'])}** "
        f"{ends(law['b']['interval'])} logits, one of the parameters "
        f"**{digits(law['c']['value'])}** {ends(law['c']['interval'])}: a doubling of parameters "
        f"is worth {digits(worth['value'])} {ends(worth['interval'])} doublings of exposures.",
    )


def _skew_says(row: Mapping[str, Any]) -> str:
    if row["ratio"] is None:
        return _named(row, f"{row['skew']}: **no cost of skew:** {plural(row['pairs'], 'pair')}.")
    shown = row["p"] is not None and row["p"] <= ALPHA
    says = "hold less" if row["ratio"] < 1 else "hold more"
    told = f"**{says}**" if shown else f"are **not shown to differ** (they {says})"
    return _named(
        row,
        f"models of people seen by {row['skew']} {told} in all: {digits(row['ratio'])} "
        f"{ends(row['interval'])} of the bits with the same people seen evenly "
        f"({plural(row['pairs'], 'pair')}, exact sign test p = {p_value(row['p'])}).",
    )


def _law(law: Mapping[str, Any]) -> Law:
    name = law["system"] or "all runs"
    if law["reason"]:
        return Law(name, reason=law["reason"])
    numbers = [
        Number(
            symbol,
            law[key]["value"],
            unit,
            [Interval("over replicates", law[key]["interval"], "", True)],
        )
        for key, (symbol, unit) in UNITS.items()
    ]
    sizes = ", ".join(law["sizes"])
    remarks = [
        f"{plural(law['points'], 'class', 'classes')} of runs of {sizes}, "
        f"{plural(law['replicates'], 'replicate')}; rms {percent(law['rms'])} of accuracy",
        "the interval knows seeds; that these few sizes follow one line over log P is assumed",
    ]
    return Law(name, FORMULA, numbers, remarks)


def _classes(fit: Mapping[str, Any]) -> Table:
    headings = "skew|class|seen|seeds|accuracy|sd|guess|bits|sd".split("|")
    rows: list[list[str]] = []
    last = ""
    for row in fit["classes"]:
        head = listed([row["size"], row["system"], f"P {count(row['parameters'])}"])
        if head != last:
            rows.append([head])
            last = head
        rows.append(
            [
                row["skew"],
                str(row["tier"]) if row["tier"] else "never",
                count(row["seen"]),
                str(row["seeds"]),
                percent(row["accuracy"]),
                DASH if row["accuracy_sd"] is None else percent(row["accuracy_sd"]),
                percent(row["guess"]),
                DASH if row["bits"] is None else digits(row["bits"]),
                DASH if row["bits_sd"] is None else digits(row["bits_sd"], 2),
            ]
        )
    return Table(
        [Column(h, right=h != "skew") for h in headings],
        rows,
        key="class: 1 is the most seen; guess: always answering the value that was shown most "
        "often; bits: of a person; sd: over seeds",
    )


def _skew(fit: Mapping[str, Any]) -> Table:
    headings = ("skew", "pairs", "ratio", "95%", "p", "at best")
    rows = [
        [
            listed([row["skew"], row["system"]]),
            str(row["pairs"]),
            DASH if row["ratio"] is None else digits(row["ratio"]),
            DASH if row["ratio"] is None else ends(row["interval"]) or DASH,
            DASH if row["ratio"] is None else p_value(row["p"]),
            DASH if row["ratio"] is None else p_value(row["smallest_p"]),
        ]
        for row in fit["skew"]
    ]
    return Table(
        [Column(h, right=h != "skew") for h in headings],
        rows,
        key="ratio: learned bits of all people over those of runs that see them evenly, pairs of "
        "one size and seed; p: exact sign-flip test, two-sided",
    )


def _flags(fit: Mapping[str, Any]) -> list[Flag]:
    return [
        Flag(*FAILED, fit["failed"]),
        Flag(*MISSING, fit["missing"]),
        Flag("unconverged", f"{RISING_MEANS}; classes are then clocks too", fit["rising"]),
    ]
