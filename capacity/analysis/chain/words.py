"""What a study of a chain of families found, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from capacity.analysis.chain.analysis import FULL
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
from capacity.analysis.families import BY_KEY
from capacity.analysis.finding import Finding
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, joined, p_value, percent, plural
from capacity.fitting.statistics import ALPHA

if TYPE_CHECKING:
    import pandas

DASH = "–"
CAPTIONS = {"chain": "Bits per parameter from random rows to biographies"}
CONVENTIONS = [
    (
        "bits of rows",
        "strict bits, N S log2 V less their code length behind BOS or a marker (arXiv 2505.24832)",
    ),
    (
        "bits of values",
        "N (log2 S0 - p2 / ln 2), names being given (arXiv 2404.05405, definition 4.3 without its "
        "names)",
    ),
    ("P", "all parameters, a tied embedding once"),
    (
        "ratio",
        "geometric mean over sizes of ratios of means over seeds, so that steps multiply to the "
        "ratio of the ends; 95% by the delta method and Student's t",
    ),
    ("part", "of the logarithm of the ratio of the ends"),
]


def columns(runs: pandas.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of such runs."""
    return [
        RunColumn("parameters", "P", "all parameters"),
        RunColumn("family", "family", "what the run is trained on"),
        RunColumn("per_parameter", "held", "bits that count, per parameter", main=True),
        RunColumn("share", "of all", "part of all bits that count"),
        *GAIN,
    ]


def document(finding: Finding) -> Document:
    """The document of a chain of families; finding: of `analysis.analyse`."""
    fit = finding.numbers
    sections = [Section("steps", "One change after another", [_steps(fit)])]
    if fit["clocks"]:
        sections.append(Section("clocks", "The ends over exposures", [_clocks(fit)]))
    if fit["ceilings"]:
        title = "Where the ends would end"
        sections.append(Section("ceilings", title, [_ceilings(fit)]))
    sections += [
        Section("families", "What is held of each family", [_families(fit)]),
        Section("tuning", "Learning rates and amounts that were tried", [_tuning(fit)]),
    ]
    return Document(
        f"From random rows to biographies in {fit['study']}",
        [*_ends(fit), *_largest(fit), *_clock(fit), *_ceiling(fit), *_readings(fit)],
        sections,
        _flags(fit),
        [
            "At equal exposures families differ in what they hold in the end and in how soon they "
            "do; ratios are of what was held by then.",
            "p is of each step by itself; as many are tested as there are steps.",
            *_amounts(fit),
            *_rates(fit),
        ],
        CONVENTIONS,
        CAPTIONS,
        [f"{fit['finished']} of {plural(fit['runs'], 'run')} finished."],
    )


def _read(row: Mapping[str, Any]) -> str:
    return f"{digits(row['value'])} {ends(row['interval'])}".strip()


def _ends(fit: Mapping[str, Any]) -> list[str]:
    row = fit["ends"]
    if row is None:
        return ["**no chain:** no two families share a number of exposures."]
    first, last = BY_KEY[row["first"]].called, BY_KEY[row["last"]].called
    what = f"bits per parameter of {last} over those of {first}"
    at = f"{row['exposures']:g} exposures, {plural(len(row['sizes']), 'size')}"
    if row["value"] is None:
        return [f"{what}: **cannot tell:** {row['why']} ({at})."]
    if row["withheld"]:
        why = "; ".join(row["withheld"])
        return [f"{what}: **cannot tell:** {why}. (As measured: {_read(row)}; {at}.)"]
    p = f", p = {p_value(row['p'])}" if row["p"] is not None else ""
    says = f"{what}: **{digits(row['value'])}** {ends(row['interval'])}"
    return [f"{says} ({plural(row['pairs'], 'pair')}, {at}{p})."]


def _follows(row: Mapping[str, Any]) -> bool:
    """Whether a step is between families of which one follows the other in its study."""
    return not row.get("over")


def _to(row: Mapping[str, Any]) -> str:
    """What a step leads to, and from where if not from the row above."""
    last = BY_KEY[row["last"]].called
    return last if _follows(row) else f"{last}, from {BY_KEY[row['first']].called}"


def _largest(fit: Mapping[str, Any]) -> list[str]:
    """Which steps are shown, the largest first."""
    shown, unknown = [], []
    for row in fit["steps"]:
        if row["value"] is None or row["withheld"] or row["p"] is None:
            unknown.append(_to(row))
        elif row["p"] <= ALPHA:
            shown.append(row)
    shown.sort(key=lambda row: -abs(row["log"]))
    out = []
    if shown:
        told = "; ".join(f"{_to(row)} {_read(row)}" for row in shown)
        out.append(f"steps that are shown to change what is held, as ratios: {told}.")
    if unknown:
        out.append(f"**cannot tell** of the {plural(len(unknown), 'step')} to {joined(unknown)}.")
    return out


def _clock(fit: Mapping[str, Any]) -> list[str]:
    clocks = fit["clocks"]
    if not clocks or clocks["slope"] is None:
        return []
    low, high = (math.exp(x) for x in clocks["interval"])
    read = f"{digits(math.exp(clocks['slope']))} {ends([low, high])}"
    if low > 1:
        says = "the ends **come nearer**, so that part of their gap is one of clocks"
    elif high < 1:
        says = "the ends **part further**"
    else:
        says = "**cannot tell** clocks from ceilings"
    pairs = plural(clocks["pairs"], "pair")
    return [f"a doubling of exposures multiplies that ratio by {read} ({pairs}): {says}."]


def _ceiling(fit: Mapping[str, Any]) -> list[str]:
    """Whether the ends have one ceiling, by size."""
    out = []
    for row in fit["ceilings"]:
        what = f"plateaus over exposures, {row['size']}, last end over first"
        if row["why"]:
            measured = ""
            if row["ratio"] is not None:
                measured = f" (As measured: {_read(row | {'value': row['ratio']})}.)"
            out.append(f"{what}: **cannot tell:** {'; '.join(row['why'])}.{measured}")
            continue
        low, high = row["interval"]
        says = (
            "**two ceilings**: more exposures of both would not join them"
            if high < 1 or low > 1
            else "**cannot tell** two ceilings from one that is met later"
        )
        clock = ""
        if row["clock"] is not None and high < 1:
            part = [percent(x, 0) for x in (row["clock"], *row["clock_interval"])]
            at = f"of the logarithm of the gap at {row['exposures']:g} exposures"
            clock = f"; {at} {part[0]} [{part[1]}, {part[2]}] is one of clocks"
        read = _read(row | {"value": row["ratio"]})
        out.append(f"{what}: {read}: {says}{clock}.")
    return out


def _readings(fit: Mapping[str, Any]) -> list[str]:
    return [
        f"other counting: {BY_KEY[row['family']].called}, {row['words']}: "
        f"{_read(row | {'value': row['ratio']})} times the bits ({plural(row['runs'], 'run')})."
        for row in fit["readings"]
    ]


def _steps(fit: Mapping[str, Any]) -> Table:
    headings = ["to", "ratio", "95%", "part", "p", "pairs", "reading"]
    whole = fit["ends"]["log"] if fit["ends"] else None
    rows = []
    for row in fit["steps"]:
        part = DASH
        if row["log"] is not None and whole:
            part = percent(row["log"] / whole, 0)
        cannot = row["value"] is None or row["withheld"] or row["p"] is None
        says = "cannot tell" if cannot else "shown" if row["p"] <= ALPHA else "not shown"
        rows.append(
            [
                _to(row),
                DASH if row["value"] is None else digits(row["value"]),
                ends(row["interval"]) or DASH,
                part,
                DASH if row["p"] is None else p_value(row["p"]),
                str(row["pairs"]),
                says,
            ]
        )
    changes = "; ".join(
        f"{BY_KEY[row['last']].called}: {BY_KEY[row['last']].change}"
        for row in fit["steps"]
        if _follows(row)
    )
    return Table(
        [Column(h, right=h not in ("to", "reading"), detail=h == "pairs") for h in headings],
        rows,
        key=f"ratio to the family in the row above, or to the one that is named; {changes}",
    )


def _clocks(fit: Mapping[str, Any]) -> Table:
    rows = [
        [
            f"{row['exposures']:g}",
            DASH if row["value"] is None else digits(row["value"]),
            ends(row["interval"]) or DASH,
            str(row["pairs"]),
        ]
        for row in fit["clocks"]["rows"]
    ]
    return Table(
        [Column(h) for h in ("exposures", "ratio of the ends", "95%", "pairs")],
        rows,
        key="bits per parameter of the last family over those of the first",
    )


def _ceilings(fit: Mapping[str, Any]) -> Table:
    headings = ["size", "end", "form", "exposures", "runs", "plateau", "95%", "data", "ratio"]
    rows = []
    for row in fit["ceilings"]:
        for side in ("first", "last"):
            law = row[side]
            told = [DASH] * (len(headings) - 2)
            if not law["reason"]:
                low, high = law["exposures"]
                told = [
                    law["form"],
                    f"{low:g} to {high:g}",
                    str(law["runs"]),
                    digits(law["r_inf"]["value"]),
                    ends(law["r_inf"]["interval"]) or DASH,
                    digits(law["r_max"]),
                    DASH,
                ]
            if side == "last" and row["ratio"] is not None:
                told[-1] = digits(row["ratio"])
            rows.append([row["size"], BY_KEY[fit["ends"][side]].called, *told])
    left, detail = ("size", "end", "form"), ("form", "runs", "data")
    return Table(
        [Column(h, right=h not in left, detail=h in detail) for h in headings],
        rows,
        key="plateau: bits per parameter after any number of exposures, by the better of two forms "
        "that no paper states; 95%: of both forms where the runs do not tell them apart; data: "
        "bits per parameter that the data have; ratio: of the plateaus",
    )


def _families(fit: Mapping[str, Any]) -> Table:
    headings = ["family", "size", "P", "exposures", "items", "lr", "seeds", "held", "sd", "of all"]
    rows = [
        [
            BY_KEY[row["family"]].called,
            row["size"],
            count(row["parameters"]),
            f"{row['exposures']:g}",
            f"{row['items']:,}",
            f"{row['lr']:g}",
            str(row["seeds"]),
            digits(row["held"]),
            DASH if row["sd"] is None else digits(row["sd"], 2),
            percent(row["share"], 0),
        ]
        for row in fit["families"]
    ]
    detail = ("P", "lr", "items")
    return Table(
        [Column(h, right=h not in ("family", "size"), detail=h in detail) for h in headings],
        rows,
        key="held: bits per parameter; sd: over seeds; of all: part of all bits that count",
    )


def _tuning(fit: Mapping[str, Any]) -> Table:
    rows = []
    for row in fit["tuning"]:
        for one in row["tried"]:
            mark = "chosen" if (one["lr"], one["load"]) == (row["lr"], row["load"]) else ""
            rows.append(
                [
                    BY_KEY[row["family"]].called,
                    one["size"],
                    f"{one['lr']:g}",
                    f"{one['load']:g}" if one["load"] else DASH,
                    digits(one["held"]),
                    mark,
                ]
            )
    return Table(
        [
            Column(h, right=h not in ("family", "size", ""))
            for h in ("family", "size", "lr", "load", "held", "")
        ],
        rows,
        key="load: bits asked per parameter; held: bits that count, per parameter",
    )


def _amounts(fit: Mapping[str, Any]) -> list[str]:
    """Which amounts of data may not be those of which most is held."""
    one, edges = [], []
    for row in fit["tuning"]:
        called = BY_KEY[row["family"]].called
        if len({tried["load"] for tried in row["tried"]}) == 1:
            one.append(called)
        elif row["edge_of_loads"]:
            edges.append(called)
    out = []
    if one:
        out.append(f"One amount of data was tried of {joined(one)}.")
    if edges:
        out.append(f"The best amount of data is the smallest or largest tried of {joined(edges)}.")
    return out


def _rates(fit: Mapping[str, Any]) -> list[str]:
    if not fit["ceilings"]:
        return []
    at = fit["ends"]["exposures"]
    return [
        f"Plateaus are of rates that were tuned at {at:g} exposures: others at other budgets could "
        "raise either."
    ]


def _flags(fit: Mapping[str, Any]) -> list[Flag]:
    return [
        Flag(*FAILED, fit["failed"]),
        Flag(*MISSING, fit["missing"]),
        Flag("unconverged", f"{RISING_MEANS}; ratios are of clocks too", fit["rising"]),
        Flag(
            "full",
            f"holds over {FULL:.0%} of all bits that count, so that data end it",
            fit["full"],
        ),
    ]
