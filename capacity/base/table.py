"""A table written once and shown anywhere: 80 columns of text, Markdown, or the cells of a page.

Cells are words; who makes a table formats its numbers (`base.words`), so that every rendering
shows the same digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from capacity.base.words import WIDTH, wrap

GAP = 2  # blanks between two columns of text
LONGEST_NAME = 26  # of the first column in text; longer names stand on a line of their own


@dataclass(frozen=True)
class Column:
    """A column: its heading, what it means, and on which side its cells stand.

    detail: left out first where a terminal is too narrow; a page has room for it.
    """

    heading: str
    meaning: str = ""
    right: bool = True
    detail: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of words below headings. A row of one cell is a head line over the rows below it."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    key: str = ""  # what marks and abbreviations stand for
    name: str = ""  # one word, where a page or a test wants to find it
    page: str = "the page of the study"  # which has the columns that a terminal has no room for
    marks: dict[str, str] = field(
        default_factory=dict
    )  # mark -> meaning, of a last column of marks

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) not in (1, len(self.columns)):
                raise ValueError(
                    f"a row of {len(row)} cells below {len(self.columns)} headings: {row}"
                )

    @property
    def legend(self) -> str:
        """Key and marks in one text."""
        used = {mark for row in self.rows if len(row) > 1 for mark in row[-1]}
        marks = [f"{mark}: {meaning}" for mark, meaning in self.marks.items() if mark in used]
        return "; ".join(filter(None, [self.key, *marks]))


def text(table: Table, width: int = WIDTH, indent: str = "  ") -> list[str]:
    """Lines of at most `width` columns: caption, headings, rows, legend.

    Where the columns do not fit, those marked as details go, the last one first, and a line says
    so; then the first column narrows, and longer names stand on lines of their own.
    """
    lines = wrap(table.caption, "", width=width) if table.caption else []
    if not table.rows:
        return [*lines, f"{indent}none"]
    shown, hidden = list(range(len(table.columns))), []
    while (widths := _widths(table, shown)) and len(indent) + _total(widths) > width:
        spare = [i for i in shown if table.columns[i].detail]
        if not spare:
            break
        shown.remove(spare[-1])
        hidden.insert(0, table.columns[spare[-1]].heading)
    over = len(indent) + _total(widths) - width
    if over > 0 and not table.columns[0].right:
        widths[0] = max(len(table.columns[0].heading), widths[0] - over)
    heads = [table.columns[i].heading for i in shown]
    lines.append(_row(heads, [table.columns[i] for i in shown], widths, indent))
    grouped = any(len(row) == 1 for row in table.rows)
    inner = indent + "  " * grouped
    for row in table.rows:
        if len(row) == 1:
            lines += wrap(row[0], indent, indent + "    ", width)
            continue
        cells = [row[i] for i in shown]
        if len(cells[0]) > widths[0]:
            lines += wrap(cells[0], inner, inner + "  ", width)
            cells[0] = ""
        columns = [table.columns[i] for i in shown]
        if grouped and len(cells[0]) <= widths[0] - 2:
            cells[0] = "  " + cells[0]
        lines.append(_row(cells, columns, widths, indent))
    if hidden:
        lines += wrap(f"{table.page} also has: {', '.join(hidden)}", indent, width=width)
    return lines + (wrap(table.legend, indent, width=width) if table.legend else [])


def _widths(table: Table, shown: list[int]) -> list[int]:
    grouped = any(len(row) == 1 for row in table.rows)
    full = [row for row in table.rows if len(row) > 1]
    widths = [
        max(len(table.columns[i].heading), *(len(row[i]) for row in full))
        if full
        else len(table.columns[i].heading)
        for i in shown
    ]
    widths[0] = min(widths[0] + 2 * grouped, LONGEST_NAME)
    return widths


def _total(widths: list[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _row(cells: list[str], columns: list[Column], widths: list[int], indent: str) -> str:
    parts = [
        f"{cell:>{n}}" if column.right else f"{cell:<{n}}"
        for cell, column, n in zip(cells, columns, widths, strict=True)
    ]
    return (indent + (" " * GAP).join(parts)).rstrip()


def markdown(table: Table) -> list[str]:
    """Lines of a Markdown table; a head line becomes a row with its first cell in bold."""
    lines = [table.caption, ""] if table.caption else []
    if not table.rows:
        return [*lines, "none"]
    lines.append("| " + " | ".join(_escaped(c.heading) or " " for c in table.columns) + " |")
    lines.append("| " + " | ".join("---:" if c.right else "---" for c in table.columns) + " |")
    for row in table.rows:
        cells = [_escaped(cell) for cell in row]
        if len(row) == 1:
            cells = [f"**{cells[0]}**", *[""] * (len(table.columns) - 1)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines + (["", table.legend] if table.legend else [])


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
