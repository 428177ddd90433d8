"""Pages of what is measured: fields of a record with its measures, columns of tables of runs."""

from __future__ import annotations

from collections.abc import Iterable

from capacity.declare import record, registry
from capacity.declare.field import INTERVAL, LEVELS, LIST, SECTION, Column, Field, Measure
from reference_pages import markdown

RECORD = """\
What `results/runs/RUN_ID/record.json` holds, as `capacity/declare` declares it; the JSON Schema
of the same is [record.schema.json](record.schema.json). Names in braces stand for any text,
names in brackets for the sections of a list. A field that is *needed* is in every record (of its
status); any other may be absent, which says that it was not measured. Fields of a later version
are allowed beside these. How numbers are counted: [conventions](../explanation/conventions.md)."""
COLUMNS = """\
Columns of the tables that laws are fitted to (`runs.csv` beside each fit); `capacity table` has
these and every other number of the records under its path, and `capacity table --columns` says
what each is. An empty cell is a number that is not there. Names in braces stand for any text."""
GROUPS = {
    "What a run is": record.ABOUT,
    "What is counted": record.COUNTED,
    "How it was trained": record.TRAINED,
    "Where and when": record.ENVIRONMENT,
}


def page() -> str:
    """Fields of a record, then those of each measure."""
    own = [one for one in record.FIELDS if one not in record.HIDDEN] + list(record.HIDDEN)
    parts = ["## Record\n\n" + _fields(own)]
    for name, measure in registry.MEASURES.items():
        parts.append(f"## measures.{name}\n\n{_about(measure)}\n\n{_fields(measure.fields)}")
        if measure.rows:
            parts.append(f"### measures.{name}.rows\n\n{_fields(measure.rows)}")
    return markdown.page("Records and measures", RECORD, *parts)


def columns() -> str:
    """Columns of the table of runs."""
    parts = [_columns(title, map(_column, fields)) for title, fields in GROUPS.items()]
    for name, measure in registry.MEASURES.items():
        found = [one.as_column() for one in measure.fields if one.column]
        parts.append(_columns(f"Measured: {name}", found))
    return markdown.page("Columns", COLUMNS, *(part for part in parts if part))


def _about(measure: Measure) -> str:
    data = ", ".join(f"`{kind}`" for kind in measure.data) or "any"
    held = f" The bits that laws are about are `{measure.held}`." if measure.held else ""
    how = f" Convergence is judged by `{measure.evaluated}`." if measure.evaluated else ""
    return f"Version {measure.version}, of data.kind {data}.{held}{how}"


def _fields(fields: Iterable[Field]) -> str:
    rows = [
        (
            markdown.code(one.path),
            _type(one),
            markdown.words(one.unit),
            _meaning(one),
        )
        for one in fields
    ]
    return markdown.table(("field", "type", "unit", "meaning"), rows)


def _meaning(one: Field) -> str:
    parts = [markdown.words(one.meaning)]
    if one.column:
        parts.append(f"column {markdown.code(one.column)}")
    if one.needed:
        parts.append("*needed*")
    return "; ".join(filter(None, parts))


def _type(one: Field) -> str:
    plain = {INTERVAL: "[low, high]", LEVELS: "list of sections", SECTION: "section", LIST: "list"}
    return plain.get(one.type, one.type) + (" or null" if one.missing else "")


def _column(one: Field | Column) -> Column | None:
    if isinstance(one, Column):
        return one
    return one.as_column() if one.column else None


def _columns(title: str, found: Iterable[Column | None]) -> str:
    rows = [
        (
            markdown.code(one.name),
            one.type,
            markdown.words(one.unit),
            markdown.words(one.meaning),
        )
        for one in found
        if one is not None
    ]
    if not rows:
        return ""
    return f"## {title}\n\n" + markdown.table(("column", "type", "unit", "meaning"), rows)
