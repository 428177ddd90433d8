"""Result files that older versions wrote, as this one writes them.

A file of schema 2 and later names its kind; one of schema 1 is recognised by what it holds. Names
change, numbers never do: what an old file does not hold stays absent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def read(path: Path) -> dict[str, Any]:
    """The content of fit.json, precision.json or memory.json in the present schema. OSError where
    the file cannot be read, ValueError where it is not JSON or not an object."""
    tree = json.loads(Path(path).read_bytes())
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected a JSON object, found a {type(tree).__name__}")
    return current(tree)


def current(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The same numbers in the present schema; a tree that already names its kind as it is."""
    if "kind" in tree:
        return dict(tree)
    for kind, (holds, convert) in OLD.items():
        if holds <= tree.keys():
            return {"kind": kind} | convert(tree)
    return dict(tree)


def facts(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 1 -> 2: a model that holds over 95% of its data was called saturated."""
    new = dict(old) | {"schema": 2}
    new["data_kinds"] = new.pop("kinds")
    new["data_limited"] = new.pop("saturated")
    new["noise"] = {
        {"saturated": "data_limited"}.get(name, name): value for name, value in old["noise"].items()
    }
    return new


def text(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 1 -> 2: predictions were called predicted, and the predicted values said; a file named
    neither versions nor its inputs, and left forgetting out where nothing was forgotten."""
    new = {key: value for key, value in old.items() if key != "predicted"}
    new["predictions"] = {
        value: [
            {{"said": "predicted"}.get(name, name): number for name, number in row.items()}
            for row in rows
        ]
        for value, rows in old["predicted"].items()
    }
    return {"schema": 2, "versions": {}, "inputs_sha256": "", "forgetting": None} | new


# kind -> keys by which its files of schema 1 are recognised, and what makes them schema 2
OLD: dict[str, tuple[set[str], Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "text": ({"targets", "predicted"}, text),
    "facts": ({"arms", "peaks", "saturated"}, facts),
}
