"""A document in Markdown, as it stands beside the tables and figures of its study."""

from __future__ import annotations

from collections.abc import Collection

from capacity.analysis.document import Block, Bullets, Document, Laws, Text, Verdicts
from capacity.base import table
from capacity.base.table import Column, Table
from capacity.base.words import digits, ends, some

MOST_RUNS = 6


def render(document: Document, figures: Collection[str] = (), kind: str = "png") -> str:
    """The whole document; figures: names of those that lie beside it as figures/NAME.png, or as
    files of another kind; a PDF cannot be shown in Markdown and is linked."""
    lines = [f"# {document.title}", ""]
    lines += [line for fact in document.facts for line in (fact, "")]
    lines += [line for answer in document.answers for line in (answer, "")]
    for name, caption in document.figures.items():
        if name in figures:
            mark = "" if kind == "pdf" else "!"
            lines += [f"{mark}[{caption}](figures/{name}.{kind})", ""]
    for part in document.sections:
        lines += [f"## {part.title}", ""]
        lines += [line for block in part.blocks for line in (*block_lines(block), "")]
    flags = [flag for flag in document.flags if flag.runs]
    if flags:
        columns = [
            Column("flag", right=False),
            Column("runs"),
            Column("meaning", right=False),
            Column("which", right=False),
        ]
        rows = [[f.name, str(len(f.runs)), f.meaning, some(f.runs, MOST_RUNS)] for f in flags]
        lines += ["## Flags", "", *table.markdown(Table(columns, rows)), ""]
    if document.notes:
        lines += ["## Notes", "", *(f"- {note}" for note in document.notes), ""]
    if document.conventions:
        lines += [
            "## Conventions",
            "",
            *(f"- *{word}*: {text}" for word, text in document.conventions),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def block_lines(block: Block) -> list[str]:
    """One block of a section."""
    match block:
        case Table():
            return table.markdown(block)
        case Laws():
            return [*table.markdown(laws_table(block)), *(["", block.note] if block.note else [])]
        case Verdicts():
            note = [block.note, ""] if block.note else []
            return note + (table.markdown(verdicts_table(block)) if block.rows else [])
        case Text():
            return [block.text]
        case Bullets():
            return [f"- {item}" for item in block.items]


def laws_table(block: Laws) -> Table:
    """Fitted numbers, a row each; a law without numbers is a row with its reason."""
    names = ("form", "number", "value", "95% interval", "remarks")
    columns = [Column(name, right=name == "value") for name in names]
    rows = []
    for law in block.laws:
        name = law.name if law.formula in ("", law.name) else f"{law.name}: {law.formula}"
        if law.reason or not law.numbers:
            rows.append([name, "", "none", "", law.reason])
            continue
        for i, number in enumerate(law.numbers):
            intervals = [
                f"{_strong(ends(part.ends, 4), part.quote)} {part.over}"
                if part.ends
                else f"none {part.over}: {part.reason}"
                for part in number.intervals
            ]
            value = f"{digits(number.value, 4)} {number.unit}".strip()
            remarks = "; ".join(law.remarks) if i == 0 else ""
            rows.append(
                [name if i == 0 else "", number.symbol, value, "; ".join(intervals), remarks]
            )
    return Table(columns, rows)


def verdicts_table(block: Verdicts) -> Table:
    """Published values beside measured ones, a row each."""
    names = ("what", "published", "here", "verdict", "source")
    rows = [
        [
            row.name,
            row.published,
            row.here,
            f"**{row.verdict}**: {row.reason}",
            "; ".join(filter(None, [row.source, *row.remarks])),
        ]
        for row in block.rows
    ]
    return Table([Column(name, right=False) for name in names], rows)


def _strong(text: str, strong: bool) -> str:
    return f"**{text}**" if strong else text
