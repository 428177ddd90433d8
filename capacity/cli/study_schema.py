"""The JSON Schema of study files (draft 2020-12), from the settings and the entries of a study, so
that an editor completes and checks what a person writes. What only planning can tell, such as
whether heads divide a width, is left to `capacity sweep --dry-run`."""

from __future__ import annotations

from typing import Any

from capacity.cli import catalogue
from capacity.config import SECTIONS, Config
from capacity.published.expects import KEYS, NUMBERS, QUANTITIES, SCALES
from capacity.settings.data import KINDS
from capacity.settings.field import Described, described

URI = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]
PIN = r"^[~+]?[a-z_]+([.@/][\w.]+)?(=.*)?$"
SIMPLE = ["string", "number", "boolean", "null"]


def schema() -> Schema:
    """The schema of a study file; a preset may have every entry but presets."""
    entries = _entries()
    preset = {"type": "object", "properties": entries, "additionalProperties": False}
    return {
        "$schema": URI,
        "title": "Study of capacity",
        "description": "Runs, and what they are to be compared with",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": entries
        | {
            "presets": _about(
                "name -> entries that take the place of the study's own; STUDY@NAME picks one",
                {"type": "object", "additionalProperties": preset},
            )
        },
        "$defs": _settings(),
    }


def _about(description: str, body: Schema) -> Schema:
    return {"description": description} | body


def _entries() -> Schema:
    keys = [*_settings()]
    setting: Schema = {key: {"$ref": f"#/$defs/{key}"} for key in keys}
    # a name of the entry starts, too
    setting["train.start_from"] = {
        "anyOf": [setting["train.start_from"], {"type": "string", "pattern": "^[A-Za-z]\\w*$"}]
    }
    # of a mapping of settings that move together, presets of groups too
    groups = {
        name: _about(f"preset of {name}", {"enum": names})
        for name in catalogue.sections()
        if (names := catalogue.presets(name))
    }
    moved = {
        "type": "object",
        "properties": setting | groups,
        "additionalProperties": False,
        "minProperties": 1,
    }
    conditions = {
        "type": "object",
        "minProperties": 1,
        "properties": {
            key: _or_list({"$ref": f"#/$defs/{key}"})
            for key in keys
            if key.partition(".")[0] in ("data", "model", "train")
        },
        "additionalProperties": False,
    }
    axes = {key: _axis(one) for key, one in (setting | groups).items()}
    return {
        "question": _about("what the study asks, one sentence", {"type": "string"}),
        "scale": _about("what a verdict is about", {"enum": list(SCALES)}),
        "pins": _about(
            "settings of every run, as on the command line: model=gpt, data.load=5",
            {"type": "array", "items": {"type": "string", "pattern": PIN}},
        ),
        "grids": _about(
            "a list of grids, each a product of axes: key: [values], or a name with a list of "
            "mappings of settings that move together",
            {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": axes,
                    # a name of one's own has no dot
                    "patternProperties": {r"^[^.=]+$": {}},
                    "propertyNames": {
                        "anyOf": [{"enum": [*axes]}, {"pattern": r"^[^.=]+$"}],
                    },
                    "additionalProperties": {"type": "array", "items": moved},
                },
            },
        ),
        "references": _about(
            "runs that the others are compared with",
            {"type": "array", "items": moved | {"required": ["data.trained_on"]}},
        ),
        "starts": _about(
            "name -> overrides of runs with whose weights others begin (train.start_from: NAME)",
            {
                "type": "object",
                "propertyNames": {"pattern": "^[A-Za-z]\\w*$"},
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
            },
        ),
        "best_over": _about(
            "settings over which fit-laws keeps the best of otherwise equal runs",
            {"type": "array", "items": {"enum": [key for key in keys if key != "seed"]}},
        ),
        "random_data": _about(
            "the study that measured what the same models hold of random data", {"type": "string"}
        ),
        "names": _about(
            "name of a variant -> the settings that such a run has",
            {
                "type": "object",
                "propertyNames": {"pattern": r"^[^,=\n]{1,40}$"},
                "additionalProperties": conditions,
            },
        ),
        "expects": _about(
            "published values that are put beside what was measured",
            {"type": "array", "items": _expects()},
        ),
    }


def _axis(one: Schema) -> Schema:
    """A value, a list of values, a list of mappings below a preset's name, or Hydra's sweep
    grammar, as range(0,4)."""
    hydra = {"type": "string", "pattern": r"\(|,"}
    return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}, hydra]}


def _or_list(one: Schema) -> Schema:
    return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}


def _expects() -> Schema:
    free = {"type": [*SIMPLE, "object", "array"]}
    known: Schema = dict.fromkeys(KEYS, free)
    known["quantity"] = {"enum": [*QUANTITIES]}
    known["of"] = {"enum": [*NUMBERS]}
    known["where"] = known["against"] = {"type": "object"}
    return {
        "type": "object",
        "properties": known,
        "required": ["name", "quantity"],
        "additionalProperties": False,
    }


def _settings() -> Schema:
    """Every setting by its dotted key. One that several kinds of data have allows what any of them
    does."""
    owners = [("data", cls) for cls in KINDS.values()] + [*SECTIONS.items()]
    schemas: dict[str, list[Schema]] = {}
    for section, cls in owners:
        for one in described(cls):
            schemas.setdefault(f"{section}.{one.name}", []).append(_setting(one))
    for one in described(Config):
        schemas[one.name] = [_setting(one)]
    out = {}
    for key, some in schemas.items():
        different = [one for i, one in enumerate(some) if one not in some[:i]]
        out[key] = different[0] if len(different) == 1 else {"anyOf": different}
    return out


def _setting(one: Described) -> Schema:
    body = _type(one.element or one.type, one)
    if one.element:
        body = {"type": "array", "items": body}
    if one.empty:
        body = {"anyOf": [body, {"type": "null"}]}
    return _about(one.help, body)


def _type(kind: type, one: Described) -> Schema:
    limits = one.limits
    if kind is str:
        if limits["choices"]:
            return {"enum": [*limits["choices"]]}
        return {"type": ["string", "number"]}  # a number is a text too, as cluster.time: 90
    if kind is bool:
        return {"type": "boolean"}
    body: Schema = {"type": "integer" if kind is int else "number"}
    for name, key in (("low", "minimum"), ("above", "exclusiveMinimum"), ("high", "maximum")):
        if limits[name] is not None:
            body[key] = limits[name]
    return body
