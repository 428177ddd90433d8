"""The JSON Schema of a record (draft 2020-12), from the declarations of measures and record."""

from __future__ import annotations

import dataclasses
from typing import Any

from capacity.declare import record, registry
from capacity.declare.field import (
    BOOL,
    FLOAT,
    INT,
    INTERVAL,
    LEVELS,
    LIST,
    NAMES,
    SECTION,
    TEXT,
    Field,
    Measure,
    Node,
    node_of,
)

URI = "https://json-schema.org/draft/2020-12/schema"
JSON = {
    TEXT: {"type": "string"},
    INT: {"type": "integer"},
    FLOAT: {"type": "number"},
    BOOL: {"type": "boolean"},
    SECTION: {"type": "object"},
    LIST: {"type": "array"},
    LEVELS: {"type": "array"},
    INTERVAL: {
        "type": "array",
        "items": {"type": "number"},
        "minItems": 2,
        "maxItems": 2,
    },
}


def schema() -> dict[str, Any]:
    """The schema of record.json. Required is what readers rely on; fields of later versions are
    allowed beside those that are declared."""
    out: dict[str, Any] = {"$schema": URI, "title": "Record of a run"}
    some = (*record.FINISHED, *record.FAILED)  # needed of records of one status only
    out |= _of_node(
        node_of(
            dataclasses.replace(one, needed=one.needed and one not in some) for one in record.FIELDS
        )
    )
    out["properties"]["status"] |= {"enum": ["finished", "failed"]}
    out["properties"]["measures"] |= {
        "properties": {name: _of_measure(one) for name, one in registry.MEASURES.items()}
    }
    main = [{"required": [name]} for name, one in registry.MEASURES.items() if one.main]
    out["allOf"] = [
        _when("finished", record.FINISHED, {"measures": {"anyOf": main}}),
        _when("failed", record.FAILED, {}),
    ]
    return out


def _when(status: str, fields: tuple[Field, ...], more: dict[str, Any]) -> dict[str, Any]:
    """What a record of this status has besides."""
    inner = _of_node(node_of(fields))["properties"]
    return {
        "if": {"properties": {"status": {"const": status}}},
        "then": {"properties": inner | more},
    }


def _of_measure(measure: Measure) -> dict[str, Any]:
    out = _of_node(node_of(measure.fields))
    if measure.rows:
        row = _of_node(node_of(measure.rows))
        out["properties"]["rows"]["items"] = row
        out["properties"]["unquantized"] |= row
    return out


def _of_node(node: Node) -> dict[str, Any]:
    """The schema of what stands at a node, a section, a list of sections or a single value."""
    if not (node.keys or node.families):
        return _of_field(node.field)
    if node.level:
        ((_, below),) = node.families
        element = _of_node(below)
        element["properties"] = {node.level: {"type": "integer"}} | element["properties"]
        element["required"] = [node.level, *element.get("required", [])]
        return {"type": "array", "items": element}
    out: dict[str, Any] = {"type": "object", "properties": {}}
    if node.field is not None and node.field.missing:
        out["type"] = ["object", "null"]
    for key, below in node.keys.items():
        out["properties"][key] = _of_node(below)
    for pattern, below in node.families:
        known = dict(out.get("patternProperties", {}))
        out["patternProperties"] = known | {_plain(pattern.pattern): _of_node(below)}
    required = [key for key, below in node.keys.items() if _is_needed(below)]
    return out | ({"required": required} if required else {})


def _of_field(field: Field | None) -> dict[str, Any]:
    if field is None:
        return {}
    out = dict(JSON[field.type])
    if field.missing:
        out["type"] = [out["type"], "null"]
    words = f"{field.meaning} ({field.unit})" if field.unit else field.meaning
    return out | ({"description": words} if words else {})


def _is_needed(node: Node) -> bool:
    """Whether something at this node or below it is needed."""
    if node.field is not None and node.field.needed:
        return True
    return any(_is_needed(below) for below in node.keys.values())


def _plain(pattern: str) -> str:
    """A pattern as JSON Schema has it: anchored, groups without a name."""
    for name in NAMES:
        pattern = pattern.replace(f"?P<{name}>", "")
    while "?P<" in pattern:
        start = pattern.index("?P<")
        pattern = pattern[:start] + pattern[pattern.index(">", start) + 1 :]
    return f"^{pattern}$"
