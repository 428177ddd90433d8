"""People and texts from a JSONL or Parquet file: bioR or any other corpus that names people and
their attributes; a line is a person (`data/people.py`), and where a text states a value, there it
is asked for (`data/spans.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from capacity.base.errors import ConfigError
from capacity.data import lines, sources, spans
from capacity.data.facts import NAME, key_of
from capacity.data.lexicon import EOS, SCHEMA
from capacity.data.people import Person, Span, person_of
from capacity.data.vocabulary import Encoder, cut, gpt2, trained_bpe
from capacity.settings.data import CorpusData

FEWEST = 4


def read_people(path: Path, most: int | None, partial: bool = False) -> list[Person]:
    """People of the file, at most `most`; partial: they may lack attributes. ConfigError with file
    and line for anything that is not a person."""
    people: list[Person] = []
    seen: dict[str, int] = {}
    for number, at, entry in _entries(path):
        if most is not None and len(people) == most:
            break
        person = person_of(entry, at, partial)
        if people and not partial:
            _check_attributes(person, people[0], at)
        if person.name in seen:
            raise ConfigError(
                f"{at}: {person.name!r} is there twice, first in line {seen[person.name]}"
            )
        seen[person.name] = number
        people.append(person)
    if len(people) < FEWEST:
        raise ConfigError(f"{path}: {len(people)} people; expected at least {FEWEST}")
    if not any(person.values for person in people):
        raise ConfigError(f"{path}: nobody has an attribute; expected at least one value")
    return people


def _entries(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Number, place and object of each line of a JSONL file, or row of a Parquet file. A column of
    a table is there in every row: null stands for what a line leaves out, and an empty list for a
    place that is given as not stated."""
    if path.suffix != ".parquet":
        yield from lines.objects(path)
        return
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    for number, (at, value) in enumerate(sources.READERS["parquet"](str(path)), 1):
        entry = {name: _without_nulls(cell) for name, cell in value.items() if cell is not None}
        for text in entry.get("texts") or []:
            if isinstance(text, dict):
                text["spans"] = {k: v or None for k, v in text.get("spans", {}).items()}
                if "person" in text:
                    text["person"] = text["person"] or None
        yield number, at, entry


def _without_nulls(cell: Any) -> Any:
    if isinstance(cell, dict):
        return {key: _without_nulls(value) for key, value in cell.items() if value is not None}
    return [_without_nulls(one) for one in cell] if isinstance(cell, list) else cell


def _check_attributes(person: Person, first: Person, at: str) -> None:
    for name in sorted(first.values.keys() ^ person.values.keys()):
        side = "is missing" if name in first.values else "is not one of the first person's"
        raise ConfigError(
            f"{at}: attribute {name!r} {side}; here: {', '.join(sorted(person.values))}; of the "
            f"first person: {', '.join(sorted(first.values))}; where people may lack some: "
            "data.missing_attributes=allow"
        )


def compile_corpus(data: CorpusData) -> tuple[dict, Encoder, dict[int, int]]:
    """The content of a lexicon, the tokenizer, and the row of each of its tokens that is in use.
    The content: texts as pieces, and where each text states a value, in tokens.

    people; values: different values by attribute; texts: pieces by person; spans: by person and
    text, under `key_of` the attribute or NAME, [first token, tokens], or null where the text does
    not state it; otherwise: [person, attribute, number of the value] where no span has the words
    of the value (absent where there are none); alternatives: of how many equally likely values
    each attribute was drawn (with data.value_bits=alternatives); facts: what follows from the file
    besides, see `_facts`.
    """
    people = read_people(Path(data.path), data.n_people, data.missing_attributes == "allow")
    finder = spans.Finder(people)
    statements = [[finder.stated(person, text) for text in person.texts] for person in people]
    values = _values(people)
    _check_stated(people, statements, values, data.path)
    encoder = (
        gpt2()
        if data.tokenizer == "gpt2"
        else trained_bpe(
            (
                part
                for person, stated in zip(people, statements, strict=True)
                for text, statement in zip(person.texts, stated, strict=True)
                for part in cut(text.text, _borders(text.text, statement.places.values()))
            ),
            data.vocab_size,
        )
    )
    book = _Book(encoder)
    texts, placed = [], []
    for person, stated in zip(people, statements, strict=True):
        tokenized = [
            book.add(text.text, statement.places)
            for text, statement in zip(person.texts, stated, strict=True)
        ]
        texts.append([piece for piece, _ in tokenized])
        keys = {None: NAME} | {name: key_of(name) for name in person.values}
        placed.append([{keys[name]: token.get(name) for name in keys} for _, token in tokenized])
    used = sorted({i for piece in book.ids for i in piece})
    row = {i: n + 1 for n, i in enumerate(used)}
    content = {
        "schema": SCHEMA,
        "kind": "corpus",
        "tokens": [EOS] + [encoder.word(i) for i in used],
        "bio_rows": 1 + len(used),
        "pieces": [[], [0]] + [[row[i] for i in piece] for piece in book.ids[2:]],
        "people": [p.name for p in people],
        "values": values,
        "texts": texts,
        "spans": placed,
    }
    if data.value_bits == "alternatives":
        content["alternatives"] = _alternatives(people, values, data.path)
    content["facts"] = _facts(people, statements, values)
    if otherwise := list(_otherwise(people, statements, content["facts"]["values"])):
        content["otherwise"] = otherwise
    return content, encoder, row


class _Book:
    """Distinct texts as tokens of the encoder, numbered; a text that is cut in several ways is
    several pieces."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.ids: list[list[int]] = [[], []]
        self.known: dict[tuple[int, ...], int] = {}

    def add(
        self, text: str, places: dict[str | None, Span]
    ) -> tuple[int, dict[str | None, list[int]]]:
        """The number of its piece, and by name the first token and the number of tokens of each
        place. No token reaches across the ends of a place."""
        borders = sorted({0, len(text), *_borders(text, places.values())})
        ids: list[int] = []
        count = {}
        for first, end in zip(borders, borders[1:], strict=False):
            count[first] = len(ids)
            ids += self.encoder.encode(text[first:end])
        count[len(text)] = len(ids)
        piece = self.known.setdefault(tuple(ids), len(self.ids))
        if piece == len(self.ids):
            self.ids.append(ids)
        spans = {name: (_first(text, span), span[1]) for name, span in places.items()}
        return piece, {name: [count[a], count[b] - count[a]] for name, (a, b) in spans.items()}


def _first(text: str, span: Span) -> int:
    """Where the tokens of a place begin: with the space in front of it, as words do."""
    return span[0] - (span[0] > 0 and text[span[0] - 1] == " ")


def _borders(text: str, places: Iterable[Span]) -> Iterator[int]:
    for span in places:
        yield _first(text, span)
        yield span[1]


def _values(people: list[Person]) -> dict[str, list[str]]:
    """Different values by attribute; of two that differ in the form of quotes the first."""
    out: dict[str, dict[str, str]] = {}
    for person in people:
        for name, value in person.values.items():
            out.setdefault(name, {}).setdefault(spans.folded(value), value)
    return {name: sorted(out[name].values()) for name in sorted(out)}


def _alternatives(
    people: list[Person], values: dict[str, list[str]], path: str
) -> dict[str, float]:
    """Of how many equally likely values each attribute was drawn. ConfigError where a person's line
    does not say it, two say it differently, or there are more values than that."""
    out: dict[str, float] = {}
    for person in people:
        for name in person.values:
            number = person.alternatives.get(name)
            if number is None:
                raise ConfigError(
                    f"{path}: {person.name!r} has no alternatives[{name!r}], which "
                    "data.value_bits=alternatives counts bits by; give it, or use "
                    "data.value_bits=frequency"
                )
            if out.setdefault(name, number) != number:
                raise ConfigError(
                    f"{path}: {person.name!r}: alternatives[{name!r}]={number:g}, but "
                    f"{out[name]:g} of others; expected one number for all people"
                )
    for name, number in out.items():
        if len(values[name]) > number:
            raise ConfigError(
                f"{path}: {len(values[name])} different values of {name!r}, but "
                f"alternatives[{name!r}]={number:g}"
            )
    return {name: out[name] for name in sorted(out)}


def _check_stated(
    people: list[Person],
    statements: list[list[spans.Stated]],
    values: dict[str, list[str]],
    path: str,
) -> None:
    """Every attribute, and the name, must be stated somewhere."""
    anywhere = {name for texts in statements for text in texts for name in text.places}
    for name in (None, *values):
        if name not in anywhere:
            missed = [t.missed[name] for texts in statements for t in texts if name in t.missed]
            why = spans.reason(dict.fromkeys(missed, 1))
            what = "its person's name" if name is None else f"the value of {name!r}"
            raise ConfigError(
                f"{path}: no text states {what} word for word ({why}), so it cannot be asked for; "
                "correct the texts, or give the places as spans"
            )


def _facts(
    people: list[Person], statements: list[list[spans.Stated]], values: dict[str, list[str]]
) -> dict[str, Any]:
    """What the measure needs besides: values: by attribute of each person the number of the value
    or null; missed: by attribute (the name under "") why people cannot be asked, people by reason;
    shown: by attribute the texts in which the value's words stand in front of its place already;
    similar_names: pairs that differ only in letter case or quotes."""
    number = {
        name: {spans.folded(value): i for i, value in enumerate(some)}
        for name, some in values.items()
    }
    missed: dict[str, dict[str, int]] = {}
    shown = dict.fromkeys(values, 0)
    for person, texts in zip(people, statements, strict=True):
        for name in (None, *person.values):
            if not any(name in text.places for text in texts):
                why = spans.reason({text.missed[name]: 1 for text in texts})
                some = missed.setdefault(name or "", {})
                some[why] = some.get(why, 0) + 1
        for text, statement in zip(person.texts, texts, strict=True):
            for name, place in statement.places.items():
                if name is not None:
                    shown[name] += spans.shown_before(person, text, name, place)
    return {
        "values": {
            name: [
                number[name][spans.folded(p.values[name])] if name in p.values else None
                for p in people
            ]
            for name in values
        },
        "missed": missed,
        "shown": shown,
        "similar_names": _similar(people),
    }


def _similar(people: list[Person]) -> list[list[str]]:
    first: dict[str, str] = {}
    out = []
    for person in people:
        key = spans.folded(person.name).casefold()
        if key in first:
            out.append([first[key], person.name])
        first.setdefault(key, person.name)
    return out


def _otherwise(
    people: list[Person], statements: list[list[spans.Stated]], values: dict[str, list[int | None]]
) -> Iterator[list]:
    """[person, attribute, number of the value] that the tokens of no span tell."""
    for i, (person, texts) in enumerate(zip(people, statements, strict=True)):
        for name, value in person.values.items():
            if not any(
                spans.folded(text.text[slice(*statement.places[name])]) == spans.folded(value)
                for text, statement in zip(person.texts, texts, strict=True)
                if name in statement.places
            ):
                yield [i, name, values[name][i]]
