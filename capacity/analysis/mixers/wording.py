"""What a study of mixers found, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from capacity.analysis.document import (
    FAILED,
    GAIN,
    MISSING,
    P_TOTAL,
    RISING_MEANS,
    Bullets,
    Document,
    Flag,
    RunColumn,
    Section,
)
from capacity.analysis.finding import Finding
from capacity.analysis.mixers import claims, compared
from capacity.analysis.random.wording import DECAYED, STRICT
from capacity.analysis.thresholds import CORNER, DATA_LIMITED
from capacity.base.table import Column, Table
from capacity.base.words import digits, ends, joined, p_value, span
from capacity.naming import listed, text

if TYPE_CHECKING:
    import pandas

Row = Mapping[str, Any]
DASH = "–"
CAPTIONS = {"ratios": "Bits per parameter beside the first form"}
PERMUTED = (
    "p",
    "exact permutation of which run is of which form, within sizes; two-sided; Holm: corrected for "
    "all comparisons of the list",
)
INTERVAL = (
    "interval",
    "95% by t over seeds, one variance for both forms; of these sizes, not of others",
)


def columns(runs: pandas.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of such runs."""
    return [
        RunColumn("p", "P", "parameters, total count"),
        RunColumn("held", "bits", "memorized bits, strict"),
        RunColumn("rate", "bits/P", "memorized bits per parameter (strict, total)", main=True),
        *GAIN,
    ]


def document(finding: Finding) -> Document:
    """The document of a study of mixers; finding: of `analysis.analyse`."""
    fit = finding.numbers
    first, pairs = fit["comparisons"]["first"], fit["comparisons"]["convolutions"]
    sections = [
        Section("forms", "Bits per parameter of every form, by size", [_forms(fit)]),
        Section("first", f"Beside {fit['first']}", [_table(first), *_why(first)]),
    ]
    if pairs:
        title = "With the convolutions of the mixer, beside the same without"
        sections.append(Section("convolutions", title, [_table(pairs), *_why(pairs)]))
    if fit["claims"]:
        title = "What is published of these forms, of biographies"
        sections.append(Section("claims", title, [_claims(fit["claims"]), *_notes_of(fit)]))
    sections.append(
        Section("tuning", "Recipes: chosen at one size, then frozen", [_tuning(fit), _tried(fit)])
    )
    return Document(
        f"Forms of a model in {fit['study']}: strict bits, total parameters",
        [
            *_said(first, f"Bits per parameter beside {fit['first']}"),
            *_said(pairs, "With convolutions, beside the same mixer without"),
            *_claims_said(fit["claims"]),
        ],
        sections,
        _flags(fit),
        [
            "Every form has the recipe that was best for it at one size; at other sizes another "
            "one may be better.",
            "Training by gradient descent gives a lower bound of what a model can hold; better "
            "training can raise these numbers.",
            "Random tokens ask for nothing but storage: no fact has to be found by its name.",
        ],
        [STRICT, P_TOTAL, INTERVAL, PERMUTED],
        CAPTIONS if any(row["ratio"] is not None for row in first) else {},
        [
            f"{fit['finished']} of {fit['runs']} runs finished; "
            f"{sum(row['runs'] for row in fit['forms'])} of them are compared."
        ],
    )


def _name(row: Row, name: str) -> str:
    return listed([name, row["condition"]])


def _ratio(row: Row) -> str:
    return f"{digits(row['ratio'], 4)} {ends(row['interval'], 4)}".strip()


def _said(rows: Sequence[Row], about: str) -> list[str]:
    """One list of comparisons, in a sentence per verdict."""
    out = []
    for verdict in (compared.MORE, compared.LESS, compared.NONE, compared.UNKNOWN):
        mine = [row for row in rows if row["verdict"] == verdict]
        told = [
            f"{_name(row, row['a'])} {_ratio(row)}" if row["ratio"] else _name(row, row["a"])
            for row in mine
        ]
        words = "no difference shown" if verdict == compared.NONE else verdict
        if told:
            out.append(f"{about}, **{words}**: {'; '.join(told)}.")
    return out


def _forms(fit: Row) -> Table:
    sizes = fit["sizes"]
    rows = []
    for form in fit["forms"]:
        by_size = {one["size"]: one for one in form["sizes"]}
        cells = [_rate(by_size.get(size)) for size in sizes]
        p = [one["p"] for one in form["sizes"]]
        seeds = [one["seeds"] for one in form["sizes"]]
        marks = "r" if any(one["rising"] for one in form["sizes"]) else ""
        many = f"{min(seeds)}" if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
        rows.append(
            [_name(form, form["form"]), span(min(p), max(p)), many, *cells, marks]
        )  # fmt: skip
    left = [Column("form", right=False), Column("P", detail=True), Column("seeds", detail=True)]
    return Table(
        [*left, *map(Column, sizes), Column("", right=False)],
        rows,
        key="strict bits per parameter, mean over seeds and their standard deviation",
        marks={"r": "some run still rising, or without a trace of its end"},
    )


def _rate(one: Row | None) -> str:
    if one is None:
        return DASH
    return digits(one["rate"]) + ("" if one["sd"] is None else f" ± {digits(one['sd'], 2)}")


def _table(rows: Sequence[Row]) -> Table:
    headings = ("form", "ratio", "by size", "runs", "p", "Holm", "verdict")
    cells = [
        [
            _name(row, row["a"]),
            DASH if row["ratio"] is None else _ratio(row),
            ", ".join(f"{part['size']}: {digits(part['ratio'])}" for part in row["by_size"]),
            f"{row['runs'][0]}, {row['runs'][1]}",
            p_value(row["p"]),
            p_value(row["p_holm"]),
            row["verdict"],
        ]
        for row in rows
    ]
    left, detail = ("form", "by size", "verdict"), ("by size", "runs")
    return Table(
        [Column(h, right=h not in left, detail=h in detail) for h in headings],
        cells,
        key="ratio: of bits per parameter, mean of logarithms over sizes, 95% by t over seeds; "
        f"more or less: the interval excludes 1 and Holm is at most {compared.ALPHA:.0%}",
    )


def _why(rows: Sequence[Row]) -> list[Bullets]:
    lines = [f"{_name(row, row['a'])}: {row['verdict']}: {row['why']}." for row in rows
             if row["why"]]  # fmt: skip
    return [Bullets(lines)] if lines else []


def _claims_said(rows: Sequence[Row]) -> list[str]:
    out = []
    for verdict in (claims.AGREES, claims.DIFFERS, claims.UNKNOWN):
        told = [f"{_name(row, row['a'])} {row['published']} as {row['b']}"
                if row["published"] == claims.SAME
                else f"{_name(row, row['a'])} {row['published']} than {row['b']}"
                for row in rows if row["verdict"] == verdict]  # fmt: skip
        if told:
            out.append(f"Published of biographies, **{verdict}**: {'; '.join(told)}.")
    return out


def _claims(rows: Sequence[Row]) -> Table:
    headings = ("form", "beside", "published", "ratio", "p", "Holm", "verdict")
    cells = [
        [
            _name(row, row["a"]),
            row["b"],
            row["published"],
            DASH if row["ratio"] is None else _ratio(row),
            p_value(row["p"]),
            p_value(row["p_holm"]),
            row["verdict"],
        ]
        for row in rows
    ]
    left = ("form", "beside", "published", "verdict")
    return Table(
        [Column(h, right=h not in left, detail=h in ("p", "Holm")) for h in headings],
        cells,
        key=f"{claims.SAME}: agrees with an interval within {claims.EQUAL:.0%} of 1, differs with "
        "one beyond and a difference that is shown",
    )


def _notes_of(fit: Row) -> list[Bullets]:
    lines = [
        f"{_name(row, row['a'])} beside {row['b']}: {row['verdict']}: {row['why']}."
        for row in fit["claims"]
        if row["why"]
    ]
    sources: dict[str, list[str]] = {}
    for row in fit["claims"]:
        sources.setdefault(listed([row["source"], row["there"]]), []).append(row["a"])
    lines += [f"{joined(dict.fromkeys(names))}: {source}." for source, names in sources.items()]
    return [Bullets(lines)]


def _tuning(fit: Row) -> Table:
    headings = ("form", "at", "seeds", "recipe", "tried", "second best", "optimum")
    rows = []
    for row in fit["choices"]:
        recipe = row["recipe"] or {}
        shown = [f"{n.split('.')[-1]} {text(v)}" for n, v in recipe.items() if v is not None]
        tried = [", ".join(text(v) for v in values) for values in row["tried"].values()]
        rows.append(
            [
                listed([row["model"], row["called"]]),
                (row["amount"] or DASH).removeprefix("size "),
                str(len(row["seeds"])),
                listed(shown) or DASH,
                "; ".join(tried) or DASH,
                DASH if row["runner_up"] is None else f"{100 * (row['runner_up'] - 1):+.1f}%",
                "; ".join(row["reasons"]) or "inside",
            ]
        )
    left, detail = ("form", "recipe", "tried", "optimum"), ("at", "seeds", "tried")
    return Table(
        [Column(h, right=h not in left, detail=h in detail) for h in headings],
        rows,
        key="second best: its bits against those of the best; optimum: inside of what was tried, "
        "or why no difference of the form can be told",
    )


def _tried(fit: Row) -> Bullets:
    settings = joined(fit["best_over"]) or "no setting (best_over)"
    return Bullets(
        [
            f"Tried: {settings}. Comparisons read runs of the chosen recipe alone, and of each "
            "form those of seeds that chose nothing where it has some."
        ]
    )


def _flags(fit: Row) -> list[Flag]:
    flags = fit["flags"]
    return [
        Flag(*FAILED, fit["failed"]),
        Flag(*MISSING, fit["missing"]),
        Flag(
            "unconverged",
            f"{RISING_MEANS}; of the lower form, it withholds a difference. {DECAYED}",
            fit["rising"],
        ),
        Flag(
            "data-limited",
            f"holds over {DATA_LIMITED:.0%} of its data: not compared",
            flags["data_limited"],
        ),
        Flag("corner", f"ceiling / bits < {CORNER}: not compared", flags["corner"]),
        Flag("unlearned", "finished without positive bits; not compared", flags["unlearned"]),
    ]
