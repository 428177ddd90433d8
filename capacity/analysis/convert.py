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


def random(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 1 -> 2: runs that the data limit were called underfilled, and what computed the numbers
    stood with each convention."""
    new = dict(old) | {"schema": 2, "inputs_sha256": old["strict"].get("inputs_sha256")}
    new["versions"] = old["strict"].get("versions")
    for bits in ("strict", "paper"):
        part = {k: v for k, v in old[bits].items() if k not in ("schema", "versions", "inputs_sha256")}
        part["dropped"] = _data_limited(part["dropped"])
        part["cuts"] = _data_limited(part["cuts"])
        part["plateaus"] = [_data_limited(row) for row in part["plateaus"]]
        new[bits] = part
    return new


def ablation(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 1 -> 2: it names its kind and versions."""
    return dict(old) | {"schema": 2}


def _data_limited(old: Mapping[str, Any]) -> dict[str, Any]:
    return {("data_limited" if key == "underfilled" else key): value for key, value in old.items()}


# kind -> keys by which its files of schema 1 are recognised, and what makes them schema 2
OLD: dict[str, tuple[set[str], Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "ablation": ({"strict", "paper", "varied"}, ablation),
    "random": ({"strict", "paper"}, random),
    "facts": ({"arms", "peaks", "saturated"}, facts),
}
