"""A document for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from capacity.analysis.document import (
    Block,
    Bullets,
    Document,
    Flag,
    Interval,
    Law,
    Laws,
    Section,
    Text,
    Verdict,
    Verdicts,
    plain,
)
from capacity.base import table
from capacity.base.table import Table
from capacity.base.words import WIDTH, digits, ends, plural, some, wrap

MOST_RUNS = 6  # named behind a flag; all are in runs.csv


def render(document: Document, width: int = WIDTH) -> str:
    """The whole document: title, answers, sections, flags that some run has, notes."""
    lines = wrap(document.title, "", width=width)
    for fact in document.facts:
        lines += wrap(fact, "", width=width)
    lines.append("")
    for answer in document.answers:
        lines += wrap(plain(answer), "", "  ", width)
    for part in document.sections:
        lines += ["", *section(part, width)]
    notes = [_flag(flag) for flag in document.flags if flag.runs] + [*document.notes]
    if notes:
        lines += ["", "Notes", *_bullets(notes, width)]
    return "\n".join(lines)


def section(part: Section, width: int = WIDTH) -> list[str]:
    """Lines of one section, its title first."""
    lines = wrap(part.title, "", width=width)
    for i, block in enumerate(part.blocks):
        block_lines = _block(block, width)
        lines += [""] * bool(i and block_lines and isinstance(block, Table)) + block_lines
    return lines


def _block(block: Block, width: int) -> list[str]:
    match block:
        case Table():
            return table.text(block, width)
        case Laws():
            lines = [line for law in block.laws for line in _law(law, width)]
            return lines + (wrap(block.note, "  ", width=width) if block.note else [])
        case Verdicts():
            note = wrap(block.note, "  ", width=width) if block.note else []
            return note + [line for row in block.rows for line in _verdict(row, width)]
        case Text():
            return wrap(plain(block.text), "  ", width=width)
        case Bullets():
            return _bullets(block.items, width)


def _bullets(items: Sequence[str], width: int) -> list[str]:
    return [line for item in items for line in wrap(plain(item), "  - ", "    ", width)]


def _law(law: Law, width: int) -> list[str]:
    if law.reason or not law.numbers:
        return wrap(f"{law.name}: none: {law.reason or 'nothing was fitted'}", "  ", "    ", width)
    name = law.name if law.formula in ("", law.name) else f"{law.name}: {law.formula}"
    lines = wrap(name, "  ", "    ", width)
    for number in law.numbers:
        unit = f" {number.unit}" if number.unit else ""
        head = f"{number.symbol} = {digits(number.value, 4)}{unit}"
        intervals = [_interval(part, len(number.intervals) > 1) for part in number.intervals]
        if len(intervals) < 2:
            lines += wrap("; ".join([head, *intervals]), "    ", "      ", width)
        else:
            lines += wrap(head, "    ", "      ", width)
            lines += [
                line for part in intervals for line in wrap(part, "      ", "        ", width)
            ]
    return lines + [
        line for remark in law.remarks for line in wrap(remark, "    ", "      ", width)
    ]


def _interval(part: Interval, several: bool) -> str:
    if part.ends is None:
        return f"no interval {part.over}: {part.reason}"
    quote = "  <- quote this one" if several and part.quote else ""
    return f"95% {ends(part.ends, 4)} {part.over}{quote}"


def _verdict(row: Verdict, width: int) -> list[str]:
    lines = wrap(row.name, "  ", "    ", width)
    lines += wrap(f"published: {row.published}; {row.source}", "    ", "      ", width)
    lines += wrap(
        f"{row.verdict.upper()}: measured {row.here}; {row.reason}", "    - ", "      ", width
    )
    for remark in filter(None, row.remarks):
        lines += wrap(remark, "      ", width=width)
    return lines


def _flag(flag: Flag) -> str:
    return (
        f"{flag.name}: {plural(len(flag.runs), 'run')} ({some(flag.runs, MOST_RUNS)}): "
        f"{flag.meaning}"
    )
