"""The part of JSON Schema (draft 2020-12) that the schema of study files uses, written out."""

import re

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
KNOWN = {
    *("$schema", "title", "description", "$defs", "$ref", "type", "enum", "anyOf", "pattern"),
    *("properties", "patternProperties", "additionalProperties", "propertyNames", "required"),
    *("minProperties", "items", "minItems", "minimum", "maximum", "exclusiveMinimum"),
}


def errors(value, schema, root, at="") -> list[str]:
    """What is wrong with a value, each with its place; empty where it fits."""
    assert set(schema) <= KNOWN, f"not written out here: {set(schema) - KNOWN}"
    if "$ref" in schema:
        return errors(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, at)
    found = []
    if "type" in schema and not any(_is(value, one) for one in _list(schema["type"])):
        return [f"{at}: {value!r} is no {schema['type']}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at}: {value!r} is none of {schema['enum']}"]
    if "anyOf" in schema:
        tried = [errors(value, one, root, at) for one in schema["anyOf"]]
        found += min(tried, key=len) if all(tried) else []
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{at}: {value!r} does not match {schema['pattern']}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        found += [f"{at}: {value}"] * (value < schema.get("minimum", value))
        found += [f"{at}: {value}"] * (value > schema.get("maximum", value))
        found += (
            [f"{at}: {value}"]
            * ("exclusiveMinimum" in schema)
            * (not value > schema.get("exclusiveMinimum", 0))
        )
    if isinstance(value, list):
        found += [f"{at}: too few"] * (len(value) < schema.get("minItems", 0))
        for i, one in enumerate(value):
            found += errors(one, schema.get("items", {}), root, f"{at}/{i}")
    if isinstance(value, dict):
        found += _of_object(value, schema, root, at)
    return found


def _of_object(value, schema, root, at):
    found = [f"{at}: {key} is missing" for key in schema.get("required", []) if key not in value]
    found += [f"{at}: empty"] * (len(value) < schema.get("minProperties", 0))
    for key, inner in value.items():
        found += errors(key, schema.get("propertyNames", {}), root, f"{at}/{key}")
        parts = [schema["properties"][key]] if key in schema.get("properties", {}) else []
        parts += [
            one for form, one in schema.get("patternProperties", {}).items() if re.search(form, key)
        ]
        more = schema.get("additionalProperties", True)
        if not parts and more is False:
            found.append(f"{at}: {key} is not known")
        elif not parts and isinstance(more, dict):
            parts = [more]
        for part in parts:
            found += errors(inner, part, root, f"{at}/{key}")
    return found


def _is(value, name):
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, TYPES[name])


def _list(one):
    return one if isinstance(one, list) else [one]
