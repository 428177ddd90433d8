"""What a study of prompts found, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from capacity.analysis.document import (
    FAILED,
    GAIN,
    MISSING,
    P_TOTAL,
    RISING_MEANS,
    Document,
    Flag,
    RunColumn,
    Section,
)
from capacity.analysis.finding import Finding
from capacity.analysis.prompts import wording_search
from capacity.analysis.prompts.analysis import (
    AGREES,
    ALPHA,
    FALSE_AT_MOST,
    MEMORIZED,
    UNKNOWN,
    WITHIN,
)
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, p_value, percent, plural

if TYPE_CHECKING:
    import pandas

Row = Mapping[str, Any]
DASH = "–"
WAYS = {1: "rises", -1: "falls"}


def columns(runs: pandas.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of such runs."""
    return [
        RunColumn("parameters", "P", "parameters, total count"),
        RunColumn("items", "N", "sequences of the training set"),
        RunColumn(MEMORIZED, "memorized", "share of members with a ratio above 1", main=True),
        RunColumn("saved", "saved", "bits saved by sending members as prompts"),
        *GAIN,
    ]


def document(finding: Finding) -> Document:
    """The document of a study of prompts; finding: of `analysis.analyse`."""
    fit = finding.numbers
    search = fit.get("search")
    sections = [
        Section("orders", "Orders, by permutation within replicates", [_orders(fit)]),
        Section("shares", "Members that a short prompt brings out", [_shares(fit)]),
        Section("codes", "Bits saved by prompts, and by the model's own code", [_codes(fit)]),
    ]
    if search:
        sections.append(wording_search.section(search, fit["seq_len"]))
    return Document(
        f"Shortest prompts in {fit['study']}",
        [
            *(_order_said(fit, row) for row in fit["orders"]),
            *(_false_said(row) for row in fit["false_positives"]),
            *(_codes_said(row) for row in fit["codes"]),
            *(wording_search.said(search) if search else []),
            *(
                [_false_said(row, "of the search") for row in search["false_positives"]]
                if search
                else []
            ),
            "The published shares (arXiv 2404.15146: of famous quotes 47% in Pythia-1.4B, mean "
            "ratio 1.17; of random strings none, 0.21): **cannot tell** at this size.",
        ],
        sections,
        [
            Flag(*FAILED, fit["failed"]),
            Flag(*MISSING, fit["missing"]),
            Flag("unconverged", f"{RISING_MEANS}; in an order, it withholds it", fit["rising"]),
        ],
        [
            "In the paper a prompt stands in front of a whole string and is searched for by "
            "gradients, so that a failure tells nothing; here it takes the place of the first "
            f"tokens, and of up to {plural(fit['longest'], 'token')} every one is tried.",
            "A sequence without such a prompt counts as memorized only if its own beginning of "
            "less than half brings out the rest; longer prompts that are not its own are "
            + (
                "searched for, and what that adds is told apart"
                if search
                else "not tried, so that shares with a ratio above 1 are lower bounds"
            )
            + ".",
            *(
                [
                    "A search bounds the shortest prompt from above: where it finds none, nothing "
                    "is said (unknown)."
                ]
                if search
                else []
            ),
        ],
        _conventions(fit),
        {"memorized": "Share of members with a ratio above 1 against the data per parameter"},
        [
            f"{fit['finished']} of {plural(fit['runs'], 'run')} finished, {fit['asked']} of them "
            f"asked for prompts of up to {plural(fit['longest'], 'token')}."
        ],
    )


def _conventions(fit: Row) -> list[tuple[str, str]]:
    S, M = fit["seq_len"], fit["longest"]
    return [
        (
            "ratio",
            f"(S - m) / m, m the tokens of the shortest prompt, S = {S}: y is what follows it at "
            f"its own places; above 1 where m is at most {(S - 1) // 2}",
        ),
        (f"within {M}", f"a prompt of at most {plural(M, 'token')} brings out the rest; exact"),
        ("own", "the beginning of the sequence itself, of less than half, brings out the rest"),
        (
            "saved",
            f"(S - 2 m) log2 V of each that was found, less log2 {M + 1} of every one asked for; "
            "never cut off at 0",
        ),
        (
            "own code",
            "S log2 V less the code length of the same members by the model (strict)"
            + (
                ": as saved bits a lower bound of what weights say of them"
                if fit["random"]
                else "; of text both count what is general knowledge of it, too"
            ),
        ),
        (
            "p of an order",
            "two-sided, permutation of the values of an axis within replicates; the statistic is "
            "the least-squares trend; of each order alone, not corrected for their number",
        ),
        *([wording_search.convention(fit["search"])] if fit.get("search") else []),
        P_TOTAL,
    ]


def _named(row: Row) -> str:
    return "" if row["system"] == "all runs" else f"{row['system']}: "


def _outcome(fit: Row, row: Row) -> str:
    within = f"share within {plural(fit['longest'], 'token')}"
    return {MEMORIZED: "share with a ratio above 1", WITHIN: within}[row["outcome"]]


def _order_said(fit: Row, row: Row) -> str:
    name = f"{_named(row)}{_outcome(fit, row)}, by {row['axis']}"
    if not row["means"]:
        return f"{name}: **cannot tell** ({row['reason']})."
    ends_of = "; ".join(f"{count(row['values'][i])}: {percent(row['means'][i])}" for i in (0, -1))
    p = f"p = {p_value(row['p'])}, {plural(row['replicates'], 'replicate')}"
    if row["verdict"] == UNKNOWN:
        return f"{name}: **cannot tell** ({ends_of}; {p}; {row['reason']})."
    way = "rises" if row["slope"] > 0 else "falls"
    said = "as expected" if row["verdict"] == AGREES else "against what is expected"
    return f"{name}: **{way}**, {said} ({ends_of}; {p})."


def _false_said(row: Row, of: str = "") -> str:
    found = (
        f"{row['hits']:,} of {row['trials']:,} held-out sequences, 95% "
        f"[{percent(row['interval'][0], 2)}, {percent(row['interval'][1], 2)}]"
    )
    word = {
        AGREES: "none is called memorized, **as published**",
        UNKNOWN: "too few to tell: **cannot tell**",
    }.get(row["verdict"], "some are called memorized, **against what is published**")
    return f"{_named(row)}{' '.join(['false positives', of]).strip()}: {word} ({found})."


def _codes_said(row: Row) -> str:
    name = f"{_named(row)}bits saved by prompts beside the model's own code"
    if row["verdict"] == UNKNOWN:
        return f"{name}: **cannot tell** ({row['reason']})."
    less = abs(row["less_bits"])
    interval = row["interval"]
    if interval is not None and row["less_bits"] < 0:
        interval = [-interval[1], -interval[0]]
    more = row["more_somewhere"]
    return (
        f"{name}: **{row['verdict']}**, by {digits(less)} {ends(interval)} bits a run (p = "
        f"{p_value(row['p'])}, {plural(row['replicates'], 'replicate')}; more in "
        f"{plural(more, 'run')})."
    )


def _orders(fit: Row) -> Table:
    headings = ("order", "from", "to", "expected", "replicates", "p", "verdict")
    rows = []
    for row in fit["orders"]:
        means = row["means"]
        rows.append(
            [
                f"{_named(row)}{row['axis']}, {row['outcome']}",
                f"{count(row['values'][0])}: {percent(means[0])}" if means else DASH,
                f"{count(row['values'][-1])}: {percent(means[-1])}" if means else DASH,
                WAYS[row["expected"]],
                str(row["replicates"]),
                p_value(row["p"]),
                row["verdict"],
            ]
        )
    left = ("order", "from", "to", "expected", "verdict")
    return Table(
        [Column(h, right=h not in left, detail=h == "replicates") for h in headings],
        rows,
        key=f"agrees or differs: p <= {ALPHA:.0%} and the sign that is expected or the other; "
        f"false positives agree with none where the interval ends below {FALSE_AT_MOST:.0%}",
    )


def _shares(fit: Row) -> Table:
    within = f"within {fit['longest']}"
    headings = ("P", "N", "load", "ratio > 1", within, "own", "unknown", "held out", "tokens", "")
    rows = [
        [
            f"{_named(row)}{count(row['parameters'])}",
            str(row["items"]),
            digits(row["load"]),
            percent(row[MEMORIZED]["mean"]),
            percent(row[WITHIN]["mean"]),
            percent(row["own"]),
            percent(row["unknown"]),
            percent(row["held_out"]),
            DASH if row["mean_prompt"] is None else digits(row["mean_prompt"]),
            "r" if row["rising"] else "",
        ]
        for row in fit["cells"]
    ]
    return Table(
        [Column(h, right=h != "", detail=h in ("unknown", "own")) for h in headings],
        rows,
        key="means over replicates; load: N S log2 V / P; unknown: no prompt known and a longer "
        "one than tried might do; tokens: of the shortest prompts that were found",
        marks={"r": "some run still rising"},
    )


def _codes(fit: Row) -> Table:
    headings = ("P", "N", "asked", "saved", "own code", "saved / own code", "others saved")
    rows = [
        [
            f"{_named(row)}{count(row['parameters'])}",
            str(row["items"]),
            str(row["sequences"]),
            f"{row['saved_bits']:,.0f}",
            f"{row['code_bits']:,.0f}",
            f"{digits(row['ratio']['value'])} {ends(row['ratio']['interval'])}".strip(),
            f"{row['held_out_saved_bits']:,.0f}",
        ]
        for row in fit["cells"]
    ]
    return Table(
        [Column(h, right=True, detail=h == "asked") for h in headings],
        rows,
        key="bits of the members asked for, means over replicates; interval: 95% by t over "
        "replicates; others: as many held-out sequences",
    )
