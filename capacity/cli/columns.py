"""Rows for a terminal of 80 columns, as CSV and as JSON (standard library only)."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from capacity.base.errors import ConfigError
from capacity.base.words import WIDTH, wrap

GAP = "  "
NARROWEST = 24  # of a last column that wraps; with less it stands below its row


def add_formats(sub: argparse.ArgumentParser) -> None:
    """The options --json and --csv."""
    sub.add_argument("--json", action="store_true", help="a JSON list, for scripts")
    sub.add_argument("--csv", action="store_true", help="CSV, one row each")


def machine(args: argparse.Namespace, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The rows as JSON or CSV, whichever was asked for; None where neither was."""
    if args.json and args.csv:
        raise ConfigError("--json, --csv: give one of the two")
    if args.json:
        return json.dumps(list(rows), indent=1, ensure_ascii=False, allow_nan=False)
    if not args.csv:
        return None
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])
    return stream.getvalue().rstrip("\n")


def _cell(value: Any) -> Any:
    """A value as CSV has it: empty for none, true and false, lists with blanks between."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def aligned(
    heads: Sequence[str], rows: Sequence[Sequence[str]], right: str = "", width: int = WIDTH
) -> list[str]:
    """Lines of at most `width` columns, the last cell wrapped below itself; right: one character
    per column, > for those that end alike, such as numbers. A last cell with too little room stands
    below its row."""
    right = right.ljust(len(heads), "<")
    sizes = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    fixed = sum(sizes[:-1]) + len(GAP) * (len(heads) - 1)
    below = fixed + min(sizes[-1], NARROWEST) > width
    out = []
    for row in [heads, *rows]:
        cells = [
            f"{cell:{side}{size}}" for cell, side, size in zip(row, right, sizes, strict=True)
        ][:-1]
        front = GAP.join(cells)
        if below:
            out.append(front.rstrip())
            out += wrap(row[-1], "    ", width=width) if row[-1] else []
            continue
        last = f"{row[-1]:{right[-1]}{sizes[-1]}}" if fixed + sizes[-1] <= width else row[-1]
        front += GAP if len(heads) > 1 else ""
        if len(front) + len(last.rstrip()) <= width:
            out.append((front + last).rstrip())
        else:
            out += wrap(last, front, " " * len(front), width)
    return out
