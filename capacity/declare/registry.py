"""The measures that there are: one line each. Records, tables, column help, descriptions, the wandb
mirror and the reference read this and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from capacity.declare import (
    context,
    extraction,
    fact_cells,
    inside,
    knowledge,
    memorization,
    mixture,
    people,
    prompt_search,
    prompts,
    quantization,
    record,
    start,
    tables,
    text,
    wording,
)
from capacity.declare.field import Measure, Node, Value, node_of, values

# In the order in which a record is described.
MEASURES: dict[str, Measure] = {
    "text": text.MEASURE,
    "memorization": memorization.MEASURE,
    "knowledge": knowledge.MEASURE,
    "mixture": mixture.MEASURE,
    "people": people.MEASURE,
    "wording": wording.MEASURE,
    "fact_cells": fact_cells.MEASURE,
    "context": context.MEASURE,
    "extraction": extraction.MEASURE,
    "inside": inside.MEASURE,
    "prompts": prompts.MEASURE,
    "prompt_search": prompt_search.MEASURE,
    "quantization": quantization.MEASURE,
    "tables": tables.MEASURE,
    "start": start.MEASURE,
}
_NODES: dict[tuple[int, bool], tuple[Measure, Node]] = {}


def main_of(data: str) -> Measure:
    """The measure of a kind of data whose bits are the headline."""
    for measure in MEASURES.values():
        if measure.main and data in measure.data:
            return measure
    raise KeyError(f"data.kind={data}: no measure is about it")


def about(data: str) -> list[Measure]:
    """Measures that a kind of data may have, the main one first."""
    measures = [measure for measure in MEASURES.values() if data in measure.data]
    return sorted(measures, key=lambda measure: not measure.main)


def numbers(measures: Mapping[str, dict[str, Any]]) -> Iterator[Value]:
    """All single numbers and words of the measures of a record, in its order, by their path in it;
    without a field what no measure declares."""
    for name, part in measures.items():
        node = _node(MEASURES[name]) if name in MEASURES else Node()
        for one in values(part, node):
            yield Value(f"measures.{name}.{one.path}", one.field, one.names, one.value)


def row_numbers(measure: Measure, row: dict[str, Any]) -> Iterator[Value]:
    """All single numbers and words of one element of the `rows` of a measure."""
    return values(row, _node(measure, rows=True))


def column(value: Value) -> str:
    """The name of its column, empty without one. What an attribute of a corpus is called is up to
    its author: where the name is that of a declared column (bits_se of an attribute "se") or one
    with more _ behind it, it gets one _ more."""
    if value.field is None or not value.field.column:
        return ""
    name = value.name(value.field.column)
    return name + "_" if value.field.is_family and name.rstrip("_") in _single() else name


@cache
def _single() -> frozenset[str]:
    """Columns of records and measures that are no family's."""
    fields = [*record.FIELDS, *(one for measure in MEASURES.values() for one in measure.fields)]
    return frozenset(one.column for one in fields if one.column and not one.is_family)


def summary(measures: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The numbers of a record that its mirror shows: those with a name in the summary, and those
    with a column, by the name of the column; and of each variant of quantization what it holds."""
    out: dict[str, Any] = {}
    for value in numbers(measures):
        declared = value.field
        if declared is not None and value.value is not None:
            name = value.name(declared.summary) or column(value)
            if name:
                out[name] = value.value
    rows = measures.get("quantization", {}).get("rows", [])
    for name, row in zip(quantization.variants(rows), rows, strict=True):
        for value in row_numbers(MEASURES["quantization"], row):
            if value.field in quantization.HELD and value.value is not None and column(value):
                out[f"quantized.{name}.{column(value)}"] = value.value
    return out


def _node(measure: Measure, rows: bool = False) -> Node:
    """Fields of a measure by their paths, formed once."""
    key = id(measure), rows
    if key not in _NODES or _NODES[key][0] is not measure:
        _NODES[key] = measure, node_of(measure.rows if rows else measure.fields)
    return _NODES[key][1]
