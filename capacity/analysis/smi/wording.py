"""What a study of counts of facts found, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from capacity.analysis import published_rows
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
from capacity.analysis.smi.analysis import ALONE, TWO, WAYS
from capacity.analysis.smi.reading import COOCCURRENCE, MI, OUTCOMES, PMI, SMI
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, p_value, percent, plural
from capacity.fitting.statistics import ALPHA

if TYPE_CHECKING:
    import pandas

Row = Mapping[str, Any]
DASH = "–"
OF_WAY = {
    "per fact": "of single facts",
    "bin means": "of bin means",
    "left out": "of a size left out",
}
CAPTIONS = {
    "hit": "R^2 of hits by predictor, mean over sizes",
    "bits": "R^2 of bits against the entropy of a value by predictor, mean over sizes",
    "own_bits": "R^2 of bits against a value's own chance by predictor, mean over sizes",
}
CONVENTIONS = [
    ("fact", "a person and one of the values told of it in every text; gender is left out"),
    (COOCCURRENCE, "log2 of the texts that showed the fact, counted: all texts of its person"),
    (
        PMI,
        "log2 p(s,o) / (p(s) p(o)) over texts; as every text of a person tells all facts, "
        "-log2 p(o)",
    ),
    (MI, "log2 of I = p(s,o) PMI (arXiv 2502.04066, as its public code has it)"),
    (SMI, "MI^(1 + 1 / log2 P) of MI in [0, 1], P in the paper's count"),
    (
        "predictors",
        "of cells of facts (attribute, tier, half octave of the value's rank; geometric means of "
        "counts), floored to multiples of 0.2 and scaled to [0, 1] over all facts of the study",
    ),
    ("hit", "part of the contexts in which greedy decoding writes the value"),
    ("bits", "entropy of a value as its list is drawn, less its nats, in bits"),
    ("own bits", "-log2 of the chance of just this value, less its nats, in bits"),
    ("per fact", "R^2 over single facts of a line in the predictor, of each size and seed alone"),
    (
        "bin means",
        "R^2 over means of bins of 0.2 of the predictor, as the paper's: what facts of one bin do "
        "apart is left out, and few bins fit by themselves",
    ),
    (
        "left out",
        "R^2 over single facts of one size, by y = a + b x + c log2 P fitted to the other sizes of "
        "the seed; below 0 where the mean of the size itself does better",
    ),
    (
        "difference",
        "within seeds, mean over sizes; 95%: Student's t over seeds; p: exact sign-flip test, "
        "two-sided, of each difference alone, not corrected for their number",
    ),
]


def columns(runs: pandas.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of such runs."""
    return [
        RunColumn("parameters", "P", "parameters, the paper's count"),
        RunColumn("fact_cells_accuracy", "hit", "mean hits over facts", main=True),
        RunColumn("fact_cells_bits", "bits", "of a fact, against the entropy of a value"),
        RunColumn("fact_cells_own_bits", "own", "bits of a fact, against its value's chance"),
        *GAIN,
    ]


def document(finding: Finding) -> Document:
    """The document of a study of counts of facts; finding: of `analysis.analyse`."""
    fit = finding.numbers
    shown = {one["outcome"] for one in fit["explained"] if one["value"] is not None}
    return Document(
        f"What counts of facts predict in {fit['study']}",
        [
            *(_said(rows) for rows in _grouped(fit["between"], MI)),
            *(_said(rows) for rows in _grouped(fit["between"], SMI) if rows[0]["outcome"] == "hit"),
            *(_published(row) for row in fit["verdicts"]),
        ],
        [
            Section("between", "Differences between predictors", [_between(fit)]),
            *(
                Section(
                    f"explained_{outcome.replace(' ', '_')}",
                    f"Explained part of {outcome}, R^2",
                    [_explained(fit, outcome)],
                )
                for outcome in OUTCOMES
            ),
            Section("laws", "y = a + b x + c log2 P, one law for all sizes", [_laws(fit)]),
            Section("facts", "Facts, and what is held of them", [_facts(fit)]),
            published_rows.section(fit["verdicts"]),
        ],
        [
            Flag(*FAILED, fit["failed"]),
            Flag(*MISSING, fit["missing"]),
            Flag("unconverged", f"{RISING_MEANS}; all count here", fit["rising"]),
        ],
        [
            "Every text of a person tells all of its facts, so that co-occurrence is how often the "
            "person is seen, and PMI how rare the value is: in text of the world persons are named "
            "without their facts.",
            "A rare value is harder to hit by a guess, and there are more bits of it to hold: bits "
            "against its own chance have a limit that grows with PMI, and I is co-occurrence times "
            "PMI.",
            "R^2 does not know whether a line rises or falls; b of the one law does. Dates are the "
            "longest list by far, so that much of PMI is which attribute is asked.",
            "The exponent of SMI is nearly 1 at every size, so that it can change little beside "
            "MI; size acts through c log2 P or through lines of each size.",
        ],
        CONVENTIONS,
        {k: v for k, v in CAPTIONS.items() if k.replace("_", " ") in shown},
        [
            f"{fit['finished']} of {plural(fit['runs'], 'run')} finished; "
            f"{plural(fit['replicates'], 'replicate')}."
        ],
    )


def _grouped(between: Sequence[Row], first: str) -> list[list[Row]]:
    """Rows of one system, outcome and first predictor, in their order."""
    out: dict[tuple[str, str], list[Row]] = {}
    for row in between:
        if row["first"] == first:
            out.setdefault((row["system"], row["outcome"]), []).append(row)
    return list(out.values())


def _word(row: Row) -> str:
    if not row["told"]:
        return "cannot tell"
    return "more" if row["value"] > 0 else "less"


def _said(rows: Sequence[Row]) -> str:
    head = rows[0]
    system = f"{head['system']}: " if head["system"] else ""
    parts = []
    for row in rows:
        if row["value"] is None:
            parts.append(f"**cannot tell** {OF_WAY[row['way']]} ({row['reason']})")
            continue
        number = f"{digits(row['value'])} {ends(row['interval'])}".strip()
        parts.append(f"**{_word(row)}** {OF_WAY[row['way']]} ({number}, p = {p_value(row['p'])})")
    return (
        f"{system}{head['outcome']}: {head['first']} explains, beside {head['second']}, "
        + ", ".join(parts)
        + "."
    )


def _published(row: Row) -> str:
    low, high = row["published"]["range"]
    return (
        f"The published difference of MI and co-occurrence ({low:g} to {high:g} of R^2 of bin "
        f"means of hits, above 0 in all 24 models): **{row['verdict']}** here."
    )


def _headed(rows: Sequence[tuple[str, list[str]]]) -> list[list[str]]:
    """Lines of a table with their title in front, where it is another one."""
    out: list[list[str]] = []
    last = ""
    for title, cells in rows:
        if title != last:
            out.append([title])
            last = title
        out.append(cells)
    return out


def _titled(row: Row, more: str = "") -> str:
    title = f"{row['outcome']}, {row['system']}" if row["system"] else row["outcome"]
    return f"{title}: {more}" if more else title


def _between(fit: Row) -> Table:
    headings = ("R^2 of", "value", "95%", "p", "at best", "told")
    pairs = list(dict.fromkeys((row["first"], row["second"]) for row in fit["between"]))
    rows = [
        (
            _titled(row, f"{row['first']} - {row['second']}"),
            [
                row["way"],
                DASH if row["value"] is None else digits(row["value"]),
                DASH if row["value"] is None else ends(row["interval"]) or DASH,
                DASH if row["p"] is None else p_value(row["p"]),
                DASH if row["smallest_p"] is None else p_value(row["smallest_p"]),
                _word(row),
            ],
        )
        for pair in pairs
        for row in fit["between"]
        if (row["first"], row["second"]) == pair
    ]
    return Table(
        [Column(h, right=h not in ("R^2 of", "told"), detail=h == "at best") for h in headings],
        _headed(rows),
        key=f"more or less: p <= {ALPHA:.0%} over {plural(fit['replicates'], 'seed')}; at best: "
        "what p could reach",
    )


def _explained(fit: Row, outcome: str) -> Table:
    sizes = {one["size"]: one["parameters"] for row in fit["explained"] for one in row["sizes"]}
    names = sorted(sizes, key=lambda size: sizes[size])
    headings = ("predictor", *names, "mean", "95%")
    rows: list[list[str]] = []
    last = ""
    for way in WAYS:
        for row in fit["explained"]:
            if row["outcome"] != outcome or row["way"] != way:
                continue
            title = f"{way}, {row['system']}" if row["system"] else way
            if title != last:
                rows.append([title])
                last = title
            by_size = {one["size"]: one["value"] for one in row["sizes"]}
            rows.append(
                [
                    row["predictor"],
                    *(_r2(by_size.get(size)) for size in names),
                    _r2(row["value"]),
                    ends(row["interval"]) or DASH,
                ]
            )
    return Table(
        [Column(h, right=h != "predictor") for h in headings],
        rows,
        key=f"means over seeds; {TWO}: a slope for each; {ALONE}: y = a + b x for all sizes; "
        "95%: of the mean over sizes, Student's t over seeds",
    )


def _r2(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"


def _laws(fit: Row) -> Table:
    headings = ("predictor", "a", "b", "95% of b", "c", "95% of c", "R^2")
    rows = [
        (
            _titled(row),
            [
                row["predictor"],
                digits(row["a"]["value"]),
                digits(row["b"]["value"]),
                ends(row["b"]["interval"]) or DASH,
                digits(row["c"]["value"]),
                ends(row["c"]["interval"]) or DASH,
                _r2(row["r2"]["value"]),
            ],
        )
        for row in fit["laws"]
    ]
    return Table(
        [Column(h, right=h != "predictor", detail=h == "a") for h in headings],
        _headed(rows),
        key="means over seeds, each with all of its sizes; b: from the smallest to the largest "
        "number of the predictor; c: per doubling of P; 95%: Student's t over seeds",
    )


def _facts(fit: Row) -> Table:
    headings = ("size", "P", "facts", "cells", "hit", "bits", "own bits")
    rows = [
        [
            f"{row['size']}, {row['system']}" if row["system"] else row["size"],
            count(row["parameters"]),
            f"{row['facts']:,.0f}",
            f"{row['cells']:,.0f}",
            percent(row["hit"]["value"]),
            f"{digits(row['bits']['value'])} {ends(row['bits']['interval'])}".strip(),
            f"{digits(row['own bits']['value'])} {ends(row['own bits']['interval'])}".strip(),
        ]
        for row in fit["facts"]
    ]
    return Table(
        [Column(h, right=h != "size", detail=h == "cells") for h in headings],
        rows,
        key="of a run; means over seeds and facts, 95% over seeds",
    )
