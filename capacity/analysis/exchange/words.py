"""What a study of an exchange rate found, in words."""

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
from capacity.analysis.exchange.analysis import CORNER, DEAR, FULL, ONE
from capacity.analysis.finding import Finding
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, p_value, percent, plural
from capacity.fitting.statistics import ALPHA
from capacity.naming import listed

if TYPE_CHECKING:
    import pandas

DASH = "–"
CAPTIONS = {"frontier": "Bits of random rows against bits of facts in one model"}
CONVENTIONS = [
    (
        "B_random",
        "strict bits of random rows, N S log2 V less their code length behind a marker of their "
        "own; V: ids that their tokens are drawn from",
    ),
    (
        "B_facts",
        "learned bits of names and values, of arXiv 2404.05405, definition 4.3",
    ),
    ("P", "all parameters, a tied embedding once, the same for both"),
    ("pi", "bits of random rows that one bit of facts takes the place of, in one model"),
    ("mix", "random part of all bits that a model is asked for; 0: people alone, 1: rows alone"),
]
SAYS = {
    "one": "**agrees with 1** (one capacity) and not with {dear:g}",
    "dear": "**agrees with {dear:g}** (a bit of facts costs more) and not with 1",
    "neither": "**agrees with neither** 1 nor {dear:g}",
    "cannot tell": "**cannot tell:** the interval holds 1 and {dear:g}",
    "concave": "**no one rate:** the frontier is concave, so that both families have resources of "
    "their own",
    "no interval": "**cannot tell:** no interval",
}


def columns(runs: pandas.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of such runs."""
    return [
        RunColumn("parameters", "P", "all parameters"),
        RunColumn("share", "mix", "random part of the bits that are asked"),
        RunColumn("y", "random", "bits of random rows per parameter", main=True),
        RunColumn("x", "facts", "bits of facts per parameter"),
        RunColumn("random_share", "random/ceiling", "part of the ceiling of random rows"),
        RunColumn("fact_share", "facts/ceiling", "part of the ceiling of facts"),
        *GAIN,
    ]


def document(finding: Finding) -> Document:
    """The document of a study of an exchange rate; finding: of `analysis.analyse`."""
    fit = finding.numbers
    answers = [line for row in fit["rates"] for line in (_rate(row), _frontier(row))]
    sections = [
        Section("rates", "What a bit of facts costs", [_rates(fit)]),
        Section("arms", "What is held of both families", [_arms(fit)]),
    ]
    if fit["tried"]:
        sections.append(Section("tried", "Learning rates of one family", [_tried(fit)]))
    return Document(
        f"Random rows and facts in {fit['study']}",
        answers or ["no mixture of both families: **no rate**."],
        sections,
        _flags(fit),
        [
            "Only mixtures of both families count for pi. At equal exposures an optimizer serves "
            "whichever family has more loss per token, and a mixture can sit in a corner, where "
            "the other family is hardly held.",
            "Both families share one vocabulary and one learning rate; neither count includes "
            "which family comes next.",
        ],
        CONVENTIONS,
        CAPTIONS,
        [f"{fit['finished']} of {plural(fit['runs'], 'run')} finished."],
    )


def _named(row: Mapping[str, Any], words: str) -> str:
    return f"{row['system']}: {words}" if row["system"] else words


def _rate(row: Mapping[str, Any]) -> str:
    pi = row["pi"]
    what = "B_random + pi B_facts = alpha P"
    over = f"{plural(pi['models'], 'size')}, {plural(pi['blocks'], 'pair')} of size and seed"
    if pi["value"] is None:
        return _named(row, f"{what}: **no rate:** {pi['why']}.")
    says = SAYS[row["verdict"]].format(dear=DEAR)
    read = f"pi = {digits(pi['value'])} {ends(pi['interval'])}".strip()
    if row["verdict"] == "concave":
        return _named(row, f"{what}: {says}. (As fitted: {read}; {over}.)")
    if row["verdict"] == "no interval":
        return _named(row, f"{what}: {says} of pi, {pi['why']} ({over}).")
    return _named(row, f"{what}: **{read}** ({over}), which {says}.")


def _frontier(row: Mapping[str, Any]) -> str:
    parts = []
    for name, words in (
        ("bulge", "inner mixes above the chord of outer ones by {} bits per parameter"),
        ("shares", "held parts of what is held of either family alone add up to 1, and {} more"),
    ):
        one = row[name]
        if one["value"] is None:
            continue
        read = f"{digits(one['value'])} {ends(one['interval'])}".strip()
        shown = one["p"] is not None and one["p"] <= ALPHA
        side = "concave" if one["value"] > 0 else "convex"
        says = f"**{side}**" if shown else "not shown to be bent"
        p = "" if one["p"] is None else f", p = {p_value(one['p'])}"
        parts.append(f"{words.format(read)} ({plural(one['blocks'], 'pair')}{p}): {says}")
    told = "; ".join(parts) if parts else "**cannot tell:** too few mixes"
    return _named(row, f"is the frontier straight? {told}.")


def _rates(fit: Mapping[str, Any]) -> Table:
    headings = ["runs", "mixes", "pi", "95%", "over size x seed", "over sizes", "alpha", "ends"]
    rows = []
    for row in fit["rates"]:
        pi, alphas = row["pi"], row["alpha"]
        pure = row["ends"]
        rows.append(
            [
                listed([row["system"]]) or "all",
                ", ".join(f"{z:g}" for z in row["mixes"]) or DASH,
                DASH if pi["interval"] is None else digits(pi["value"]),
                ends(pi["interval"]) or DASH,
                ends(pi["over_blocks"]) or DASH,
                ends(pi["over_models"]) or DASH,
                ", ".join(f"{size} {digits(a)}" for size, a in alphas.items()) or DASH,
                DASH if pure is None else f"{digits(pure['random'])} / {digits(pure['facts'])}",
            ]
        )
    return Table(
        [Column(h, right=h != "runs", detail=h.startswith("over")) for h in headings],
        rows,
        key="95%: the wider of the two that follow; alpha by size, bits per parameter; ends: bits "
        "per parameter of rows alone and of people alone, which do not count for pi",
    )


def _arms(fit: Mapping[str, Any]) -> Table:
    headings = "mix|people|rows|seeds|asked|random|sd|of it|asked|facts|sd|of it".split("|")
    rows: list[list[str]] = []
    last = ""
    for row in fit["arms"]:
        head = listed(
            [
                row["size"],
                row["system"],
                f"P {count(row['parameters'])}",
                f"{row['exposures_planned']:.3g} exposures",
                f"lr {row['lr']:g}",
            ]
        )
        if head != last:
            rows.append([head])
            last = head
        cells = [f"{row['share']:g}", f"{row['people']:,}", f"{row['rows']:,}", str(row["seeds"])]
        for asked, held, part in (
            ("random_asked", "y", "random_share"),
            ("fact_asked", "x", "fact_share"),
        ):
            if not row[asked]:
                cells += [DASH] * 4
                continue
            sd = row[f"{held}_sd"]
            cells += [digits(row[asked]), digits(row[held])]
            cells += [DASH if sd is None else digits(sd, 2)]
            cells += [DASH if row[part] is None else percent(row[part], 0)]
        rows.append(cells)
    return Table(
        [Column(h, detail=h == "sd") for h in headings],
        rows,
        key="bits per parameter: asked, held; sd: over seeds; of it: part of the ceiling",
    )


def _tried(fit: Mapping[str, Any]) -> Table:
    lrs = sorted({one["lr"] for row in fit["tried"] for one in row["lrs"]})
    rows = []
    for row in fit["tried"]:
        held = {one["lr"]: one["bits"] for one in row["lrs"]}
        cells = [digits(held[lr]) if lr in held else DASH for lr in lrs]
        rows.append([row["family"], row["size"], *cells])
    headings = [Column("family", right=False), Column("size", right=False)]
    return Table(
        [*headings, *(Column(f"lr {lr:g}") for lr in lrs)],
        rows,
        key="bits per parameter of a model of one family, means over seeds",
    )


def _flags(fit: Mapping[str, Any]) -> list[Flag]:
    return [
        Flag(*FAILED, fit["failed"]),
        Flag(*MISSING, fit["missing"]),
        Flag("unconverged", f"{RISING_MEANS}; the rate is then one of clocks too", fit["rising"]),
        Flag(
            "not over-filled",
            f"above {FULL:.0%} of the ceiling of every family, so that capacity does not bind; "
            "not counted",
            fit["full"],
        ),
        Flag(
            "corner",
            f"one family has less than {CORNER:.0%} of the bits of a mixture, so that it says "
            f"little about a rate such as {ONE:g} or {DEAR:g}",
            fit["corner"],
        ),
    ]
