"""What a search for longer prompts adds, in words; fit["search"] as of `searching.numbers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from capacity.analysis.document import Section
from capacity.analysis.prompts.searching import ADDS
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, p_value, percent, plural

Row = Mapping[str, Any]


def _named(row: Row) -> str:
    return "" if row["system"] == "all runs" else f"{row['system']}: "


def said(search: Row) -> list[str]:
    """What is found, in sentences; false positives are said by the caller."""
    return [_adds_said(row) for row in search["adds"]] + [
        f"{_named(row)}recall: of {plural(row['sequences'], 'member')} that have a prompt of "
        f"{plural(row['tokens'], 'token')}, the search from random ones finds one of "
        f"**{row['found']:,}** ({percent(row['found'] / row['sequences'])}, 95% "
        f"[{percent(row['interval'][0])}, {percent(row['interval'][1])}])."
        for row in search["recall"]
    ]


def _adds_said(row: Row) -> str:
    name = f"{_named(row)}share with a ratio above 1 by a searched prompt alone"
    if row["share"] is None:
        return f"{name}: **cannot tell** ({row['reason']})."
    found, interval = percent(row["share"], 2), row["interval"]
    if interval:
        found += f", 95% [{percent(interval[0], 2)}, {percent(interval[1], 2)}]"
    p = "" if row["p"] is None else f"; p = {p_value(row['p'])}"
    replicates = plural(row["replicates"], "replicate")
    if row["verdict"] == ADDS:
        return f"{name}: **the search adds** ({found}{p}, {replicates})."
    return f"{name}: **cannot tell** ({found}{p}, {replicates}; {row['reason']})."


def section(search: Row, seq_len: int) -> Section:
    """What is known of members and held-out sequences with the search, and its recall."""
    headings = ("P", "N", "ratio > 1", "added", "unknown", "shorter", "mean ratio", "saved",
                "held out", "shorter of held out")  # fmt: skip
    rows = [
        [
            f"{_named(row)}{count(row['parameters'])}",
            str(row["items"]),
            percent(row["memorized"]),
            f"{percent(row['added'])} {ends(_percents(row['added_interval']))}".strip(),
            percent(row["unknown"]),
            f"{row['shortened']:,} of {row['searched']:,}",
            digits(row["ratio"]),
            f"{row['saved_bits']:,.0f}",
            percent(row["held_out"]),
            f"{row['held_out_shortened']:,} of {row['held_out_searched']:,}",
        ]
        for row in search["cells"]
    ]
    detail = ("mean ratio", "saved", "shorter of held out")
    cells = Table(
        [Column(h, right=True, detail=h in detail) for h in headings],
        rows,
        key="means over replicates, interval in % by t over them; added: by a searched prompt "
        "alone; shorter: sequences of which a prompt was found that beats their own beginning, "
        "of those searched for, replicates together; saved: bits, by prompts of fewer than "
        f"{(seq_len + 1) // 2} tokens, one of {(seq_len - 1) // 2 + 1} symbols of each sequence",
    )
    headings = ("tokens", "members", "found", "share", "95%", "by chance")
    rows = [
        [
            f"{_named(row)}{row['tokens']}",
            f"{row['sequences']:,}",
            f"{row['found']:,}",
            percent(row["found"] / row["sequences"]),
            ends(_percents(row["interval"])),
            percent(row["by_chance"], 2),
        ]
        for row in search["recall"]
    ]
    recall = Table(
        [Column(h, right=True) for h in headings],
        rows,
        key="members that are known to have a prompt of so many tokens, searched for from random "
        "ones: up to those that are all tried the shortest, and the longest below S/2; by "
        "chance: of as many prompts drawn at random, if one alone does",
    )
    return Section("search", "What a search for longer prompts adds", [cells, recall])


def _percents(interval: list[float] | None) -> list[float] | None:
    return None if interval is None else [100 * end for end in interval]


def convention(search: Row) -> tuple[str, str]:
    """How was searched."""
    return (
        "searched",
        f"greedy coordinate gradient (arXiv 2307.15043), {plural(search['steps'], 'step')} of "
        f"{plural(search['swaps'], 'swap')} of one token for each length, drawn from the "
        f"{search['top_k']} tokens of steepest descent; from the own beginning down, one token "
        "at a time, until nothing is found",
    )
