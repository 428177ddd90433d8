"""Words of the code as Markdown: what is no markup there is none on the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def words(text: str) -> str:
    """One line of prose; what would be markup of Markdown or HTML is escaped, code stays code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(
        part.replace("|", r"\|")
        if part.startswith("`")
        else re.sub(r"([\\*|]|\b_|_\b|\](?=\())", r"\\\1", part).replace("<", "&lt;")
        for part in parts
    )


def code(text: object) -> str:
    """As code, for a cell of a table; empty for an empty text."""
    plain = str(text).replace("|", r"\|")
    return f"`{plain}`" if plain else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table of cells that are Markdown already; `right`: columns of numbers."""
    marks = ["---:" if i in right else "---" for i in range(len(head))]
    lines = [head, marks, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def page(title: str, about: str, *parts: str) -> str:
    """A page with its title, what it is, and its parts, an empty line between them."""
    return "\n\n".join(part.strip("\n") for part in (f"# {title}", about, *parts) if part) + "\n"


def anchor(heading: str) -> str:
    """How GitHub and MyST call the place of a heading."""
    return "".join(c for c in heading.lower().replace(" ", "-") if c.isalnum() or c in "_-")
