"""What each column of the tidy table means, of which type and in which unit it is, and the order of
columns (standard library).

Settings keep the help text of their field; all other columns are declared in `capacity.declare`. A
column that nothing declares is an error, not a guess.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, get_type_hints

from capacity.config import SECTIONS, Config
from capacity.declare import registry
from capacity.declare.field import (
    BOOL,
    FLOAT,
    INT,
    INTERVAL,
    SINGLE,
    TEXT,
    Column,
    Field,
    Measure,
    node_of,
    pattern,
    values,
)
from capacity.declare.record import ABOUT, COUNTED, ENVIRONMENT, FIELDS, HIDDEN, TRAINED
from capacity.settings.data import KINDS

# Sections of settings that are columns. The others say where a run executed, never what it is or
# what was measured, and may name a site.
SETTINGS = ("data", "model", "train", "measure", "extraction", "quantize")
TYPES = {int: INT, float: FLOAT, bool: BOOL, str: TEXT}
SHOWN = ("parameters", "data", "training", "storage", "convergence", "environment", "finished_at")
AFTER = len(ABOUT)  # settings follow these
_RECORD = node_of(FIELDS)
_HIDDEN = {id(field) for field in HIDDEN}  # those of _RECORD; comparing them takes longer


def numbers(record: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(path, column, value) of every single number and text of a record, and both ends of
    intervals. KeyError for one that nothing declares."""
    sections = {name: record[name] for name in SHOWN if record.get(name) is not None}
    for one in (*values(sections, _RECORD), *registry.numbers(record["measures"])):
        if one.field is None:
            raise KeyError(f"{one.path}: no measure of capacity/declare declares it")
        if one.field.column or id(one.field) not in _HIDDEN:
            yield one.path, registry.column(one) or one.path, one.value


@lru_cache(maxsize=1)
def settings() -> dict[str, tuple[str, str]]:
    """Type and help text of every setting that is a column, by dotted key, in the order of the
    table; where kinds of data differ in what a setting means, what each says."""
    types: dict[str, str] = {}
    helps: dict[str, dict[str, list[str]]] = {}
    for section in SETTINGS:
        for kind, cls in KINDS.items() if section == "data" else [("", SECTIONS[section])]:
            hints = get_type_hints(cls)
            for field in dataclasses.fields(cls):
                key, hint = f"{section}.{field.name}", hints[field.name]
                plain = next((t for t in getattr(hint, "__args__", ()) if t in TYPES), hint)
                types.setdefault(
                    key, TEXT if getattr(hint, "__origin__", None) is tuple else TYPES[plain]
                )
                helps.setdefault(key, {}).setdefault(field.metadata["help"], []).append(kind)
    return {
        key: (types[key], _joined({", ".join(kinds): text for text, kinds in texts.items()}))
        for key, texts in helps.items()
    }


def describe(name: str, quantized: bool = False) -> tuple[str, str, str]:
    """(type, unit, meaning) of a column. KeyError for one that is not known."""
    if name in (known := settings()):
        return known[name][0], "", known[name][1]
    column = _place(name, quantized)[1]
    return column.type, column.unit, column.meaning


def in_order(names: Iterable[str], quantized: bool = False) -> list[str]:
    """Names of columns in the order of the table, which depends on the names alone."""
    known = {name: i for i, name in enumerate(settings())}

    def place(name: str) -> tuple[Any, ...]:
        if name in known:
            return AFTER, 0, known[name], []
        at = _place(name, quantized)[0]
        if at < AFTER:
            return at, 0, 0, []
        return AFTER, 1, at, [int(x) if x.isdigit() else 0 for x in re.split(r"(\d+)", name)]

    return sorted(names, key=lambda name: (place(name), name))


def _place(name: str, quantized: bool) -> tuple[int, Column]:
    """Place of a column among those that are declared, and what it is there."""
    exact, families = _declared(tuple(registry.MEASURES.values()), quantized)
    if name in exact:
        return exact[name]
    for i, wanted, column in families:
        # see `registry.column`: the name without its last _
        own = name[:-1] if name.rstrip("_") in exact else name
        if match := wanted.fullmatch(own):
            return i, dataclasses.replace(
                column, meaning=column.meaning.format(**match.groupdict())
            )
    raise KeyError(f"{name}: not a column that capacity/declare knows")


@lru_cache(maxsize=8)
def _declared(
    measures: tuple[Measure, ...], quantized: bool
) -> tuple[dict[str, tuple[int, Column]], list[tuple[int, re.Pattern[str], Column]]]:
    """Declared columns with their places: single ones by name, and families of them."""
    exact: dict[str, tuple[int, Column]] = {}
    families: list[tuple[int, re.Pattern[str], Column]] = []
    for i, column in enumerate(_in_order(measures, quantized)):
        if "{" in column.name:
            families.append((i, pattern(column.name), column))
        else:
            exact[column.name] = i, column
    return exact, families


def _in_order(measures: tuple[Measure, ...], quantized: bool) -> list[Column]:
    """All columns but settings, those that several measures share once, with what each says."""
    if quantized:
        groups = {measure.name: _columns(measure.rows) for measure in measures}
        return [*_columns((*ABOUT, *COUNTED)), *_merged(groups)]
    named = {
        measure.name: _columns(field for field in measure.fields if field.column)
        for measure in measures
    }
    by_path = [
        column
        for measure in measures
        for column in _columns(
            (field for field in measure.fields if not field.column), f"measures.{measure.name}."
        )
    ]
    return [
        *_columns((*ABOUT, *COUNTED, *TRAINED)),
        *_merged(named),
        *by_path,
        *_columns(ENVIRONMENT),
    ]


def _columns(declared: Iterable[Field | Column], before: str = "") -> list[Column]:
    return [
        one if isinstance(one, Column) else one.as_column(before)
        for one in declared
        if one.type in (*SINGLE, INTERVAL)
    ]


def _merged(groups: dict[str, list[Column]]) -> list[Column]:
    """Columns of several measures, each name once; where meanings differ, each with its measure."""
    by_name: dict[str, dict[str, Column]] = {}
    for name, columns in groups.items():
        for column in columns:
            by_name.setdefault(column.name, {})[name] = column
    out = []
    for shared in by_name.values():
        first = next(iter(shared.values()))
        kinds = {(column.type, column.unit) for column in shared.values()}
        assert len(kinds) == 1, (
            f"{first.name}: {', '.join(shared)} declare different types or units"
        )
        meaning = _joined({name: column.meaning for name, column in shared.items()})
        out.append(dataclasses.replace(first, meaning=meaning))
    return out


def _joined(meanings: dict[str, str]) -> str:
    """What a name means, and where that depends on who says it, by speaker."""
    if len(set(meanings.values())) == 1:
        return next(iter(meanings.values()))
    return "; ".join(f"{name}: {text}" for name, text in meanings.items())


assert set(SETTINGS) <= {field.name for field in dataclasses.fields(Config)}
