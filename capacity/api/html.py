"""Results as small HTML tables for notebooks; nothing is loaded from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a caption; cells are text and are escaped."""
    lines = [f'<table><caption style="text-align: left">{escape(caption)}</caption>']
    if head:
        lines.append(_row(head, "th"))
    lines += [_row(row, "td") for row in rows]
    return "\n".join([*lines, "</table>"])


def notes(texts: Sequence[str]) -> str:
    """Sentences as a list; an empty text where there are none."""
    if not texts:
        return ""
    return "\n".join(["<ul>", *(f"<li>{escape(text)}</li>" for text in texts), "</ul>"])


def _row(cells: Sequence[str], tag: str) -> str:
    style = ' style="text-align: left"'
    return f"<tr>{''.join(f'<{tag}{style}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
