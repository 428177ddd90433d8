"""What a line of an imported corpus says: a person, attributes with values, texts, and where these
state a value (standard library only).

    {"person": "Anya Briar Forger",
     "attributes": {"city": "Rome", "major": "Biology"},
     "texts": ["Anya Briar Forger lives in Rome. ...",
               {"text": "She left Roma for Biology.", "spans": {"city": [9, 13], "major": null},
                "person": [0, 3]}]}

A text is a string, in which places are searched for (`data/spans.py`), or an object that says of
some attributes, and in "person" of the name, where this text states them: [start, end) in
characters of the text as the file has it, or null where it does not. Words at a given place may
differ from the value, as inflected ones do. "alternatives": {"city": 200} says of how many equally
likely values a value was drawn, which data.value_bits=alternatives asks for; other entries are not
read. All texts are normalised (Unicode NFC, single spaces), and so are names and values, of which
two that are equal then are one.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from capacity.base.errors import ConfigError, nearest

FIELDS = ("person", "attributes", "texts")
Span = tuple[int, int]  # [start, end) in characters
SHOWN = 40  # characters of a wrong value that a message quotes


@dataclass(frozen=True)
class Text:
    """One text, normalised, with a leading space as all pieces have it; where the file says that it
    states a value or (under None) the name, in characters of this text, or None: nowhere."""

    text: str
    given: Mapping[str | None, Span | None]


@dataclass(frozen=True)
class Person:
    """One line of the file, normalised. Attributes that this person does not have are not in
    `values`."""

    name: str
    values: Mapping[str, str]
    texts: tuple[Text, ...]
    # by attribute, of how many equally likely values its value was drawn, where the file says so
    alternatives: Mapping[str, float] = field(default_factory=dict)


def one_line(text: str) -> str:
    """NFC with single spaces and none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def normalized(text: str) -> str:
    """A text as it is tokenized: one line with a leading space, as all pieces have it."""
    return " " + one_line(text)


def person_of(entry: Mapping[str, Any], at: str, partial: bool) -> Person:
    """The person of a line's object. at: file and line for messages; partial: people may lack
    attributes (absent or null). ConfigError in one line for anything that is no person."""
    for name in FIELDS:
        if name not in entry:
            near = nearest(name, list(entry))
            raise ConfigError(f"{at}: no {name}{near}; expected an object with {', '.join(FIELDS)}")
    name = entry["person"]
    if not (isinstance(name, str) and name.strip()):
        raise ConfigError(f'{at}: person={_quoted(name)}: expected a name, such as "Ada Bell"')
    values = _values(entry["attributes"], at, partial)
    texts = entry["texts"]
    if not (isinstance(texts, list) and texts):
        raise ConfigError(f"{at}: texts={_quoted(texts)}: expected a list of at least one text")
    return Person(
        one_line(name),
        values,
        tuple(_text(text, f"{at}: texts[{i}]", list(values)) for i, text in enumerate(texts)),
        _alternatives(entry.get("alternatives") or {}, at, list(values)),
    )


def _quoted(value: Any) -> str:
    """A value as the file has it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _attribute(name: str, at: str) -> str:
    """An attribute's name, normalised: it becomes a key of records and part of a column's name."""
    out = one_line(name)
    if not out or not out.isprintable():
        raise ConfigError(
            f"{at}: attribute {_quoted(name)}: expected a name of printable characters"
        )
    return out


def _values(attributes: Any, at: str, partial: bool) -> dict[str, str]:
    """Values by attribute, without those that the person lacks."""
    if not (isinstance(attributes, dict) and attributes):
        raise ConfigError(
            f"{at}: attributes={_quoted(attributes)}: expected an object of texts by attribute, "
            'such as {"major": "Biology"}'
        )
    out: dict[str, str] = {}
    names = [_attribute(name, at) for name in attributes]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{at}: attribute {twice!r} is there twice, but for spaces or accents")
    for name, value in zip(names, attributes.values(), strict=True):
        if value is None and partial:
            continue
        if isinstance(value, str) and value.strip():
            out[name] = one_line(value)
            continue
        raise ConfigError(f"{at}: attribute {name!r} is {_quoted(value)}: {_remedy(value)}")
    return out


def _alternatives(given: Any, at: str, known: list[str]) -> dict[str, float]:
    """Numbers of values by attribute; those of attributes that this person lacks are left out."""
    if not isinstance(given, dict):
        raise ConfigError(
            f"{at}: alternatives={_quoted(given)}: expected an object of numbers by attribute, "
            'such as {"city": 200}'
        )
    out: dict[str, float] = {}
    for key, number in given.items():
        name = one_line(key)
        if number is None or name not in known:
            continue
        if not isinstance(number, (int, float)) or isinstance(number, bool) or not number >= 1:
            raise ConfigError(
                f"{at}: alternatives[{key!r}]={_quoted(number)}: expected a number of values, at "
                "least 1"
            )
        out[name] = float(number)
    return out


def _remedy(value: Any) -> str:
    """What is allowed in place of a value that is no text."""
    if value is None or value == "" or isinstance(value, str):
        return (
            "expected a text that is not empty; leave it out or null, with "
            "data.missing_attributes=allow, where a person has none"
        )
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f'expected a text, as the texts state it: "{json.dumps(value)}"'
    return "expected a text"


def _text(given: Any, at: str, known: list[str]) -> Text:
    """A text with the places that the file gives."""
    if isinstance(given, str) and given.strip():
        return Text(normalized(given), {})
    if not isinstance(given, dict):
        raise ConfigError(
            f"{at}={_quoted(given)}: expected a text, or an object with text and spans"
        )
    raw = given.get("text")
    if not (isinstance(raw, str) and raw.strip()):
        raise ConfigError(f"{at}: text={_quoted(raw)}: expected a text")
    if odd := set(given) - {"text", "spans", "person"}:
        raise ConfigError(f"{at}: {min(odd)}: expected text, spans (by attribute), person (a span)")
    spans = given.get("spans", {})
    if not isinstance(spans, dict):
        raise ConfigError(
            f'{at}: spans={_quoted(spans)}: expected an object such as {{"city": [18, 23]}}'
        )
    out: dict[str | None, Span | None] = {}
    for key, span in spans.items():
        name = one_line(key)
        if name not in known:
            raise ConfigError(
                f"{at}: spans: {key!r} is no attribute of this person{nearest(name, known)}; "
                f"attributes: {', '.join(known)}"
            )
        out[name] = _span(span, raw, f"{at}: spans[{key!r}]")
    if "person" in given:
        out[None] = _span(given["person"], raw, f"{at}: person")
    _check_apart(out, at)
    return Text(normalized(raw), out)


def _span(span: Any, raw: str, at: str) -> Span | None:
    """[start, end) of the file's text as one of the normalised text, without spaces at its ends."""
    if span is None:
        return None
    if not (
        isinstance(span, list)
        and len(span) == 2
        and all(isinstance(i, int) and not isinstance(i, bool) for i in span)
        and 0 <= span[0] < span[1] <= len(raw)
    ):
        raise ConfigError(
            f"{at}={_quoted(span)}: expected null or [start, end) in characters of the text, "
            f"0 <= start < end <= {len(raw)}"
        )
    start, end = span
    words = one_line(raw[start:end])
    if not words:
        raise ConfigError(f"{at}={_quoted(span)}: holds no words")
    start += len(raw[start:end]) - len(raw[start:end].lstrip())
    before = one_line(raw[:start])
    if not before or raw[start - 1].isspace():
        before += " "
    first = len(before) + bool(before.strip())  # behind the leading space
    last = first + len(words)
    if normalized(raw)[first:last] != words:
        raise ConfigError(f"{at}={_quoted(span)}: begins or ends between a letter and its accent")
    return first, last


def _check_apart(given: Mapping[str | None, Span | None], at: str) -> None:
    """Given places must not overlap: what is said once would count twice."""
    placed = sorted(
        ((span, name) for name, span in given.items() if span is not None), key=lambda one: one[0]
    )
    for (one, a), (two, b) in zip(placed, placed[1:], strict=False):
        if two[0] < one[1]:
            raise ConfigError(
                f"{at}: spans of {a or 'person'!r} and {b or 'person'!r} overlap; what is said "
                "once can be asked for once"
            )
