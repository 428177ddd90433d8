"""What a measure says of its numbers, and how a tree of numbers is read by it: path, type, unit,
meaning, and names elsewhere. Standard library only."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as default
from typing import Any

TEXT, INT, FLOAT, BOOL = "text", "int", "float", "bool"
INTERVAL = "interval"  # a list [low, high] of floats
LEVELS = "levels"  # a list of sections, each named by one of its own entries
SECTION = "section"  # a dictionary; fields below it say what it holds, or nothing of it is shown
LIST = "list"  # of which nothing is shown
TYPES: dict[str, type] = {
    TEXT: str,
    INT: int,
    FLOAT: float,
    BOOL: bool,
    INTERVAL: list,
    LEVELS: list,
    SECTION: dict,
    LIST: list,
}
SINGLE = (TEXT, INT, FLOAT, BOOL)  # types of a cell of a table
ENDS = ("low", "high")
# What may stand for a name in braces; all others may be any text.
NAMES = {
    "convention": r"strict|paper",
    "parameters": r"total|paper|non_embedding|active|used",
    "attack": r"(?!clean_|copies_|tier_|people_)\w+",
    "setting": r"\w+",
    "tokens": r"\d+",
    "samples": r"\d+",
    "repeats": r"-?\d+",
    "copies": r"\d+",
    "rate": r"[\d.]+(?:e-?\d+)?",
    "end": r"low|high",
    "tier": r"\d+",
    "group": r"\d+",
    "part": r"\d+",
}
_NAME = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, type (TEXT, INT, FLOAT or BOOL), unit and meaning; names in
    braces stand for any text that NAMES allows."""

    name: str
    type: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class Field:
    """One number or word, or a family of them.

    path: keys down to it, separated by dots. A name in braces stands for any key that NAMES allows,
    as in `attributes.{attribute}.bits`; a key in brackets for the sections of a list, each named by
    that entry, as in `canaries.[repeats].exposure`. column, summary: its names in the table of runs
    that laws are fitted to and in the summary of the wandb mirror, empty: in neither; meaning and
    names may use the names of the path, of an interval also {end}.
    """

    path: str
    type: str
    unit: str = ""
    meaning: str = ""
    column: str = ""
    column_type: str = ""  # where a table holds another type than the record
    summary: str = ""
    needed: bool = False  # a record without it is refused, because readers rely on it
    optional: bool = False  # a measure may leave it out
    missing: bool = False  # may be null

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise ValueError(f"{self.path}: type {self.type!r}: allowed: {', '.join(TYPES)}")
        if self.needed and self.is_family:
            raise ValueError(f"{self.path}: a family of numbers cannot be needed")

    @property
    def is_family(self) -> bool:
        """Whether it stands for numbers of several names."""
        return "{" in self.path or "[" in self.path

    def as_column(self, before: str = "") -> Column:
        """Its column, under its path behind `before` where it has no name of its own."""
        path = re.sub(r"\[(\w+)\]", r"{\1}", before + self.path)
        if self.type == INTERVAL:
            path += ".{end}"
        kind = FLOAT if self.type == INTERVAL else self.column_type or self.type
        return Column(self.column or path, kind, self.unit, self.meaning)

    def check(self, value: Any, key: str) -> None:
        """ValueError, which names the key, for a value of another type or without a finite size."""
        wanted = TYPES[self.type]
        if value is None and self.missing:
            return
        if not isinstance(value, wanted) or (isinstance(value, bool) and self.type != BOOL):
            or_none = " or None" if self.missing else ""
            raise ValueError(f"{key}={value!r}: expected {wanted.__name__}{or_none}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{key}={value!r}: expected a finite number")
        if (
            isinstance(value, list)
            and self.type == INTERVAL
            and not (
                len(value) == 2 and all(isinstance(x, float) and math.isfinite(x) for x in value)
            )
        ):
            raise ValueError(f"{key}={value!r}: expected two finite numbers, low and high")


@dataclass
class Node:
    """Fields that share the beginning of their path, by the next key."""

    field: Field | None = None
    keys: dict[str, Node] = default(default_factory=dict)
    families: list[tuple[re.Pattern[str], Node]] = default(default_factory=list)
    level: str = ""  # the entry that names the sections of a list

    @property
    def is_optional(self) -> bool:
        below = [*self.keys.values(), *(node for _, node in self.families)]
        return self.field.optional if self.field else all(node.is_optional for node in below)

    def below(self, key: str) -> tuple[Node | None, dict[str, str]]:
        """The node of a key, and what the names in its pattern stand for."""
        if key in self.keys:
            return self.keys[key], {}
        for pattern, node in self.families:
            if match := pattern.fullmatch(key):
                return node, match.groupdict()
        return None, {}


def pattern(template: str) -> re.Pattern[str]:
    """What matches a path, key or column with names in braces, by name."""
    seen: set[str] = set()
    parts: list[str] = []
    for i, part in enumerate(_NAME.split(template)):
        if i % 2 == 0:
            parts.append(re.escape(part))
        elif part in seen:
            parts.append(f"(?P={part})")
        else:
            parts.append(f"(?P<{part}>{NAMES.get(part, '.+')})")
            seen.add(part)
    return re.compile("".join(parts))


def node_of(fields: Iterable[Field]) -> Node:
    """Fields by their paths. ValueError where two have one path."""
    root = Node()
    for one in fields:
        node = root
        for part in one.path.split("."):
            if part.startswith("["):
                node.level, key = part[1:-1], "{" + part[1:-1] + "}"
            else:
                key = part
            node = _next(node, key)
        if node.field is not None:
            raise ValueError(f"{one.path}: declared twice")
        node.field = one
    return root


def _next(node: Node, key: str) -> Node:
    if "{" not in key:
        return node.keys.setdefault(key, Node())
    wanted = pattern(key)
    for known, below in node.families:
        if known == wanted:
            return below
    node.families.append((wanted, Node()))
    return node.families[-1][1]


@dataclass(frozen=True)
class Value:
    """One number or word of a tree: its path, the field that declares it (None: no field does),
    what the names of the field stand for, and the value."""

    path: str
    field: Field | None
    names: Mapping[str, str]
    value: Any

    def name(self, template: str) -> str:
        """A column, summary or meaning of the field with its names filled in."""
        return template.format(**self.names)


def values(tree: Any, node: Node) -> Iterator[Value]:
    """All single numbers and words of a tree, in its order, and both ends of intervals; lists and
    sections that are shown nowhere are left out."""
    for one in _leaves(tree, node, "", {}):
        declared = one.field
        if declared is None or declared.type in SINGLE:
            yield one
        elif declared.type == INTERVAL:
            for end, value in zip(ENDS, one.value or (None, None), strict=True):
                yield Value(f"{one.path}.{end}", declared, {**one.names, "end": end}, value)


def _leaves(tree: Any, node: Node | None, path: str, names: dict[str, str]) -> Iterator[Value]:
    """Values of fields that no other fields are below, and what is not declared."""
    inner = bool(node and (node.keys or node.families))
    if not inner and node is not None and node.field is not None:
        yield Value(path, node.field, names, tree)
        return
    sections: Iterable[tuple[str, Any]]
    if isinstance(tree, dict):
        sections = tree.items()
    elif isinstance(tree, list) and node is not None and node.level:
        level = node.level
        sections = [
            (str(part[level]), {key: value for key, value in part.items() if key != level})
            for part in tree
        ]
    else:
        if not (inner and tree is None):
            yield Value(path, None, names, tree)
        return
    for key, value in sections:
        below, more = node.below(str(key)) if node is not None else (None, {})
        yield from _leaves(value, below, f"{path}.{key}" if path else str(key), names | more)


def exactly(tree: dict[str, Any], fields: Iterable[Field], name: str) -> dict[str, Any]:
    """The tree itself. AssertionError unless it holds exactly the declared fields, optional ones
    or not, in their types."""
    node = node_of(fields)
    for one in _leaves(tree, node, "", {}):
        assert one.field is not None, f"{name}: {one.path}={one.value!r} is not declared"
        try:
            one.field.check(one.value, one.path)
        except ValueError as error:
            raise AssertionError(f"{name}: {error}") from None
    for key in _absent(tree, node, ""):
        raise AssertionError(f"{name}: {key} is declared and not there")
    return tree


def _absent(tree: Any, node: Node, path: str) -> Iterator[str]:
    if isinstance(tree, list) and node.level:
        for part in tree:
            ((_, below),) = node.families
            yield from _absent(part, below, f"{path}.[{node.level}={part[node.level]}]")
        return
    if not isinstance(tree, dict):
        return
    for key, below in node.keys.items():
        if key not in tree and not below.is_optional:
            yield f"{path}.{key}" if path else key
    for key, value in tree.items():
        below, _ = node.below(str(key))
        if below is not None and (below.keys or below.families):
            yield from _absent(value, below, f"{path}.{key}" if path else key)


def needed(tree: Any, fields: Iterable[Field], before: str = "") -> None:
    """ValueError naming the first needed field that is missing or of a wrong type."""
    for one in fields:
        if one.needed:
            value = tree
            for part in one.path.split("."):
                if not isinstance(value, dict) or part not in value:
                    raise ValueError(f"record: {before}{one.path} is missing")
                value = value[part]
            one.check(value, f"record: {before}{one.path}")


@dataclass(frozen=True)
class Measure:
    """What a measure declares of itself.

    data: kinds of data that it is about, empty for any. held: path of the bits that are the
    headline of such data, whose finished records then have this measure; empty for a measure that
    is taken besides. evaluated: the number in metrics.jsonl by which convergence is judged.
    bounded: whether a model can hold no more of these bits than it stores. rows: fields of each
    element of its list `rows` (and of its section `unquantized`), which make a table of their own.
    describe: lines of at most 80 columns on its part of a record, given this part and the record;
    absent: one line for each number with a name.
    """

    name: str
    version: int
    fields: tuple[Field, ...]
    data: tuple[str, ...] = ()
    held: str = ""
    evaluated: str = ""
    bounded: bool = True
    rows: tuple[Field, ...] = ()
    describe: Callable[[dict[str, Any], dict[str, Any]], list[str]] | None = None

    @property
    def main(self) -> bool:
        """Whether its bits are the headline of its kinds of data."""
        return bool(self.held)

    def held_bits(self, part: dict[str, Any]) -> float:
        """The headline of its part of a record."""
        value: Any = part
        for key in self.held.split("."):
            value = value[key]
        return value

    def lines(self, part: dict[str, Any], record: dict[str, Any]) -> list[str]:
        """Its part of a record in lines of at most 80 columns."""
        return (self.describe or self._plain)(part, record)

    def _plain(self, part: dict[str, Any], record: dict[str, Any]) -> list[str]:
        return [
            f"  {one.name(one.field.column)} = {one.value:.6g} {one.field.unit}".rstrip()
            for one in values(part, node_of(self.fields))
            if one.field is not None and one.field.column and isinstance(one.value, (int, float))
        ]

    def returns(self, part: dict[str, Any]) -> dict[str, Any]:
        """What the measure has computed, asserted to be what it declares."""
        assert part.get("version") == self.version, f"{self.name}: version {part.get('version')}"
        return exactly(part, self.fields, self.name)


def per_parameter(
    path: str, quantity: str, summary: dict[str, str] | None = None, needed: bool = False
) -> tuple[Field, ...]:
    """Bits per parameter by convention of counting these. summary: convention -> name in the
    mirror's summary; needed: of total and paper."""
    names = summary or {}
    unit, meaning = "bits per parameter", f"{quantity} / parameters_"
    return (
        *(
            Field(
                f"{path}.{of}",
                FLOAT,
                unit,
                meaning + of,
                summary=names.get(of, ""),
                needed=needed,
                optional=not needed,
            )
            for of in ("total", "paper")
        ),
        Field(f"{path}.{{parameters}}", FLOAT, unit, meaning + "{parameters}"),
    )


VERSION = Field("version", INT, "", "version of the measure")
