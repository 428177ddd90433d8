"""What every page of this project is made of: figures, blocks of a document, tables that sort, and
the filling of a template into one file that loads nothing."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from capacity.analysis.document import Bullets, Laws, Section, Text, Verdicts
from capacity.base.table import Table
from capacity.base.words import capitalized, digits
from capacity.report import figure_data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 3_000_000  # bytes of a page
SLACK = 1000  # bytes by which a file that is left out changes a page beside its own
LARGEST_STILL = 300_000  # of a picture that only a browser without scripts shows
MOST_ROWS = 5000  # runs of a table, which a browser sorts and filters at once
MOST_ANSWERS = 5  # in the box on the first screen


def section(part: Section) -> dict[str, Any]:
    """A section as the template takes it; short: its title up to a colon, for the list of
    contents."""
    return {
        "id": part.id,
        "title": part.title,
        "short": part.title.split(":")[0],
        "blocks": [_block(block) for block in part.blocks],
    }


def _block(block: Any) -> dict[str, Any]:
    names = {Table: "table", Laws: "laws", Verdicts: "verdicts", Text: "text", Bullets: "bullets"}
    fields = {"kind": names[type(block)]} | {
        field.name: getattr(block, field.name) for field in dataclasses.fields(block)
    }
    return fields | {"legend": block.legend} if isinstance(block, Table) else fields


def figure(name: str, figure: Figure, captions: Mapping[str, str]) -> dict[str, Any]:
    """A figure as the template takes it: drawn again by scripts where that can be, and as a picture
    for browsers without them."""
    try:
        drawn = figure_data.data(figure)
    except figure_data.Undrawable:
        drawn = None
    still = figure_data.still(figure)
    caption = captions.get(name, capitalized(name.replace("_", " ")))
    return {
        "name": name,
        "caption": caption,
        "still": still if drawn is None or len(still) <= LARGEST_STILL else "",
        "drawn": drawn,
    }


def figure_files(drawn: Mapping[str, Figure]) -> dict[str, bytes]:
    """What every figure of the page draws, as CSV."""
    from capacity.figures.files import table

    return {f"figures/{name}.csv": table(name, figure) for name, figure in drawn.items()}


def bounded(cells: dict[str, Any]) -> dict[str, Any]:
    """Cells of `runs.build` with at most MOST_ROWS rows, and a note that says so: of more runs all
    that have not finished come first, then as many of the others, evenly spaced."""
    rows = cells["rows"]
    if len(rows) <= MOST_ROWS:
        return cells
    status = [column["heading"] for column in cells["columns"]].index("status")
    odd = [i for i, row in enumerate(rows) if row[status] != "finished"][:MOST_ROWS]
    others = [i for i, row in enumerate(rows) if row[status] == "finished"]
    left = MOST_ROWS - len(odd)
    even = [others[i * len(others) // left] for i in range(min(left, len(others)))]
    note = (
        f"{MOST_ROWS:,} of {len(rows):,} runs, evenly chosen among those that finished; runs.csv "
        "beside this page has all."
    )
    return cells | {"rows": [rows[i] for i in sorted([*odd, *even])], "note": note}


def table(cells: Mapping[str, Any]) -> dict[str, Any]:
    """{"columns": [{heading, meaning, number, setting}], "rows": [[value]]} with rows of cells."""
    return {
        "note": cells.get("note", ""),
        "columns": cells["columns"],
        "rows": [
            [cell(value, column) for value, column in zip(row, cells["columns"], strict=True)]
            for row in cells["rows"]
        ],
    }


def cell(value: Any, column: dict) -> dict[str, Any]:
    """Text, and the exact value where the text has fewer digits."""
    text = f"{value:g}" if column["setting"] and isinstance(value, float) else cell_text(value)
    kind = (
        "n"
        if column["number"]
        else "long"
        if column["heading"] == "error-message"
        else "bad"
        if column["heading"] == "status" and value != "finished"
        else ""
    )
    exact = None
    if column["number"] and value is not None and float(text.replace(",", "")) != float(value):
        exact = f"{value:.7g}"
    return {"text": text, "value": exact, "kind": kind}


def cell_text(value: Any) -> str:
    """A value as a cell shows it; a dash where there is none."""
    if value is None or value == "" or (isinstance(value, float) and pd.isna(value)):
        return "–"
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, int) or float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 1e-3 else digits(value, 4)


def rendered(
    template: str, context: dict[str, Any], data: dict[str, Any], files: dict[str, bytes]
) -> bytes:
    """A template of this folder filled; the largest files stay outside where the page would grow
    beyond LARGEST."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("capacity.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "strong": _strong,
        "digits": lambda x: digits(x, 4),
        "capitalized": capitalized,
    }
    style, script = _asset("page.css"), _asset("figures.js") + _asset("table.js")
    packed = {
        name: base64.b64encode(gzip.compress(content, mtime=0)).decode()
        for name, content in files.items()
    }
    left_out: list[str] = []
    while True:
        page = (
            environment.get_template(template)
            .render(
                **context,
                style=Markup(style),
                script=Markup(script),
                style_hash=_source(style),
                script_hash=_source(script),
                files=list(packed),
                left_out=left_out,
                data=_embedded(data | {"files": packed}),
            )
            .encode()
        )
        if len(page) <= LARGEST or not packed:
            return page
        over = len(page) - LARGEST
        while over > 0 and packed:
            left_out.append(max(packed, key=lambda name: len(packed[name])))
            over -= len(packed.pop(left_out[-1])) + SLACK


def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _source(text: str) -> Markup:
    """What a Content-Security-Policy calls the one script or style that may run."""
    return Markup(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'")


def _embedded(tree: Any) -> Markup:
    """JSON that no HTML parser can leave."""
    text = json.dumps(tree, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _strong(text: str) -> Markup:
    """Escaped, and what stands between two stars made strong."""
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text))))
