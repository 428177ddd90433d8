"""What a study of wording found, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from capacity.analysis.document import (
    FAILED,
    GAIN,
    MISSING,
    RISING_MEANS,
    Document,
    Flag,
    RunColumn,
    Section,
)
from capacity.analysis.finding import Finding
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, p_value, plural
from capacity.fitting.statistics import ALPHA
from capacity.naming import listed

if TYPE_CHECKING:
    import pandas

DASH = "–"
CAPTIONS = {"total": "Bits of facts and of wording per parameter"}
CONVENTIONS = [
    ("R", "learned bits of names and values / P, of arXiv 2404.05405, definition 4.3; P as there"),
    (
        "W",
        "bits of wording / P: entropy of orders and templates of the fixed texts, less what their "
        "codes have beside names and values; 0 where wording is drawn anew: none can be held",
    ),
    ("total", "R + W"),
    (
        "control",
        "what the same measure gives for texts that are drawn anew, bits of a text: at most 0 but "
        "for the noise of people",
    ),
]


def columns(runs: pandas.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of such runs."""
    return [
        RunColumn("parameters", "P", "parameters"),
        RunColumn("arm", "wording", "how texts are worded"),
        RunColumn("r", "R", "bits of facts per parameter"),
        RunColumn("w", "W", "bits of wording per parameter"),
        RunColumn("total", "total", "bits of facts and wording per parameter", main=True),
        RunColumn("control", "control", "bits of a text that nobody can know"),
        *GAIN,
    ]


def document(finding: Finding) -> Document:
    """The document of a study of wording; finding: of `analysis.analyse`."""
    fit = finding.numbers
    return Document(
        f"Facts and wording in {fit['study']}",
        [*map(_ratio, fit["ratios"]), *map(_control, fit["controls"])],
        [
            Section("arms", "What is held of facts and of wording", [_arms(fit)]),
            Section("ratios", "Fixed wording beside new wording", [_ratios(fit)]),
        ],
        _flags(fit),
        [
            "Bits of wording are a lower bound: what follows from the draws costs a model "
            "something until it knows the language perfectly.",
            "One fixed text also makes values hard to ask for in other words; R asks in the texts "
            "that were shown.",
        ],
        CONVENTIONS,
        CAPTIONS,
        [f"{fit['finished']} of {plural(fit['runs'], 'run')} finished."],
    )


def _named(row: Mapping[str, Any], words: str) -> str:
    return f"{row['system']}: {words}" if row["system"] else words


def _ratio(row: Mapping[str, Any]) -> str:
    if row["total"] is None:
        return _named(row, f"{row['arm']}: **no ratio:** {plural(row['pairs'], 'pair')} of runs.")
    told = row["total"]
    read = f"{digits(told['value'])} {ends(told['interval'])}".strip()
    what = f"facts and wording of {row['arm']} over facts of new wording"
    if row["withheld"]:
        return _named(row, f"{what}: **cannot tell:** {row['withheld']}. (As measured: {read}.)")
    shown = told["p"] is not None and told["p"] <= ALPHA
    says = "" if shown else ", which is not shown to differ from 1"
    return _named(
        row,
        f"{what}: **{digits(told['value'])}** {ends(told['interval'])} "
        f"({plural(row['pairs'], 'pair')}, exact sign test p = {p_value(told['p'])}{says}).",
    )


def _control(row: Mapping[str, Any]) -> str:
    read = f"{digits(row['value'])} {ends(row['interval'])}".strip()
    fine = row["interval"] is None or row["interval"][0] <= 0
    says = "as it must be" if fine else "**above 0, so that something else is counted**"
    return _named(
        row,
        f"control: texts of new wording hold {read} bits of their wording, {says} "
        f"({plural(row['runs'], 'run')}).",
    )


def _arms(fit: Mapping[str, Any]) -> Table:
    headings = "wording|seeds|R|sd|R at most|W|sd|W at most|total|sd".split("|")
    rows: list[list[str]] = []
    last = ""
    for row in fit["arms"]:
        head = listed(
            [
                row["size"],
                row["system"],
                f"P {count(row['parameters'])}",
                f"N {row['people']:,}",
                f"{row['exposures_planned']:g} exposures",
            ]
        )
        if head != last:
            rows.append([head])
            last = head
        cells = [row["arm"], str(row["seeds"])]
        for name, most in (("r", "facts_most"), ("w", "wording_most"), ("total", "")):
            sd = row[f"{name}_sd"]
            cells += [digits(row[name]), DASH if sd is None else digits(sd, 2)]
            cells += [digits(row[most])] if most else []
        rows.append(cells)
    return Table(
        [Column(h, right=h != "wording", detail=h == "sd") for h in headings],
        rows,
        key="bits per parameter; at most: the entropy of all of it; sd: over seeds",
    )


def _ratios(fit: Mapping[str, Any]) -> Table:
    headings = ("wording", "pairs", "total / R new", "95%", "p", "R / R new", "95%")
    rows = []
    for row in fit["ratios"]:
        cells = [listed([row["arm"], row["system"]]), str(row["pairs"])]
        for name in ("total", "r"):
            told = row[name]
            cells += [DASH, DASH] if told is None else [
                digits(told["value"]), ends(told["interval"]) or DASH
            ]  # fmt: skip
            if name == "total":
                cells.append(DASH if told is None else p_value(told["p"]))
        rows.append(cells)
    return Table(
        [Column(h, right=h != "wording") for h in headings],
        rows,
        key="pairs of one size, people, exposures and seed; p: exact sign-flip test, two-sided",
    )


def _flags(fit: Mapping[str, Any]) -> list[Flag]:
    return [
        Flag(*FAILED, fit["failed"]),
        Flag(*MISSING, fit["missing"]),
        Flag("unconverged", f"{RISING_MEANS}; both rulers are then clocks too", fit["rising"]),
    ]
